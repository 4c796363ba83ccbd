"""Buffers that end at an unmapped page, so that any over-read crashes."""

import faulthandler
import os
import random
import signal
import struct
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from support import reference_decoder
from support.guard_page import GuardedMemory
from support.messages import (
    EXEC_WITH_PROGRAM,
    EXIT_WITH_USAGE,
    MESSAGES,
    SAMPLES,
    outcome,
)

from procconn import (
    NetlinkMessageIter,
    OverrunError,
    TruncatedError,
    decode,
    parse_netlink_message,
)

SEED = 20260722
MUTATED_BUFFERS = 100_000

LENGTH_WORDS = (0, 15, 16, 17, 20, 35, 36, 39, 40, 41, 52, 68, 75, 76, 77, 100)
WORDS = (*LENGTH_WORDS, 1, 3, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 4, 2**32 - 1)
LENGTHS = (0, 4, 8, 15, 16, 17, 19, 20, 23, 24, 31, 32, 33, 39, 40, 41, 48, 0xFFFF)


@pytest.fixture(scope="module")
def guarded() -> GuardedMemory:
    return GuardedMemory()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_reading_the_guard_page_raises_sigsegv(guarded: GuardedMemory) -> None:
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        guarded.read_guard()
        os._exit(0)
    _, status = os.waitpid(child, 0)

    assert signal.SIGSEGV == os.WTERMSIG(status)


def test_no_over_read_of_any_prefix(guarded: GuardedMemory) -> None:
    for message in MESSAGES:
        for size in range(len(message) + 1):
            prefix = message[:size]

            expected = outcome(reference_decoder.decode, prefix)

            assert expected == outcome(decode, guarded.place(prefix))


def test_no_over_read_of_prefixes_with_correct_lengths(
    guarded: GuardedMemory,
) -> None:
    trailers = (EXEC_WITH_PROGRAM, EXIT_WITH_USAGE)
    for message in (*(sample.message for sample in SAMPLES.values()), *trailers):
        for size in range(16, len(message) + 1):
            prefix = bytearray(message[:size])
            prefix[0:4] = struct.pack("=I", size)
            if size >= 36:
                prefix[32:34] = struct.pack("=H", size - 36)

            expected = outcome(reference_decoder.decode, prefix)

            assert expected == outcome(decode, guarded.place(bytes(prefix)))


def test_no_over_read_of_a_single_truncated_message(guarded: GuardedMemory) -> None:
    for message in MESSAGES:
        for size in range(len(message)):
            with pytest.raises(TruncatedError):
                parse_netlink_message(guarded.place(message[:size]))
            with pytest.raises((TruncatedError, StopIteration)):
                next(NetlinkMessageIter(guarded.place(message[:size])))


def test_mutated_buffers_decode_like_the_reference(
    guarded: GuardedMemory,
) -> None:
    results: Counter[object] = Counter()
    for buffer in mutated_buffers(random.Random(SEED), MUTATED_BUFFERS):
        expected = outcome(reference_decoder.decode, buffer)

        actual = outcome(decode, guarded.place(buffer))

        assert expected == actual, buffer.hex()
        results[actual[0]] += 1

    assert {"returned", TruncatedError, OverrunError, PermissionError} <= set(results)
    assert min(results["returned"], results[TruncatedError]) > MUTATED_BUFFERS // 10


# Mutation


def mutated_buffers(rng: random.Random, count: int) -> Iterator[bytes]:
    """Join messages of all sorts, some malformed, and corrupt some buffers."""
    for _ in range(count):
        messages = [bytearray(rng.choice(MESSAGES)) for _ in range(rng.randint(1, 5))]
        for message in messages:
            if rng.random() < 0.4:
                rng.choice(MESSAGE_MUTATIONS)(rng, message)
            if rng.random() < 0.95:
                message.extend(bytes(-len(message) % 4))
        buffer = bytearray().join(messages)
        if rng.random() < 0.3:
            rng.choice(BUFFER_MUTATIONS)(rng, buffer)
        yield bytes(buffer)


def flip_bits(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] ^= rng.randint(1, 255)


def set_word(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) // 4) * 4
    data[at : at + 4] = struct.pack("=I", rng.choice(WORDS))


def set_type(rng: random.Random, data: bytearray) -> None:
    data[4:6] = struct.pack("=H", rng.choice((0, 1, 2, 3, 3, 4, 5, 15, 16, 0xFFFF)))


def set_nlmsg_len(rng: random.Random, data: bytearray) -> None:
    length = rng.choice((*WORDS, len(data) - 1, len(data) + 1, len(data) + 4))
    data[0:4] = struct.pack("=I", length)


def set_cn_msg_len(rng: random.Random, data: bytearray) -> None:
    if len(data) >= 36:
        data[32:34] = struct.pack("=H", rng.choice(LENGTHS))


def set_what(rng: random.Random, data: bytearray) -> None:
    if len(data) >= 40:
        what = 1 << rng.randrange(32)
        what |= 1 << rng.randrange(32) if rng.random() < 0.2 else 0
        data[36:40] = struct.pack("=I", what if rng.random() < 0.9 else 0)


def resize(rng: random.Random, data: bytearray) -> None:
    """Change the length of the message and set its length fields to match."""
    size = max(16, rng.choice((rng.randint(16, 92), len(data) + rng.randint(-4, 4))))
    data.extend(rng.randbytes(max(0, size - len(data))))
    del data[size:]
    data[0:4] = struct.pack("=I", size)
    if size >= 36:
        data[32:34] = struct.pack("=H", size - 36)


def truncate(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def extend(rng: random.Random, data: bytearray) -> None:
    data.extend(rng.randbytes(rng.randint(1, 40)))


def insert(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    data[at:at] = rng.randbytes(rng.randint(1, 8))


def remove(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.randint(1, 8)]


def repeat_part(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    data.extend(data[at : at + rng.randint(1, 152)])


def set_in_trailer(rng: random.Random, data: bytearray) -> None:
    """Change a trailer's version, flags or one of its sizes (16 bits each)."""
    if len(data) >= 116:
        at = 76 + 2 * rng.choice((*range(4), *range(14, 20)))
        (value,) = struct.unpack_from("=H", data, at)
        value += rng.choice((-1, 1, 0x100, 0x8000, -value, 0xFFFF - value))
        data[at : at + 2] = struct.pack("=H", value & 0xFFFF)


Mutation = Callable[[random.Random, bytearray], None]
MESSAGE_MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    set_word,
    set_type,
    set_nlmsg_len,
    set_cn_msg_len,
    set_what,
    resize,
    resize,
    set_in_trailer,
    set_in_trailer,
)
BUFFER_MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    set_word,
    truncate,
    extend,
    insert,
    remove,
    repeat_part,
)
