"""`fileno()` is readable if and only if a read returns something."""

import asyncio
import gc
import os
import select
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.blocking import is_blocked
from support.live import DEADLINE, descriptors, drain, preserve_name, wait_for

from procconn import (
    BufferTooSmallError,
    Event,
    EventMask,
    ProcConnector,
    Sid,
    decode,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*multi-threaded, use of fork:DeprecationWarning"
)

with_and_without_queue = pytest.mark.parametrize("queue", [0, 262_144])


@pytest.fixture(autouse=True)
def _own_name() -> Iterator[None]:
    with preserve_name():
        yield


def begin_session() -> None:
    """Make an event of a kind that other programs make rarely."""
    subprocess.run(["true"], start_new_session=True, check=True)


def is_ready(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def by_recv(connector: ProcConnector) -> list[Event]:
    return [event for event in [connector.recv(0)] if event]


def by_recv_many(connector: ProcConnector) -> list[Event]:
    return connector.recv_many(0)


def by_recv_raw(connector: ProcConnector) -> list[Event]:
    return decode(connector.recv_raw(0))


def by_recv_into(connector: ProcConnector) -> list[Event]:
    """Take one message and leave the others."""
    buffer = bytearray(100)
    return decode(buffer[: connector.recv_into(buffer, 0)])


def by_for(connector: ProcConnector) -> list[Event]:
    return [next(iter(connector))]


WAYS = [by_recv, by_recv_many, by_recv_raw, by_recv_into, by_for]


@with_and_without_queue
@pytest.mark.parametrize("asked", ["before", "between"])
@pytest.mark.parametrize("way", WAYS)
def test_it_is_readable_for_as_long_as_something_waits(
    way: Callable[[ProcConnector], list[Event]], asked: str, queue: int
) -> None:
    with ProcConnector(EventMask.SID, queue=queue) as connector:
        if asked == "before":
            wait_for(lambda: drain(connector) == [] and not ready(connector))
        for _ in range(5):
            begin_session()
        events: list[Event] = []
        if asked == "between":
            while not events:
                events += way(connector)
        while len(events) < 5:
            wait_for(lambda: ready(connector))
            found = way(connector)
            assert found
            events += found
        wait_for(lambda: drain(connector) == [] and not ready(connector))

    assert {Sid} == {type(event) for event in events}


def ready(connector: ProcConnector) -> bool:
    return is_ready(connector.fileno())


def test_without_a_queue_it_is_readable_at_once() -> None:
    with ProcConnector(EventMask.SID) as connector:
        connector.fileno()
        for _ in range(100):
            begin_session()

            assert ready(connector)
            assert connector.recv(0) is not None


@with_and_without_queue
def test_it_tells_what_an_iteration_has_left(queue: int) -> None:
    with ProcConnector(EventMask.SID, queue=queue) as connector:
        connector.fileno()
        for _ in range(5):
            begin_session()
        for seen, _ in enumerate(connector, 1):
            if seen == 5:
                break
            wait_for(lambda: ready(connector))
        wait_for(lambda: drain(connector) == [] and not ready(connector))


@with_and_without_queue
def test_it_tells_what_an_iteration_on_asyncio_has_left(queue: int) -> None:
    async def iterate(connector: ProcConnector) -> None:
        seen = 0
        async for _ in connector:
            seen += 1
            if seen == 5:
                return
            wait_for(lambda: ready(connector))

    with ProcConnector(EventMask.SID, queue=queue) as connector:
        connector.fileno()
        for _ in range(5):
            begin_session()
        asyncio.run(iterate(connector))

        assert not ready(connector) or connector.recv_many(0)


@with_and_without_queue
def test_a_changed_mask_leaves_it_unreadable_without_events(queue: int) -> None:
    with ProcConnector(EventMask.SID, queue=queue) as connector:
        connector.fileno()
        for _ in range(3):
            begin_session()
        assert connector.recv(DEADLINE)  # others are decoded
        connector.subscribe(EventMask.NONE)

        wait_for(lambda: not ready(connector))


@with_and_without_queue
def test_it_is_readable_after_a_buffer_was_too_small(queue: int) -> None:
    with ProcConnector(EventMask.SID, queue=queue) as connector:
        connector.fileno()
        begin_session()
        wait_for(lambda: ready(connector))
        with pytest.raises(BufferTooSmallError):
            connector.recv_into(bytearray(10), DEADLINE)

        assert ready(connector)
        assert connector.recv(0)


def test_events_that_are_no_longer_wanted_leave_it_unreadable() -> None:
    """Also those that the kernel has queued."""
    with ProcConnector(EventMask.SID) as connector:
        connector.fileno()
        begin_session()
        connector.subscribe(EventMask.NONE)

        assert not ready(connector)


@with_and_without_queue
def test_asking_for_it_again_does_not_make_it_readable(queue: int) -> None:
    with ProcConnector(EventMask.SID, queue=queue) as connector:
        fd = connector.fileno()
        begin_session()
        wait_for(lambda: is_ready(fd))
        assert connector.recv_raw(0)
        connector.fileno()

        assert not is_ready(fd) or connector.recv_raw(0)


@with_and_without_queue
def test_it_is_true_for_an_iteration_from_before_it_was_asked_for(queue: int) -> None:
    with ProcConnector(EventMask.SID, queue=queue) as connector:
        for _ in range(3):
            begin_session()
        iterator = iter(connector)
        next(iterator)
        fd = connector.fileno()

        assert is_ready(fd)
        next(iterator)
        next(iterator)
        assert not is_ready(fd) or connector.recv_many(0)


@with_and_without_queue
@pytest.mark.parametrize("other", [ProcConnector.recv, by_for])
def test_it_is_true_for_an_iteration_mixed_with_others(
    other: Callable[[ProcConnector], object], queue: int
) -> None:
    with ProcConnector(EventMask.SID, queue=queue) as connector:
        fd = connector.fileno()
        for _ in range(5):
            begin_session()
        iterator = iter(connector)
        next(iterator)
        for _ in range(2):
            other(connector)
            next(iterator)

        assert not is_ready(fd) or connector.recv_many(0)


@with_and_without_queue
def test_an_event_wakes_who_waits_for_it(queue: int) -> None:
    with ProcConnector(EventMask.SID, queue=queue) as connector:
        fd = connector.fileno()
        wait_for(lambda: drain(connector) == [] and not ready(connector))
        found: list[object] = []
        thread = threading.Thread(target=lambda: found.extend(polled(fd)))
        thread.start()
        wait_for(lambda: is_blocked(thread))
        begin_session()
        thread.join(DEADLINE)

        assert found
        assert connector.recv(0) is not None


def polled(fd: int) -> list[object]:
    with select.epoll() as poll:
        poll.register(fd, select.EPOLLIN)
        return [*poll.poll(DEADLINE)]


@with_and_without_queue
def test_closing_makes_it_readable_for_who_waits_elsewhere(queue: int) -> None:
    with ProcConnector(EventMask.NONE, queue=queue) as connector:
        fd = connector.fileno()
        found: list[object] = []
        waited: list[object] = []

        def wait() -> None:
            with select.epoll() as poll:
                poll.register(fd, select.EPOLLIN)
                waited.append(True)
                found.extend(select.select([fd], [], [], DEADLINE)[0])

        thread = threading.Thread(target=wait)
        thread.start()
        path = Path("/proc/self/task")
        wait_for(lambda: waited)
        wait_for(lambda: ") S " in (path / f"{thread.native_id}/stat").read_text())
        connector.close()
        thread.join(DEADLINE / 4)

        assert [fd] == found


@with_and_without_queue
@pytest.mark.parametrize("waiting", [False, True], ids=["nothing", "something"])
def test_a_forked_child_never_changes_it(waiting: bool, queue: int) -> None:
    def misuse(connector: ProcConnector) -> None:
        calls: list[Callable[[], object]] = [
            lambda: connector.recv(0),
            lambda: connector.recv_many(0),
            lambda: connector.recv_raw(0),
            connector.fileno,
            connector.subscribe,
            connector.unsubscribe,
            connector.close,
            connector.fileno,
        ]
        for call in calls:
            with suppress(RuntimeError, ValueError):
                call()

    with ProcConnector(EventMask.SID, queue=queue) as connector:
        wait_for(lambda: drain(connector) == [] and not ready(connector))
        if waiting:
            begin_session()
            begin_session()
            wait_for(lambda: ready(connector))
            assert connector.recv(0) is not None  # one is left, decoded or not
            wait_for(lambda: ready(connector))
        child = os.fork()
        if child == 0:
            misuse(connector)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

        assert waiting == ready(connector)
        begin_session()
        wait_for(lambda: ready(connector))
        assert len(drain(connector)) > waiting
        wait_for(lambda: drain(connector) == [] and not ready(connector))


def test_it_is_the_same_descriptor_each_time_and_none_before(
    connector: ProcConnector,
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    connector.recv(0)
    assert before == len(os.listdir("/proc/self/fd"))

    assert connector.fileno() == connector.fileno()


@with_and_without_queue
def test_what_closing_made_readable_goes_with_the_connector(queue: int) -> None:
    gc.collect()
    before = descriptors()
    connector = ProcConnector(EventMask.NONE, queue=queue)
    fd = connector.fileno()
    connector.close()
    assert is_ready(fd)
    del connector

    wait_for(lambda: descriptors() <= before)
