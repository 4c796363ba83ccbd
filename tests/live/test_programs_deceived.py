"""Programs of processes that set out to be taken for others, or happen to look so.

An ordinary user runs them, and root reads.
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

root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
slow = [pytest.mark.slow, pytest.mark.heavy]
TRUE = os.path.realpath("/bin/true")

# Each is run by FIRST; what stands before a program is how stages.c runs it.
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
    """What a program is started with."""

    argv: tuple[str, ...]
    exe: str

    def is_wrong(self, program: Program) -> bool:
        """Whether anything of another program is shown."""
        return (
            program.argv not in (self.argv, None)
            or program.exe not in (self.exe, None)
            or program.name not in (Path(self.exe).name, None)
            or (program.argv is None and not program.missing)
        )


class Forger(Stage):
    """One that shows arguments of its own making."""

    def is_wrong(self, program: Program) -> bool:
        """Whether another program is shown: what it makes of its own is its own."""
        return super().is_wrong(program._replace(argv=self.argv))


def stages_of(path: str, serial: int, following: list[str]) -> list[Stage]:
    """List the programs that a process runs, in order."""
    kind = Forger if Path(path).name == "forge" else Stage
    stage = kind((Path(path).name, str(serial), *following), path)
    if not following:
        return [stage]
    return [stage, *stages_of(following[1], serial, following[2:])]


@pytest.fixture(scope="module")
def paths() -> Iterator[dict[str, str]]:
    """Give the same program three names, where everyone may run it."""
    with tempfile.TemporaryDirectory(prefix="procconn-tests-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        names = ("first", "second", "third")
        found = {
            it.upper(): shutil.copy(compiled("stages"), folder / it) for it in names
        }
        found["FORGE"] = shutil.copy(compiled("forge"), folder / "forge")
        yield {key: str(path) for key, path in found.items()}


class Load:
    """Processes that run chains of programs while a connector reads.

    Attributes:
        right: how many of the first programs, the second and so on were right.
        wrong: what was shown of another program, with what it should have been.
        count: of the processes.
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
        self, rounds: int, at_once: int = 1, delay: Delay | None = None, most: float = 0
    ) -> None:
        """Run chains of programs and check what is reported of them.

        Args:
            rounds: how often.
            at_once: how many processes each time.
            delay: what keeps the readers waiting until the second program shows.
            most: for how many milliseconds more, at most.
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
                    delay.begin(chance.uniform(0, most), pids[-1], name)
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
            for place, (stage, program) in enumerate(
                zip(stages, programs, strict=True)
            ):
                if stage.is_wrong(program):
                    self.wrong.append((stage, program))
                self.right[place] += program.argv is not None
        self.count += len(pids)


def children_of(parent: int, events: list[Event]) -> dict[int, list[list[Program]]]:
    """List what each child ran, by pid: of each process that had that pid."""
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
def read_late() -> Iterator[tuple[ProcConnector, Delay]]:
    """Read programs in threads that can be kept waiting."""
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
def test_a_program_is_its_own_or_absent(
    paths: dict[str, str], name: str, rounds: int
) -> None:
    """Root at real-time priority has most of them; under emulation, some.

    Not those before others whose memory did not end with them: that proves nothing.
    """
    with ProcConnector(MASK, programs=True) as connector:
        load = Load(connector, paths["FIRST"], chain(paths, name))
        load.run(rounds // 2 if name in SLOW else rounds)
        realtime = is_realtime(connector)

    assert [] == load.wrong
    if realtime:
        least = 1 if IS_EMULATED else load.count / 2
        assert load.right[max(load.right)] > least
        assert load.right[0] > least or name in SHARED


@root
@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("rounds", [10, pytest.param(300, marks=slow)])
def test_so_it_is_however_late_it_is_read(
    paths: dict[str, str], name: str, rounds: int
) -> None:
    """So late that the next program runs, or is about to, or the process has ended."""
    with read_late() as (connector, delay):
        load = Load(connector, paths["FIRST"], chain(paths, name))
        if name in SLOW:
            load.run(rounds // 2, delay=delay, most=20)
        else:
            load.run(rounds, delay=delay, most=0.3)

    assert [] == load.wrong
    assert sum(load.right.values()) > 0


@pytest.mark.parametrize("rounds", [5, pytest.param(200, marks=slow)])
def test_forged_arguments_are_not_those_of_the_program_before(
    paths: dict[str, str], rounds: int
) -> None:
    """Nor is the forger taken for it, though it shows its arguments too."""
    with ProcConnector(MASK, programs=True) as connector:
        load = Load(connector, paths["FIRST"], ["plain", paths["FORGE"]])
        load.run(rounds, at_once=20)
        realtime = is_realtime(connector)

    assert [] == load.wrong
    if realtime:
        assert load.right[0] > 0
        assert load.right[1] > load.count / 2


@root
@pytest.mark.parametrize(
    ("at_once", "rounds"),
    [
        (1, 10),
        (20, 3),
        pytest.param(1, 300, marks=slow),
        pytest.param(20, 100, marks=slow),
    ],
)
def test_nor_are_they_however_late_it_is_read(
    paths: dict[str, str], at_once: int, rounds: int
) -> None:
    with read_late() as (connector, delay):
        load = Load(connector, paths["FIRST"], ["plain", paths["FORGE"]])
        load.run(rounds, at_once, delay, most=2)

    assert [] == load.wrong
    assert load.right[1] > 0
