"""Two readers of one connector: one is refused, or they share the events."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import pytest
from support.blocking import is_blocked
from support.injection import Injection, inject_at_each_point
from support.live import (
    DEADLINE,
    drain,
    preserve_name,
    serials_of,
    set_name,
    set_serials,
    wait_for,
)
from support.read_modes import ReadMode
from support.single_reads import (
    DECODING,
    READ_MODES,
    by_recv,
    by_recv_into,
    by_recv_raw,
    by_subscribe,
)

from procconn import Event, EventMask, ProcConnector, decode

COUNT = 9  # events before the second reader starts, and as many after


@pytest.fixture(autouse=True)
def _restore_name() -> Iterator[None]:
    with preserve_name():
        yield


PAIRS = [
    (outer, inner)
    for outer in READ_MODES
    for inner in READ_MODES
    if not {outer, inner} <= set(DECODING)
]


def try_read(connector: ProcConnector, mode: ReadMode) -> list[Event]:
    with suppress(RuntimeError):
        return mode(connector)
    return []


@pytest.mark.parametrize("queue", [0, 262_144])
@pytest.mark.parametrize(("outer", "inner"), PAIRS)
def test_nested_reads_neither_lose_nor_repeat_events(
    outer: ReadMode, inner: ReadMode, queue: int
) -> None:
    """A read runs to completion inside another read, as in a signal handler."""

    def read_both(injection: Injection) -> None:
        with ProcConnector(EventMask.COMM, queue=queue) as connector:
            drain(connector)
            set_serials(range(COUNT))
            events = by_recv(connector)

            def read_inner() -> None:
                set_serials(range(COUNT, 2 * COUNT))
                events.extend(try_read(connector, inner))
                set_name(b"wake up")  # the iteration must not block

            with injection.armed(read_inner):
                events += try_read(connector, outer)
            events += drain(connector)

        if injection.reached:
            assert list(range(2 * COUNT)) == sorted(serials_of(events))

    assert inject_at_each_point(read_both) > 2


SUBSCRIBE_PAIRS = [(by_subscribe, mode) for mode in (by_recv, by_recv_raw)]


@pytest.mark.parametrize(
    ("outer", "inner"),
    [*SUBSCRIBE_PAIRS, (by_recv_raw, by_recv), (by_recv_raw, by_recv_into)],
)
def test_overlapping_reads_neither_lose_nor_repeat_events(
    outer: ReadMode, inner: ReadMode
) -> None:
    """The inner read starts at any point of the outer one, and ends after it."""

    def pause_inner(injection: Injection) -> None:
        inject_at_each_point(partial(run_overlapping, outer, inner, injection))

    assert inject_at_each_point(pause_inner) > 2


def run_overlapping(
    outer: ReadMode, inner: ReadMode, start_inner: Injection, pause: Injection
) -> None:
    """Start `inner` inside `outer`, pause it, and let it continue after `outer`."""
    own = threading.get_native_id()
    paused, resumed = threading.Event(), threading.Event()
    events: list[Event] = []

    def stop() -> None:
        paused.set()
        assert resumed.wait(DEADLINE)

    def read() -> None:
        with pause.armed(stop):
            events.extend(try_read(connector, inner))
        paused.set()

    thread = threading.Thread(target=read)

    def begin() -> None:
        thread.start()
        assert paused.wait(DEADLINE)

    with ProcConnector(EventMask.COMM) as connector:
        drain(connector)
        set_serials(range(COUNT))
        events += by_recv(connector)
        with start_inner.armed(begin):
            events += try_read(connector, outer)
        if not start_inner.reached:
            return
        set_serials(range(COUNT, 2 * COUNT))
        resumed.set()
        thread.join(DEADLINE)
        events += drain(connector)

    assert list(range(2 * COUNT)) == sorted(serials_of(events, own))


@pytest.mark.parametrize("mode", [by_recv, by_recv_raw])
def test_mask_change_during_a_blocking_read_loses_no_event(
    mode: ReadMode,
) -> None:
    """The connector may refuse the read or the change."""
    own = threading.get_native_id()

    def change(injection: Injection) -> None:
        events: list[Event] = []
        ended: list[bool] = []

        def read() -> None:
            with suppress(RuntimeError):
                if mode is by_recv:
                    while not serials_of(events, own)[-1:] >= [COUNT]:
                        event = connector.recv(DEADLINE)
                        events.extend([event] if event else [])
                else:
                    events.extend(decode(connector.recv_raw(DEADLINE)))
            ended.append(True)

        thread = threading.Thread(target=read)
        with ProcConnector(EventMask.COMM) as connector:
            drain(connector)
            set_serials(range(COUNT))
            events += by_recv(connector)

            def begin() -> None:
                thread.start()
                wait_for(lambda: ended or is_blocked(thread))

            with injection.armed(begin), suppress(RuntimeError):
                connector.subscribe(EventMask.COMM | EventMask.PTRACE)
            set_serials(range(COUNT, COUNT + 1))
            if injection.reached:
                thread.join(DEADLINE)
            events += drain(connector)

        if injection.reached:
            assert list(range(COUNT + 1)) == sorted(serials_of(events, own))

    assert inject_at_each_point(change) > 2
