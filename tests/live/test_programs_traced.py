"""Programs under strace and gdb, which stop processes during and after an exec."""

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

HELD_AT_ONCE = 256  # descriptors of program memories, at most
STRACE = ["strace", "-f", "-o", "/dev/null"]


def serials(rounds: int) -> list[str]:
    """Return arguments that no other program has."""
    return [f"{os.getpid()}-{number}" for number in range(rounds)]


def tracer(command: list[str]) -> list[str]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"requires {command[0]}")
    return command


def shell(rounds: int, before: str = "") -> list[str]:
    """Return the command of a shell that runs one program after another."""
    run = f"{compiled('stages')} $i"
    return ["sh", "-c", f"{before}for i in {' '.join(serials(rounds))}; do {run}; done"]


class Found:
    """Reported programs of the test.

    Attributes:
        right: number of programs reported.
        held: number of descendants whose last exec is `held`.
        wrong: programs with wrong fields, or reported twice.
    """

    def __init__(self, events: list[Event], rounds: int, ancestor: int) -> None:
        assert is_lossless(events)
        path = str(compiled("stages"))
        ours = {(path, serial) for serial in serials(rounds)}
        found = [program for _, program in programs_in(events)]
        count = Counter(program.argv for program in found if program.argv in ours)
        self.right = len(count)
        tree, last = {ancestor}, dict(programs_in(events))
        for event in events:
            if isinstance(event, Fork) and event.parent_pid in tree:
                tree.add(event.child_pid)
        self.held = sum(last[pid].missing == "held" for pid in tree & last.keys())
        self.wrong = [
            program
            for program in found
            if program.argv in ours
            and (
                program.exe != path
                or program.name not in ("stages", None)
                or count[program.argv] > 1
            )
        ]
        self.wrong += [
            program
            for program in found
            if program.exe == path and program.argv not in (*ours, None)
        ]


def programs_found(
    connector: ProcConnector, process: subprocess.Popen[str], rounds: int
) -> Found:
    """Receive events until a process exits."""

    def is_end(event: Event) -> bool:
        return isinstance(event, Exit) and event.pid == process.pid

    return Found(events_until(connector, is_end), rounds, process.pid)


def check(found: Found, rounds: int, connector: ProcConnector) -> None:
    """Assert that programs are right, except for those held by a slow tracer."""
    assert [] == found.wrong
    if is_realtime(connector):
        share = 0.99 if rounds == MANY else 0.6  # of a few, a burst may affect several
        assert found.right + found.held >= share * rounds


@cases
@pytest.mark.parametrize(
    "options", [[], ["--seccomp-bpf", "-e", "trace=open"]], ids=["all", "seccomp"]
)
def test_programs_run_by_strace_are_reported(options: list[str], rounds: int) -> None:
    command = tracer([*STRACE, *options, *shell(rounds)])
    with (
        ProcConnector(MASK, programs=True) as connector,
        started(*command) as strace,
    ):
        found = programs_found(connector, strace, rounds)

    check(found, rounds, connector)
    assert found.right > rounds / 2 or not is_realtime(connector)


def test_programs_run_by_strace_are_reported_to_a_late_reader() -> None:
    """No exec is `held`, as the tracer has ended when the events are read."""
    command = tracer([*STRACE, *shell(FEW)])
    with ProcConnector(MASK, programs=True) as connector:
        with started(*command) as strace:
            assert strace.wait(60) == 0
            time.sleep(0.2)  # far longer than an exec waits for its program
        found = programs_found(connector, strace, FEW)

    check(found, FEW, connector)
    assert 0 == found.held


@cases
def test_programs_are_reported_after_strace_attaches(rounds: int) -> None:
    with (
        ProcConnector(MASK, programs=True) as connector,
        started(*shell(rounds, "read line; ")) as process,
        started(
            *tracer([*STRACE, "-p", str(process.pid)]), stderr=subprocess.PIPE
        ) as strace,
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
def test_programs_run_by_gdb_are_reported_or_held(rounds: int) -> None:
    """The debugger stops each process at its exec, sometimes for long."""
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


def test_descriptor_table_of_the_program_reader_does_not_grow() -> None:
    """Growing would block the reader, which holds many programs open under strace."""
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
