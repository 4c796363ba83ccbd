"""Interprets a classic BPF program on a datagram, as the kernel does."""

import struct
from typing import NamedTuple

import pytest

# linux/bpf_common.h: class | size | mode, or class | operation | source
BPF_LD_W_ABS = 0x00 | 0x00 | 0x20
BPF_MISC_TAX = 0x07 | 0x00
BPF_JMP_JEQ_K = 0x05 | 0x10 | 0x00
BPF_JMP_JEQ_X = 0x05 | 0x10 | 0x08
BPF_RET_K = 0x06 | 0x00

ACCEPT_ALL = 0xFFFFFFFF


class Instruction(NamedTuple):
    """A `struct sock_filter`."""

    code: int
    jump_true: int
    jump_false: int
    k: int


def disassemble(program: bytes) -> list[Instruction]:
    """Split a program into its instructions."""
    return [Instruction(*fields) for fields in struct.iter_unpack("=HBBI", program)]


def run(program: bytes, datagram: bytes) -> int:
    """Return how many bytes of the datagram the program accepts; 0 means dropped."""
    instructions = disassemble(program)
    accumulator = index = at = 0
    while True:
        code, jump_true, jump_false, k = instructions[at]
        at += 1
        if code == BPF_LD_W_ABS:
            if k + 4 > len(datagram):
                return 0
            (accumulator,) = struct.unpack_from(">I", datagram, k)
        elif code == BPF_MISC_TAX:
            index = accumulator
        elif code == BPF_JMP_JEQ_K:
            at += jump_true if accumulator == k else jump_false
        elif code == BPF_JMP_JEQ_X:
            at += jump_true if accumulator == index else jump_false
        elif code == BPF_RET_K:
            return k
        else:
            pytest.fail(f"unknown instruction: {code:#x}")


def passes(program: bytes, datagram: bytes) -> bool:
    """Return whether the program accepts the datagram without truncating it."""
    accepted = run(program, datagram)
    assert accepted in (0, ACCEPT_ALL)
    return accepted == ACCEPT_ALL
