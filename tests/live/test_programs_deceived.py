"""Programs of processes that imitate other programs, on purpose or by chance.

An ordinary user runs them, and root reads their programs.
"""

import os
import random
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from support.c_programs import compiled
from support.exec_programs import (
    MASK,
    Delay,
    delayed_readers,
    is_lossless,
    is_realtime,
    threads,
)
from support.live import events_until
from support.machine import AS_ORDINARY_USER, IS_EMULATED
from support.subprocesses import started

from procconn import Event, Exec, Exit, Fork, ProcConnector, Program

requires_root = pytest.mark.skipif(os.geteuid() != 0, reason="requires root")
slow = [pytest.mark.slow, pytest.mark.heavy]
TRUE = os.path.realpath("/bin/true")

# FIRST runs each chain. The word before a program says how stages.c runs it.
CHAINS = {
    "exits-at-once": ["plain", TRUE],
    "slow-exec": ["strings", "SECOND"],
    "slow-exec-at-once": ["plain", "SECOND", "strings", "THIRD"],
    "shared-by-clone": ["clone", "SECOND", "clone", "THIRD"],
    "shared-by-vfork": ["vfork", "SECOND", "vfork", "THIRD"],
    "by-a-thread": ["thread", "SECOND", "plain", "THIRD"],
}
SLOW = {"slow-exec", "slow-exec-at-once"}
SHARED = {"shared-by-clone", "shared-by-vfork"}


class Stage(NamedTuple):
    """The expected argv and exe of a program."""

    argv: tuple[str, ...]
    exe: str

    def is_wrong(self, program: Program) -> bool:
        """Return whether a field belongs to another program."""
        return (
            program.argv not in (self.argv, None)
            or program.exe not in (self.exe, None)
            or program.name not in (Path(self.exe).name, None)
            or (program.argv is None and not program.missing)
        )


class Forger(Stage):
    """A program that overwrites its arguments, so any argv is right."""

    def is_wrong(self, program: Program) -> bool:
        """Return whether a field other than argv belongs to another program."""
        return super().is_wrong(program._replace(argv=self.argv))


def stages_of(path: str, serial: int, following: list[str]) -> list[Stage]:
    """Return the programs that a process runs, in order."""
    kind = Forger if Path(path).name == "forge" else Stage
    stage = kind((Path(path).name, str(serial), *following), path)
    if not following:
        return [stage]
    return [stage, *stages_of(following[1], serial, following[2:])]


@pytest.fixture(scope="module")
def paths() -> Iterator[dict[str, str]]:
    """Copy a program to three names, in a directory that any user can read."""
    with tempfile.TemporaryDirectory(prefix="procconn-tests-") as name:
        directory = Path(name).resolve()
        directory.chmod(0o755)
        names = ("first", "second", "third")
        found = {
            name.upper(): shutil.copy(compiled("stages"), directory / name)
            for name in names
        }
        found["FORGE"] = shutil.copy(compiled("forge"), directory / "forge")
        yield {key: str(path) for key, path in found.items()}


class Load:
    """Processes that run chains of programs while a connector reads them.

    Attributes:
        right: number of right programs, by position in the chain.
        wrong: expected stage and reported program, for each wrong program.
        count: number of processes.
    """

    def __init__(
        self, connector: ProcConnector, path: str, following: list[str]
    ) -> None:
        self.right: dict[int, int] = defaultdict(int)
        self.wrong: list[tuple[Stage, Program]] = []
        self.count = 0
        self._connector = connector
        self._chain = path, following

    def run(
        self,
        rounds: int,
        at_once: int = 1,
        delay: Delay | None = None,
        max_delay_ms: float = 0,
    ) -> None:
        """Run chains of programs and check the reported programs.

        Args:
            rounds: number of rounds.
            at_once: processes in each round.
            delay: delays the program readers until the second program runs.
            max_delay_ms: upper limit of the additional random delay.
        """
        path, following = self._chain
        command = (*AS_ORDINARY_USER, compiled("burst"), at_once, path, *following)
        chance = random.Random(rounds)
        pids: list[int] = []
        events: list[Event] = []
        with started(*command) as burst:
            assert burst.stdin is not None
            assert burst.stdout is not None
            for _ in range(rounds):
                burst.stdin.write(".")
                burst.stdin.flush()
                pids += [int(burst.stdout.readline()) for _ in range(at_once)]
                if delay is not None:
                    name = Path(following[1]).name
                    delay.begin(chance.uniform(0, max_delay_ms), pids[-1], name)
                burst.stdin.write(".")
                burst.stdin.flush()
                assert burst.stdout.readline() == "ended\n"
                if delay is not None:
                    delay.end()
                events += self._connector.recv_many(timeout=0)
            burst.stdin.close()

            def is_end(event: Event) -> bool:
                return isinstance(event, Exit) and event.pid == burst.pid

            events += events_until(self._connector, is_end)
        assert is_lossless(events)
        self._check(children_of(burst.pid, events), pids)

    def _check(
        self, programs_by_pid: dict[int, list[list[Program]]], pids: list[int]
    ) -> None:
        path, following = self._chain
        for serial, pid in enumerate(pids):
            programs = programs_by_pid[pid].pop(0)
            stages = stages_of(path, serial, following)
            for position, (stage, program) in enumerate(
                zip(stages, programs, strict=True)
            ):
                if stage.is_wrong(program):
                    self.wrong.append((stage, program))
                self.right[position] += program.argv is not None
        self.count += len(pids)


def children_of(parent: int, events: list[Event]) -> dict[int, list[list[Program]]]:
    """Return the programs of each child by PID, one list for each use of the PID."""
    programs_by_pid: dict[int, list[list[Program]]] = defaultdict(list)
    running: dict[int, list[Program]] = {}
    for event in events:
        if isinstance(event, Fork) and not event.is_thread:
            running.pop(event.child_pid, None)
            if event.parent_pid == parent:
                running[event.child_pid] = []
                programs_by_pid[event.child_pid].append(running[event.child_pid])
        elif isinstance(event, Exec) and event.pid in running:
            assert event.program is not None
            running[event.pid].append(event.program)
    return programs_by_pid


@contextmanager
def delayed_connector() -> Iterator[tuple[ProcConnector, Delay]]:
    """Open a connector whose program readers can be delayed."""
    before = threads()
    with (
        ProcConnector(MASK, programs=True) as connector,
        delayed_readers(before) as delay,
    ):
        yield connector, delay


def chain(paths: dict[str, str], name: str) -> list[str]:
    return [paths.get(word, word) for word in CHAINS[name]]


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("rounds", [10, pytest.param(300, marks=slow)])
def test_programs_are_right_or_missing(
    paths: dict[str, str], name: str, rounds: int
) -> None:
    """At real-time priority most are right, and under emulation some.

    Exceptions are programs that share memory with the next one, which proves nothing.
    """
    with ProcConnector(MASK, programs=True) as connector:
        load = Load(connector, paths["FIRST"], chain(paths, name))
        load.run(rounds // 2 if name in SLOW else rounds)
        realtime = is_realtime(connector)

    assert [] == load.wrong
    if realtime:
        minimum = 1 if IS_EMULATED else load.count / 2
        assert load.right[max(load.right)] > minimum
        assert load.right[0] > minimum or name in SHARED


@requires_root
@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("rounds", [10, pytest.param(300, marks=slow)])
def test_programs_are_right_or_missing_if_read_late(
    paths: dict[str, str], name: str, rounds: int
) -> None:
    """At that time the next program runs, or is about to, or the process has ended."""
    with delayed_connector() as (connector, delay):
        load = Load(connector, paths["FIRST"], chain(paths, name))
        if name in SLOW:
            load.run(rounds // 2, delay=delay, max_delay_ms=20)
        else:
            load.run(rounds, delay=delay, max_delay_ms=0.3)

    assert [] == load.wrong
    assert sum(load.right.values()) > 0


@pytest.mark.parametrize("rounds", [5, pytest.param(200, marks=slow)])
def test_forged_arguments_are_not_reported_for_the_previous_program(
    paths: dict[str, str], rounds: int
) -> None:
    """The forger, which copies its arguments, is not mistaken for it."""
    with ProcConnector(MASK, programs=True) as connector:
        load = Load(connector, paths["FIRST"], ["plain", paths["FORGE"]])
        load.run(rounds, at_once=20)
        realtime = is_realtime(connector)

    assert [] == load.wrong
    if realtime:
        assert load.right[0] > 0
        assert load.right[1] > load.count / 2


@requires_root
@pytest.mark.parametrize(
    ("at_once", "rounds"),
    [
        (1, 10),
        (20, 3),
        pytest.param(1, 300, marks=slow),
        pytest.param(20, 100, marks=slow),
    ],
)
def test_forged_arguments_are_not_misattributed_if_read_late(
    paths: dict[str, str], at_once: int, rounds: int
) -> None:
    with delayed_connector() as (connector, delay):
        load = Load(connector, paths["FIRST"], ["plain", paths["FORGE"]])
        load.run(rounds, at_once, delay, max_delay_ms=2)

    assert [] == load.wrong
    assert load.right[1] > 0
