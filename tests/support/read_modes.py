"""Every way to read a stream, up to the last command of a load."""

import asyncio
import os
import select
import time
from collections.abc import Callable, Iterator
from itertools import takewhile

from procconn import Event, Exit, ProcConnector, decode
from support.live import DEADLINE

STATUS = 160 + os.getpid() % 90  # an exit status that other processes rarely have
LAST = ("/bin/sh", "-c", f"exit {STATUS}")
ReadMode = Callable[[ProcConnector], list[Event]]


def is_last(event: Event) -> bool:
    """Return whether the event is the EXIT of the last command."""
    return isinstance(event, Exit) and event.returncode == STATUS


def read_until_last(batches: Iterator[list[Event]]) -> list[Event]:
    """Return all events up to the batch with the EXIT of the last command."""
    events: list[Event] = []
    for batch in batches:
        events += batch
        if any(map(is_last, batch)):
            return events
    raise AssertionError("the stream ended")


def by_recv(connector: ProcConnector) -> list[Event]:
    def one() -> list[Event]:
        event = connector.recv(timeout=DEADLINE)
        assert event is not None
        return [event]

    return read_until_last(iter(one, []))


def by_recv_many(connector: ProcConnector) -> list[Event]:
    return read_until_last(iter(lambda: connector.recv_many(timeout=DEADLINE), []))


def by_polling(connector: ProcConnector) -> list[Event]:
    deadline = time.monotonic() + DEADLINE

    def poll() -> list[Event]:
        assert time.monotonic() < deadline
        return connector.recv_many(timeout=0)

    return read_until_last(iter(poll, None))


def by_recv_raw(connector: ProcConnector) -> list[Event]:
    """Receive raw messages, and decode all of them at the end."""
    recorded = b""
    while not any(map(is_last, decode(raw := connector.recv_raw(timeout=DEADLINE)))):
        recorded += raw
    return decode(recorded + raw)


def by_recv_into(connector: ProcConnector) -> list[Event]:
    buffer = bytearray(100_000)

    def some() -> list[Event]:
        return decode(buffer[: connector.recv_into(buffer, timeout=DEADLINE)])

    return read_until_last(iter(some, []))


def by_for(connector: ProcConnector) -> list[Event]:
    return list(takewhile(lambda event: not is_last(event), connector))


def by_async_for(connector: ProcConnector) -> list[Event]:
    async def read() -> list[Event]:
        events = []
        async for event in connector:
            events.append(event)
            if is_last(event):
                break
        return events

    return asyncio.run(read())


def by_arecv_many(connector: ProcConnector) -> list[Event]:
    async def read() -> list[Event]:
        events: list[Event] = []
        while not any(map(is_last, events)):
            events += await connector.arecv_many(DEADLINE)
        return events

    return asyncio.run(read())


def by_select(connector: ProcConnector) -> list[Event]:
    """Wait with select(), and assert that a readable connector returns events."""

    def readable() -> list[Event]:
        ready, _, _ = select.select([connector.fileno()], [], [], DEADLINE)
        assert ready
        events = connector.recv_many(timeout=0)
        assert events
        return events

    return read_until_last(iter(readable, []))


READ_MODES = [
    *(by_recv, by_recv_many, by_polling, by_recv_raw, by_recv_into),
    *(by_for, by_async_for, by_arecv_many, by_select),
]
