"""The mask as a classic BPF program, run by the kernel before it queues a datagram.

That works on every kernel and without privilege, unlike the masks of Linux 6.6. What
the program rejects costs the reader nothing and does not count as dropped.
"""

import errno
import socket
import struct
import sys

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

# struct sock_filter and its codes (linux/filter.h, linux/bpf_common.h)
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_WORD = 0x20
_TAX = 0x07
_JUMP_IF_K = 0x15
_JUMP_IF_X = 0x1D
_RETURN = 0x06
_WHOLE_DATAGRAM = 0xFFFFFFFF

# asm-generic/socket.h; the socket module does not have them
_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27


class Wanted:
    """What a connector lets through.

    Attributes:
        all_kinds: whether kinds unknown to this library pass.
        everything: whether all events pass.
    """

    def __init__(self, mask: EventMask, threads: bool) -> None:
        self.mask = mask
        self.threads = threads
        self.all_kinds = all(mask & kind.what for kind in KINDS)
        self.everything = threads and self.all_kinds

    def admits(self, event: Event) -> bool:
        """Decide as the program does, about an event that is already here."""
        if isinstance(event, Lost):
            return True
        if isinstance(event, Unknown):
            return self.all_kinds
        if event.is_thread and not self.threads:
            return False
        if isinstance(event, Exit) and event.exit_code != 0:
            return bool(self.mask & (EventMask.EXIT | EventMask.NONZERO_EXIT))
        return bool(self.mask & event.what)

    def program(self, probe: int | None = None, *, answers: bool = False) -> bytes:
        """Assemble the program, an array of `struct sock_filter`.

        Args:
            probe: the id of a task whose COMM events pass too.
            answers: whether answers to requests pass, also to other programs'.
        """
        answer = _accept() if answers else _reject()
        code = _load(lib.EVENT_WHAT_AT) + _if_equal(EventType.NONE, answer)
        if self.everything:
            return code + _accept()
        if probe is not None:
            own = _load(lib.TASK_PID_AT) + _if_equal(probe, _accept())
            code += _if_equal(EventType.COMM, own + _load(lib.EVENT_WHAT_AT))
        for kind in KINDS:
            code += _if_equal(kind.what, self._verdict(kind.what))
        return code + (_accept() if self.all_kinds else _reject())

    def _verdict(self, what: EventType) -> bytes:
        code = b""
        if not self.mask & what:
            if what is not EventType.EXIT or not self.mask & EventMask.NONZERO_EXIT:
                return _reject()
            code += _load(lib.EXIT_CODE_AT) + _if_equal(0, _reject())
        if not self.threads:
            pid, tgid = lib.TASK_PID_AT, lib.TASK_TGID_AT
            if what is Fork.what:
                pid, tgid = lib.FORK_CHILD_PID_AT, lib.FORK_CHILD_TGID_AT
            code += _load(pid) + _instruction(_TAX) + _load(tgid)
            code += _instruction(_JUMP_IF_X, jump_true=1) + _reject()
        return code + _accept()


NOTHING = Wanted(EventMask.NONE, threads=True)
"""Lets no event pass."""


def attach(
    sock: socket.socket,
    wanted: Wanted,
    *,
    probe: int | None = None,
    answers: bool = False,
) -> None:
    """Replace the socket's program; nothing passes unfiltered between the two."""
    if wanted.everything and answers:
        _detach(sock)
        return
    program = wanted.program(probe, answers=answers)
    instructions = ffi.from_buffer("uint8_t[]", program)
    # struct sock_fprog: how many instructions, and where they are
    count = len(program) // _INSTRUCTION.size
    address = int(ffi.cast("uintptr_t", instructions))
    option = struct.pack("@HP", count, address)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)


def _detach(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    except OSError as error:
        if error.errno != errno.ENOENT:  # there was none
            raise


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
