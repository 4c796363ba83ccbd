"""The file format of a recording: a pcap file of netlink packets.

                 0        4        8       12       16       20       24
    file         | magic  | 2 | 4  | zone   | sigfig | snaplen| 253    |

The magic number gives the byte order, and whether times have nano- or microseconds.
Packets follow: csrc/wire/packets.h has their format, csrc/wire/packets.c reads them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from procconn import clock
from procconn._core import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedIOBase

_HEADER = "IHHiIII"
_HEADER_SIZE = struct.calcsize("=" + _HEADER)
_NANOSECONDS, _MICROSECONDS = 0xA1B23C4D, 0xA1B2C3D4
_NS_PER_US = 1000
_LINK_TYPE = 253  # LINKTYPE_NETLINK
_LINK_TYPE_BITS = 0xFFFF

_COOKED = struct.pack(">2xH10xH", lib.COOKED_TYPE_NETLINK, lib.CONNECTOR_PROTOCOL)
_LAST_NS = (1 << 32) * clock.NS_PER_S - 1  # the seconds are 32 bits wide, until 2106
_pack_header = struct.Struct("=IIII").pack

_CHUNK = 262_144  # bytes, about 2,400 events

_REMEDY = "make one with: procconn record FILE"
_OTHER_FORMATS = {
    b"\x0a\x0d\x0d\x0a": "a pcapng file; convert it: editcap -F nsecpcap FILE NEW",
    b"\x1f\x8b": "compressed; unpack it: gzip -d FILE",
    b"\x28\xb5\x2f\xfd": "compressed; unpack it: zstd -d FILE",
    b"\xfd7zXZ": "compressed; unpack it: xz -d FILE",
}

HEADER = struct.pack(
    "=" + _HEADER, _NANOSECONDS, 2, 4, 0, 0, lib.PACKET_LARGEST, _LINK_TYPE
)
"""The file header that `Recorder` writes."""

_allocate = ffi.new_allocator(should_clear_after_alloc=False)


def packet(wall_ns: int, message: bytes) -> bytes:
    """Return a packet with the message and its time, in nanoseconds since 1970."""
    seconds, fraction = divmod(min(max(wall_ns, 0), _LAST_NS), clock.NS_PER_S)
    size = lib.COOKED_SIZE + len(message)
    return _pack_header(seconds, fraction, size, size) + _COOKED + message


class ClockStep(NamedTuple):
    """The first time after a step of the wall clock, on both clocks, in nanoseconds."""

    wall_ns: int
    """Since 1970."""
    timestamp_ns: int
    """On CLOCK_MONOTONIC of the recording machine."""


class PacketReader:
    """Reader of the messages in a recording, which may be a pipe or malformed.

    Attributes:
        damage: why the file could not be read to its end, or "".
        malformed: the number of malformed packets and messages that were skipped.

    Raises:
        ValueError: the file is not a recording.
    """

    def __init__(self, file: BinaryIO | BufferedIOBase, name: str) -> None:
        # read1 does not block until a pipe has delivered the requested size.
        self._read: Callable[[int], bytes] = getattr(file, "read1", file.read)
        self._name = name
        # Data from the file, and the offset of the next packet in it. A single
        # attribute, so that they match even if two threads read: C relies on that.
        self._unread = b"", 0
        self._position = 0  # of the data in the file
        self.damage = ""
        self.malformed = 0
        self._clock: ClockStep | None = None  # the last step
        data = b""
        while len(data) < _HEADER_SIZE and (chunk := self._read(_CHUNK)):
            data += chunk
        self._is_swapped, self._unit_ns = self._check_header(data[:_HEADER_SIZE])
        self._unread = data, _HEADER_SIZE

    def messages(self) -> tuple[bytes, ClockStep | None]:
        """Return the next messages as one buffer, up to a step of the wall clock.

        Returns:
            The messages, empty at the end; the step that precedes them, or None. A
            step precedes the first messages of a recording.
        """
        while not self.damage:
            messages, step, status = self._walk()
            if messages:
                return messages, step
            if status == lib.PROCCONN_PACKETS_BAD:
                at = self._position + self._unread[1]
                self.damage = (
                    f"{self._name} is malformed from byte {at} on; all events before"
                    " that were read"
                )
            elif not self._extend():
                break
        return b"", None

    def _walk(self) -> tuple[bytes, ClockStep | None, int]:
        """Return messages, the step before them, and the status of the walk."""
        data, offset = self._unread
        before = self._clock or ClockStep(0, 0)
        copies = _allocate("uint8_t[]", len(data) - offset)
        walk = ffi.new(
            "struct procconn_packets *",
            {
                "bytes": ffi.from_buffer("uint8_t[]", data),
                "size": len(data),
                "offset": offset,
                "is_swapped": self._is_swapped,
                "unit_ns": self._unit_ns,
                "step_ns": clock.STEP_NS,
                "has_clock": self._clock is not None,
                "wall_ns": before.wall_ns,
                "timestamp_ns": before.timestamp_ns,
            },
        )
        status = lib.procconn_packets_read(walk, copies)
        messages = ffi.buffer(copies, walk.copied)[:]
        step = ClockStep(walk.wall_ns, walk.timestamp_ns) if walk.is_step else None
        self._clock = step or self._clock
        self._unread = data, walk.offset
        self.malformed += walk.malformed
        return messages, step, status

    def _extend(self) -> bool:
        """Read more of the file after an incomplete packet; False at its end."""
        data, offset = self._unread
        chunk = self._read(_CHUNK)
        incomplete = data[offset:]
        self._position += offset
        self._unread = incomplete + chunk, 0
        if incomplete and not chunk:
            self.damage = (
                f"{self._name} is truncated: its last {len(incomplete)} bytes, from"
                f" byte {self._position} on, are an incomplete event; all events before"
                " that were read"
            )
        return bool(chunk)

    def _check_header(self, header: bytes) -> tuple[bool, int]:
        """Return whether pcap's fields are byte-swapped, and the unit of fractions."""
        for magic_bytes, kind in _OTHER_FORMATS.items():
            if header.startswith(magic_bytes):
                raise ValueError(f"{self._name} is {kind}")
        if len(header) < _HEADER_SIZE:
            fault = "too short for a recording" if header else "empty"
            raise ValueError(f"{self._name} is {fault}; {_REMEDY}")
        for order in "<>":
            magic, *_, link_type = struct.unpack(order + _HEADER, header)
            if magic in (_NANOSECONDS, _MICROSECONDS):
                break
        else:
            raise ValueError(f"{self._name} is not a recording; {_REMEDY}")
        link_type &= _LINK_TYPE_BITS
        if link_type != _LINK_TYPE:
            raise ValueError(
                f"{self._name} has packets of link type {link_type}, not {_LINK_TYPE}"
                f" (netlink); {_REMEDY}"
            )
        is_swapped = magic != struct.unpack_from("=I", header)[0]
        return is_swapped, 1 if magic == _NANOSECONDS else _NS_PER_US
