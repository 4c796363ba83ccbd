"""Lost events are counted exactly, and reported at the place of the loss."""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support.live import (
    DEADLINE,
    LARGE_BUFFER,
    cpu_wait_seconds,
    drain,
    lost_count,
    preserve_name,
    serials_of,
    set_serials,
)
from support.machine import requires_capacity
from support.sandbox import NO_MEMINFO, run_sandboxed
from support.sockets import TOO_LARGE, kernel_drops, replaced_by_rtnetlink
from support.subprocesses import PROGRAMS, program

from procconn import Comm, Event, EventMask, Exit, Lost, ProcConnector, decode

SMALL = 65_536  # bytes
HELD = 171  # the most events that fit, on Linux 6.1; since then they take more space


@pytest.fixture(autouse=True)
def _own_name() -> Iterator[None]:
    with preserve_name():
        yield


@pytest.mark.heavy
@requires_capacity(40_000)
def test_a_storm_at_full_speed_arrives_whole() -> None:
    """The buffer holds 80,000 events; only a starved reader may lose some."""
    count = 300_000

    def storm() -> tuple[int, int, float]:
        with (
            ProcConnector(receive_buffer=33_554_432) as connector,
            program("rename", count, 0) as producer,
        ):
            waited = cpu_wait_seconds()
            received = 0
            for event in connector:
                if isinstance(event, Comm):
                    received += event.pid == producer.pid
                elif isinstance(event, Exit) and event.pid == producer.pid:
                    break
            return received, connector.lost, cpu_wait_seconds() - waited

    for _ in range(5):
        received, lost, waited = storm()
        if lost == 0 or waited < 0.04:  # else others had this machine's processors
            break

    assert (count, 0) == (received, lost)


@pytest.mark.heavy
@requires_capacity(20_000)
def test_every_event_of_a_steady_stream_arrives_once_and_in_order() -> None:
    count = 100_000
    with ProcConnector() as connector:
        with program("rename", count, 20_000) as producer:
            serials: list[int] = []
            for event in connector:
                if isinstance(event, Comm) and event.pid == producer.pid:
                    serials.append(int(event.comm))
                elif isinstance(event, Exit) and event.pid == producer.pid:
                    break

        assert list(range(count)) == serials
        assert 0 == connector.lost


def settled(
    small: ProcConnector, witness: ProcConnector
) -> tuple[list[Event], list[Event], int, int]:
    """Receive from both, until for a moment nobody on this machine names anything.

    Returns:
        What each received, and the count of the lost and the kernel's of drops then.
    """
    deadline = time.monotonic() + DEADLINE
    events: list[Event] = []
    seen: list[Event] = []
    while time.monotonic() < deadline:
        rest = drain(small)
        lost, drops = small.lost, kernel_drops(small)
        late = drain(witness)
        events += rest
        seen += late
        if not rest and not late:
            return events, seen, lost, drops
    pytest.skip("other programs' names leave no moment to compare counts at")


@pytest.mark.heavy
@requires_capacity(100_000)
@pytest.mark.parametrize("max_latency", [0, 0.01])
@pytest.mark.parametrize("way", ["recv", "recv_many", "recv_raw", "for"])
def test_received_and_lost_make_up_what_was_sent(way: str, max_latency: float) -> None:
    """A witness with a large buffer counts the events of other programs too."""
    count = 40_000
    mask = EventMask.COMM
    with (
        ProcConnector(mask, receive_buffer=LARGE_BUFFER) as witness,
        ProcConnector(mask, receive_buffer=SMALL, max_latency=max_latency) as small,
        ExitStack() as stack,
    ):
        *_, lost_before, drops_before = settled(small, witness)
        producer = stack.enter_context(program("rename", count, 0))
        events: list[Event] = []
        set_serials(range(1000))  # more than it holds, however fast the reader
        while producer.poll() is None:
            if way == "for":
                events.append(next(iter(small)))
            elif way == "recv":
                events += [event for event in [small.recv(DEADLINE)] if event]
            elif way == "recv_raw":
                events += decode(small.recv_raw(DEADLINE))
            else:
                events += small.recv_many(DEADLINE)
            set_serials(range(1))  # lest the next call waits for ever
        rest, seen, lost, drops = settled(small, witness)
        events += rest
        reported = lost_count(events)
        received = sum(isinstance(event, Comm) for event in events)

    assert 0 == witness.lost
    assert list(range(count)) == serials_of(seen, producer.pid)
    assert drops == lost
    assert drops_before == lost_before
    lost -= lost_before
    assert lost > 0
    assert len(seen) == received + lost
    assert lost == reported


def test_a_gap_is_told_between_the_events_around_it() -> None:
    with ProcConnector(EventMask.COMM, receive_buffer=SMALL) as connector:
        drain(connector)
        set_serials(range(1000))
        events = connector.recv_many(timeout=0)
        set_serials(range(1000, 1010))
        events += drain(connector)
        lost = connector.lost

    serials = serials_of(events)
    (index,) = (i for i, event in enumerate(events) if isinstance(event, Lost))
    before = serials_of(events[:index])
    after = serials_of(events[index:])
    assert list(range(len(before))) == before
    assert list(range(1000, 1010)) == after
    assert len(before) <= HELD
    assert lost == lost_count(events) >= 1000 - len(before)
    assert serials == before + after


def test_a_gap_is_told_in_its_place_to_who_reads_in_parts() -> None:
    """Although a full socket has space again after a partial read."""
    part = bytearray(16_384)
    with ProcConnector(EventMask.COMM, receive_buffer=1_000_000) as connector:
        drain(connector)
        set_serials(range(4000))
        events = decode(part[: connector.recv_into(part, 0)])
        set_serials(range(4000, 4010))
        while size := connector.recv_into(part, 0):
            events += decode(part[:size])

    (index,) = (i for i, event in enumerate(events) if isinstance(event, Lost))
    before = serials_of(events[:index])
    assert list(range(len(before))) == before
    assert list(range(4000, 4010)) == serials_of(events[index:])


def test_what_is_dropped_into_the_room_that_a_part_made_is_told_apart() -> None:
    part = bytearray(5000)  # a third of what it holds
    with ProcConnector(EventMask.COMM, receive_buffer=SMALL) as connector:
        drain(connector)
        set_serials(range(1000))
        events = decode(part[: connector.recv_into(part, 0)])
        set_serials(range(1000, 2000))
        events += drain(connector)

    first, second = (i for i, event in enumerate(events) if isinstance(event, Lost))
    before, between = serials_of(events[:first]), serials_of(events[first:second])
    assert list(range(len(before))) == before
    assert list(range(1000, 1000 + len(between))) == between
    assert lost_count(events[: first + 1]) >= 1000 - len(before)
    assert lost_count(events[first + 1 :]) >= 1000 - len(between) > 0
    assert between


def test_what_takes_the_room_of_the_first_receive_is_behind_the_gap() -> None:
    """What was stamped before that receive, and came after, can be one for each CPU."""
    with (
        ProcConnector(EventMask.COMM, receive_buffer=SMALL) as connector,
        program("rename", 1_000_000, 0) as others,
    ):
        for _ in range(20):
            set_serials(range(5000))
            began_ns = time.monotonic_ns()
            events = connector.recv_many(0)
            counts = [it.count if isinstance(it, Lost) else 0 for it in events]
            before = events[: counts.index(max(counts))]
            early = sum(event.timestamp_ns > began_ns for event in before)

            assert max(counts) > HELD
            assert early <= (os.cpu_count() or 1)
        assert others.poll() is None


def test_each_of_several_gaps_is_told_in_its_place() -> None:
    with ProcConnector(EventMask.COMM, receive_buffer=SMALL) as connector:
        drain(connector)
        events: list[Event] = []
        for first in range(0, 5000, 1000):
            set_serials(range(first, first + 1000))
            events += connector.recv_many(timeout=0)
        set_serials(range(5000, 5001))
        events += drain(connector)

    expected = 0
    for event in events:
        if isinstance(event, Lost):
            expected += event.count  # or fewer, if other programs' were among them
        elif serial := serials_of([event]):
            assert serial[0] <= expected
            expected = serial[0] + 1
    assert 5001 == expected
    assert 5 == sum(isinstance(event, Lost) for event in events)


@pytest.mark.parametrize("way", ["recv", "for"])
def test_a_gap_is_told_event_by_event_too(way: str) -> None:
    with ProcConnector(EventMask.COMM, receive_buffer=SMALL) as connector:
        drain(connector)
        set_serials(range(1000))
        events: list[Event] = []
        first: Event | None
        while not lost_count(events):
            first = connector.recv(DEADLINE) if way == "recv" else next(iter(connector))
            assert first is not None
            events.append(first)

    assert list(range(len(serials_of(events)))) == serials_of(events)
    assert isinstance(events[-1], Lost)


def test_lost_is_known_before_it_is_read_about() -> None:
    with ProcConnector(EventMask.COMM, receive_buffer=SMALL) as connector:
        drain(connector)
        set_serials(range(1000))
        unread = connector.lost
        events = drain(connector)

    assert 1000 - HELD <= unread <= lost_count(events)


@pytest.mark.parametrize(
    "mask", [EventMask.ALL, EventMask.COMM | EventMask.EXIT], ids=["all", "filtered"]
)
def test_a_kernel_that_does_not_count_tells_each_occasion(mask: EventMask) -> None:
    count = 100_000
    arguments = (PROGRAMS / "without_meminfo.py", str(count), str(int(mask)), "50000")
    result = run_sandboxed(NO_MEMINFO, *arguments)
    assert "" == result.stderr
    reported = json.loads(result.stdout)

    (warning,) = reported["warnings"]
    assert "does not count" in warning
    assert reported["received"] < count
    assert 0 < reported["occasions"]
    assert (0, 0) == (reported["reported"], reported["lost"])


def test_what_was_dropped_until_the_close_counts() -> None:
    with ProcConnector(EventMask.COMM, receive_buffer=SMALL) as connector:
        set_serials(range(1000))
        before = connector.lost

    assert 0 < before <= connector.lost


@pytest.mark.parametrize("way", ["recv_many", "async for"])
def test_a_gap_without_events_needs_no_waiting_for(way: str) -> None:
    with (
        ProcConnector(EventMask.NONE) as connector,
        replaced_by_rtnetlink(connector) as sock,
    ):
        sock.send(TOO_LARGE)

        async def first() -> Event:
            return await asyncio.wait_for(anext(aiter(connector)), DEADLINE / 4)

        began = time.monotonic()
        if way == "recv_many":
            events = connector.recv_many(timeout=DEADLINE / 4)
        else:
            events = [asyncio.run(first())]
        took = time.monotonic() - began

    assert took < DEADLINE / 8
    assert [Lost] == [type(event) for event in events]
    assert 1 == lost_count(events)
