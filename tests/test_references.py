"""Decoding leaks no references and releases none twice."""

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
"""CPython caches these objects, so a leak shows only in their reference counts."""
SMALL_INTS_EVENT = event_message(0x80000000, words(0, 1, 2, 17, 255, 256))

IMMORTAL = 1 << 30
"""Minimum reference count of immortal objects, which never changes (PEP 683)."""

SLACK = 200
"""Tolerance for blocks and references in the interpreter's own caches."""

# Valid messages, then one message that fails, for each kind of failure.
FAILING = [
    b"".join(EVENTS) + failing
    for failing in (
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
def without_collector() -> Iterator[None]:
    """Disable the garbage collector, so that reference cycles count as leaks."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@contextmanager
def no_leaks() -> Iterator[None]:
    # Immortal objects have no meaningful count, and a C module compiled for an older
    # Python may change it.
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


def test_decoding_a_million_events_does_not_leak() -> None:
    buffer = (b"".join(EVENTS) + SMALL_INTS_EVENT) * 834
    decode(buffer)

    with no_leaks():
        repeat(100, lambda: decode(buffer))

    assert 100 * len(decode(buffer)) > 1_000_000


def test_iteration_and_parsing_do_not_leak() -> None:
    buffer = (b"".join(EVENTS) + SMALL_INTS_EVENT) * 10

    def action() -> None:
        for _ in NetlinkMessageIter(buffer):
            pass
        parse_netlink_message(buffer)

    action()
    with no_leaks():
        repeat(300, action)


@pytest.mark.parametrize("buffer", FAILING, ids=range(len(FAILING)))
@pytest.mark.parametrize("function", [decode, lambda b: list(NetlinkMessageIter(b))])
def test_failures_do_not_leak(
    function: Callable[[bytes], object], buffer: bytes
) -> None:
    """This includes reference cycles, and the events decoded before the failure."""

    def action() -> None:
        try:
            function(buffer)
        except Exception:
            return
        pytest.fail("no exception was raised")

    action()
    with no_leaks():
        repeat(1000, action)


@pytest.mark.parametrize("buffer", [b"", b"\0", OVERRUN, REFUSAL, FOREIGN])
def test_failures_of_parsing_do_not_leak(buffer: bytes) -> None:
    def action() -> None:
        try:
            parse_netlink_message(buffer)
        except Exception:
            return
        pytest.fail("no exception was raised")

    action()
    with no_leaks():
        repeat(1000, action)


def test_type_errors_do_not_leak() -> None:
    def action() -> None:
        try:
            decode("text")  # type: ignore[arg-type]
        except TypeError:
            return
        pytest.fail("no exception was raised")

    action()
    with no_leaks():
        repeat(1000, action)


def test_unfinished_iterations_do_not_leak() -> None:
    buffer = b"".join(EVENTS)

    def action() -> None:
        next(NetlinkMessageIter(memoryview(buffer)))

    action()
    with no_leaks():
        repeat(1000, action)


def test_views_in_cycles_can_be_collected() -> None:
    """CPython 3.11 crashes when it collects a memoryview that cffi still uses."""
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
    ("function", "minimum"),
    [
        # An event allocates a tuple, and an int for its timestamp.
        ("decode", 2 * len(EVENTS)),
        ("parse_netlink_message", 2),
        ("NetlinkMessageIter", 2 * len(EVENTS)),
    ],
)
def test_failed_allocation_anywhere_is_a_memory_error(
    function: str, minimum: int
) -> None:
    pytest.importorskip("_testcapi", reason="requires _testcapi, CPython's test module")
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
    assert minimum <= first
    assert minimum <= second
    assert abs(grown) < 10


def test_event_is_returned_again_after_a_memory_error() -> None:
    pytest.importorskip("_testcapi", reason="requires _testcapi, CPython's test module")
    result = subprocess.run(
        [sys.executable, PROGRAMS / "step_without_memory.py", b"".join(EVENTS).hex()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    # An allocation by the interpreter after the C call may fail and lose one event.
    assert result.stdout.split().count("False") <= 1
