"""The C parser of a recording's packets, compared with the reference."""

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
    """Call procconn_packets_read() once."""
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
            "step_ns": clock.STEP_NS,
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
    last_clock = (packets.wall_ns, packets.timestamp_ns) if packets.has_clock else None
    return Walked(
        status,
        packets.offset,
        messages,
        bool(packets.is_step),
        last_clock,
        packets.malformed,
    )


def compare(
    data: bytes,
    order: str,
    unit_ns: int,
    memory: tuple[GuardedMemory, GuardedMemory] | None = None,
) -> list[Walked]:
    """Parse all packets; compare each call with the reference; return the results."""
    calls: list[Walked] = []
    offset, since = 0, None
    source = memory[0].place(data) if memory else bytearray(data)
    while not calls or calls[-1].status == STEP:
        space = bytes(len(data) - offset)
        copies = memory[1].place(space) if memory else bytearray(space)

        actual = walk(
            source, copies, offset=offset, order=order, unit_ns=unit_ns, since=since
        )

        assert reference_packets.walk(data, offset, order, unit_ns, since) == actual
        calls.append(actual)
        offset, since = actual.offset, actual.clock
    return calls


@pytest.fixture(scope="module")
def guarded() -> tuple[GuardedMemory, GuardedMemory]:
    """Memory for the packets, and for the messages copied from them."""
    return GuardedMemory(), GuardedMemory()


@pytest.mark.parametrize("order", ORDERS)
def test_no_over_read_of_any_prefix(
    order: str, guarded: tuple[GuardedMemory, GuardedMemory]
) -> None:
    for message in ALL:
        complete = packet(message, order)
        for size in range(len(complete) + 1):
            (found,) = compare(complete[:size], order, 1, guarded)

            assert (found.offset == size) == (size in (0, len(complete)))
            assert found.status == PART


@pytest.mark.parametrize("order", ORDERS)
def test_no_over_read_of_truncated_messages(
    order: str, guarded: tuple[GuardedMemory, GuardedMemory]
) -> None:
    """Each message has the correct nlmsg_len, in either byte order."""
    for message in ALL:
        for size in range(4, len(message) + 1):
            for length_order in ORDERS:
                part = struct.pack(length_order + "I", size) + message[4:size]

                compare(packet(part, order), order, 1, guarded)


def test_mutated_packets_are_read_like_the_reference(
    guarded: tuple[GuardedMemory, GuardedMemory],
) -> None:
    rng = random.Random(SEED)
    outcomes: Counter[object] = Counter()
    for _ in range(MUTATED):
        order, unit_ns = rng.choice(ORDERS), rng.choice(UNITS)

        calls = compare(mutated(rng, order), order, unit_ns, guarded)

        outcomes.update(found.status for found in calls)
        outcomes["messages"] += any(found.messages for found in calls)
        outcomes["malformed"] += any(found.malformed for found in calls)

    assert {BAD, PART, STEP, "messages", "malformed"} == set(outcomes)
    assert min(outcomes.values()) > MUTATED // 50


def mutated(rng: random.Random, order: str) -> bytes:
    """Build packets of all sorts of messages, and corrupt some."""
    data = b""
    for _ in range(rng.randint(1, 5)):
        messages = bytearray()
        for message in rng.choices(ALL, k=rng.choice((1, 1, 1, 2, 3))):
            messages += message + bytes(-len(message) % 4 * (rng.random() < 0.9))
        if rng.random() < 0.3:
            corrupt(rng, messages)
        time = (rng.choice((0, 1, 1, 1, 2**32 - 1)), rng.choice((2, 2, 2**32 - 1)))
        cooked = OTHER_PROTOCOL if rng.random() < 0.1 else COOKED
        data += packet(bytes(messages), order, time, cooked)
    result = bytearray(data)
    if rng.random() < 0.3:
        corrupt(rng, result)
    if rng.random() < 0.2:
        del result[rng.randrange(len(result)) :]
    return bytes(result)


def corrupt(rng: random.Random, data: bytearray) -> None:
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


@pytest.mark.parametrize(
    "wall", [-clock.STEP_NS, -600_000, -1, 0, 1, 600_000, clock.STEP_NS]
)
def test_step_is_a_change_of_the_clock_offset_beyond_the_limit(wall: int) -> None:
    for change in (
        -clock.STEP_NS - 1,
        -clock.STEP_NS,
        clock.STEP_NS,
        clock.STEP_NS + 1,
    ):
        first = exec_at(10**9, (1, 10**8))
        second = exec_at(10**9 + wall - change, (1, 10**8 + wall))

        calls = compare(first + second, "=", 1)

        assert len(calls) == 1 + (abs(change) > clock.STEP_NS)


def exec_at(timestamp_ns: int, time: tuple[int, int]) -> bytes:
    return packet(event_message(2, bytes(24), timestamp_ns=timestamp_ns), time=time)


times = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
near_times = st.tuples(st.just(5), st.integers(0, 3_000_000))
timestamps = st.integers(0, 2**64 - 1) | st.integers(0, 3_000_000)


@given(st.lists(st.tuples(times | near_times, timestamps), max_size=6))
def test_steps_at_any_times_match_the_reference(
    packets: list[tuple[tuple[int, int], int]],
) -> None:
    """This includes differences of two times that overflow every C integer."""
    data = b"".join(exec_at(timestamp, time) for time, timestamp in packets)
    for unit_ns in UNITS:
        calls = compare(data, "=", unit_ns)

        assert sum(len(found.messages) for found in calls) == 76 * len(packets)


any_message = st.sampled_from(ALL) | st.binary(max_size=120)
any_packet = st.builds(
    packet,
    st.lists(any_message, max_size=3).map(b"".join),
    st.just("="),
    times | near_times,
    st.sampled_from([COOKED, COOKED, COOKED, OTHER_PROTOCOL]),
)


@st.composite
def malformed_packets(draw: st.DrawFn) -> bytes:
    """Packets in native byte order, with changes at random positions."""
    data = bytearray(b"".join(draw(st.lists(any_packet, max_size=5))))
    for _ in range(draw(st.integers(0, 3)) if data else 0):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
        data = data or bytearray(1)
    return bytes(data)


@given(malformed_packets(), st.sampled_from(ORDERS), st.sampled_from(UNITS))
@settings(max_examples=200)
def test_any_packets_are_read_like_the_reference(
    data: bytes, order: str, unit_ns: int
) -> None:
    compare(data, order, unit_ns)


@given(malformed_packets(), st.integers(1, 300))
@settings(max_examples=200)
def test_replay_has_the_messages_and_damage_of_the_reference(
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
    assert (calls[-1].status == BAD) == ("is malformed " + at in replayed.damage)
    assert (calls[-1].status == PART and end < len(data)) == (
        f"its last {len(data) - end} bytes, {at}" in replayed.damage
    )
    assert bool(malformed) == replayed.damage.endswith(f"skipped: {malformed}")


def test_trailers_of_each_version_are_converted() -> None:
    for message in (EXEC_WITH_PROGRAM, EXIT_WITH_USAGE, OLDER_PROGRAM):
        (found,) = compare(packet(reference_packets.converted(message, "=")), "=", 1)

        assert message + bytes(-len(message) % 4) == found.messages


def test_largest_packet_is_accepted_and_a_larger_one_rejected() -> None:
    largest = packet(words(0) * ((262_144 - 16) // 4))
    larger = packet(bytes(262_144 - 16 + 1))

    assert [PART] == [found.status for found in compare(largest, "=", 1)]
    assert [BAD] == [found.status for found in compare(larger, "=", 1)]
