"""A decoder in plain Python, for differential tests and benchmarks of the C module.

It shares only the event classes with the C module: it has its own copy of all offsets,
sizes and constants.
"""

import os
from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING

from procconn.errors import OverrunError, TruncatedError
from procconn.events import (
    Comm,
    Coredump,
    Event,
    Exec,
    Exit,
    Fork,
    Gid,
    Lost,
    Ptrace,
    Sid,
    Uid,
    Unknown,
)
from procconn.programs import Program, Usage

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_NOOP, _ERROR, _DONE, _OVERRUN = 1, 2, 3, 4
_CONTROL = (_NOOP, _ERROR, _OVERRUN)
_INT_MIN = -(2**31)

_NLMSGHDR = Struct("=IH10x")
_ERRNO = Struct("=i")
_CN_MSG = Struct("=II8xH2x")
_PROC_EVENT = Struct("=IIQ")
_TWO = Struct("=2I")
_FOUR = Struct("=4I")
_SIX = Struct("=6I")
_NAMED = Struct("=2I16s")
_COUNT = Struct("=Q")
_TRAILER = Struct("=IH")
_PROGRAM = Struct("=6xH5I5H2x")
_USAGE = Struct("=8x13Q")

_EVENT_AT = _NLMSGHDR.size + _CN_MSG.size
_UNION_AT = _EVENT_AT + _PROC_EVENT.size
_UNION_SIZE = 24
_USUAL_SIZE = _PROC_EVENT.size + _UNION_SIZE
_LOST_SIZE = _PROC_EVENT.size + _COUNT.size


_LIMITS = (49152, 4096, 4096, 4096, 4096)
_REASONS = (
    *("", "later", "gone", "denied", "busy"),
    *("held", "changed", "late", "limit"),
)


def _comm(pid: int, tgid: int, name: bytes, timestamp_ns: int, cpu: int) -> Comm:
    return Comm(pid, tgid, name.partition(b"\0")[0], timestamp_ns, cpu)


_KINDS: dict[int, tuple[Struct, Callable[..., Event]]] = {
    0x00000001: (_FOUR, Fork),
    0x00000002: (_TWO, Exec),
    0x00000004: (_FOUR, Uid),
    0x00000040: (_FOUR, Gid),
    0x00000080: (_TWO, Sid),
    0x00000100: (_FOUR, Ptrace),
    0x00000200: (_NAMED, _comm),
    0x40000000: (_FOUR, Coredump),
    0x80000000: (_SIX, Exit),
}


def decode(buffer: "ReadableBuffer") -> list[Event]:
    """Decode a buffer as `procconn.decode` does."""
    raw = memoryview(buffer).tobytes()
    events: list[Event] = []
    at, left = 0, len(raw)
    while left > 0:
        if left < _NLMSGHDR.size:
            raise TruncatedError(at, events)
        length, message_type = _NLMSGHDR.unpack_from(raw, at)
        if length < _NLMSGHDR.size or length > left:
            raise TruncatedError(at, events)
        if message_type in _CONTROL:
            _check_control(raw[at : at + length], message_type, at, events)
        elif length < _EVENT_AT:
            if message_type == _DONE and length == _NLMSGHDR.size:
                break
            raise TruncatedError(at, events)
        else:
            idx, val, size = _CN_MSG.unpack_from(raw, at + _NLMSGHDR.size)
            if idx == 1 and val == 1:
                if size > length - _EVENT_AT or size < _PROC_EVENT.size:
                    raise TruncatedError(at, events)
                what, cpu, timestamp_ns = _PROC_EVENT.unpack_from(raw, at + _EVENT_AT)
                kind = _KINDS.get(what)
                if kind and kind[0].size + _PROC_EVENT.size <= size <= _USUAL_SIZE:
                    fields, make = kind
                    values = fields.unpack_from(raw, at + _UNION_AT)
                    events.append(make(*values, timestamp_ns, cpu))
                else:
                    union = raw[at + _UNION_AT : at + _EVENT_AT + size]
                    rare = _parse_rare(what, union, timestamp_ns, cpu)
                    events.extend(_checked(rare, at, events))
            elif idx == 0x636F6E6E and val == 1:  # written by the library
                lost = _parse_lost(raw[at : at + length], size)
                events.extend(_checked(lost, at, events))
        padded = length + -length % 4
        at += padded
        left -= padded
    return events


def _checked(found: list[Event] | None, at: int, events: list[Event]) -> list[Event]:
    if found is None:
        raise TruncatedError(at, events)
    return found


def _parse_lost(message: bytes, size: int) -> list[Event] | None:
    if not _LOST_SIZE <= size <= len(message) - _EVENT_AT:
        return None
    _, _, timestamp_ns = _PROC_EVENT.unpack_from(message, _EVENT_AT)
    (count,) = _COUNT.unpack_from(message, _UNION_AT)
    return [Lost(count, timestamp_ns)]


def _parse_rare(
    what: int, union: bytes, timestamp_ns: int, cpu: int
) -> list[Event] | None:
    """Parse an event of unusual size or kind; return None if it is malformed."""
    match what, len(union):
        case (0x40000000, 8):  # COREDUMP and EXIT before Linux 4.18
            pid, tgid = _TWO.unpack(union)
            return [Coredump(pid, tgid, 0, 0, timestamp_ns, cpu)]
        case (0x80000000, 16):
            pid, tgid, code, signal = _FOUR.unpack(union)
            return [Exit(pid, tgid, code, signal, 0, 0, timestamp_ns, cpu)]
        case (0, size):  # an acknowledgement, with its errno
            return [] if size >= _ERRNO.size else None
    if what not in _KINDS:
        return [Unknown(what, union, timestamp_ns, cpu)]
    return _parse_longer(what, union, timestamp_ns, cpu)


def _parse_longer(
    what: int, union: bytes, timestamp_ns: int, cpu: int
) -> list[Event] | None:
    """Parse an event that is longer than its union; return None if it is malformed."""
    fields, make = _KINDS[what]
    if len(union) < fields.size:
        return None
    event = make(*fields.unpack_from(union), timestamp_ns, cpu)
    trailer = union[_UNION_SIZE:]
    if len(trailer) < _TRAILER.size:
        return [event]
    match event, _TRAILER.unpack_from(trailer):
        case Exec(), (0x636E7067, 1 | 2 as version):
            program = _parse_program(trailer, version)
            return program and [event._replace(program=program)]
        case Exit(), (0x636E7573, 1):
            usage = _parse_usage(trailer)
            return usage and [event._replace(usage=usage)]
    return [event]


def _parse_usage(trailer: bytes) -> Usage | None:
    """Parse the trailer of an EXIT; return None if it is malformed."""
    if len(trailer) != _USAGE.size:
        return None
    return Usage._make(None if n == 2**64 - 1 else n for n in _USAGE.unpack(trailer))


def _parse_program(trailer: bytes, version: int) -> Program | None:
    """Parse the trailer of an EXEC; return None if it is malformed."""
    if len(trailer) < _PROGRAM.size:
        return None
    flags, *numbers = _PROGRAM.unpack_from(trailer)
    ids = [None if number == 0xFFFFFFFF else number for number in numbers[:5]]
    texts: list[bytes | None] = []
    at = _PROGRAM.size
    for size, most in zip(numbers[5:], _LIMITS, strict=True):
        if size == 0xFFFF:
            texts.append(None)
        elif size > most:
            return None
        else:
            texts.append(trailer[at : at + size])
            at += size
    reason = flags >> 8 & 15
    if at != len(trailer) or reason >= (5 if version == 1 else len(_REASONS)):
        return None
    argv, *others = texts
    name, exe, cwd, cgroup = (
        None if text is None else os.fsdecode(text) for text in others
    )
    first = [None if argv is None else _split(argv), name, exe, cwd]
    return Program._make([*first, *ids, cgroup, bool(flags & 1), _REASONS[reason]])


def _split(argv: bytes) -> tuple[str, ...]:
    """Split NUL-terminated arguments; the last NUL is optional."""
    arguments = argv.removesuffix(b"\0").split(b"\0") if argv else []
    return tuple(map(os.fsdecode, arguments))


def _check_control(
    message: bytes, message_type: int, at: int, events: list[Event]
) -> None:
    if message_type == _OVERRUN:
        raise OverrunError(at, events)
    if message_type == _ERROR:
        if len(message) < _NLMSGHDR.size + _ERRNO.size:
            raise TruncatedError(at, events)
        (error,) = _ERRNO.unpack_from(message, _NLMSGHDR.size)
        if error != 0:
            error = error if error == _INT_MIN else abs(error)
            refusal = OSError(error, os.strerror(error))
            refusal.offset, refusal.events = at, events  # type: ignore[attr-defined]
            raise refusal
