"""Programs under strace and gdb, which stop them in an exec, and after it."""

import os
import re
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from support.c_programs import compiled
from support.exec_programs import (
    MASK,
    is_lossless,
    is_realtime,
    program_reader,
    programs_in,
    threads,
)
from support.live import events_until
from support.machine import KERNEL
from support.subprocesses import started

from procconn import Event, Exit, Fork, ProcConnector

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="requires root"),
    pytest.mark.skipif("san" in os.environ.get("LD_PRELOAD", ""), reason="sanitized"),
]
slow = [pytest.mark.slow, pytest.mark.heavy]
FEW, MANY = 10, 100
cases = pytest.mark.parametrize("rounds", [FEW, pytest.param(MANY, marks=slow)])

HELD_AT_ONCE = 256  # memories of programs, at most
STRACE = ["strace", "-f", "-o", "/dev/null"]


def serials(rounds: int) -> list[str]:
    """List arguments that no other program has."""
    return [f"{os.getpid()}-{number}" for number in range(rounds)]


def tracer(command: list[str]) -> list[str]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"requires {command[0]}")
    return command


def shell(rounds: int, before: str = "") -> list[str]:
    """Give a shell that runs one program after the other."""
    run = f"{compiled('stages')} $i"
    return ["sh", "-c", f"{before}for i in {' '.join(serials(rounds))}; do {run}; done"]


class Found:
    """The programs with our arguments, as the connector reported them.

    Attributes:
        right: how many were reported.
        held: of so many that descend from the process the last exec was held.
        wrong: those of another program, or reported twice.
    """

    def __init__(self, events: list[Event], rounds: int, ancestor: int) -> None:
        assert is_lossless(events)
        path = str(compiled("stages"))
        ours = {(path, serial) for serial in serials(rounds)}
        found = [program for _, program in programs_in(events)]
        count = Counter(it.argv for it in found if it.argv in ours)
        self.right = len(count)
        family, last = {ancestor}, dict(programs_in(events))
        for event in events:
            if isinstance(event, Fork) and event.parent_pid in family:
                family.add(event.child_pid)
        self.held = sum(last[pid].missing == "held" for pid in family & last.keys())
        self.wrong = [
            it
            for it in found
            if it.argv in ours
            and (
                it.exe != path or it.name not in ("stages", None) or count[it.argv] > 1
            )
        ]
        self.wrong += [
            it for it in found if it.exe == path and it.argv not in (*ours, None)
        ]


def programs_found(
    connector: ProcConnector, process: subprocess.Popen[str], rounds: int
) -> Found:
    """Receive events until a process has ended."""

    def is_end(event: Event) -> bool:
        return isinstance(event, Exit) and event.pid == process.pid

    return Found(events_until(connector, is_end), rounds, process.pid)


def check(found: Found, rounds: int, connector: ProcConnector) -> None:
    """All are right, but for those that a slow tracer held for long."""
    assert [] == found.wrong
    if is_realtime(connector):
        share = 0.99 if rounds == MANY else 0.6  # of a few, some may come in a burst
        assert found.right + found.held >= share * rounds


@cases
@pytest.mark.parametrize(
    "options", [[], ["--seccomp-bpf", "-e", "trace=open"]], ids=["all", "seccomp"]
)
def test_programs_that_strace_runs_are_told(options: list[str], rounds: int) -> None:
    command = tracer([*STRACE, *options, *shell(rounds)])
    with (
        ProcConnector(MASK, programs=True) as connector,
        started(*command) as strace,
    ):
        found = programs_found(connector, strace, rounds)

    check(found, rounds, connector)
    assert found.right > rounds / 2 or not is_realtime(connector)


def test_who_comes_late_is_told_them_too() -> None:
    """A tracer is looked for again when its process has ended; nothing was held."""
    command = tracer([*STRACE, *shell(FEW)])
    with ProcConnector(MASK, programs=True) as connector:
        with started(*command) as strace:
            assert strace.wait(60) == 0
            time.sleep(0.2)  # the longest that an exec waits is far less
        found = programs_found(connector, strace, FEW)

    check(found, FEW, connector)
    assert 0 == found.held


@cases
def test_programs_of_a_shell_that_strace_attached_to_are_told(rounds: int) -> None:
    with (
        ProcConnector(MASK, programs=True) as connector,
        started(*shell(rounds, "read line; ")) as process,
        started(*tracer([*STRACE, "-p", str(process.pid)]), stderr=-1) as strace,
    ):
        assert process.stdin is not None
        assert strace.stderr is not None
        assert "attached" in strace.stderr.readline()
        process.stdin.write("\n")
        process.stdin.flush()
        found = programs_found(connector, process, rounds)

    check(found, rounds, connector)
    assert found.right > rounds / 2 or not is_realtime(connector)


@cases
def test_programs_that_gdb_runs_are_told_or_held(rounds: int) -> None:
    """It stops each at its exec, and some of them for long."""
    command = ["gdb", "-batch", "-nx"]
    for serial in serials(rounds):
        command += ["-ex", f"run {serial}"]
    with (
        ProcConnector(MASK, programs=True) as connector,
        started(
            *tracer(command),
            compiled("stages"),
            env={**os.environ, "DEBUGINFOD_URLS": ""},
            stderr=subprocess.DEVNULL,
        ) as gdb,
    ):
        found = programs_found(connector, gdb, rounds)

    check(found, rounds, connector)


def test_the_reading_threads_table_of_descriptors_does_not_grow() -> None:
    """Growth would make them wait, and programs end meanwhile: strace has many held."""
    command = tracer([*STRACE, *shell(FEW)])
    before = threads()
    with ProcConnector(MASK, programs=True) as connector:
        status = Path(f"/proc/self/task/{program_reader(before)}/status")
        sizes = [re.findall(r"FDSize:\t(\d+)", status.read_text())]
        with started(*command) as strace:
            programs_found(connector, strace, FEW)
        sizes += [re.findall(r"FDSize:\t(\d+)", status.read_text())]

    assert sizes[0] == sizes[1]
    assert int(sizes[0][0]) > HELD_AT_ONCE or KERNEL < (5, 9)
