"""The summary of a traced command, from synthetic events."""

import re
from collections import deque
from collections.abc import Iterable, Iterator

import pytest
from support.line_counter import lines_run

from procconn import Event, Exec, Exit, Fork, Lost, Program
from procconn.cli.trace import summary
from procconn.cli.trace.summary import TracedProcess, tree
from procconn.cli.trace.trace import TracedCommand

ROOT = 100_000


def program(*argv: str, name: str | None = "cc") -> Program:
    ids = (None,) * 5
    return Program(argv, name, None, None, *ids, None, cut=False, missing="")


def run_of(events: Iterable[Event]) -> TracedCommand:
    run = TracedCommand(ROOT)
    for event in events:
        run.feed(event)
    return run


def chain(count: int) -> Iterator[Event]:
    """Each process forks the next one and exits."""
    yield Fork(1, 1, ROOT, ROOT, 0, 0)
    yield Exec(ROOT, ROOT, 1, 0, program("./chain", str(count)))
    for pid in range(ROOT + 1, ROOT + count):
        yield Fork(pid - 1, pid - 1, pid, pid, pid, 0)
        if pid > ROOT + 1:
            yield Exit(pid - 1, pid - 1, 0, 17, 0, 0, pid, 0)


def siblings(count: int) -> Iterator[Event]:
    """All processes run at once."""
    yield Fork(1, 1, ROOT, ROOT, 0, 0)
    yield Exec(ROOT, ROOT, 1, 0, program("make"))
    for pid in range(ROOT + 1, ROOT + count):
        yield Fork(ROOT, ROOT, pid, pid, pid, 0)


def comb(count: int) -> Iterator[Event]:
    """A chain of processes, each with one more child."""
    yield Fork(1, 1, ROOT, ROOT, 0, 0)
    for pid in range(ROOT + 1, ROOT + count):
        parent = ROOT if pid < ROOT + 3 else pid - 1 - pid % 2
        yield Fork(parent, parent, pid, pid, pid, 0)


SHAPES = {"chain": chain, "siblings": siblings, "comb": comb}


def drawn_tree(run: TracedCommand) -> str:
    return "".join(tree(run.processes, width=None))


@pytest.mark.parametrize("shape", SHAPES)
def test_time_and_output_grow_linearly_with_the_processes(shape: str) -> None:
    def steps(count: int) -> int:
        def draw() -> None:
            deque(tree(run_of(SHAPES[shape](count)).processes, width=None), maxlen=0)

        return lines_run(draw)

    small, large = (run_of(SHAPES[shape](count)) for count in (2000, 4000))

    assert 4000 == len(large.processes)
    assert steps(1000) < 2.2 * steps(500)
    assert len(drawn_tree(large)) < 2.2 * len(drawn_tree(small))


@pytest.mark.parametrize("shape", SHAPES)
def test_large_tree_omits_its_middle(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(SHAPES[shape](100))
    full = drawn_tree(run).splitlines()
    monkeypatch.setattr(summary, "_MAX_TREE", 20)
    shortened = drawn_tree(run).splitlines()

    assert 100 == len(full)
    assert [*full[:10], "… 80 processes omitted", *full[-10:]] == shortened


@pytest.mark.parametrize("count", [20, 21])
def test_tree_at_the_limit_is_complete(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "_MAX_TREE", 20)

    assert (count > 20) == ("omitted" in drawn_tree(run_of(siblings(count))))


def test_deep_tree_restarts_at_the_left_with_its_level() -> None:
    lines = drawn_tree(run_of(chain(42))).splitlines()

    assert re.fullmatch(r"100000 \./chain 42 .*", lines[0])
    assert lines[19].startswith(" " * 3 * 18 + "└─ 100019 ")
    assert lines[20].startswith("20┄ 100020 ")
    assert lines[21].startswith("20┄ └─ 100021 ")
    assert lines[40].startswith("40┄ 100040 ")
    assert lines[41].startswith("40┄ └─ 100041 ")


@pytest.mark.parametrize(
    "argv",
    [
        ("x" * 49_000,),
        ("'" * 49_000,),
        ("\x01\U000e0001" * 9_000,),
        ("cc", *[""] * 49_000),
        ("cc", *["-DA=1"] * 8_000),
    ],
    ids=["long", "quotes", "unprintable", "empty", "many"],
)
def test_long_command_line_is_shortened_before_quoting(argv: tuple[str, ...]) -> None:
    long, short = (
        TracedProcess.__new__(TracedProcess),
        TracedProcess.__new__(TracedProcess),
    )
    steps = lines_run(lambda: long.execute(program(*argv)))
    usual = lines_run(lambda: short.execute(program("cc", *["-DA=1"] * 200)))

    assert long.command.endswith("…")
    assert len(long.command) <= 1000
    assert steps < 10 * usual


def test_short_command_line_is_complete() -> None:
    traced = TracedProcess.__new__(TracedProcess)
    traced.execute(program("cc", "a b", "x" * 900))

    assert f"cc 'a b' {'x' * 900}" == traced.command


def test_long_strings_of_a_program_are_not_kept() -> None:
    text = "x" * 4000
    long = program(*[text] * 10)._replace(exe=text, cwd=text, cgroup=text)
    run = run_of(
        [Fork(1, 1, ROOT, ROOT, 0, 0), Exec(ROOT, ROOT, 1, 0, long)],
    )
    process = run.processes[0].process

    assert process.program is not None
    assert len(repr(process.program)) < 1000


def test_child_has_the_parents_program_until_its_own_exec() -> None:
    events: list[Event] = [
        Fork(1, 1, ROOT, ROOT, 0, 0),
        Exec(ROOT, ROOT, 1, 0, program("make", name="make")),
        Fork(ROOT, ROOT, 7, 7, 2, 0),
        Fork(ROOT, ROOT, 8, 8, 3, 0),
        Exec(8, 8, 4, 0, program("cc", name="cc")),
        Exec(ROOT, ROOT, 5, 0, None),
    ]

    assert [("?", None), ("make", "make"), ("cc", "cc")] == [
        (process.command, process.name) for process in run_of(events).processes
    ]


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (program("/usr/bin/odd", "x", name="named"), "named"),
        (program("/usr/bin/odd", "x", name=None), "odd"),
        (program("/" + "x" * 49_000, name=None), "x" * 15),
        (program(name=None), None),
        (None, None),
    ],
    ids=["name", "file", "long", "no argument", "unread"],
)
def test_unknown_name_is_replaced_by_the_file_name(
    read: Program | None, name: str | None
) -> None:
    run = run_of([Fork(1, 1, ROOT, ROOT, 0, 0), Exec(ROOT, ROOT, 1, 0, read)])

    assert name == run.processes[0].name
    assert {name or "?": 1} == run.programs


def test_processes_are_counted_after_a_loss_of_forks() -> None:
    events: list[Event] = [
        Fork(1, 1, ROOT, ROOT, 0, 0),
        Lost(3, 1),
        Exec(ROOT, ROOT, 2, 0, program("make")._replace(ppid=1)),
        Fork(ROOT, ROOT, 7, 7, 3, 0),
        Exit(7, 7, 256, 17, ROOT, ROOT, 4, 0),
        Fork(ROOT, ROOT, 7, 7, 5, 0),
        Exit(ROOT, ROOT, 0, 17, 1, 1, 6, 0),
    ]
    run = run_of(events)

    assert (3, True, 2) == (run.lost, run.is_over, run.peak)
    assert [ROOT, 7, 7] == [process.pid for process in run.processes]
    assert [0, 1, None] == [process.returncode for process in run.processes]
