"""The C walk over a recording's packets, compared with the reference."""

import random
import struct
import sys
import warnings
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import reference_packets
from support.builders import event_message, words
from support.guard_page import GuardedMemory
from support.messages import EXEC_WITH_PROGRAM, EXIT_WITH_USAGE, MESSAGES, OLDER_PROGRAM
from support.pcaps import COOKED, HEADER_SIZE, OTHER_PROTOCOL, ChunkedFile, packet, pcap
from support.reference_packets import BAD, PART, STEP, Clock, Walked

from procconn import clock, recording
from procconn._core import ffi, lib

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SEED = 20261130
MUTATED = 20_000

ORDERS = ("<", ">")
UNITS = (1, 1000)

NATIVE = [*MESSAGES, OLDER_PROGRAM]
ALL = [*NATIVE, *(reference_packets.converted(message, "=") for message in NATIVE)]


def walk(
    data: "WriteableBuffer",
    copies: "WriteableBuffer",
    *,
    offset: int,
    order: str,
    unit_ns: int,
    since: Clock | None,
) -> Walked:
    """Call the C function once."""
    native = "<" if sys.byteorder == "little" else ">"
    buffer = ffi.from_buffer("uint8_t[]", data)
    packets = ffi.new(
        "struct procconn_packets *",
        {
            "bytes": buffer,
            "size": len(buffer),
            "offset": offset,
            "is_swapped": order not in ("=", native),
            "unit_ns": unit_ns,
            "step_ns": clock.STEP,
            "has_clock": since is not None,
            "wall_ns": since[0] if since else 0,
            "timestamp_ns": since[1] if since else 0,
        },
    )
    target = ffi.from_buffer("uint8_t[]", copies)
    status = lib.procconn_packets_read(packets, target)
    messages = bytes(memoryview(copies)[: packets.copied])
    ffi.release(target)
    ffi.release(buffer)
    seen = (packets.wall_ns, packets.timestamp_ns) if packets.has_clock else None
    return Walked(
        status,
        packets.offset,
        messages,
        bool(packets.is_step),
        seen,
        packets.malformed,
    )


def compare(
    data: bytes,
    order: str,
    unit_ns: int,
    memory: tuple[GuardedMemory, GuardedMemory] | None = None,
) -> list[Walked]:
    """Walk over all of it, call by call, and check each; return what was found."""
    calls: list[Walked] = []
    offset, since = 0, None
    place = memory[0].place(data) if memory else bytearray(data)
    while not calls or calls[-1].status == STEP:
        space = bytes(len(data) - offset)
        copies = memory[1].place(space) if memory else bytearray(space)

        actual = walk(
            place, copies, offset=offset, order=order, unit_ns=unit_ns, since=since
        )

        assert reference_packets.walk(data, offset, order, unit_ns, since) == actual
        calls.append(actual)
        offset, since = actual.offset, actual.clock
    return calls


@pytest.fixture(scope="module")
def guarded() -> tuple[GuardedMemory, GuardedMemory]:
    """What is read, and what is written."""
    return GuardedMemory(), GuardedMemory()


@pytest.mark.parametrize("order", ORDERS)
def test_no_prefix_is_walked_past_its_end(
    order: str, guarded: tuple[GuardedMemory, GuardedMemory]
) -> None:
    for message in ALL:
        whole = packet(message, order)
        for size in range(len(whole) + 1):
            (found,) = compare(whole[:size], order, 1, guarded)

            assert (found.offset == size) == (size in (0, len(whole)))
            assert found.status == PART


@pytest.mark.parametrize("order", ORDERS)
def test_no_message_of_any_length_is_converted_past_its_end(
    order: str, guarded: tuple[GuardedMemory, GuardedMemory]
) -> None:
    """Also where its own length, in either byte order, covers all of it."""
    for message in ALL:
        for size in range(4, len(message) + 1):
            for length_order in ORDERS:
                part = struct.pack(length_order + "I", size) + message[4:size]

                compare(packet(part, order), order, 1, guarded)


def test_mutated_packets_are_read_as_the_reference_does(
    guarded: tuple[GuardedMemory, GuardedMemory],
) -> None:
    rng = random.Random(SEED)
    met: Counter[object] = Counter()
    for _ in range(MUTATED):
        order, unit_ns = rng.choice(ORDERS), rng.choice(UNITS)

        calls = compare(mutated(rng, order), order, unit_ns, guarded)

        met.update(found.status for found in calls)
        met["messages"] += any(found.messages for found in calls)
        met["malformed"] += any(found.malformed for found in calls)

    assert {BAD, PART, STEP, "messages", "malformed"} == set(met)
    assert min(met.values()) > MUTATED // 50


def mutated(rng: random.Random, order: str) -> bytes:
    """Make packets of all sorts of messages, and damage some."""
    data = b""
    for _ in range(rng.randint(1, 5)):
        messages = bytearray()
        for message in rng.choices(ALL, k=rng.choice((1, 1, 1, 2, 3))):
            messages += message + bytes(-len(message) % 4 * (rng.random() < 0.9))
        if rng.random() < 0.3:
            damage(rng, messages)
        time = (rng.choice((0, 1, 1, 1, 2**32 - 1)), rng.choice((2, 2, 2**32 - 1)))
        cooked = OTHER_PROTOCOL if rng.random() < 0.1 else COOKED
        data += packet(bytes(messages), order, time, cooked)
    result = bytearray(data)
    if rng.random() < 0.3:
        damage(rng, result)
    if rng.random() < 0.2:
        del result[rng.randrange(len(result)) :]
    return bytes(result)


def damage(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    match rng.randrange(4):
        case 0:
            data[at] ^= rng.randint(1, 255)
        case 1:
            data[at // 4 * 4 : at // 4 * 4 + 4] = rng.randbytes(4)
        case 2:
            numbers = (0, 15, 16, 17, 36, 51, 52, 76, 262_144, 262_145, 2**32 - 1)
            number = struct.pack(rng.choice("<>") + "I", rng.choice(numbers))
            data[at // 4 * 4 : at // 4 * 4 + 4] = number
        case 3:
            del data[at : at + rng.randint(1, 8)]


@pytest.mark.parametrize("wall", [-clock.STEP, -600_000, -1, 0, 1, 600_000, clock.STEP])
def test_step_is_a_change_of_the_difference_by_more_than_the_limit(wall: int) -> None:
    for change in (-clock.STEP - 1, -clock.STEP, clock.STEP, clock.STEP + 1):
        first = exec_at(10**9, (1, 10**8))
        second = exec_at(10**9 + wall - change, (1, 10**8 + wall))

        calls = compare(first + second, "=", 1)

        assert len(calls) == 1 + (abs(change) > clock.STEP)


def exec_at(timestamp_ns: int, time: tuple[int, int]) -> bytes:
    return packet(event_message(2, bytes(24), timestamp_ns=timestamp_ns), time=time)


times = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
near_times = st.tuples(st.just(5), st.integers(0, 3_000_000))
stamps = st.integers(0, 2**64 - 1) | st.integers(0, 3_000_000)


@given(st.lists(st.tuples(times | near_times, stamps), max_size=6))
def test_any_times_are_steps_as_for_the_reference(
    packets: list[tuple[tuple[int, int], int]],
) -> None:
    """Also where the difference of two times fits into no C integer."""
    data = b"".join(exec_at(stamp, time) for time, stamp in packets)
    for unit_ns in UNITS:
        calls = compare(data, "=", unit_ns)

        assert sum(len(found.messages) for found in calls) == 76 * len(packets)


messages_of_any_sort = st.sampled_from(ALL) | st.binary(max_size=120)
packets_of_any_sort = st.builds(
    packet,
    st.lists(messages_of_any_sort, max_size=3).map(b"".join),
    st.just("="),
    times | near_times,
    st.sampled_from([COOKED, COOKED, COOKED, OTHER_PROTOCOL]),
)


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """Packets of the machine's own byte order, and changes anywhere in them."""
    data = bytearray(b"".join(draw(st.lists(packets_of_any_sort, max_size=5))))
    for _ in range(draw(st.integers(0, 3)) if data else 0):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
        data = data or bytearray(1)
    return bytes(data)


@given(damaged_files(), st.sampled_from(ORDERS), st.sampled_from(UNITS))
@settings(max_examples=200)
def test_any_packets_are_read_as_the_reference_does(
    data: bytes, order: str, unit_ns: int
) -> None:
    compare(data, order, unit_ns)


@given(damaged_files(), st.integers(1, 300))
@settings(max_examples=200)
def test_recording_has_the_messages_and_damage_of_the_reference(
    data: bytes, piece: int
) -> None:
    calls = compare(data, "=", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        replayed = recording.open(ChunkedFile(pcap() + data, piece))
        messages = b"".join(iter(replayed.recv_raw, b""))

    assert b"".join(found.messages for found in calls) == messages
    end = calls[-1].offset
    at = f"from byte {HEADER_SIZE + end} on"
    malformed = sum(found.malformed for found in calls)
    assert (calls[-1].status == BAD) == ("is damaged " + at in replayed.damage)
    assert (calls[-1].status == PART and end < len(data)) == (
        f"its last {len(data) - end} bytes, {at}" in replayed.damage
    )
    assert bool(malformed) == (f"whole event: {malformed} p" in replayed.damage)


def test_trailers_of_each_version_are_converted() -> None:
    for message in (EXEC_WITH_PROGRAM, EXIT_WITH_USAGE, OLDER_PROGRAM):
        (found,) = compare(packet(reference_packets.converted(message, "=")), "=", 1)

        assert message + bytes(-len(message) % 4) == found.messages


def test_largest_packet_is_taken_and_a_larger_one_is_not() -> None:
    largest = packet(words(0) * ((262_144 - 16) // 4))
    larger = packet(bytes(262_144 - 16 + 1))

    assert [PART] == [found.status for found in compare(largest, "=", 1)]
    assert [BAD] == [found.status for found in compare(larger, "=", 1)]
