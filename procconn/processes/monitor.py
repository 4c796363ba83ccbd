"""`ProcessMonitor`: a live stream of the changes of this machine's processes."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from procconn import _arguments
from procconn.connector import ProcConnector
from procconn.errors import ConnectionClosedError
from procconn.events import EventMask
from procconn.processes.resync import ChangeQueue
from procconn.processes.snapshot import (
    Snapshot,
    check_exist,
    take_snapshot,
    try_snapshot,
)
from procconn.processes.table import ProcessTable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from typing import Self

    from procconn.processes.process import Change, Process

_LIFETIMES = EventMask.FORK | EventMask.EXEC | EventMask.EXIT
_MASK = _LIFETIMES | EventMask.COMM | EventMask.UID


class ProcessMonitor:
    """The processes of this machine, and a stream of their changes.

    Creating a monitor subscribes to events, then reads the running processes from /proc
    into `processes`. Iterate over it, call `recv_many`, or use `async for`; each change
    is delivered once. As with a connector, only one thread at a time may read.

    Args:
        tree: keep only the process with this PID and its descendants.
        queue, programs, usage, receive_buffer, max_latency, timeout, heartbeat: as in
            `ProcConnector`.

    Raises:
        ProcessLookupError: there is no process `tree`.
        PermissionError: /proc does not show process `tree` to this user.
        TypeError, ValueError, UnsupportedError, PermissionError, OSError: as in
            `ProcConnector` and `take_snapshot`.
    """

    def __init__(
        self,
        *,
        tree: int | None = None,
        queue: int = 0,
        programs: bool = True,
        usage: bool = False,
        receive_buffer: int | None = None,
        max_latency: float = 0.001,
        timeout: float = 1.0,
        heartbeat: float | None = None,
    ) -> None:
        if tree is not None:
            _arguments.check_pid("tree", tree)
        self._programs = programs
        self._connector = ProcConnector(
            _MASK,
            queue=queue,
            programs=programs,
            usage=usage,
            receive_buffer=receive_buffer,
            max_latency=max_latency,
            timeout=timeout,
            heartbeat=heartbeat,
        )
        try:
            initial = take_snapshot(programs=programs)
            if tree is not None:
                check_exist([tree], {it.pid for it in initial.processes})
            self._queue = ChangeQueue(
                ProcessTable(tree=tree), initial, max_latency=max_latency
            )
        except BaseException:
            self._connector.close()
            raise

    @property
    def processes(self) -> Mapping[int, Process]:
        """The running processes by PID, as of the last received event: a live view."""
        return self._queue.table.processes

    def recv_many(self, timeout: float | None = None) -> list[Change]:
        """Receive all queued changes; block until there is one.

        All of them are applied first, so each `process` shows the latest state.

        Args:
            timeout: how long to wait, in seconds; None blocks without limit, 0 polls.

        Returns:
            The changes; an empty list on timeout.

        Raises:
            ConnectionClosedError: another thread closed the monitor during the call.
            ValueError: the monitor is closed, or the timeout is negative or not finite.
        """
        self._check_open()
        deadline = _arguments.deadline(timeout)
        while not (changes := self._queue.all_changes()):
            remaining = (
                None if deadline is None else max(0, deadline - time.monotonic())
            )
            self._receive(remaining)
            if remaining == 0:
                return self._queue.all_changes()
        return changes

    def __iter__(self) -> Iterator[Change]:
        """Iterate over the changes, until the monitor is closed.

        Events are processed one at a time, so `process` shows the state at the change.
        """
        self._check_open()
        return self._iterate()

    def _iterate(self) -> Iterator[Change]:
        while not self.closed:
            yield from self._queue.each_change()
            with suppress(ConnectionClosedError):
                self._receive(None)

    def __aiter__(self) -> AsyncIterator[Change]:
        """Iterate over the changes on asyncio, until the monitor is closed."""
        self._check_open()
        return self._iterate_async()

    async def _iterate_async(self) -> AsyncIterator[Change]:
        while not self.closed:
            for change in self._queue.each_change():
                yield change
            with suppress(ConnectionClosedError):
                await self._receive_async()

    def close(self) -> None:
        """End the subscription, and any iteration, including one in another thread."""
        self._connector.close()

    @property
    def closed(self) -> bool:
        """Whether the monitor is closed."""
        return self._connector.closed

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    def _receive(self, timeout: float | None) -> None:
        """Take a snapshot if one is due; receive events."""
        queue = self._queue
        if queue.is_due:
            queue.put_snapshot(self._try_snapshot(list(self.processes)))
        queue.put_events(self._connector.recv_many(queue.next_timeout(timeout)))

    async def _receive_async(self) -> None:
        queue = self._queue
        if queue.is_due:
            import asyncio  # noqa: PLC0415 - imported by callers of async methods anyway

            known = list(self.processes)
            queue.put_snapshot(await asyncio.to_thread(self._try_snapshot, known))
        events = await self._connector.arecv_many(queue.next_timeout(None))
        queue.put_events(events)

    def _try_snapshot(self, known: list[int]) -> Snapshot | None:
        return try_snapshot(known, programs=self._programs)

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the monitor is closed; open another one")
