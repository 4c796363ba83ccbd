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
def _restore_name() -> Iterator[None]:
    with preserve_name():
        yield


def begin_session() -> None:
    """Cause an event of a kind that other programs cause rarely."""
    subprocess.run(["true"], start_new_session=True, check=True)


def is_readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def by_recv(connector: ProcConnector) -> list[Event]:
    return [event for event in [connector.recv(0)] if event]


def by_recv_many(connector: ProcConnector) -> list[Event]:
    return connector.recv_many(0)


def by_recv_raw(connector: ProcConnector) -> list[Event]:
    return decode(connector.recv_raw(0))


def by_recv_into(connector: ProcConnector) -> list[Event]:
    """Receive one message, and leave the others in the socket or queue."""
    buffer = bytearray(100)
    return decode(buffer[: connector.recv_into(buffer, 0)])


def by_for(connector: ProcConnector) -> list[Event]:
    return [next(iter(connector))]


MODES = [by_recv, by_recv_many, by_recv_raw, by_recv_into, by_for]


@with_and_without_queue
@pytest.mark.parametrize("first_fileno", ["before events", "between reads"])
@pytest.mark.parametrize("read", MODES)
def test_fileno_is_readable_while_events_are_pending(
    read: Callable[[ProcConnector], list[Event]], first_fileno: str, queue: int
) -> None:
    with ProcConnector(EventMask.SID, queue=queue) as connector:
        if first_fileno == "before events":
            wait_for(
                lambda: drain(connector) == [] and not has_readable_fileno(connector)
            )
        for _ in range(5):
            begin_session()
        events: list[Event] = []
        if first_fileno == "between reads":
            while not events:
                events += read(connector)
        while len(events) < 5:
            wait_for(lambda: has_readable_fileno(connector))
            received = read(connector)
            assert received
            events += received
        wait_for(lambda: drain(connector) == [] and not has_readable_fileno(connector))

    assert {Sid} == {type(event) for event in events}


def has_readable_fileno(connector: ProcConnector) -> bool:
    """Return whether the descriptor of a connector is readable."""
    return is_readable(connector.fileno())


def test_fileno_without_queue_is_readable_at_once() -> None:
    with ProcConnector(EventMask.SID) as connector:
        connector.fileno()
        for _ in range(100):
            begin_session()

            assert has_readable_fileno(connector)
            assert connector.recv(0) is not None


@with_and_without_queue
def test_fileno_is_readable_for_events_pending_in_an_iteration(queue: int) -> None:
    with ProcConnector(EventMask.SID, queue=queue) as connector:
        connector.fileno()
        for _ in range(5):
            begin_session()
        for count, _ in enumerate(connector, 1):
            if count == 5:
                break
            wait_for(lambda: has_readable_fileno(connector))
        wait_for(lambda: drain(connector) == [] and not has_readable_fileno(connector))


@with_and_without_queue
def test_fileno_is_readable_for_events_pending_in_an_async_iteration(
    queue: int,
) -> None:
    async def iterate(connector: ProcConnector) -> None:
        count = 0
        async for _ in connector:
            count += 1
            if count == 5:
                return
            wait_for(lambda: has_readable_fileno(connector))

    with ProcConnector(EventMask.SID, queue=queue) as connector:
        connector.fileno()
        for _ in range(5):
            begin_session()
        asyncio.run(iterate(connector))

        assert not has_readable_fileno(connector) or connector.recv_many(0)


@with_and_without_queue
def test_new_mask_without_matching_pending_events_makes_fileno_unreadable(
    queue: int,
) -> None:
    with ProcConnector(EventMask.SID, queue=queue) as connector:
        connector.fileno()
        for _ in range(3):
            begin_session()
        assert connector.recv(DEADLINE)  # the other events are pending
        connector.subscribe(EventMask.NONE)

        wait_for(lambda: not has_readable_fileno(connector))


@with_and_without_queue
def test_fileno_stays_readable_after_buffer_too_small_error(queue: int) -> None:
    with ProcConnector(EventMask.SID, queue=queue) as connector:
        connector.fileno()
        begin_session()
        wait_for(lambda: has_readable_fileno(connector))
        with pytest.raises(BufferTooSmallError):
            connector.recv_into(bytearray(10), DEADLINE)

        assert has_readable_fileno(connector)
        assert connector.recv(0)


def test_new_mask_without_matching_queued_events_makes_fileno_unreadable() -> None:
    """The kernel has queued the event under the previous mask."""
    with ProcConnector(EventMask.SID) as connector:
        connector.fileno()
        begin_session()
        connector.subscribe(EventMask.NONE)

        assert not has_readable_fileno(connector)


@with_and_without_queue
def test_second_fileno_call_does_not_make_the_descriptor_readable(queue: int) -> None:
    with ProcConnector(EventMask.SID, queue=queue) as connector:
        fd = connector.fileno()
        begin_session()
        wait_for(lambda: is_readable(fd))
        assert connector.recv_raw(0)
        connector.fileno()

        assert not is_readable(fd) or connector.recv_raw(0)


@with_and_without_queue
def test_readiness_is_correct_for_an_iterator_created_before_fileno(queue: int) -> None:
    with ProcConnector(EventMask.SID, queue=queue) as connector:
        for _ in range(3):
            begin_session()
        iterator = iter(connector)
        next(iterator)
        fd = connector.fileno()

        assert is_readable(fd)
        next(iterator)
        next(iterator)
        assert not is_readable(fd) or connector.recv_many(0)


@with_and_without_queue
@pytest.mark.parametrize("other", [ProcConnector.recv, by_for])
def test_readiness_is_correct_for_an_iterator_mixed_with_other_reads(
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

        assert not is_readable(fd) or connector.recv_many(0)


@with_and_without_queue
def test_event_wakes_epoll_waiter(queue: int) -> None:
    with ProcConnector(EventMask.SID, queue=queue) as connector:
        fd = connector.fileno()
        wait_for(lambda: drain(connector) == [] and not has_readable_fileno(connector))
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
def test_close_makes_fileno_readable_for_select_in_another_thread(queue: int) -> None:
    with ProcConnector(EventMask.NONE, queue=queue) as connector:
        fd = connector.fileno()
        found: list[object] = []
        registered: list[object] = []

        def wait() -> None:
            with select.epoll() as poll:
                poll.register(fd, select.EPOLLIN)
                registered.append(True)
                found.extend(select.select([fd], [], [], DEADLINE)[0])

        thread = threading.Thread(target=wait)
        thread.start()
        path = Path("/proc/self/task")
        wait_for(lambda: registered)
        wait_for(lambda: ") S " in (path / f"{thread.native_id}/stat").read_text())
        connector.close()
        thread.join(DEADLINE / 4)

        assert [fd] == found


@with_and_without_queue
@pytest.mark.parametrize("pending", [False, True], ids=["drained", "pending"])
def test_forked_child_does_not_change_readiness(pending: bool, queue: int) -> None:
    def call_all(connector: ProcConnector) -> None:
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
        wait_for(lambda: drain(connector) == [] and not has_readable_fileno(connector))
        if pending:
            begin_session()
            begin_session()
            wait_for(lambda: has_readable_fileno(connector))
            assert (
                connector.recv(0) is not None
            )  # one event remains, pending or in the socket
            wait_for(lambda: has_readable_fileno(connector))
        child = os.fork()
        if child == 0:
            call_all(connector)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

        assert pending == has_readable_fileno(connector)
        begin_session()
        wait_for(lambda: has_readable_fileno(connector))
        assert len(drain(connector)) > pending
        wait_for(lambda: drain(connector) == [] and not has_readable_fileno(connector))


def test_fileno_opens_one_descriptor_on_first_call(connector: ProcConnector) -> None:
    before = len(os.listdir("/proc/self/fd"))
    connector.recv(0)
    assert before == len(os.listdir("/proc/self/fd"))

    assert connector.fileno() == connector.fileno()


@with_and_without_queue
def test_deleting_a_closed_connector_frees_its_descriptors(queue: int) -> None:
    gc.collect()
    before = descriptors()
    connector = ProcConnector(EventMask.NONE, queue=queue)
    fd = connector.fileno()
    connector.close()
    assert is_readable(fd)
    del connector

    wait_for(lambda: descriptors() <= before)
