"""A parser of a recording's packets in plain Python, for differential tests.

It shares nothing with the C module: it has its own copy of all offsets, sizes and
constants.
"""

import struct
import sys
from typing import NamedTuple

BAD, PART, STEP = -1, 0, 1

FOREIGN = ">" if sys.byteorder == "little" else "<"

_KEPT = range(16, 262_144 + 1)
_CONNECTOR = b"\x00\x0b"
_STEP_NS = 1_000_000
_ERROR, _OVERRUN = 2, 4
_PROC, _LOST = (1, 1), (0x636F6E6E, 1)

_WORDS = {
    0x00000000: 1,  # an acknowledgement
    0x00000001: 4,
    0x00000002: 2,
    0x00000004: 4,
    0x00000040: 4,
    0x00000080: 2,
    0x00000100: 4,
    0x00000200: 2,
    0x40000000: 4,
    0x80000000: 6,
}
_EXEC, _EXIT = 2, 0x80000000
_TRAILERS = {0x636E7067: "IHH5I5HH", 0x636E7573: "IHH13Q"}

Clock = tuple[int, int]
"""Nanoseconds of a packet's timestamp and of its first event's timestamp."""


class Walked(NamedTuple):
    """The result of one call."""

    status: int
    offset: int
    messages: bytes
    is_step: bool
    clock: Clock | None
    malformed: int


def walk(
    data: bytes, offset: int, order: str, unit_ns: int, clock: Clock | None
) -> Walked:
    """Parse packets as `procconn_packets_read` does."""
    messages, malformed, is_step = b"", 0, False
    while len(data) - offset >= 16:
        seconds, fraction, kept, _ = struct.unpack_from(order + "IIII", data, offset)
        if kept not in _KEPT:
            return Walked(BAD, offset, messages, is_step, clock, malformed)
        packet = data[offset + 16 : offset + 16 + kept]
        if len(packet) < kept:
            break
        if packet[14:16] == _CONNECTOR:
            found, skipped = events_in(packet[16:])
            if found:
                wall_ns = seconds * 10**9 + fraction * unit_ns
                (timestamp_ns,) = struct.unpack_from("=Q", found[0], 44)
                if clock is None or _differ(clock, (wall_ns, timestamp_ns)):
                    if messages:
                        return Walked(STEP, offset, messages, is_step, clock, malformed)
                    clock, is_step = (wall_ns, timestamp_ns), True
            messages += b"".join(found)
            malformed += skipped
        offset += 16 + kept
    return Walked(PART, offset, messages, is_step, clock, malformed)


def _differ(one: Clock, other: Clock) -> bool:
    return abs((one[0] - one[1]) - (other[0] - other[1])) > _STEP_NS


def events_in(packet: bytes) -> tuple[list[bytes], int]:
    """Return a packet's messages with timestamps, and the number of malformed ones."""
    found: list[bytes] = []
    malformed = 0
    while packet:
        length = _length(packet, "=")
        message = packet[:length]
        if not length:
            length = _length(packet, FOREIGN)
            if not length:
                return found, malformed + 1
            message = converted(packet[:length])
        padded = length + -length % 4
        packet = packet[padded:]
        if length >= 52 and struct.unpack_from("=II", message, 16) in (_PROC, _LOST):
            found.append(message.ljust(padded, b"\0"))
        else:
            (message_type,) = struct.unpack_from("=H", message, 4)
            is_refusal = message_type == _ERROR and message[16:20] != bytes(4)
            malformed += is_refusal or message_type == _OVERRUN
    return found, malformed


def _length(packet: bytes, order: str) -> int:
    """Return the length of the first message; 0 if it is incomplete."""
    if len(packet) < 16:
        return 0
    length: int = struct.unpack_from(order + "I", packet)[0]
    return length if 16 <= length <= len(packet) else 0


def converted(message: bytes, order: str = FOREIGN) -> bytes:
    """Convert a complete message from `order` to the other byte order."""
    result = bytearray(message)
    _swap(result, 0, "IHHII")
    if len(message) < 36:
        _swap(result, 16, "I")
        return bytes(result)
    _swap(result, 16, "IIIIHH")
    ids = struct.unpack_from(order + "II", message, 16)
    if ids == _LOST:
        _swap(result, 36, "IIQQ")
    elif ids == _PROC and len(message) >= 52:
        _swap(result, 36, "IIQ")
        (what,) = struct.unpack_from(order + "I", message, 36)
        for index in range(_WORDS.get(what, 0)):
            _swap(result, 52 + 4 * index, "I")
        if what in (_EXEC, _EXIT) and len(message) >= 80:
            (magic,) = struct.unpack_from(order + "I", message, 76)
            _swap(result, 76, _TRAILERS.get(magic, ""))
    return bytes(result)


def _swap(message: bytearray, at: int, fields: str) -> None:
    """Swap the bytes of the fields, if the message contains all of them."""
    if at + struct.calcsize("=" + fields) <= len(message):
        values = struct.unpack_from(FOREIGN + fields, message, at)
        struct.pack_into("=" + fields, message, at, *values)
