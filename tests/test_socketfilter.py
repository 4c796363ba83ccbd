"""The program for the kernel decides as `admits` does: here it is run."""

import sys
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import pytest
from filter_machine import BPF_JMP_JEQ_K, BPF_RET_K, disassembled, passes
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import ANSWER, SAMPLES
from wiring import event_message, words

from procconn import Event, EventMask, EventType, Fork, Lost, Unknown, decode
from procconn._core import ffi
from procconn.events import KINDS
from procconn.socketfilter import ANSWERS, NOTHING, admits, wanted

if TYPE_CHECKING:
    from procconn._core import Filter, Wanted

MAX_INSTRUCTIONS = 4096


def program_of(filter_: "Filter") -> bytes:
    return bytes(ffi.buffer(filter_.program, filter_.size))


def program(mask: EventMask, threads: bool) -> bytes:
    owner = wanted(mask, threads)  # of the filter's memory
    return program_of(owner.filter)


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
some_wanted = st.builds(wanted, all_masks, st.booleans())
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


thorough = settings(max_examples=250)


@given(some_wanted, events())
@thorough
def test_program_lets_pass_what_is_admitted(
    only: "Wanted", event: tuple[bytes, Event]
) -> None:
    message, decoded = event

    assert admits(only, decoded) == passes(program_of(only.filter), message)


@given(some_wanted)
@thorough
def test_no_answer_passes_whatever_is_wanted(only: "Wanted") -> None:
    assert not passes(program_of(only.filter), ANSWER)


@given(some_wanted)
@thorough
def test_program_is_one_that_the_kernel_takes(only: "Wanted") -> None:
    """Jumps lead forward to an instruction of it, and its last one returns."""
    instructions = disassembled(program_of(only.filter))

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
        for instruction in disassembled(program(mask, threads))
    )

    assert 0 < longest < 256


# By value, so that admits and the program cannot be wrong together


@pytest.mark.parametrize("name", SAMPLES)
def test_each_kind_has_a_mask_of_its_own(name: str) -> None:
    own = EventMask[name.upper()]
    message, decoded = SAMPLES[name].message, SAMPLES[name].event
    without = EventMask.ALL & ~own & ~EventMask.NONZERO_EXIT

    assert passes(program(own, threads=True), message)
    assert not passes(program(without, threads=True), message)
    assert admits(wanted(own, threads=True), decoded)
    assert not admits(wanted(without, threads=True), decoded)


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
    only = wanted(mask, threads=True)

    assert (expected, expected) == (
        passes(program_of(only.filter), message),
        admits(only, decoded),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_threads_can_be_left_out(kind: Any) -> None:
    fields = (1, 1) if kind is Fork else ()
    rest = (0, 0, 0, 0)
    thread, _ = event(kind.what, *(*fields, 43, 42, *rest)[:6])
    leader, _ = event(kind.what, *(*fields, 42, 42, *rest)[:6])

    for threads in (True, False):
        every_kind = program(EventMask.ALL, threads)
        assert passes(every_kind, leader)
        assert threads == passes(every_kind, thread)


def test_forks_of_processes_by_threads_are_no_thread_events() -> None:
    message, decoded = event(EventType.FORK, 43, 42, 50, 50)
    leaders = wanted(EventMask.FORK, threads=False)

    assert passes(program_of(leaders.filter), message)
    assert admits(leaders, decoded)


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
    only = wanted(mask, threads=False)

    assert isinstance(decoded, Unknown)
    assert (expected, expected) == (
        passes(program_of(only.filter), message),
        admits(only, decoded),
    )


def test_nothing_lets_no_event_pass() -> None:
    rejecting = program_of(NOTHING)

    assert not passes(rejecting, ANSWER)
    for sample in SAMPLES.values():
        assert not passes(rejecting, sample.message)


def test_answers_pass_alone_where_they_are_asked_for() -> None:
    answers = program_of(ANSWERS)

    assert passes(answers, ANSWER)
    for sample in SAMPLES.values():
        assert not passes(answers, sample.message)


def test_loss_is_always_admitted() -> None:
    assert admits(wanted(EventMask.NONE, threads=False), Lost(1, 0))


def test_everything_is_all_kinds_of_all_tasks() -> None:
    """Then only answers are looked at, which costs the kernel least."""
    everything = len(program(EventMask.ALL, threads=True))

    assert everything < len(program(EventMask.ALL, threads=False))
    assert everything < len(program(EventMask.ALL & ~EventMask.UID, threads=True))


@pytest.mark.skipif(sys.byteorder == "big", reason="nothing is swapped there")
def test_constants_are_in_the_order_that_the_kernel_loads() -> None:
    constants = {
        instruction.k
        for instruction in disassembled(program(EventMask.ALL, threads=False))
        if instruction.code == BPF_JMP_JEQ_K
    }

    assert 0x01000000 in constants  # FORK
    assert 0x00000080 in constants  # EXIT
