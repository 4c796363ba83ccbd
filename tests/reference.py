"""A decoder in plain Python, to check the C module against and to race it with.

It shares nothing with the C module but the classes it fills: offsets, sizes and
values are written out here once more.
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
    Ptrace,
    Sid,
    Uid,
    Unknown,
)

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_NOOP, _ERROR, _DONE, _OVERRUN = 1, 2, 3, 4
_INT_MIN = -(2**31)

_NLMSGHDR = Struct("=IH10x")
_NLMSGERR = Struct("=i")
_CN_MSG = Struct("=II8xH2x")
_PROC_EVENT = Struct("=IIQ")
_TWO = Struct("=2I")
_FOUR = Struct("=4I")
_SIX = Struct("=6I")
_NAMED = Struct("=2I16s")

_NONE = 0
_COREDUMP = 0x40000000
_EXIT = 0x80000000


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
    _COREDUMP: (_FOUR, Coredump),
    _EXIT: (_SIX, Exit),
}
_OLDER = {_COREDUMP: _TWO, _EXIT: _FOUR}
"""What came before the parents' two words did."""


def decode(buffer: "ReadableBuffer") -> list[Event]:
    """Do what `procconn.decode` does."""
    raw = memoryview(buffer).tobytes()
    size = len(raw)
    events: list[Event] = []
    at = 0
    while at < size:
        if size - at < _NLMSGHDR.size:
            raise TruncatedError(at, events)
        length, message_type = _NLMSGHDR.unpack_from(raw, at)
        if length < _NLMSGHDR.size or length > size - at:
            raise TruncatedError(at, events)
        if message_type == _DONE and length == _NLMSGHDR.size:
            break
        if message_type in (_NOOP, _ERROR, _OVERRUN):
            _check_control(raw[at : at + length], message_type, at, events)
        else:
            event = _parse_connector(raw, at, at + length, events)
            if event is not None:
                events.append(event)
        at += length + -length % 4
    return events


def _check_control(
    message: bytes, message_type: int, at: int, events: list[Event]
) -> None:
    if message_type == _OVERRUN:
        raise OverrunError(at, events)
    if message_type == _ERROR:
        if len(message) < _NLMSGHDR.size + _NLMSGERR.size:
            raise TruncatedError(at, events)
        (error,) = _NLMSGERR.unpack_from(message, _NLMSGHDR.size)
        if error != 0:
            error = error if error == _INT_MIN else abs(error)
            raise OSError(error, os.strerror(error))


def _parse_connector(
    raw: bytes, at: int, end: int, events: list[Event]
) -> Event | None:
    start = at + _NLMSGHDR.size
    if end - start < _CN_MSG.size:
        raise TruncatedError(at, events)
    idx, val, size = _CN_MSG.unpack_from(raw, start)
    if idx != 1 or val != 1:
        return None
    start += _CN_MSG.size
    if size > end - start or size < _PROC_EVENT.size:
        raise TruncatedError(at, events)
    what, cpu, timestamp_ns = _PROC_EVENT.unpack_from(raw, start)
    start += _PROC_EVENT.size
    size -= _PROC_EVENT.size

    kind = _KINDS.get(what)
    if kind is not None:
        fields, make = kind
        if size >= fields.size:
            return make(*fields.unpack_from(raw, start), timestamp_ns, cpu)
        if what in _OLDER and size == _OLDER[what].size:
            older = _OLDER[what].unpack_from(raw, start)
            return make(*older, 0, 0, timestamp_ns, cpu)
        raise TruncatedError(at, events)
    if what != _NONE:
        return Unknown(what, raw[start : start + size], timestamp_ns, cpu)
    if size < _NLMSGERR.size:  # an answer without its errno
        raise TruncatedError(at, events)
    return None
