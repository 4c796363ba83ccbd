"""The mask as a classic BPF program, run by the kernel before it queues a datagram.

That works on every kernel and without privilege, unlike the masks of Linux 6.6. What
the program rejects costs the reader nothing and does not count as dropped.
"""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING

from procconn._core import ffi, lib
from procconn.events import (
    KINDS,
    Event,
    EventMask,
    EventType,
    Exit,
    Fork,
    Lost,
    Unknown,
)

if TYPE_CHECKING:
    from procconn._core import Filter, Wanted

# struct sock_filter and its codes (linux/filter.h, linux/bpf_common.h)
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_WORD = 0x20
_TAX = 0x07
_JUMP_IF_K = 0x15
_JUMP_IF_X = 0x1D
_RETURN = 0x06
_WHOLE_DATAGRAM = 0xFFFFFFFF


def wanted(mask: EventMask, threads: bool) -> Wanted:
    """Describe to the C module which events pass."""
    all_kinds = all(mask & kind.what for kind in KINDS)
    described: Wanted = ffi.new("struct procconn_wanted *")
    described.mask = mask
    described.threads = threads
    described.unknown_kinds = all_kinds
    _fill(described.filter, _program(mask, threads=threads, all_kinds=all_kinds))
    return described


def admits(wanted: Wanted, event: Event) -> bool:
    """Decide as the program does, about an event that is already here."""
    if isinstance(event, Lost):
        return True
    if isinstance(event, Unknown):
        return bool(wanted.unknown_kinds)
    code = event.exit_code if isinstance(event, Exit) else 0
    is_thread = event.is_thread
    return bool(lib.procconn_admits(wanted, event.what, is_thread, code))


def _filter(program: bytes) -> Filter:
    described: Filter = ffi.new("struct procconn_filter *")
    _fill(described, program)
    return described


def _fill(described: Filter, program: bytes) -> None:
    described.size = len(program)
    ffi.memmove(described.program, program, len(program))


def _program(mask: EventMask, *, threads: bool, all_kinds: bool) -> bytes:
    """Assemble the program, an array of `struct sock_filter`.

    Answers to requests do not pass, as dropped ones would count as lost events.
    """
    code = _load(lib.EVENT_WHAT_AT) + _if_equal(EventType.NONE, _reject())
    if threads and all_kinds:
        return code + _accept()
    for kind in KINDS:
        code += _if_equal(kind.what, _verdict(kind.what, mask, threads=threads))
    return code + (_accept() if all_kinds else _reject())


def _verdict(what: EventType, mask: EventMask, *, threads: bool) -> bytes:
    code = b""
    if not mask & what:
        if what is not EventType.EXIT or not mask & EventMask.NONZERO_EXIT:
            return _reject()
        code += _load(lib.EXIT_CODE_AT) + _if_equal(0, _reject())
    if not threads:
        pid, tgid = lib.TASK_PID_AT, lib.TASK_TGID_AT
        if what is Fork.what:
            pid, tgid = lib.FORK_CHILD_PID_AT, lib.FORK_CHILD_TGID_AT
        code += _load(pid) + _instruction(_TAX) + _load(tgid)
        code += _instruction(_JUMP_IF_X, jump_true=1) + _reject()
    return code + _accept()


def _instruction(
    code: int, k: int = 0, jump_true: int = 0, jump_false: int = 0
) -> bytes:
    return _INSTRUCTION.pack(code, jump_true, jump_false, k)


def _load(offset: int) -> bytes:
    return _instruction(_LOAD_WORD, offset)


def _if_equal(value: int, block: bytes) -> bytes:
    """Run the block if the word loaded equals the value, else go on behind it."""
    # The program loads words as big-endian; the datagram is in native order.
    swapped = int.from_bytes(value.to_bytes(4, sys.byteorder), "big")
    length = len(block) // _INSTRUCTION.size
    return _instruction(_JUMP_IF_K, swapped, jump_false=length) + block


def _accept() -> bytes:
    return _instruction(_RETURN, _WHOLE_DATAGRAM)


def _reject() -> bytes:
    return _instruction(_RETURN, 0)


NOTHING = _filter(_reject())
"""Lets no event pass."""

ANSWERS = _filter(
    _load(lib.EVENT_WHAT_AT) + _if_equal(EventType.NONE, _accept()) + _reject()
)
"""Lets the kernel's answers to requests pass, also to other programs'."""
