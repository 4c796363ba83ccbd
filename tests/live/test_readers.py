"""Two readers of one connector: one is refused, or each gets its own events."""

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

COUNT = 9  # events before, of which some are decoded already, and as many meanwhile


@pytest.fixture(autouse=True)
def _restore_name() -> Iterator[None]:
    with preserve_name():
        yield


PAIRS = [
    (late, early)
    for late in READ_MODES
    for early in READ_MODES
    if not {late, early} <= set(DECODING)
]


def tried(connector: ProcConnector, mode: ReadMode) -> list[Event]:
    with suppress(RuntimeError):
        return mode(connector)
    return []


@pytest.mark.parametrize("queue", [0, 262_144])
@pytest.mark.parametrize(("late", "early"), PAIRS)
def test_an_overtaken_reader_loses_and_repeats_nothing(
    late: ReadMode, early: ReadMode, queue: int
) -> None:
    def read_both(injection: Injection) -> None:
        with ProcConnector(EventMask.COMM, queue=queue) as connector:
            drain(connector)
            set_serials(range(COUNT))
            events = by_recv(connector)

            def overtake() -> None:
                set_serials(range(COUNT, 2 * COUNT))
                events.extend(tried(connector, early))
                set_name(b"go on")  # lest an iteration waits for ever

            with injection.armed(overtake):
                events += tried(connector, late)
            events += drain(connector)

        if injection.reached:
            assert list(range(2 * COUNT)) == sorted(serials_of(events))

    assert inject_at_each_point(read_both) > 2


CHANGING = [(by_subscribe, mode) for mode in (by_recv, by_recv_raw)]


@pytest.mark.parametrize(
    ("late", "early"), [*CHANGING, (by_recv_raw, by_recv), (by_recv_raw, by_recv_into)]
)
def test_two_overlapping_readers_lose_and_repeat_nothing(
    late: ReadMode, early: ReadMode
) -> None:
    """One begins at any point of the other, and ends after it."""

    def pause_early(injection: Injection) -> None:
        inject_at_each_point(partial(run_across, late, early, injection))

    assert inject_at_each_point(pause_early) > 2


def run_across(
    late: ReadMode, early: ReadMode, begin_early: Injection, pause: Injection
) -> None:
    """Begin `early` at a point of `late`, pause it at one of its own, end it after."""
    own = threading.get_native_id()
    arrived, going = threading.Event(), threading.Event()
    events: list[Event] = []

    def stop() -> None:
        arrived.set()
        assert going.wait(DEADLINE)

    def read() -> None:
        with pause.armed(stop):
            events.extend(tried(connector, early))
        arrived.set()

    thread = threading.Thread(target=read)

    def begin() -> None:
        thread.start()
        assert arrived.wait(DEADLINE)

    with ProcConnector(EventMask.COMM) as connector:
        drain(connector)
        set_serials(range(COUNT))
        events += by_recv(connector)
        with begin_early.armed(begin):
            events += tried(connector, late)
        if not begin_early.reached:
            return
        set_serials(range(COUNT, 2 * COUNT))
        going.set()
        thread.join(DEADLINE)
        events += drain(connector)

    assert list(range(2 * COUNT)) == sorted(serials_of(events, own))


@pytest.mark.parametrize("mode", [by_recv, by_recv_raw])
def test_a_reader_that_waits_while_the_mask_is_changed_drops_nothing(
    mode: ReadMode,
) -> None:
    """Or it is refused, or the change is."""
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
