"""Recordings: the stream in a file, to be read on any machine, without privilege.

A recording is a pcap file of netlink packets with nanoseconds, so that other tools open
it too: one packet for each message that `recv_raw` returns, with the time of its event
on the wall clock.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import select
import struct
import time
import warnings
from bisect import bisect_left, bisect_right
from io import BufferedIOBase, TextIOBase
from itertools import chain
from operator import length_hint
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from procconn import clock
from procconn._core import lib
from procconn.decoder import Walk, contiguous
from procconn.errors import TruncatedError
from procconn.files import open_private
from procconn.recording.byteorder import swapped, swapped_length
from procconn.recording.packets import HEADER, PacketReader, packet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from typing import Self

    from _typeshed import ReadableBuffer

    from procconn.events import Event

File: TypeAlias = str | os.PathLike[str] | BinaryIO | BufferedIOBase

_GAP = lib.EVENT_TIMESTAMP_AT - lib.CN_MSG_VAL_AT - lib.WORD_SIZE
_read_time = struct.Struct(f"={lib.CN_MSG_IDX_AT}xII{_GAP}xQ").unpack_from
_read_length = struct.Struct("=I").unpack_from
_read_type = struct.Struct("=H").unpack_from
_SENDERS = {(lib.CN_IDX_PROC, lib.CN_VAL_PROC), (lib.CN_IDX_OWN, lib.CN_VAL_LOST)}
_NO_TIME = -1


class _OfFile:
    """What has a file, which it closes if it opened it."""

    def __init__(self, file: File, mode: str) -> None:
        self._is_ours = isinstance(file, str | os.PathLike)
        self._file: BinaryIO | BufferedIOBase
        if isinstance(file, str | os.PathLike):
            # Unbuffered: nothing is kept back that a crash would take.
            opener = open_private if mode == "wb" else None
            self._file = builtins.open(file, mode, buffering=0, opener=opener)  # type: ignore[assignment]  # noqa: SIM115
        elif isinstance(file, TextIOBase):
            raise TypeError(f"file must be binary, as of mode {mode!r}, not {file!r}")
        elif hasattr(file, "read"):
            self._file = file
        else:
            raise TypeError(f"file must be a path or a binary file, not {file!r}")

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return self._file.closed

    def close(self) -> None:
        """Close the file, unless it was given open; closing again does nothing."""
        if self._is_ours:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Recorder(_OfFile):
    """A recording that is being written.

    What `write` was given is in the file when it returns, whatever becomes of the
    program. If the disk is full, nothing of it is, and the file remains whole.

    Args:
        file: a path, whose file is overwritten, or made with mode 0600; or a binary
            file open for writing, such as `sys.stdout.buffer`, which is not closed in
            the end.

    Raises:
        OSError: the file cannot be written, or a symbolic link on the way to it is in a
            directory that others may write to.
    """

    def __init__(self, file: File) -> None:
        super().__init__(file, "wb")
        self._size = 0
        try:
            self._put(HEADER)
        except BaseException:
            self.close()
            raise

    def write(self, buffer: ReadableBuffer) -> int:
        """Write the messages that `recv_raw` returned.

        Args:
            buffer: any object with the buffer protocol, in native byte order.

        Returns:
            How many messages there were.

        Raises:
            TruncatedError: what is left at its `offset` is no whole message; those
                before it are written.
            OSError: the file cannot be written; none of these messages is in it.
            ValueError: the recorder is closed.
        """
        offset_ns = clock.wall_offset()
        packets = []
        at = 0
        data = contiguous(buffer).tobytes()
        while length := _whole_length(data, at):
            message = data[at : at + length]
            time_ns = _event_ns(message)
            wall_ns = time.time_ns() if time_ns == _NO_TIME else time_ns + offset_ns
            packets.append(packet(wall_ns, message))
            at += _span(length)
        self._put(b"".join(packets))
        if at < len(data):
            raise TruncatedError(at)
        return len(packets)

    def _put(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                written = self._file.write(left)
                if written is None:  # a raw file that does not block
                    select.select([], [self._file], [])
                left = left[written or 0 :]
            self._file.flush()
        except BaseException:
            if self._is_ours:
                with contextlib.suppress(OSError):  # a pipe takes nothing back
                    self._file.truncate(self._size)
                    self._file.seek(self._size)
            raise
        self._size += len(data)


class Recording(_OfFile):
    """A recording that is being read; `open` makes it.

    Iterate over it, or call one of the `recv` methods: the ways can be mixed, and each
    event is delivered once. There is nothing to wait for, so `timeout` is there only
    for what also reads from a `ProcConnector`.

    What a crash has left is read up to where it is whole. Behind the last event, a
    RuntimeWarning then says what is missing, and `damage` does.
    """

    def __init__(self, file: File) -> None:
        super().__init__(file, "rb")
        name = getattr(self._file, "name", None)
        try:
            self._reader = PacketReader(
                self._file, name if isinstance(name, str) else "the file"
            )
        except BaseException:
            self.close()
            raise
        # Packets that were not taken yet, the next one last: by how much the wall clock
        # was ahead, and the messages.
        self._packets: list[tuple[int, list[bytes]]] = []
        self._events: Iterator[Event] = iter(())
        self._damaged = 0
        self._told = False
        # From which monotonic time on the wall clock was ahead by how much.
        self._since: list[int] = []
        self._offsets: list[int] = []

    @property
    def damage(self) -> str:
        """What could not be read so far, as text; "" if nothing."""
        damage = [self._reader.damage] if self._reader.damage else []
        if self._damaged:
            damage.append(
                f"left out, as they hold no whole event: {self._damaged} packets"
            )
        return "; ".join(damage)

    def event_time(self, event: Event) -> datetime:
        """Tell when an event of this recording happened, as an aware datetime in UTC.

        By the dates in the file: `timestamp_ns` counts from the start of the machine
        that recorded it, while `procconn.event_time` knows only the one it runs on.

        Raises:
            ValueError: nothing was read yet, so the event is not of this recording.
        """
        if not self._since:
            raise ValueError("no event of this recording was read yet; read it first")
        index = bisect_right(self._since, event.timestamp_ns) - 1
        return clock.date(event.timestamp_ns + self._offsets[max(index, 0)])

    def __iter__(self) -> Iterator[Event]:
        """Iterate over the events, up to the end of what is whole."""
        return chain.from_iterable(iter(self._next_events, None))

    def recv(self, timeout: float | None = None) -> Event | None:
        """Return the next event; None at the end."""
        return next(iter(self), None)

    def recv_many(self, timeout: float | None = None) -> list[Event]:
        """Return the next events, up to some thousands; an empty list at the end."""
        return list(self._next_events() or ())

    def recv_raw(self, timeout: float | None = None) -> bytes:
        """Return the next messages as one netlink buffer, for `decode`.

        In this machine's byte order, also if they were recorded in the other. `decode`
        tells of those that are damaged inside.

        Returns:
            Up to some thousands of messages; empty at the end.
        """
        return self._next_messages()

    def _next_events(self) -> Iterator[Event] | None:
        """Return an iterator that has events; None at the end."""
        while not length_hint(self._events):
            messages = self._next_messages()
            if not messages:
                return None
            self._events = iter(self._decode(messages))
        return self._events

    def _decode(self, messages: bytes) -> list[Event]:
        events: list[Event] = []
        with Walk(messages) as walk:
            while walk.left:
                status = walk.take(events)
                if status == lib.PROCCONN_NO_MEMORY:
                    raise walk.failure(status, events)
                self._damaged += status < 0
        return events

    def _next_messages(self) -> bytes:
        while not self._packets:
            packets = self._reader.packets()
            if not packets:
                self._tell_damage()
                return b""
            self._packets = [
                (wall_ns - _event_ns(messages[0]), messages)
                for wall_ns, data in reversed(packets)
                if (messages := self._events_in(data))
            ]
        return b"".join(self._take_messages())

    def _take_messages(self) -> list[bytes]:
        """Take packets up to a step of the wall clock, at least one."""
        ahead_ns, taken = self._packets.pop()
        self._note_clock(ahead_ns, taken[0])
        while self._packets and not self._is_step(self._packets[-1][0]):
            taken += self._packets.pop()[1]
        return taken

    def _note_clock(self, ahead_ns: int, message: bytes) -> None:
        if not self._offsets or self._is_step(ahead_ns):
            since_ns = _event_ns(message)
            # Another start of the machine, if time has gone back.
            later = bisect_left(self._since, since_ns)
            self._since[later:] = [since_ns]
            self._offsets[later:] = [ahead_ns]

    def _is_step(self, ahead_ns: int) -> bool:
        return abs(ahead_ns - self._offsets[-1]) > clock.STEP

    def _events_in(self, data: bytes) -> list[bytes]:
        """Split a packet into messages, padded, in native order; keep the events."""
        messages = []
        at = 0
        while at < len(data):
            if length := _whole_length(data, at):
                message = data[at : at + length]
            elif length := swapped_length(data, at):
                message = swapped(data[at : at + length])
            else:
                self._damaged += 1
                break
            at += _span(length)
            if _event_ns(message) != _NO_TIME:
                messages.append(message + bytes(_span(length) - length))
            else:
                self._damaged += _is_failure(message)
        return messages

    def _tell_damage(self) -> None:
        if self.damage and not self._told:
            self._told = True
            warnings.warn(self.damage, RuntimeWarning, stacklevel=2)


def open(file: File) -> Recording:  # noqa: A001 - as gzip.open is called
    """Open a recording for reading.

    Args:
        file: a path, or a binary file open for reading, which may be a pipe, such as
            `sys.stdin.buffer`, and is not closed in the end.

    Raises:
        ValueError: it is no recording; the text says what to do.
        OSError: the file cannot be read.
    """
    return Recording(file)


def _whole_length(data: bytes, at: int) -> int:
    """Tell how long the message there is; 0 if it is not whole."""
    left = len(data) - at
    if left < lib.NLMSG_HEADER_SIZE:
        return 0
    length: int = _read_length(data, at)[0]
    return length if lib.NLMSG_HEADER_SIZE <= length <= left else 0


def _span(length: int) -> int:
    """Tell how far it is from a message to the next."""
    return length + -length % lib.NLMSG_ALIGNMENT


def _event_ns(message: bytes) -> int:
    """Tell the monotonic time in a message; _NO_TIME if it is no event."""
    if len(message) < lib.EVENT_DATA_AT:
        return _NO_TIME
    idx, val, time_ns = _read_time(message)
    return time_ns if (idx, val) in _SENDERS else _NO_TIME


def _is_failure(message: bytes) -> bool:
    """Tell whether a message that is no event says that something is missing."""
    kind: int = _read_type(message, lib.NLMSG_TYPE_AT)[0]
    if kind == lib.NLMSG_TYPE_ERROR:
        at = lib.NLMSG_HEADER_SIZE
        return message[at : at + lib.WORD_SIZE] != bytes(lib.WORD_SIZE)
    return kind == lib.NLMSG_TYPE_OVERRUN
