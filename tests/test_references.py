"""Decoding leaks no reference and releases none too many."""

import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from support.builders import NLMSG_ERROR, event_message, netlink_message, words
from support.messages import (
    EXEC_WITH_PROGRAM,
    EXIT_WITH_USAGE,
    FOREIGN,
    LOSS,
    MESSAGES,
    NEWER_KIND,
    OLDER_EXIT,
    OVERRUN,
    REFUSAL,
    SAMPLES,
)
from support.subprocesses import PROGRAMS

from procconn import NetlinkMessageIter, decode, parse_netlink_message
from procconn.events import KINDS, Unknown

EVENTS = [
    *(sample.message for sample in SAMPLES.values()),
    OLDER_EXIT,
    NEWER_KIND + b"\0",
    LOSS,
    EXEC_WITH_PROGRAM + bytes(-len(EXEC_WITH_PROGRAM) % 4),
    EXIT_WITH_USAGE,
]

SMALL_INTS = [0, 1, 2, 17, 255, 256]
"""CPython keeps one object of each, so a leak of one shows only in its count."""
OF_SMALL_INTS = event_message(0x80000000, words(0, 1, 2, 17, 255, 256))

IMMORTAL = 1 << 30
"""Objects that can go have fewer references; of others the count means nothing."""

SLACK = 200
"""Blocks and references that come and go with the interpreter's own caches."""

# One message for each kind of failure, after some good ones.
DAMAGED = [
    b"".join(EVENTS) + damage
    for damage in (
        bytes(1),
        bytes(16),
        netlink_message(NLMSG_ERROR),
        netlink_message(3, bytes(4)),
        event_message(0x2, b""),
        OVERRUN,
        REFUSAL,
    )
]


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Cycles that only the collector would end count as leaks."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@contextmanager
def nothing_kept() -> Iterator[None]:
    # Those that live for ever are not counted, and compiled for an older Python this
    # module may add to what stands in the place of their count.
    shared = [*SMALL_INTS, *KINDS, Unknown, None, b"", b"x"]
    shared = [item for item in shared if sys.getrefcount(item) < IMMORTAL]
    before = [sys.getrefcount(item) for item in shared]
    blocks = sys.getallocatedblocks()
    yield
    blocks = sys.getallocatedblocks() - blocks
    grown = [
        sys.getrefcount(item) - count
        for item, count in zip(shared, before, strict=True)
    ]

    assert abs(blocks) < SLACK
    assert max(map(abs, grown)) < SLACK


def repeat(times: int, action: Callable[[], object]) -> None:
    for _ in range(times):
        action()


def test_a_million_events_leave_nothing_behind() -> None:
    buffer = (b"".join(EVENTS) + OF_SMALL_INTS) * 834
    decode(buffer)

    with nothing_kept():
        repeat(100, lambda: decode(buffer))

    assert 100 * len(decode(buffer)) > 1_000_000


def test_events_taken_one_by_one_leave_nothing_behind() -> None:
    buffer = (b"".join(EVENTS) + OF_SMALL_INTS) * 10

    def action() -> None:
        for _ in NetlinkMessageIter(buffer):
            pass
        parse_netlink_message(buffer)

    action()
    with nothing_kept():
        repeat(300, action)


@pytest.mark.parametrize("buffer", DAMAGED, ids=range(len(DAMAGED)))
@pytest.mark.parametrize("function", [decode, lambda b: list(NetlinkMessageIter(b))])
def test_failures_leave_nothing_behind(
    function: Callable[[bytes], object], buffer: bytes
) -> None:
    """Not even a cycle for the collector, and also not the events before them."""

    def action() -> None:
        try:
            function(buffer)
        except Exception:
            return
        pytest.fail("nothing was raised")

    action()
    with nothing_kept():
        repeat(1000, action)


@pytest.mark.parametrize("buffer", [b"", b"\0", OVERRUN, REFUSAL, FOREIGN])
def test_failures_of_one_message_leave_nothing_behind(buffer: bytes) -> None:
    def action() -> None:
        try:
            parse_netlink_message(buffer)
        except Exception:
            return
        pytest.fail("nothing was raised")

    action()
    with nothing_kept():
        repeat(1000, action)


def test_wrong_types_leave_nothing_behind() -> None:
    def action() -> None:
        try:
            decode("text")  # type: ignore[arg-type]
        except TypeError:
            return
        pytest.fail("nothing was raised")

    action()
    with nothing_kept():
        repeat(1000, action)


def test_iterations_not_ended_leave_nothing_behind() -> None:
    buffer = b"".join(EVENTS)

    def action() -> None:
        next(NetlinkMessageIter(memoryview(buffer)))

    action()
    with nothing_kept():
        repeat(1000, action)


def test_views_in_cycles_can_be_collected() -> None:
    """CPython 3.11 crashes when it collects a view that a C array still uses."""
    for message in MESSAGES:
        for function in (decode, parse_netlink_message, NetlinkMessageIter):
            cycle: list[object] = [memoryview(bytearray(message))]
            cycle.append(cycle)
            try:
                cycle.append(function(cycle[0]))  # type: ignore[arg-type]
            except Exception as error:
                cycle.append(error)
            del cycle
            gc.collect()


@pytest.mark.parametrize(
    ("function", "least"),
    [
        # An event takes a tuple, and its timestamp an int.
        ("decode", 2 * len(EVENTS)),
        ("parse_netlink_message", 2),
        ("NetlinkMessageIter", 2 * len(EVENTS)),
    ],
)
def test_want_of_memory_is_a_memory_error_wherever_it_strikes(
    function: str, least: int
) -> None:
    pytest.importorskip("_testcapi", reason="needs CPython's own test module")
    result = subprocess.run(
        [
            sys.executable,
            PROGRAMS / "without_memory.py",
            function,
            b"".join(EVENTS).hex(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (0, "") == (result.returncode, result.stderr)
    first, second, grown = map(int, result.stdout.split())
    assert least <= first
    assert least <= second
    assert abs(grown) < 10


def test_event_that_there_was_no_memory_for_comes_again() -> None:
    pytest.importorskip("_testcapi", reason="needs CPython's own test module")
    result = subprocess.run(
        [sys.executable, PROGRAMS / "step_without_memory.py", b"".join(EVENTS).hex()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    # An allocation of Python itself after the C call may still lose one.
    assert result.stdout.split().count("False") <= 1
