"""Writing recordings."""

from __future__ import annotations

import contextlib
import select
import struct
import time
from typing import TYPE_CHECKING

from procconn import clock
from procconn._core import lib
from procconn.decoder import contiguous_view
from procconn.errors import TruncatedError
from procconn.recording.file import File, FileOwner
from procconn.recording.packets import HEADER, packet

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_GAP = lib.EVENT_TIMESTAMP_AT - lib.CN_MSG_VAL_AT - lib.WORD_SIZE
_read_time = struct.Struct(f"={lib.CN_MSG_IDX_AT}xII{_GAP}xQ").unpack_from
_read_length = struct.Struct("=I").unpack_from
_SENDERS = {(lib.CN_IDX_PROC, lib.CN_VAL_PROC), (lib.CN_IDX_OWN, lib.CN_VAL_LOST)}


class Recorder(FileOwner):
    """A recording that is being written.

    When `write` returns, its messages are in the file, even if the program crashes
    later. If `write` fails, as on a full disk, the file stays valid without them.

    Args:
        file: a path, whose file is overwritten, or created with mode 0600; or a binary
            file open for writing, such as `sys.stdout.buffer`. Closing the recorder
            does not close such a file.

    Raises:
        OSError: the file cannot be written, or the path contains a symbolic link in a
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
        """Write messages, as returned by `recv_raw`.

        Args:
            buffer: any object with the buffer protocol, in native byte order.

        Returns:
            The number of messages.

        Raises:
            TruncatedError: the message at its `offset` is incomplete; the messages
                before that were written.
            OSError: the file cannot be written; none of the messages are in it.
            ValueError: the recorder is closed.
        """
        offset_ns = clock.wall_offset_ns()
        packets = []
        at = 0
        data = contiguous_view(buffer).tobytes()
        while length := _message_length(data, at):
            message = data[at : at + length]
            packets.append(packet(_wall_ns(message, offset_ns), message))
            at += length + -length % lib.NLMSG_ALIGNMENT
        self._put(b"".join(packets))
        if at < len(data):
            raise TruncatedError(at)
        return len(packets)

    def _put(self, data: bytes) -> None:
        remaining = memoryview(data)
        try:
            while remaining:
                written = self._file.write(remaining)
                if written is None:  # a non-blocking raw file
                    select.select([], [self._file], [])
                remaining = remaining[written or 0 :]
            self._file.flush()
        except BaseException:
            if self._is_owner:
                with contextlib.suppress(OSError):  # a pipe cannot be truncated
                    self._file.truncate(self._size)
                    self._file.seek(self._size)
            raise
        self._size += len(data)


def _message_length(data: bytes, at: int) -> int:
    """Return the length of the message there; 0 if it is incomplete."""
    remaining = len(data) - at
    if remaining < lib.NLMSG_HEADER_SIZE:
        return 0
    length: int = _read_length(data, at)[0]
    return length if lib.NLMSG_HEADER_SIZE <= length <= remaining else 0


def _wall_ns(message: bytes, offset_ns: int) -> int:
    """Return the time of a message since 1970; the current time if it has none."""
    if len(message) >= lib.EVENT_DATA_AT:
        idx, val, timestamp_ns = _read_time(message)
        if (idx, val) in _SENDERS:
            return int(timestamp_ns) + offset_ns
    return time.time_ns()
