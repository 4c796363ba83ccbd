"""The program for the kernel decides as `Wanted.admits` does: here it is run."""

import struct
import sys
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import ANSWER, SAMPLES
from wiring import event_message, words

from procconn import (
    Comm,
    Event,
    EventMask,
    EventType,
    Fork,
    Lost,
    Unknown,
    decode,
)
from procconn.events import KINDS
from procconn.socketfilter import NOTHING, Wanted

# linux/bpf_common.h: class | size | mode, or class | operation | source
BPF_LD_W_ABS = 0x00 | 0x00 | 0x20
BPF_MISC_TAX = 0x07 | 0x00
BPF_JMP_JEQ_K = 0x05 | 0x10 | 0x00
BPF_JMP_JEQ_X = 0x05 | 0x10 | 0x08
BPF_RET_K = 0x06 | 0x00

MAX_INSTRUCTIONS = 4096
WHOLE = 0xFFFFFFFF


class Instruction(NamedTuple):
    """A `struct sock_filter`."""

    code: int
    jump_true: int
    jump_false: int
    k: int


def disassembled(program: bytes) -> list[Instruction]:
    return [Instruction(*fields) for fields in struct.iter_unpack("=HBBI", program)]


def run(program: bytes, datagram: bytes) -> int:
    """Interpret a program as the kernel does; return how many bytes it lets pass."""
    instructions = disassembled(program)
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
            pytest.fail(f"no such instruction: {code:#x}")


def passes(program: bytes, datagram: bytes) -> bool:
    verdict = run(program, datagram)
    assert verdict in (0, WHOLE)
    return verdict == WHOLE


def datagram(what: int, *fields: int) -> bytes:
    return event_message(what, words(*fields).ljust(24, b"\0"))


def event(what: int, *fields: int) -> tuple[bytes, Event]:
    """Make a datagram and decode it."""
    message = datagram(what, *fields)
    (decoded,) = decode(message)
    return message, decoded


all_masks = st.sets(st.sampled_from([*EventMask.ALL])).map(
    lambda bits: reduce(or_, bits, EventMask.NONE)
)
wanted = st.builds(Wanted, all_masks, st.booleans())
# Few values, so that equal ones meet; some are not alike in each byte order.
task_ids = st.sampled_from([0, 1, 42, 0x01020304, 0x04030201, 0x100, 0xFFFFFFFF])
exit_codes = st.sampled_from([0, 1, 9, 0x100, 0x8B, 0xFF00, 0x01000000, 0x80000000])
kinds = st.sampled_from([*(kind.what for kind in KINDS), 0x8, 0x400, 0x3, 0x20000000])


@st.composite
def events(draw: st.DrawFn) -> tuple[bytes, Event]:
    what = draw(kinds)
    fields = draw(st.lists(task_ids, min_size=6, max_size=6))
    if what == EventType.EXIT:
        fields[2] = draw(exit_codes)
    return event(what, *fields)


unhurried = settings(deadline=None, max_examples=1000)


@given(wanted, events())
@unhurried
def test_program_lets_pass_what_is_admitted(
    wanted: Wanted, event: tuple[bytes, Event]
) -> None:
    message, decoded = event

    assert wanted.admits(decoded) == passes(wanted.program(), message)


@given(wanted, events(), task_ids)
@unhurried
def test_probe_lets_pass_also_a_tasks_own_names(
    wanted: Wanted, event: tuple[bytes, Event], probe: int
) -> None:
    message, decoded = event
    own = isinstance(decoded, Comm) and decoded.pid == probe

    assert (own or wanted.admits(decoded)) == passes(wanted.program(probe), message)


@given(wanted, st.none() | task_ids, st.booleans())
@unhurried
def test_answers_pass_where_asked_for_whatever_is_wanted(
    wanted: Wanted, probe: int | None, answers: bool
) -> None:
    assert answers == passes(wanted.program(probe, answers=answers), ANSWER)


@given(wanted, st.none() | task_ids)
@unhurried
def test_program_is_one_that_the_kernel_takes(
    wanted: Wanted, probe: int | None
) -> None:
    """Jumps lead forward to an instruction of it, and its last one returns."""
    instructions = disassembled(wanted.program(probe))

    assert len(instructions) <= MAX_INSTRUCTIONS
    assert BPF_RET_K == instructions[-1].code
    for at, instruction in enumerate(instructions):
        assert at + 1 + instruction.jump_true < len(instructions) or (
            instruction.code == BPF_RET_K
        )
        assert at + 1 + instruction.jump_false < len(instructions) or (
            instruction.code == BPF_RET_K
        )


def test_longest_jump_fits_its_byte() -> None:
    longest = max(
        max(instruction.jump_true, instruction.jump_false)
        for mask in (EventMask.ALL, EventMask.NONE, EventMask.NONZERO_EXIT)
        for threads in (True, False)
        for instruction in disassembled(Wanted(mask, threads).program(1))
    )

    assert 0 < longest < 256


# By value, so that admits and the program cannot be wrong together


@pytest.mark.parametrize("name", SAMPLES)
def test_each_kind_has_a_mask_of_its_own(name: str) -> None:
    own = EventMask[name.upper()]
    message, decoded = SAMPLES[name].message, SAMPLES[name].event
    without = EventMask.ALL & ~own & ~EventMask.NONZERO_EXIT

    assert passes(Wanted(own, threads=True).program(), message)
    assert not passes(Wanted(without, threads=True).program(), message)
    assert Wanted(own, threads=True).admits(decoded)
    assert not Wanted(without, threads=True).admits(decoded)


@pytest.mark.parametrize(
    ("mask", "exit_code", "expected"),
    [
        (EventMask.EXIT, 0, True),
        (EventMask.EXIT, 256, True),
        (EventMask.NONZERO_EXIT, 0, False),
        (EventMask.NONZERO_EXIT, 256, True),
        (EventMask.NONZERO_EXIT, 9, True),
        (EventMask.NONZERO_EXIT, 0x01000000, True),
        (EventMask.EXIT | EventMask.NONZERO_EXIT, 0, True),
        (EventMask.FORK, 256, False),
        (EventMask.NONE, 256, False),
    ],
)
def test_failing_exits_can_be_had_alone(
    mask: EventMask, exit_code: int, expected: bool
) -> None:
    message, decoded = event(EventType.EXIT, 42, 42, exit_code, 17)
    only = Wanted(mask, threads=True)

    assert (expected, expected) == (
        passes(only.program(), message),
        only.admits(decoded),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_threads_can_be_left_out(kind: Any) -> None:
    fields = (1, 1) if kind is Fork else ()
    rest = (0, 0, 0, 0)
    thread, _ = event(kind.what, *(*fields, 43, 42, *rest)[:6])
    leader, _ = event(kind.what, *(*fields, 42, 42, *rest)[:6])

    for threads in (True, False):
        program = Wanted(EventMask.ALL, threads).program()
        assert passes(program, leader)
        assert threads == passes(program, thread)


def test_forks_of_processes_by_threads_are_no_thread_events() -> None:
    message, decoded = event(EventType.FORK, 43, 42, 50, 50)
    leaders = Wanted(EventMask.FORK, threads=False)

    assert passes(leaders.program(), message)
    assert leaders.admits(decoded)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (EventMask.ALL, True),
        (EventMask.ALL & ~EventMask.NONZERO_EXIT, True),
        (EventMask.ALL & ~EventMask.SID, False),
        (EventMask.NONE, False),
    ],
)
def test_unknown_kinds_pass_if_all_known_ones_do(
    mask: EventMask, expected: bool
) -> None:
    message, decoded = event(0x400, 43, 42)
    only = Wanted(mask, threads=False)

    assert isinstance(decoded, Unknown)
    assert (expected, expected) == (
        passes(only.program(), message),
        only.admits(decoded),
    )


def test_probe_is_one_tasks_name_and_nothing_else() -> None:
    program = NOTHING.program(probe=42)

    assert passes(program, datagram(EventType.COMM, 42, 42))
    assert passes(program, datagram(EventType.COMM, 42, 7))
    assert not passes(program, datagram(EventType.COMM, 43, 42))
    for kind in KINDS:
        if kind is not Comm:
            assert not passes(program, datagram(kind.what, 42, 42, 42, 42))


def test_probe_leaves_other_tasks_names_to_the_mask() -> None:
    program = Wanted(EventMask.COMM, threads=False).program(probe=42)

    assert passes(program, datagram(EventType.COMM, 42, 7))
    assert passes(program, datagram(EventType.COMM, 43, 43))
    assert not passes(program, datagram(EventType.COMM, 43, 7))


def test_nothing_lets_no_event_pass() -> None:
    program = NOTHING.program(answers=True)

    assert passes(program, ANSWER)
    for sample in SAMPLES.values():
        assert not passes(program, sample.message)
        assert not NOTHING.admits(sample.event)


def test_loss_is_always_admitted() -> None:
    assert NOTHING.admits(Lost(1, 0))


def test_everything_is_all_kinds_of_all_tasks() -> None:
    assert Wanted(EventMask.ALL, threads=True).everything
    assert not Wanted(EventMask.ALL, threads=False).everything
    assert not Wanted(EventMask.ALL & ~EventMask.UID, threads=True).everything


@pytest.mark.skipif(sys.byteorder == "big", reason="nothing is swapped there")
def test_constants_are_in_the_order_that_the_kernel_loads() -> None:
    constants = {
        instruction.k
        for instruction in disassembled(Wanted(EventMask.ALL, False).program())
        if instruction.code == BPF_JMP_JEQ_K
    }

    assert 0x01000000 in constants  # FORK
    assert 0x00000080 in constants  # EXIT
