"""The file of a recording: a pcap file of netlink packets, as bytes.

                 0        4        8       12       16       20       24
    file         | magic  | 2 | 4  | zone   | sigfig | snaplen| 253    |
    each packet  | seconds| ns     | kept   | size   |
                 | 0 |824 | unused                   |11|  message ...

The magic number tells the byte order, and nanoseconds from microseconds. The second
line of a packet, 16 bytes, is big-endian in every file: ARPHRD_NETLINK and the netlink
protocol. `kept` counts it and the message.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO

from procconn._core import lib
from procconn.clock import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedIOBase

_HEADER = "IHHiIII"
_HEADER_SIZE = struct.calcsize("=" + _HEADER)
_NANOSECONDS, _MICROSECONDS = 0xA1B23C4D, 0xA1B2C3D4
_NS_PER_US = 1000
_LINK_TYPE = 253  # LINKTYPE_NETLINK
_LINK_TYPE_BITS = 0xFFFF
_LARGEST = 262_144  # bytes of a packet: what pcap tools take for sane

_PACKET = "IIII"
_PACKET_SIZE = struct.calcsize("=" + _PACKET)
_COOKED = struct.pack(">2xH10xH", 824, lib.CONNECTOR_PROTOCOL)
_COOKED_SIZE = len(_COOKED)
_PROTOCOL_AT = 14
_PROTOCOL = _COOKED[_PROTOCOL_AT:]
_LAST_NS = (1 << 32) * NS_PER_S - 1  # in 2106, what the seconds have room for
_write_packet = struct.Struct("=" + _PACKET).pack

_CHUNK = 262_144  # bytes, some 2,400 events

_REMEDY = "make one with: procconn record FILE"
_OTHERS = {
    b"\x0a\x0d\x0d\x0a": "a pcapng file; convert it: editcap -F nsecpcap FILE NEW",
    b"\x1f\x8b": "compressed; unpack it: gzip -d FILE",
    b"\x28\xb5\x2f\xfd": "compressed; unpack it: zstd -d FILE",
    b"\xfd7zXZ": "compressed; unpack it: xz -d FILE",
}

HEADER = struct.pack("=" + _HEADER, _NANOSECONDS, 2, 4, 0, 0, _LARGEST, _LINK_TYPE)
"""What a recording begins with, as it is written here."""


def packet(wall_ns: int, message: bytes) -> bytes:
    """Make a packet of a message, with its time since 1970, in nanoseconds."""
    seconds, fraction = divmod(min(max(wall_ns, 0), _LAST_NS), NS_PER_S)
    size = _COOKED_SIZE + len(message)
    return _write_packet(seconds, fraction, size, size) + _COOKED + message


class PacketReader:
    """Reads packets from a file that may be a pipe and may hold anything.

    Attributes:
        damage: why it could not be read to its end, or "".

    Raises:
        ValueError: it is no recording.
    """

    def __init__(self, file: BinaryIO | BufferedIOBase, name: str) -> None:
        # What is there, rather than as much as was asked for: it may be a pipe.
        self._read: Callable[[int], bytes] = getattr(file, "read1", file.read)
        self._name = name
        self._data = b""
        self._position = 0  # of the data in the file
        self.damage = ""
        while len(self._data) < _HEADER_SIZE and (chunk := self._read(_CHUNK)):
            self._data += chunk
        self._unpack, self._unit_ns = self._take_header()

    def packets(self) -> list[tuple[int, bytes]]:
        """Return the next ones, as times in nanoseconds since 1970 and what they hold.

        Packets of other netlink protocols are left out. An empty list is the end.
        """
        found: list[tuple[int, bytes]] = []
        while not found and not self.damage:
            found, taken = self._split()
            self._position += taken
            self._data = self._data[taken:]
            if not found and not self.damage:
                chunk = self._read(_CHUNK)
                self._data += chunk
                if not chunk:
                    break
        if not found and not self.damage and self._data:
            self.damage = (
                f"{self._name} was cut off: its last {len(self._data)} bytes, from byte"
                f" {self._position} on, are no whole event; all before them was read"
            )
        return found

    def _split(self) -> tuple[list[tuple[int, bytes]], int]:
        """Take what is whole from the data; return it, and how many bytes it takes."""
        found: list[tuple[int, bytes]] = []
        data, unit_ns, unpack = self._data, self._unit_ns, self._unpack
        at, size = 0, len(data)
        while at + _PACKET_SIZE <= size:
            seconds, fraction, kept, _ = unpack(data, at)
            if not _COOKED_SIZE <= kept <= _LARGEST:
                if not found:  # else the next call comes here again
                    self.damage = (
                        f"{self._name} is damaged from byte {self._position + at} on;"
                        " all before it was read"
                    )
                break
            start, end = at + _PACKET_SIZE, at + _PACKET_SIZE + kept
            if end > size:
                break
            if data[start + _PROTOCOL_AT : start + _COOKED_SIZE] == _PROTOCOL:
                wall_ns = seconds * NS_PER_S + fraction * unit_ns
                found.append((wall_ns, data[start + _COOKED_SIZE : end]))
            at = end
        return found, at

    def _take_header(self) -> tuple[Callable[[bytes, int], tuple[int, ...]], int]:
        header, self._data = self._data[:_HEADER_SIZE], self._data[_HEADER_SIZE:]
        self._position = len(header)
        for beginning, kind in _OTHERS.items():
            if header.startswith(beginning):
                raise ValueError(f"{self._name} is {kind}")
        if len(header) < _HEADER_SIZE:
            what = "too short for a recording" if header else "empty, so no recording"
            raise ValueError(f"{self._name} is {what}; {_REMEDY}")
        for order in "<>":
            magic, *_, link_type = struct.unpack(order + _HEADER, header)
            if magic in (_NANOSECONDS, _MICROSECONDS):
                break
        else:
            raise ValueError(f"{self._name} is no recording; {_REMEDY}")
        link_type &= _LINK_TYPE_BITS
        if link_type != _LINK_TYPE:
            raise ValueError(
                f"{self._name} holds packets of link type {link_type}, not"
                f" {_LINK_TYPE}, netlink; {_REMEDY}"
            )
        unit_ns = 1 if magic == _NANOSECONDS else _NS_PER_US
        return struct.Struct(order + _PACKET).unpack_from, unit_ns
