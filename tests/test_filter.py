"""The BPF program of a filter, run by an interpreter, and the filter in C."""

import sys
from functools import reduce
from itertools import combinations
from operator import or_
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bpf import BPF_JMP_JEQ_K, BPF_RET_K, disassemble, passes
from support.builders import event_message, words
from support.messages import PROC_ACKNOWLEDGEMENT, SAMPLES
from support.reference_filter import is_selected

from procconn import (
    Comm,
    Event,
    EventMask,
    EventType,
    Exit,
    Fork,
    Lost,
    Unknown,
    decode,
)
from procconn._core import ffi, lib
from procconn._stream import new_filter
from procconn.events import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from procconn._core import Bpf, Filter

MAX_INSTRUCTIONS = 4096


def built(build: "Callable[[Bpf], None]") -> bytes:
    bpf: Bpf = ffi.new("struct procconn_bpf *")
    build(bpf)
    return bytes(ffi.buffer(bpf.instructions, 8 * bpf.count))


def program(mask: EventMask, threads: bool) -> bytes:
    event_filter = new_filter(mask, threads=threads)
    return built(lambda bpf: lib.procconn_filter_build(event_filter, bpf))


def program_by_kind(mask: EventMask, thread_mask: EventMask) -> bytes:
    """Build the program of a filter that passes thread events of some kinds."""
    event_filter = ffi.new("struct procconn_filter *", (mask, thread_mask))
    return built(lambda bpf: lib.procconn_filter_build(event_filter, bpf))


def matches(event_filter: "Filter", event: Event) -> bool:
    if isinstance(event, Lost):
        return True
    is_thread = not isinstance(event, Unknown) and event.is_thread
    exit_code = event.exit_code if isinstance(event, Exit) else 0
    return bool(
        lib.procconn_filter_matches(event_filter, event.what, is_thread, exit_code)
    )


def is_match(event: Event, mask: EventMask, *, threads: bool) -> bool:
    return matches(new_filter(mask, threads=threads), event)


def datagram(what: int, *fields: int) -> bytes:
    return event_message(what, words(*fields).ljust(24, b"\0"))


def event(what: int, *fields: int) -> tuple[bytes, Event]:
    """Build a datagram and decode it."""
    message = datagram(what, *fields)
    (decoded,) = decode(message)
    return message, decoded


EVERY_MASK = [
    reduce(or_, chosen, EventMask.NONE)
    for size in range(len(EventMask.ALL) + 1)
    for chosen in combinations(EventMask.ALL, size)
]
masks = st.sampled_from(EVERY_MASK)
# Few values, so that equal ones occur; some differ when their bytes are swapped.
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


def each_kind() -> list[tuple[bytes, Event]]:
    """Build events of all known and some unknown kinds, of leaders and of threads."""
    built_events = []
    for kind in KINDS:
        task = (1, 1) if kind is Fork else ()
        codes = [0, 9, 0x100, 0x01000000] if kind is Exit else [0]
        for tid in (42, 43):
            built_events += [event(kind.what, *task, tid, 42, code) for code in codes]
    return built_events + [event(what, 43, 42) for what in (0x8, 0x3, 0x20000000)]


@pytest.mark.parametrize("threads", [True, False])
def test_every_mask_selects_the_same_events_as_the_reference(threads: bool) -> None:
    """This holds for the BPF program and for the filter of decoded events."""
    samples = each_kind()
    for mask in EVERY_MASK:
        code, event_filter = program(mask, threads), new_filter(mask, threads=threads)
        expected = [is_selected(event, mask, threads=threads) for _, event in samples]

        assert expected == [passes(code, message) for message, _ in samples]
        assert expected == [matches(event_filter, event) for _, event in samples]


@given(masks, st.booleans(), events())
@thorough
def test_filter_compares_all_bits_of_a_field(
    mask: EventMask, threads: bool, event: tuple[bytes, Event]
) -> None:
    message, decoded = event
    expected = is_selected(decoded, mask, threads=threads)

    assert expected == passes(program(mask, threads), message)
    assert expected == is_match(decoded, mask, threads=threads)


@pytest.mark.parametrize("threads", [True, False])
def test_no_mask_passes_acknowledgements(threads: bool) -> None:
    for mask in EVERY_MASK:
        assert not passes(program(mask, threads), PROC_ACKNOWLEDGEMENT)


@given(masks, st.booleans())
@thorough
def test_program_satisfies_the_kernels_checks(mask: EventMask, threads: bool) -> None:
    """Jumps go forward and stay within the program; the last instruction returns."""
    instructions = disassemble(program(mask, threads))

    assert len(instructions) <= MAX_INSTRUCTIONS
    assert BPF_RET_K == instructions[-1].code
    for at, instruction in enumerate(instructions):
        assert at + 1 + instruction.jump_true < len(instructions) or (
            instruction.code == BPF_RET_K
        )
        assert at + 1 + instruction.jump_false < len(instructions) or (
            instruction.code == BPF_RET_K
        )


def test_longest_jump_fits_into_8_bits() -> None:
    longest = max(
        max(instruction.jump_true, instruction.jump_false)
        for mask in (EventMask.ALL, EventMask.NONE, EventMask.NONZERO_EXIT)
        for threads in (True, False)
        for instruction in disassemble(program(mask, threads))
    )

    assert 0 < longest < 256


# Explicit values, in case the reference and the C module have the same error


@pytest.mark.parametrize("name", SAMPLES)
def test_each_kind_is_selected_by_its_mask_bit_alone(name: str) -> None:
    bit = EventMask[name.upper()]
    message, decoded = SAMPLES[name].message, SAMPLES[name].event
    without = EventMask.ALL & ~bit & ~EventMask.NONZERO_EXIT

    assert passes(program(bit, threads=True), message)
    assert not passes(program(without, threads=True), message)
    assert is_match(decoded, bit, threads=True)
    assert not is_match(decoded, without, threads=True)


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
def test_nonzero_exit_selects_failed_exits_only(
    mask: EventMask, exit_code: int, expected: bool
) -> None:
    message, decoded = event(EventType.EXIT, 42, 42, exit_code, 17)

    assert (expected, expected) == (
        passes(program(mask, threads=True), message),
        is_match(decoded, mask, threads=True),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_thread_events_are_filtered_without_threads(kind: Any) -> None:
    fields = (1, 1) if kind is Fork else ()
    rest = (0, 0, 0, 0)
    thread, _ = event(kind.what, *(*fields, 43, 42, *rest)[:6])
    leader, _ = event(kind.what, *(*fields, 42, 42, *rest)[:6])

    for threads in (True, False):
        every_kind = program(EventMask.ALL, threads)
        assert passes(every_kind, leader)
        assert threads == passes(every_kind, thread)


def test_process_forked_by_a_thread_is_not_a_thread_event() -> None:
    message, decoded = event(EventType.FORK, 43, 42, 50, 50)

    assert passes(program(EventMask.FORK, threads=False), message)
    assert is_match(decoded, EventMask.FORK, threads=False)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (EventMask.ALL, True),
        (EventMask.ALL & ~EventMask.NONZERO_EXIT, True),
        (EventMask.ALL & ~EventMask.SID, False),
        (EventMask.NONE, False),
    ],
)
def test_unknown_kinds_pass_if_all_known_kinds_do(
    mask: EventMask, expected: bool
) -> None:
    message, decoded = event(0x400, 43, 42)

    assert isinstance(decoded, Unknown)
    assert (expected, expected) == (
        passes(program(mask, threads=False), message),
        is_match(decoded, mask, threads=False),
    )


def test_empty_mask_passes_no_event() -> None:
    rejecting = program(EventMask.NONE, threads=False)

    assert not passes(rejecting, PROC_ACKNOWLEDGEMENT)
    for sample in SAMPLES.values():
        assert not passes(rejecting, sample.message)


def test_acknowledgement_program_passes_acknowledgements_only() -> None:
    code = built(lib.procconn_filter_build_acknowledgements)

    assert passes(code, PROC_ACKNOWLEDGEMENT)
    for sample in SAMPLES.values():
        assert not passes(code, sample.message)


@pytest.mark.parametrize("thread_kind", KINDS)
def test_thread_events_of_one_kind_can_pass(thread_kind: Any) -> None:
    """The event journal needs PTRACE of threads."""
    for kind in KINDS:
        task = (1, 1) if kind is Fork else ()
        code = program_by_kind(EventMask.ALL, EventMask(int(thread_kind.what)))

        assert passes(code, datagram(kind.what, *task, 42, 42))
        assert (kind is thread_kind) == passes(code, datagram(kind.what, *task, 43, 42))


@pytest.mark.parametrize("threads", [True, False])
def test_liveness_check_adds_comm_events_of_one_task(threads: bool) -> None:
    """The filter's decision about all other events does not change."""
    samples = [*each_kind(), event(EventType.COMM, 7, 8), event(EventType.COMM, 8, 8)]
    for mask in EVERY_MASK:
        event_filter = new_filter(mask, threads=threads)

        def build(bpf: "Bpf", event_filter: "Filter" = event_filter) -> None:
            lib.procconn_filter_build_liveness(event_filter, 7, bpf)

        code = built(build)
        expected = [
            (isinstance(decoded, Comm) and decoded.pid == 7)
            or is_selected(decoded, mask, threads=threads)
            for _, decoded in samples
        ]

        assert expected == [passes(code, message) for message, _ in samples]


def test_lost_matches_any_mask() -> None:
    assert is_match(Lost(1, 0), EventMask.NONE, threads=False)


def test_filter_that_passes_everything_has_the_shortest_program() -> None:
    """It checks for acknowledgements only, which costs the kernel least."""
    everything = len(program(EventMask.ALL, threads=True))

    assert everything < len(program(EventMask.ALL, threads=False))
    assert everything < len(program(EventMask.ALL & ~EventMask.UID, threads=True))


@pytest.mark.skipif(sys.byteorder == "big", reason="big-endian needs no swap")
def test_constants_are_in_network_byte_order() -> None:
    constants = {
        instruction.k
        for instruction in disassemble(program(EventMask.ALL, threads=False))
        if instruction.code == BPF_JMP_JEQ_K
    }

    assert 0x01000000 in constants  # FORK
    assert 0x00000080 in constants  # EXIT
