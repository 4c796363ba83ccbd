"""After a loss, subcommands know processes as before: the kernel drops events here.

Each subcommand runs with each way to choose processes, is stopped while more happens
than there is space for, and goes on.
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
    """Two shells with a name of their own, which a subcommand may be asked for."""

    def __init__(self, folder: Path) -> None:
        self.program = str(folder / "ourshell")
        shutil.copy("/bin/sh", self.program)
        self.mark = f"mark-{os.getpid()}"
        self.ends = self._start(SCRIPT)  # and its exit is to be reported
        self.is_killed = self._start("read a")  # while nobody looks

    def _start(self, script: str) -> subprocess.Popen[bytes]:
        command = [self.program, "-c", script, self.mark]
        return subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)

    def options(self, which: str) -> list[str]:
        """Make the options by which `ends` is chosen."""
        return {
            "none": [],
            "name": ["--name", re.escape(self.mark)],
            "user": ["--user", str(os.geteuid())],
            "tree": ["--tree", str(os.getpid())],
            "pid": ["--pid", str(self.ends.pid)],
        }[which]

    @staticmethod
    def tell(shell: subprocess.Popen[bytes]) -> None:
        """Let it go on."""
        assert shell.stdin is not None
        shell.stdin.write(b"go\n")


@contextmanager
def shells(folder: Path) -> Iterator[Shells]:
    started = Shells(folder)
    try:
        yield started
    finally:
        for shell in (started.ends, started.is_killed):
            shell.kill()
            shell.communicate()


def command(*arguments: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run one that has little space; it warns of what it loses."""
    program = [sys.executable, "-Wignore", str(PROGRAMS / "small_buffer.py")]
    return watching(*arguments, command=program, stderr=subprocess.DEVNULL)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def overload(started: Shells, commands: list[subprocess.Popen[bytes]]) -> None:
    """Have all of them lose events, and the end of a shell among them."""
    for process in commands:
        process.send_signal(signal.SIGSTOP)
    subprocess.run(["sh", "-c", BURST], check=True)
    started.is_killed.kill()
    started.is_killed.wait()
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
    "what",
    [
        ["watch", "--json"],
        pytest.param(["ship", "nats://localhost"], marks=pytest.mark.slow),
    ],
    ids=["watch", "ship"],
)
def test_after_a_loss_exits_keep_their_program_and_duration(
    what: list[str], tmp_path: Path
) -> None:
    """Also that of a process which ran before, and whichever processes are chosen."""
    options = ["--events", "fork,exit", *(["--argv"] if what[0] == "ship" else [])]
    with shells(tmp_path) as started, ExitStack() as stack:
        ends = started.ends
        commands = [
            stack.enter_context(command(*what, *options, *started.options(which)))
            for which in FILTERS
        ]
        outputs = [it.stdout for it in commands if it.stdout is not None]
        for process in commands:
            wait_until_subscribed(process)
        started.tell(ends)
        for output in outputs:
            records_until(output, lambda it: it.get("parent_pid") == ends.pid)
        overload(started, commands)
        for output in outputs:
            records_until(output, lambda it: bool(it["event"] == "lost"))
        started.tell(ends)
        ends.wait()
        after = [
            records_until(
                output, lambda it: it["event"] == "exit" and it["pid"] == ends.pid
            )
            for output in outputs
        ]

    for records in after:
        end = records[-1]
        assert [started.program, "-c", SCRIPT, started.mark] == end["argv"]
        assert (3, "ourshell") == (end["returncode"], end["name"])
        assert end["duration"] > 0
        assert 1 == sum(it.get("pid") == ends.pid for it in records)
    of_pid = [it for it in after[FILTERS.index("pid")] if it["event"] != "lost"]
    assert {ends.pid} == {it.get("pid", it.get("parent_pid")) for it in of_pid}


@pytest.mark.slow
def test_after_a_loss_stat_counts_what_fails_and_what_still_runs(
    tmp_path: Path,
) -> None:
    def of_ours(record: dict[str, Any], key: str) -> int:
        counts = {it["name"]: int(it[key]) for it in record["programs"]}
        return counts.get("ourshell", 0)

    with shells(tmp_path) as started, ExitStack() as stack:
        commands = [
            stack.enter_context(command("stat", "--json", *started.options(which)))
            for which in FILTERS
        ]
        outputs = [it.stdout for it in commands if it.stdout is not None]
        first = [
            records_until(output, lambda it: of_ours(it, "running") > 0)[-1]
            for output in outputs
        ]
        overload(started, commands)
        for output in outputs:
            records_until(output, lambda it: bool(it["lost"] > 0))
        started.tell(started.ends)
        started.tell(started.ends)
        started.ends.wait()
        after = [
            records_until(output, lambda it: of_ours(it, "running") == 0)
            for output in outputs
        ]

    for which, record, records in zip(FILTERS, first, after, strict=True):
        assert (1 if which == "pid" else 2) == of_ours(record, "running")
        failed = sum(of_ours(it, "failed") for it in records)
        assert (1 if which == "pid" else 2) == failed  # and its child with status 5


def test_after_a_loss_record_has_the_exits_of_those_that_were_chosen(
    tmp_path: Path,
) -> None:
    paths = [tmp_path / f"{which}.pcap" for which in FILTERS]

    def all_have(is_so: Callable[[Event], bool]) -> bool:
        return all(any(map(is_so, recorded(path))) for path in paths)

    with shells(tmp_path) as started, ExitStack() as stack:
        ends = started.ends
        commands = [
            stack.enter_context(command("record", str(path), *started.options(which)))
            for which, path in zip(FILTERS, paths, strict=True)
        ]
        wait_until(lambda: all(path.exists() for path in paths))
        started.tell(ends)
        pid = ends.pid
        wait_until(
            lambda: all_have(lambda it: isinstance(it, Fork) and it.parent_pid == pid)
        )
        overload(started, commands)
        wait_until(lambda: all_have(lambda it: isinstance(it, Lost)))
        started.tell(ends)
        ends.wait()
        wait_until(lambda: all_have(lambda it: isinstance(it, Exit) and it.pid == pid))

    for path in paths:
        its = [it for it in recorded(path) if isinstance(it, Exit) and it.pid == pid]
        assert [3] == [it.returncode for it in its]


def recorded(path: Path) -> list[Event]:
    with Recording(path) as recording:
        return list(recording)
