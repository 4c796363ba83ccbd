"""Overruns: drops are counted exactly, and Lost is in its position in the stream."""

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
CAPACITY = 171  # events of a SMALL buffer on Linux 6.1; later kernels need more space


@pytest.fixture(autouse=True)
def _restore_name() -> Iterator[None]:
    with preserve_name():
        yield


@pytest.mark.heavy
@requires_capacity(40_000)
def test_burst_at_full_speed_is_received_completely() -> None:
    """The buffer holds 80,000 events; only a reader without CPU may lose some."""
    count = 300_000

    def receive_burst() -> tuple[int, int, float]:
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
        received, lost, waited = receive_burst()
        if lost == 0 or waited < 0.04:  # otherwise other processes used the CPUs
            break

    assert (count, 0) == (received, lost)


@pytest.mark.heavy
@requires_capacity(20_000)
def test_each_event_of_a_steady_stream_is_received_once_and_in_order() -> None:
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


def drain_both(
    small: ProcConnector, witness: ProcConnector
) -> tuple[list[Event], list[Event], int, int]:
    """Receive from both connectors until neither has a new event.

    Returns:
        The events of each, the count in `lost`, and the kernel's count of drops.
    """
    deadline = time.monotonic() + DEADLINE
    events: list[Event] = []
    witnessed: list[Event] = []
    while time.monotonic() < deadline:
        rest = drain(small)
        lost, drops = small.lost, kernel_drops(small)
        late = drain(witness)
        events += rest
        witnessed += late
        if not rest and not late:
            return events, witnessed, lost, drops
    pytest.skip("other programs cause COMM events all the time")


@pytest.mark.heavy
@requires_capacity(100_000)
@pytest.mark.parametrize("max_latency", [0, 0.01])
@pytest.mark.parametrize("mode", ["recv", "recv_many", "recv_raw", "for"])
def test_received_and_lost_add_up_to_all_events(mode: str, max_latency: float) -> None:
    """A witness with a large buffer also receives the events of other programs."""
    count = 40_000
    mask = EventMask.COMM
    with (
        ProcConnector(mask, receive_buffer=LARGE_BUFFER) as witness,
        ProcConnector(mask, receive_buffer=SMALL, max_latency=max_latency) as small,
        ExitStack() as stack,
    ):
        *_, lost_before, drops_before = drain_both(small, witness)
        producer = stack.enter_context(program("rename", count, 0))
        events: list[Event] = []
        set_serials(range(1000))  # overruns the buffer, however fast the reader is
        while producer.poll() is None:
            if mode == "for":
                events.append(next(iter(small)))
            elif mode == "recv":
                events += [event for event in [small.recv(DEADLINE)] if event]
            elif mode == "recv_raw":
                events += decode(small.recv_raw(DEADLINE))
            else:
                events += small.recv_many(DEADLINE)
            set_serials(range(1))  # so that the next call does not block
        rest, witnessed, lost, drops = drain_both(small, witness)
        events += rest
        reported = lost_count(events)
        received = sum(isinstance(event, Comm) for event in events)

    assert 0 == witness.lost
    assert list(range(count)) == serials_of(witnessed, producer.pid)
    assert drops == lost
    assert drops_before == lost_before
    lost -= lost_before
    assert lost > 0
    assert len(witnessed) == received + lost
    assert lost == reported


def test_lost_is_between_the_events_before_and_after_the_overrun() -> None:
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
    assert len(before) <= CAPACITY
    assert lost == lost_count(events) >= 1000 - len(before)
    assert serials == before + after


def test_lost_is_in_its_position_after_partial_reads() -> None:
    """A partial read makes space in the full socket."""
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


def test_second_overrun_after_a_partial_read_has_its_own_lost() -> None:
    part = bytearray(5000)  # a third of the events in the socket
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


def test_events_queued_after_the_first_receive_follow_lost() -> None:
    """One event per CPU may have a timestamp before that receive, but come after it."""
    with (
        ProcConnector(EventMask.COMM, receive_buffer=SMALL) as connector,
        program("rename", 1_000_000, 0) as others,
    ):
        for _ in range(20):
            set_serials(range(5000))
            began_ns = time.monotonic_ns()
            events = connector.recv_many(0)
            counts = [event.count if isinstance(event, Lost) else 0 for event in events]
            before = events[: counts.index(max(counts))]
            early = sum(event.timestamp_ns > began_ns for event in before)

            assert max(counts) > CAPACITY
            assert early <= (os.cpu_count() or 1)
        assert others.poll() is None


def test_each_of_several_overruns_has_lost_in_its_position() -> None:
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
            expected += event.count  # may include events of other programs
        elif serial := serials_of([event]):
            assert serial[0] <= expected
            expected = serial[0] + 1
    assert 5001 == expected
    assert 5 == sum(isinstance(event, Lost) for event in events)


@pytest.mark.parametrize("mode", ["recv", "for"])
def test_lost_is_in_its_position_in_single_reads(mode: str) -> None:
    with ProcConnector(EventMask.COMM, receive_buffer=SMALL) as connector:
        drain(connector)
        set_serials(range(1000))
        events: list[Event] = []
        event: Event | None
        while not lost_count(events):
            event = (
                connector.recv(DEADLINE) if mode == "recv" else next(iter(connector))
            )
            assert event is not None
            events.append(event)

    assert list(range(len(serials_of(events)))) == serials_of(events)
    assert isinstance(events[-1], Lost)


def test_lost_attribute_counts_drops_before_they_are_read() -> None:
    with ProcConnector(EventMask.COMM, receive_buffer=SMALL) as connector:
        drain(connector)
        set_serials(range(1000))
        unread = connector.lost
        events = drain(connector)

    assert 1000 - CAPACITY <= unread <= lost_count(events)


@pytest.mark.parametrize(
    "mask", [EventMask.ALL, EventMask.COMM | EventMask.EXIT], ids=["all", "filtered"]
)
def test_without_so_meminfo_each_overrun_is_reported_with_count_0(
    mask: EventMask,
) -> None:
    count = 100_000
    arguments = (PROGRAMS / "without_meminfo.py", str(count), str(int(mask)), "50000")
    result = run_sandboxed(NO_MEMINFO, *arguments)
    assert "" == result.stderr
    reported = json.loads(result.stdout)

    (warning,) = reported["warnings"]
    assert "does not count" in warning
    assert reported["received"] < count
    assert 0 < reported["overruns"]
    assert (0, 0) == (reported["reported"], reported["lost"])


def test_lost_attribute_includes_drops_until_close() -> None:
    with ProcConnector(EventMask.COMM, receive_buffer=SMALL) as connector:
        set_serials(range(1000))
        before = connector.lost

    assert 0 < before <= connector.lost


@pytest.mark.parametrize("mode", ["recv_many", "async for"])
def test_lost_without_events_is_delivered_at_once(mode: str) -> None:
    with (
        ProcConnector(EventMask.NONE) as connector,
        replaced_by_rtnetlink(connector) as sock,
    ):
        sock.send(TOO_LARGE)

        async def first() -> Event:
            return await asyncio.wait_for(anext(aiter(connector)), DEADLINE / 4)

        began = time.monotonic()
        if mode == "recv_many":
            events = connector.recv_many(timeout=DEADLINE / 4)
        else:
            events = [asyncio.run(first())]
        took = time.monotonic() - began

    assert took < DEADLINE / 8
    assert [Lost] == [type(event) for event in events]
    assert 1 == lost_count(events)
