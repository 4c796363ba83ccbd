"""Waiting on asyncio for what a thread of C brings."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from procconn._core import lib
from procconn.clock import NS_PER_S
from procconn.status import BUSY, checked

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable

    from procconn._core import Stream

_T = TypeVar("_T")

FOR_FILENO, _FOR_ASYNCIO = range(2)  # the stream's two pollable descriptors


class Awaiting:
    """The one task that waits, if there is one, with a descriptor of its own.

    While it waits the stream's descriptors stay open, so that closing the stream
    wakes it. A loop that is closed under it will never let go of them.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._futures: dict[None, Future[None]] = {}  # one at most, set by one step

    async def readable(self, deadline_ns: int) -> None:
        """Wait until there is something or the deadline, in nanoseconds, is over."""
        import asyncio  # noqa: PLC0415 - who awaits has it already

        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self.abandon()
        try:
            if self._futures.setdefault(None, future) is not future:
                raise RuntimeError(BUSY)
            seconds = None
            if deadline_ns >= 0:
                seconds = (deadline_ns - time.monotonic_ns()) / NS_PER_S
            fd = checked(lib.procconn_hold_pollable(self._stream, _FOR_ASYNCIO))
            loop.add_reader(fd, _finish, future)
            try:
                await asyncio.wait((future,), timeout=seconds)
            finally:
                loop.remove_reader(fd)
        finally:
            if self._futures.get(None) is future:  # else another one waits
                del self._futures[None]
                lib.procconn_release_pollable(self._stream)

    def abandon(self) -> None:
        """Let go of what a closed loop holds."""
        future = self._futures.get(None)
        if future is not None and future.get_loop().is_closed():
            self._futures.pop(None, None)
            lib.procconn_release_pollable(self._stream)

    async def let_others(self) -> None:
        """Let the loop's other tasks have a turn."""
        import asyncio  # noqa: PLC0415 - who awaits has it already

        await asyncio.sleep(0)

    async def in_thread(self, call: Callable[[], _T]) -> _T:
        """Let a thread do what may block."""
        import asyncio  # noqa: PLC0415 - who awaits has it already

        return await asyncio.to_thread(call)


def _finish(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)
