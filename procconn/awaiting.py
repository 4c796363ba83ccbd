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
        self._future: Future[None] | None = None

    async def readable(self, deadline_ns: int) -> None:
        """Wait until there is something or the deadline, in nanoseconds, is over."""
        import asyncio  # noqa: PLC0415 - who awaits has it already

        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self.abandon()
        if self._future is not None:
            raise RuntimeError(BUSY)
        self._future = future  # no call since the look, so no other thread's loop came
        try:
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
            if self._future is future:  # else a closed loop's, and another one waits
                self._future = None
                lib.procconn_release_pollable(self._stream)

    def abandon(self) -> None:
        """Let go of what a closed loop holds."""
        if self._future is not None and self._future.get_loop().is_closed():
            self._future = None
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
