"""What the kernel dropped: how many events, and where in the stream."""

from __future__ import annotations

import contextlib
import socket
import struct
from bisect import bisect_right
from operator import attrgetter

from procconn._core import ffi
from procconn.events import Event, Lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from procconn._core import RawView, Received
    from procconn.decoder import CBuffer
    from procconn.socketfilter import Wanted

# asm-generic/socket.h, linux/sock_diag.h: nine u32, the last counts drops
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("=9I")

_SOL_NETLINK = 270
_NO_ENOBUFS = 5  # NETLINK_NO_ENOBUFS (linux/netlink.h)

_U32 = 0xFFFFFFFF
_NLMSG_LEN_AT = 0
_SEQUENCE_AT = 24
_CPU_AT = 40

_timestamp = attrgetter("timestamp_ns")


class LossCounter:
    """Counts the messages dropped for a socket and places `Lost` in the stream.

    The kernel's own count (Linux 4.12) is exact. It leaves the socket free to set
    NETLINK_NO_ENOBUFS, without which the kernel drops all events from the first that
    finds no room until the queue is empty.

    On older kernels the count is a lower bound. Messages carry a sequence number per
    CPU; what is missing of it was dropped, as long as there is no filter. With a
    filter only the occasions are counted.

    Attributes:
        gaps: those that the stream does not show yet.
        exact: whether the kernel counts.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        # Events noted so far, and the kernel's count at that time: replaced together,
        # as `total` may be asked for by another thread.
        self._noted = (0, 0)
        self.gaps: list[Lost] = []
        self._next_sequence: dict[int, int] = {}
        self.exact = True
        try:
            self._read_drops()
        except OSError:
            self.exact = False
        else:
            sock.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)

    def total(self) -> int:
        """Return the number of events lost so far, in the stream or not yet."""
        counted, drops = self._noted
        with contextlib.suppress(OSError):  # closed, or an older kernel
            counted += (self._read_drops() - drops) & _U32
        return counted

    def settle(self) -> None:
        """Count what was dropped until now: the socket is about to be closed."""
        drops = self._noted[1]
        with contextlib.suppress(OSError):  # an older kernel
            drops = self._read_drops()
        self._noted = (self._noted[0] + ((drops - self._noted[1]) & _U32), drops)

    def note(self, received: Received, buffer: CBuffer, wanted: Wanted) -> None:
        """Take in what a drain tells; doing so twice changes nothing.

        The gap opened before the drain did, as far as can be known.
        """
        counted, drops = self._noted
        if received.has_drops:
            count = (received.drops - drops) & _U32
            drops = received.drops
        elif not wanted.everything:
            count = received.overflowed
            self._next_sequence.clear()
        else:
            count = self._missing(ffi.buffer(buffer, received.size))
        count += received.damaged
        if count:
            gap = Lost(count, received.started_ns)
            # Signal handlers run at calls, and may raise: there is none from here on.
            received.overflowed = received.damaged = 0
            self._noted = (counted + count, drops)
            self.gaps = [*self.gaps, gap]

    def note_unknown(self, timestamp_ns: int) -> None:
        """Tell the stream that an unknown number was lost."""
        self.gaps.append(Lost(0, timestamp_ns))

    def forget_gaps(self) -> None:
        """Drop the gaps that the stream does not show yet; the total stays."""
        self.gaps.clear()

    def place(self, events: list[Event], *, emptied: bool) -> list[Lost]:
        """Insert the gaps into a batch of events; return those that must wait.

        A full queue only shrinks by reading, so all events queued when the drain began
        come before the gap: those with older timestamps. If the batch does not reach
        that far, and the socket was not `emptied`, the gap waits for the next one.
        """
        waiting = [*self.gaps]
        while waiting:
            index = bisect_right(events, waiting[0].timestamp_ns, key=_timestamp)
            if index == len(events) and not emptied:
                break
            events.insert(index, waiting.pop(0))
        return waiting

    def _read_drops(self) -> int:
        option = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        drops: int = _MEMINFO.unpack(option)[-1]
        return drops

    def _missing(self, raw: RawView) -> int:
        """Count the gaps in the per-CPU sequence numbers."""
        missing = at = 0
        while at < len(raw):
            (length,) = struct.unpack_from("=I", raw, at + _NLMSG_LEN_AT)
            (sequence,) = struct.unpack_from("=I", raw, at + _SEQUENCE_AT)
            (cpu,) = struct.unpack_from("=I", raw, at + _CPU_AT)
            ahead = (sequence - self._next_sequence.get(cpu, sequence)) & _U32
            if ahead <= _U32 // 2:  # else it was seen before
                missing += ahead
                self._next_sequence[cpu] = (sequence + 1) & _U32
            at += length
        return missing
