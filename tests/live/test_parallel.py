"""Threads that read, change and close one connector concurrently.

Without the GIL they run in parallel; with it, they can switch at any bytecode.
"""

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import partial
from itertools import combinations_with_replacement, islice

import pytest
from support.live import (
    DEADLINE,
    descriptors,
    drain,
    preserve_name,
    serials_of,
    set_name,
    set_serials,
    wait_for,
)
from support.machine import requires_capacity
from support.read_modes import ReadMode
from support.single_reads import READ_MODES, by_for, by_recv_into, by_recv_many

from procconn import ConnectionClosedError, Event, EventMask, ProcConnector

SERIALS = 2000
MANY = 4 * SERIALS  # several batches


@pytest.fixture(autouse=True)
def _restore_name() -> Iterator[None]:
    with preserve_name():
        yield


class Reader(threading.Thread):
    """Reads in a loop, concurrently with other threads, until `stop` is set."""

    def __init__(
        self,
        read: Callable[[], list[Event]],
        start: threading.Barrier,
        stop: threading.Event,
    ) -> None:
        super().__init__(daemon=True)
        self.events: list[Event] = []
        self.failures: list[BaseException] = []
        self._read, self._start, self._stop_event = read, start, stop

    def run(self) -> None:
        """Store the events and the exceptions of the reads."""
        self._start.wait(DEADLINE)
        while not self._stop_event.is_set():
            try:
                self.events += self._read()
            except RuntimeError:
                continue  # another thread is reading
            except StopIteration:
                break
            except BaseException as error:
                self.failures.append(error)
                break


def read_concurrently(
    connector: ProcConnector, modes: list[ReadMode], feed: Callable[[], None]
) -> list[Event]:
    """Read in one thread for each mode while `feed` causes events."""
    start, stop = threading.Barrier(len(modes) + 1), threading.Event()
    readers = [Reader(partial(mode, connector), start, stop) for mode in modes]
    for reader in readers:
        reader.start()
    start.wait(DEADLINE)
    feed()
    stop.set()

    def all_ended() -> bool:
        for _ in range(100):
            set_name(b"wake up")  # ends iterations that are blocked
        return not any(reader.is_alive() for reader in readers)

    wait_for(all_ended)
    assert [] == [error for reader in readers for error in reader.failures]
    return [event for reader in readers for event in reader.events]


@requires_capacity(2 * SERIALS)
@pytest.mark.parametrize("queue", [0, 262_144])
@pytest.mark.parametrize(
    ("mode", "other"), list(combinations_with_replacement(READ_MODES, 2))
)
def test_two_concurrent_readers_get_each_event_once(
    mode: ReadMode, other: ReadMode, queue: int
) -> None:
    with ProcConnector(EventMask.COMM, queue=queue) as connector:
        drain(connector)
        set_serials(range(SERIALS))
        events = read_concurrently(
            connector,
            [mode, other],
            lambda: set_serials(range(SERIALS, 2 * SERIALS)),
        )
        events += drain(connector)

    assert list(range(2 * SERIALS)) == sorted(serials_of(events))


def by_iteration(connector: ProcConnector) -> list[Event]:
    """Iterate over at most 1000 events, until another thread reads."""
    events: list[Event] = []
    with suppress(RuntimeError):
        events.extend(islice(connector, 1000))
    return events


@requires_capacity(2 * MANY)
def test_eight_concurrent_iterations_get_each_event_once() -> None:
    for _ in range(5):
        with ProcConnector(EventMask.COMM) as connector:
            drain(connector)
            set_serials(range(MANY))
            events = read_concurrently(
                connector,
                [by_iteration] * 8,
                lambda: set_serials(range(MANY, 2 * MANY)),
            )
            events += drain(connector)

        assert list(range(2 * MANY)) == sorted(serials_of(events))


@pytest.mark.parametrize("queue", [0, 262_144])
@pytest.mark.parametrize("mode", [by_recv_many, by_recv_into, by_for])
def test_concurrent_close_wakes_readers(mode: ReadMode, queue: int) -> None:
    """No event is delivered twice, and the descriptors are closed."""
    gc.collect()
    before = descriptors()
    for _ in range(20):
        connector = ProcConnector(EventMask.COMM, queue=queue)
        start, stop = threading.Barrier(5), threading.Event()

        def close(connector: ProcConnector = connector) -> list[Event]:
            connector.close()
            raise ConnectionClosedError

        calls = [partial(mode, connector)] * 2 + [close] * 2
        readers = [Reader(call, start, stop) for call in calls]
        for reader in readers:
            reader.start()
        set_serials(range(50))
        start.wait(DEADLINE)
        set_serials(range(50, 100))
        for reader in readers:
            reader.join(DEADLINE)
            assert not reader.is_alive()

        serials = serials_of([event for reader in readers for event in reader.events])
        assert sorted(set(serials)) == sorted(serials)
        for reader in readers:
            for error in reader.failures:
                assert isinstance(error, ConnectionClosedError | ValueError)
    del connector, close, calls, readers, reader
    gc.collect()
    wait_for(lambda: before == descriptors())


def test_second_of_two_waiting_event_loops_is_refused() -> None:
    own = threading.get_native_id()
    with ProcConnector(EventMask.COMM) as connector:
        asyncio.run(connector.arecv_many(0))  # starts the receiving thread
        for _ in range(50):
            start = threading.Barrier(2)
            events: list[Event] = []
            refused: list[RuntimeError] = []

            async def wait(
                start: threading.Barrier = start, events: list[Event] = events
            ) -> None:
                start.wait(DEADLINE)
                while not serials_of(events, own):
                    events.extend(await connector.arecv_many(DEADLINE))

            def run(
                main: Callable[[], Coroutine[None, None, None]] = wait,
                refused: list[RuntimeError] = refused,
            ) -> None:
                try:
                    asyncio.run(main())
                except RuntimeError as error:
                    refused.append(error)

            threads = [threading.Thread(target=run) for _ in range(2)]
            for thread in threads:
                thread.start()
            wait_for(lambda: refused)  # noqa: B023
            set_serials(range(1))
            for thread in threads:
                thread.join(DEADLINE)

            assert 1 == len(refused)
            assert [0] == serials_of(events)
