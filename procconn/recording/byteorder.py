"""Messages of a machine of the other byte order, made into this machine's own."""

from __future__ import annotations

import struct
import sys

from procconn._core import lib

_FOREIGN = ">" if sys.byteorder == "little" else "<"

_NETLINK = "IHHII"  # nlmsghdr
_CONNECTOR = "IIIIHH"  # cn_msg
_EVENT = "IIQ"  # the header of proc_event
_CONNECTOR_SIZE = struct.calcsize("=" + _NETLINK + _CONNECTOR)
_KINDS = {1 << bit: kind for bit, kind in enumerate(lib.procconn_kinds) if kind.words}
_LOST = (lib.CN_IDX_OWN, lib.CN_VAL_LOST)
_PROC = (lib.CN_IDX_PROC, lib.CN_VAL_PROC)

# The tails by their magic numbers, as far as they consist of numbers.
_TAILS = {
    lib.PROGRAM_MAGIC: "IHH5I5HH",
    lib.USAGE_MAGIC: f"IHH{lib.USAGE_COUNT}Q",
}


def swapped_length(data: bytes, at: int) -> int:
    """Tell how long the message there is in the other byte order; 0 if not whole."""
    left = len(data) - at
    if left < lib.NLMSG_HEADER_SIZE:
        return 0
    length: int = struct.unpack_from(_FOREIGN + "I", data, at)[0]
    return length if lib.NLMSG_HEADER_SIZE <= length <= left else 0


def swapped(message: bytes) -> bytes:
    """Turn the numbers of a whole netlink message round; leave the rest as it is."""
    result = bytearray(message)
    if len(message) < _CONNECTOR_SIZE:
        _swap(result, _swap(result, 0, _NETLINK), "I")  # of an NLMSG_ERROR: the errno
        return bytes(result)
    at = _swap(result, 0, _NETLINK + _CONNECTOR)
    own = struct.unpack_from("=II", result, lib.CN_MSG_IDX_AT)
    if own == _LOST:
        _swap(result, at, _EVENT + "Q")
    elif own == _PROC and len(message) >= lib.EVENT_DATA_AT:
        at = _swap(result, at, _EVENT)
        _swap_fields(result, at, struct.unpack_from("=I", result, lib.EVENT_WHAT_AT)[0])
    return bytes(result)


def _swap_fields(message: bytearray, at: int, what: int) -> None:
    kind = _KINDS.get(what)
    if what == lib.PROCCONN_NONE:
        _swap(message, at, "I")
    elif kind:
        for index in range(kind.words):  # older kernels had fewer
            _swap(message, at + index * lib.WORD_SIZE, "I")
        if kind.has_tail and len(message) >= lib.MESSAGE_SIZE + lib.WORD_SIZE:
            (magic,) = struct.unpack_from(_FOREIGN + "I", message, lib.MESSAGE_SIZE)
            _swap(message, lib.MESSAGE_SIZE, _TAILS.get(magic, ""))


def _swap(message: bytearray, at: int, fields: str) -> int:
    """Turn fields round if they are all there; return where they end."""
    size = struct.calcsize("=" + fields)
    if at + size <= len(message):
        values = struct.unpack_from(_FOREIGN + fields, message, at)
        struct.pack_into("=" + fields, message, at, *values)
    return at + size
