"""The stream of C, with its failures as exceptions and the events it has decoded.

csrc/stream.h says who may do what to it. One call waits, receives, and puts the events
where this object hands them out. Signal handlers of Python run between bytecodes and
may raise, but only behind a call or a jump. So whoever takes events out of here does it
by a last statement that has none: whatever a handler interrupts, an event is either
still here or delivered. What is to be done with the stream behind a call of C, its
holder does, whom nobody gets in the way of.
"""

from __future__ import annotations

import atexit
import errno
import os
import time
from itertools import count
from operator import length_hint
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet

from procconn import environment
from procconn._core import ffi, lib
from procconn.decoder import iterate
from procconn.errors import BufferTooSmallError
from procconn.events import Event, EventMask, Exit, Lost, Unknown
from procconn.status import checked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from procconn._core import Filter, RawView, Settings, Window

_T = TypeVar("_T")

_HOLDERS = count(1)


def new_filter(mask: EventMask, *, threads: bool) -> Filter:
    """Return a filter for the C module."""
    thread_mask = EventMask.ALL if threads else EventMask.NONE
    made: Filter = ffi.new(
        "struct procconn_filter *", {"mask": mask, "thread_mask": thread_mask}
    )
    return made


def matches(event_filter: Filter, event: Event) -> bool:
    """Return whether a decoded event passes the filter; `Lost` passes any."""
    if isinstance(event, Lost):
        return True
    is_thread = not isinstance(event, Unknown) and event.is_thread
    exit_code = event.exit_code if isinstance(event, Exit) else 0
    return bool(
        lib.procconn_filter_matches(event_filter, event.what, is_thread, exit_code)
    )


class Stream:
    """A stream, opened but not subscribed yet.

    Attributes:
        decoded: its one item hands out what is decoded and was not taken yet.
        window: what C shows without a call.
        handle: the stream itself, alive as long as this object.
        has_thread: whether a thread receives.
        is_polled: whether somebody may wait for a descriptor.
    """

    def __init__(self, settings: Settings, timeout_ns: int) -> None:
        self.has_thread = self.is_polled = self._has_warned = False
        self.decoded: list[Iterator[Event]] = [iterate([])]
        settings.decoded = ffi.cast("void *", id(self.decoded))
        self._timeout_ns = timeout_ns
        # Whatever a signal handler interrupts, C ends what is collected.
        self._place = ffi.gc(ffi.new("struct procconn_stream *[1]"), lib.procconn_free)
        _ALL.add(self)
        checked(lib.procconn_open(self._place, settings))
        self.handle = self._place[0]
        self.window: Window = lib.procconn_window(self.handle)

    @property
    def left(self) -> int:
        """How many events are decoded and not taken."""
        return length_hint(self.decoded[0])

    def listen(self, *, again: bool = False) -> None:
        """Ask the kernel for events, unless it was done and it is not to be again."""
        deadline_ns = time.monotonic_ns() + self._timeout_ns
        status = -errno.EINTR
        while status == -errno.EINTR:
            nonce = int.from_bytes(os.urandom(4))
            left_ns = max(0, deadline_ns - time.monotonic_ns())
            status = lib.procconn_subscribe(self.handle, nonce, left_ns, again)
        checked(status)

    def try_read(self, deadline_ns: int, most: int) -> int:
        """Wait until there are events, and return the status of the call."""
        rounds = self.window.rounds
        left = length_hint(self.decoded[0])
        status = lib.procconn_read(self.handle, deadline_ns, most, rounds, left)
        if self.window.programs_error and not self._has_warned:
            self._warn_of_programs()
        return status

    def read(self, deadline_ns: int, most: int) -> None:
        """Let there be events, unless the deadline passes.

        Args:
            deadline_ns: on CLOCK_MONOTONIC, nanoseconds; 0 polls, -1 waits for ever.
            most: how many bytes of messages to decode.
        """
        while status := self.try_read(deadline_ns, most):
            self._look_into(status)

    def take_raw(
        self, deadline_ns: int, most: int, copied: Callable[[RawView], _T]
    ) -> _T:
        """Wait for messages, and take what `copied` makes of them.

        Raises:
            BufferTooSmallError: the next message has more than `most` bytes.
        """
        window, holder = self.window, next(_HOLDERS)
        try:
            while status := lib.procconn_wait(self.handle, deadline_ns, most, holder):
                if status == -errno.EMSGSIZE:
                    raise BufferTooSmallError(window.needed)
                self._look_into(status)
            if window.programs_error and not self._has_warned:
                self._warn_of_programs()
            result = copied(ffi.buffer(window.bytes, window.size))
            if self.is_polled:
                self.announce(self.left)
            size = window.size
        except BaseException:
            lib.procconn_let_go(self.handle, holder)
            raise
        window.taken = size
        return result

    def change(self, new: Filter | None) -> None:
        """Change the filter, also for the events that are decoded already.

        Args:
            new: None restores the filter from before `unsubscribe`.
        """
        holder = next(_HOLDERS)
        kept: list[Event] = []
        fresh = iterate(kept)
        try:
            checked(lib.procconn_change(self.handle, new or ffi.NULL, holder))
            kept += self.decoded[0]  # out of the reach of who takes some meanwhile
            if new is not None:
                kept[:] = [event for event in kept if matches(new, event)]
        finally:
            if kept:
                self.decoded[0] = fresh
            lib.procconn_let_go(self.handle, holder)
        if self.is_polled:
            self.announce(self.left)

    def announce(self, left: int) -> None:
        """Tell pollers, before events are taken, how many will be left."""
        try:
            lib.procconn_set_waiting(self.handle, left)
        except BaseException:  # of a signal handler: nothing is taken
            lib.procconn_set_waiting(self.handle, 1)
            raise

    def start_thread(self, queue: int) -> None:
        """Have a thread receive into a queue of so many bytes; once is enough."""
        checked(lib.procconn_start_thread(self.handle, queue))
        self.has_thread = True

    def close(self) -> None:
        """End it; no signal handler can interrupt that."""
        if self._place[0]:
            lib.procconn_close(self._place[0])

    def forget(self) -> None:
        """In a forked child, leave to the parent what is decoded."""
        self.decoded[0] = iterate([])

    def _warn_of_programs(self) -> None:
        """Warn once that programs are not read any more; what came stays."""
        self._has_warned = True
        environment.warn_of_programs(-self.window.programs_error)

    def _look_into(self, status: int) -> None:
        """Come back if the call is to be repeated, else raise."""
        if status == -errno.ENOTCONN:
            self.listen(again=True)
            environment.warn_of_renewal()
        elif status not in (-errno.EINTR, -errno.EAGAIN):
            checked(status)


_ALL: WeakSet[Stream] = WeakSet()


@atexit.register
def _close_all() -> None:
    """The kernel does not notice the end of a process."""
    _close_each([*_ALL])


def _close_each(streams: list[Stream]) -> None:
    """Close all, whatever signal handlers raise meanwhile."""
    try:
        while streams:
            streams[-1].close()
            del streams[-1]
    finally:
        if streams:
            _close_each(streams)


def _forget_all() -> None:
    for stream in [*_ALL]:
        stream.forget()


os.register_at_fork(after_in_child=_forget_all)
