"""`ProcConnector`: opening, the ways to read, closing."""

from __future__ import annotations

import errno
import os
import warnings
from typing import TYPE_CHECKING

from procconn import _arguments, diagnosis
from procconn._core import ffi, lib
from procconn._stream import FOR_FILENO, Awaiting, Stream, change, checked, new_filter
from procconn.clock import FOR_EVER, passed
from procconn.errors import ConnectionClosedError
from procconn.events import Event, EventMask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Self

    from _typeshed import WriteableBuffer

_LARGEST_ROOM = (1 << 30) - 1  # the kernel doubles it, in an int
_SMALLEST_QUEUE = 65_536
_USUAL_QUEUE = 67_108_864
_LARGEST_QUEUE = 1 << 40


class ProcConnector:
    """A subscription to the kernel's process events.

    Opening one subscribes and waits for the acknowledgement. Iterate over it, call one
    of the `recv` methods, or use `async for`; the ways can be mixed, and each event is
    delivered once. One thread at a time may read, subscribe or unsubscribe; `close`
    may be called from any other, and from a signal handler.

    After a fork, the process that opened it goes on as before, whatever the child does
    with its copy, such as closing it; the child can read no more from it.

    Args:
        mask: the kinds of events that are wanted; the kernel filters out the others.
        threads: whether events of threads other than a process's first are wanted.
        programs: whether each `Exec` carries the `Program` that was run. A thread reads
            /proc at once, at real-time priority if the system permits it; where not, a
            RuntimeWarning says what is missing. An exec, and what follows it, may wait
            up to `max_latency` for that.
        usage: whether each `Exit` carries the `Usage` of its task, from taskstats; if
            that cannot be had, a RuntimeWarning says what is missing.
        receive_buffer: the size to ask the kernel for, in bytes; an event takes
            416. None asks for a 64th of the machine's memory, from 32 to 128 MiB, and
            is content with 32. A RuntimeWarning says if net.core.rmem_max allows less.
        queue: the size of a queue in the process, in bytes; an event takes 76. A thread
            receives into it whatever the program is doing, with CAP_SYS_NICE before all
            ordinary ones (nice -20). 0: no thread, no queue.
        max_latency: the reader is woken at once after a silence, and after that at most
            once in so long, in seconds; 0 wakes it for every event.
        timeout: how long to wait for the acknowledgement, in seconds.
        heartbeat: after so long without a message, make sure that the subscription
            still lives, in seconds; None never does. One that does not live is renewed,
            with a RuntimeWarning and a `Lost` of count 0 in the stream.

    Raises:
        UnsupportedError: no events can come here; the text says why.
        PermissionError: the kernel is older than 6.6 and wants CAP_NET_ADMIN.
        OSError: no thread can be started; the text names the limit.
        TypeError, ValueError: an argument is of a wrong type, or out of range.
    """

    def __init__(
        self,
        mask: EventMask = EventMask.ALL,
        *,
        threads: bool = True,
        programs: bool = False,
        usage: bool = False,
        receive_buffer: int | None = None,
        queue: int = 0,
        max_latency: float = 0.001,
        timeout: float = 1.0,
        heartbeat: float | None = None,
    ) -> None:
        _check_mask(mask)
        self._threads = _arguments.boolean("threads", threads)
        timeout_ns = _arguments.seconds("timeout", timeout, positive=True)
        _arguments.whole("queue", queue, 0, _LARGEST_QUEUE)
        if 0 < queue < _SMALLEST_QUEUE:
            raise ValueError(
                f"queue must be 0 or at least {_SMALLEST_QUEUE} bytes, not {queue}"
            )
        settings = ffi.new("struct procconn_settings *")
        settings.filter = new_filter(mask, threads=self._threads)[0]
        settings.programs = _arguments.boolean("programs", programs)
        if programs:
            diagnosis.check_proc()
        settings.usage = _arguments.boolean("usage", usage)
        if receive_buffer is None:
            settings.receive_buffer = diagnosis.usual_room()
            least_room = diagnosis.ROOM_FOR_BURSTS
        else:
            settings.receive_buffer = least_room = _arguments.whole(
                "receive_buffer", receive_buffer, 1, _LARGEST_ROOM, or_none=True
            )
        settings.coalesce_ns = _arguments.seconds("max_latency", max_latency)
        settings.heartbeat_ns = -1
        if heartbeat is not None:
            settings.heartbeat_ns = _arguments.seconds(
                "heartbeat", heartbeat, positive=True, or_none=True
            )

        # A thread makes its descriptor readable when programs are there, not before.
        self._needs_queue = programs
        # Before the socket is opened, which would receive the event.
        can_check = heartbeat is None or lib.procconn_rename_thread() >= 0
        self._owner = os.getpid()
        self._stream = Stream(settings, timeout_ns)
        self._reader = self._stream.make_reader()
        self._awaiting = Awaiting(self._stream.handle)
        try:
            self._stream.listen()
            if queue:
                self._stream.start_thread(queue)
            diagnosis.warn_of_limits(self._stream.view, least_room)
            if not can_check:
                diagnosis.warn_of_heartbeat()
        except BaseException:
            self.close()
            raise

    # Python runs signal handlers after a call or a jump. A `for` statement that returns
    # what it takes from the reader has neither, so a handler that raises loses nothing.

    def __iter__(self) -> Iterator[Event]:
        """Iterate over the events as they come, until the connector is closed.

        An iterator that has raised goes on with the next call.
        """
        self._check_open()
        return self._reader.events(FOR_EVER, self)

    def recv(self, timeout: float | None = None) -> Event | None:
        """Receive one event.

        Args:
            timeout: how long to wait, in seconds; None waits for ever, 0 not at all.

        Returns:
            The event; None if none came in time.

        Raises:
            ConnectionClosedError: the connector was closed meanwhile.
            RuntimeError: another thread is reading, or this is a forked child.
            MemoryError: there is not enough; nothing is lost by it.
            ValueError: the connector is closed.
        """
        self._check_open()
        for event in self._reader.events(_arguments.deadline_ns(timeout)):
            return event
        return None

    def recv_many(self, timeout: float | None = None) -> list[Event]:
        """Receive everything that is waiting; wait until there is something.

        Takes and raises what `recv` does.

        Returns:
            The events; an empty list if none came in time.
        """
        self._check_open()
        for events in self._reader.lists(_arguments.deadline_ns(timeout)):
            return events
        return []

    def recv_raw(self, timeout: float | None = None) -> bytes:
        """Receive everything that is waiting as one netlink buffer, for `decode`.

        Takes and raises what `recv` does. What `recv` or an iteration has decoded
        already is not in it, and stays for those.

        Returns:
            The messages as the kernel sent them, and the library's of loss between
            them; empty if none came in time.
        """
        self._check_open()
        for messages in self._reader.raw(_arguments.deadline_ns(timeout)):
            return messages
        return b""

    def recv_into(self, buffer: WriteableBuffer, timeout: float | None = None) -> int:
        """Receive like `recv_raw`, into a buffer: as many complete messages as fit.

        Args:
            buffer: a writable, contiguous object with the buffer protocol.
            timeout: how long to wait, in seconds; None waits for ever, 0 not at all.

        Returns:
            The number of bytes written; 0 if nothing came in time.

        Raises:
            BufferTooSmallError: the next message does not fit; it stays queued.
        """
        self._check_open()
        place = _arguments.writable("buffer", buffer)
        for size in self._reader.into(place, _arguments.deadline_ns(timeout)):
            return size
        return 0

    def subscribe(self, mask: EventMask | None = None) -> None:
        """Change the mask, and subscribe again after `unsubscribe`.

        Args:
            mask: the kinds wanted from now on, also of the events already queued;
                None leaves it as it is.

        Raises:
            RuntimeError: another thread is reading, or this is a forked child.
            TypeError: the mask is no EventMask.
            UnsupportedError, PermissionError: as when opening.
        """
        self._check_open()
        changed = None
        if mask is not None:
            _check_mask(mask)
            changed = new_filter(mask, threads=self._threads)
        change(self._reader, changed)
        self._stream.listen()

    def unsubscribe(self) -> None:
        """Stop the events; those already queued can still be read."""
        self._check_open()
        checked(lib.procconn_unsubscribe(self._stream.handle))

    @property
    def lost(self) -> int:
        """How many events the kernel dropped for this connector so far, exactly.

        Before Linux 4.12 the kernel does not count them, and they are not in it.
        """
        return lib.procconn_lost(self._stream.handle).events

    @property
    def usage_lost(self) -> int:
        """How many records of usage were lost so far: those exits have none."""
        return lib.procconn_lost(self._stream.handle).usages

    @property
    def receive_buffer(self) -> int:
        """Size that the kernel granted, in bytes, in setsockopt() units."""
        return self._stream.view.receive_buffer

    @property
    def closed(self) -> bool:
        """Whether the connector is closed."""
        return bool(self._stream.view.closed)

    def fileno(self) -> int:
        """Return a descriptor to wait for readability, as `select` and loops do.

        Readable means that `recv(0)` or `recv_many(0)` returns something or raises.
        Made at the first call; before that nothing is spent on it. With programs, that
        call starts a thread with a queue of 64 MiB unless there is one.

        Raises:
            ValueError: the connector is closed.
            ConnectionClosedError: it was closed meanwhile.
            RuntimeError: this is a forked child, and its parent had made none.
        """
        self._check_open()
        if self._needs_queue and not self._stream.has_thread:
            self._stream.start_thread(_USUAL_QUEUE)
        return checked(lib.procconn_pollable(self._stream.handle, FOR_FILENO))

    def close(self) -> None:
        """End the subscription and close the descriptors.

        A thread blocked in reading stops: its iteration ends, its `recv` raises
        ConnectionClosedError. Closing again does nothing. The descriptor of `fileno`
        stays, readable, until this object goes, for who waits on it elsewhere.
        """
        self._stream.close()
        self._awaiting.abandon()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        """Iterate on asyncio, until the connector is closed.

        Starts a thread with a queue of 64 MiB unless there is one.
        """
        self._check_open()
        return self._iterate_async()

    async def _iterate_async(self) -> AsyncIterator[Event]:
        try:
            while True:
                await self._read_async(FOR_EVER)
                for event in self._reader.pending_events():
                    yield event
        except ConnectionClosedError:
            return

    async def arecv_many(self, timeout: float | None = None) -> list[Event]:
        """Receive what is waiting, on asyncio; wait until there is something.

        Takes and raises what `recv_many` does, and starts what `async for` does.

        Returns:
            The events, at most some 3,400, so that the loop is not held up; an empty
            list if none came in time.
        """
        self._check_open()
        await self._read_async(_arguments.deadline_ns(timeout))
        for events in self._reader.pending_lists():
            return events
        return []

    def __del__(self) -> None:
        opened = hasattr(self, "_stream")
        if opened and not self.closed and os.getpid() == self._owner:
            message = f"unclosed {self!r}"
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closed' if self.closed else 'open'}>"

    async def _read_async(self, deadline_ns: int) -> None:
        """Let there be events, unless the deadline passes, on asyncio."""
        if not self._stream.has_thread:
            self._stream.start_thread(_USUAL_QUEUE)
        if not len(self._reader):
            await self._awaiting.let_others()  # however long a burst lasts
        while not len(self._reader):
            status = self._reader.poll()
            if status == -errno.ENOTCONN:
                await self._awaiting.in_thread(lambda: self._stream.listen(again=True))
                diagnosis.warn_of_renewal()
            elif checked(status) or len(self._reader) or passed(deadline_ns):
                return
            else:
                await self._awaiting.readable(deadline_ns)

    def _check_open(self) -> None:
        if self._stream.view.closed:
            raise ValueError("I/O operation on a closed ProcConnector")


def _check_mask(mask: EventMask) -> None:
    """Check that it is an EventMask, so that no bit is set that is no event's."""
    if not isinstance(mask, EventMask):
        raise TypeError(
            "mask must be an EventMask, such as EventMask.EXEC | EventMask.EXIT,"
            f" not {mask!r}"
        )
