"""Subcommands resynchronize after an overrun, and report processes as before.

Each subcommand runs with each filter, is stopped during a burst that overruns its
receive buffer, and continues.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from support.command import wait_until_subscribed, watching
from support.live import DEADLINE
from support.subprocesses import PROGRAMS

from procconn import Event, Exit, Fork, Lost
from procconn.recording import Recording

pytestmark = pytest.mark.heavy

SCRIPT = "read a; (exit 5); read b; exit 3"
BURST = "i=0; while [ $i -lt 500 ]; do (:); i=$((i+1)); done"
FILTERS = ["none", "name", "user", "tree", "pid"]


class Shells:
    """Two shells with a unique program name, which subcommands can filter by."""

    def __init__(self, folder: Path) -> None:
        self.program = str(folder / "ourshell")
        shutil.copy("/bin/sh", self.program)
        self.mark = f"mark-{os.getpid()}"
        self.observed = self._start(SCRIPT)  # exits after the overrun
        self.killed = self._start("read a")  # ends during the overrun

    def _start(self, script: str) -> subprocess.Popen[bytes]:
        command = [self.program, "-c", script, self.mark]
        return subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)

    def options(self, filter_name: str) -> list[str]:
        """Return the options of a filter that matches `observed`."""
        return {
            "none": [],
            "name": ["--name", re.escape(self.mark)],
            "user": ["--user", str(os.geteuid())],
            "tree": ["--tree", str(os.getpid())],
            "pid": ["--pid", str(self.observed.pid)],
        }[filter_name]

    @staticmethod
    def resume(shell: subprocess.Popen[bytes]) -> None:
        """Let a shell return from its current `read`."""
        assert shell.stdin is not None
        shell.stdin.write(b"go\n")


@contextmanager
def shells(folder: Path) -> Iterator[Shells]:
    started = Shells(folder)
    try:
        yield started
    finally:
        for shell in (started.observed, started.killed):
            shell.kill()
            shell.communicate()


def command(*arguments: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run a subcommand with a small receive buffer; ignore its warnings."""
    program = [sys.executable, "-Wignore", str(PROGRAMS / "small_buffer.py")]
    return watching(*arguments, command=program, stderr=subprocess.DEVNULL)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def overrun(started: Shells, commands: list[subprocess.Popen[bytes]]) -> None:
    """Make all commands lose events, including the exit of a shell."""
    for process in commands:
        process.send_signal(signal.SIGSTOP)
    subprocess.run(["sh", "-c", BURST], check=True)
    started.killed.kill()
    started.killed.wait()
    for process in commands:
        process.send_signal(signal.SIGCONT)


def records_until(
    output: IO[bytes], is_last: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    records = []
    for line in output:
        records.append(json.loads(line))
        if is_last(records[-1]):
            return records
    raise AssertionError("the command ended")


@pytest.mark.parametrize(
    "arguments",
    [
        ["watch", "--json"],
        pytest.param(["ship", "nats://localhost"], marks=pytest.mark.slow),
    ],
    ids=["watch", "ship"],
)
def test_after_overrun_exits_keep_their_program_and_duration(
    arguments: list[str], tmp_path: Path
) -> None:
    """With each filter, and for a pre-existing process."""
    options = ["--events", "fork,exit"]
    if arguments[0] == "ship":
        options.append("--argv")
    with shells(tmp_path) as started, ExitStack() as stack:
        shell = started.observed
        commands = [
            stack.enter_context(command(*arguments, *options, *started.options(name)))
            for name in FILTERS
        ]
        outputs = [process.stdout for process in commands if process.stdout is not None]
        for process in commands:
            wait_until_subscribed(process)
        started.resume(shell)
        for output in outputs:
            records_until(output, lambda r: r.get("parent_pid") == shell.pid)
        overrun(started, commands)
        for output in outputs:
            records_until(output, lambda r: bool(r["event"] == "lost"))
        started.resume(shell)
        shell.wait()
        after = [
            records_until(
                output, lambda r: r["event"] == "exit" and r["pid"] == shell.pid
            )
            for output in outputs
        ]

    for records in after:
        end = records[-1]
        assert [started.program, "-c", SCRIPT, started.mark] == end["argv"]
        assert (3, "ourshell") == (end["returncode"], end["name"])
        assert end["duration"] > 0
        assert 1 == sum(r.get("pid") == shell.pid for r in records)
    of_pid = [r for r in after[FILTERS.index("pid")] if r["event"] != "lost"]
    assert {shell.pid} == {r.get("pid", r.get("parent_pid")) for r in of_pid}


@pytest.mark.slow
def test_after_overrun_stat_counts_failed_and_running_processes(tmp_path: Path) -> None:
    def count_of_shells(record: dict[str, Any], key: str) -> int:
        counts = {program["name"]: int(program[key]) for program in record["programs"]}
        return counts.get("ourshell", 0)

    with shells(tmp_path) as started, ExitStack() as stack:
        commands = [
            stack.enter_context(command("stat", "--json", *started.options(name)))
            for name in FILTERS
        ]
        outputs = [process.stdout for process in commands if process.stdout is not None]
        first = [
            records_until(output, lambda r: count_of_shells(r, "running") > 0)[-1]
            for output in outputs
        ]
        overrun(started, commands)
        for output in outputs:
            records_until(output, lambda r: bool(r["lost"] > 0))
        started.resume(started.observed)
        started.resume(started.observed)
        started.observed.wait()
        after = [
            records_until(output, lambda r: count_of_shells(r, "running") == 0)
            for output in outputs
        ]

    for name, record, records in zip(FILTERS, first, after, strict=True):
        assert (1 if name == "pid" else 2) == count_of_shells(record, "running")
        failed = sum(count_of_shells(r, "failed") for r in records)
        assert (1 if name == "pid" else 2) == failed  # the subshell exits with 5


def test_after_overrun_record_has_the_exits_of_matching_processes(
    tmp_path: Path,
) -> None:
    paths = [tmp_path / f"{name}.pcap" for name in FILTERS]

    def all_have(is_match: Callable[[Event], bool]) -> bool:
        return all(any(map(is_match, recorded(path))) for path in paths)

    with shells(tmp_path) as started, ExitStack() as stack:
        shell = started.observed
        commands = [
            stack.enter_context(command("record", str(path), *started.options(name)))
            for name, path in zip(FILTERS, paths, strict=True)
        ]
        wait_until(lambda: all(path.exists() for path in paths))
        started.resume(shell)
        pid = shell.pid
        wait_until(
            lambda: all_have(lambda e: isinstance(e, Fork) and e.parent_pid == pid)
        )
        overrun(started, commands)
        wait_until(lambda: all_have(lambda e: isinstance(e, Lost)))
        started.resume(shell)
        shell.wait()
        wait_until(lambda: all_have(lambda e: isinstance(e, Exit) and e.pid == pid))

    for path in paths:
        exits = [e for e in recorded(path) if isinstance(e, Exit) and e.pid == pid]
        assert [3] == [e.returncode for e in exits]


def recorded(path: Path) -> list[Event]:
    with Recording(path) as recording:
        return list(recording)
