"""Properties of decoding any bytes, and comparison with the reference decoder."""

import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from support import reference_decoder
from support.builders import (
    cn_message,
    event_message,
    lost_message,
    netlink_message,
    program_trailer,
    usage_trailer,
    with_trailer,
)
from support.messages import MESSAGES, offset_and_events, outcome

from procconn import (
    Event,
    EventType,
    NetlinkMessageIter,
    OverrunError,
    TruncatedError,
    decode,
    parse_netlink_message,
)
from procconn.events import KINDS

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

uint16 = st.integers(0, 0xFFFF)
uint32 = st.integers(0, 0xFFFFFFFF)
uint64 = st.integers(0, 0xFFFFFFFFFFFFFFFF)
known_kinds = st.sampled_from([kind.what for kind in KINDS])

valid_events = st.builds(
    event_message,
    known_kinds,
    st.binary(min_size=24, max_size=24),
    cpu=uint32,
    timestamp_ns=uint64,
)
any_events = st.builds(
    event_message,
    known_kinds | uint32 | st.just(0),
    st.binary(max_size=40),
    cpu=uint32,
    timestamp_ns=uint64,
    message_type=st.sampled_from([3, 3, 3, 0, 5, 15, 16, 0xFFFF]),
)
losses = st.builds(lost_message, uint64, uint64)
texts = st.none() | st.binary(max_size=20)
any_trailers = st.one_of(
    st.builds(
        program_trailer,
        *[texts] * 5,
        ids=st.tuples(*[uint32] * 5),
        flags=uint16,
        version=st.sampled_from([1, 1, 1, 2]),
    ),
    st.builds(
        lambda values: usage_trailer(*values),
        st.lists(uint64, min_size=12, max_size=14)
        | st.lists(uint64 | st.just(2**64 - 1), min_size=13, max_size=13),
    ),
    st.binary(max_size=50),
)


@st.composite
def with_any_trailer(draw: st.DrawFn) -> bytes:
    """Append a trailer to an event, perhaps with one byte changed."""
    what = draw(st.sampled_from([EventType.EXEC, EventType.EXIT]))
    trailer = bytearray(draw(any_trailers))
    if trailer and draw(st.booleans()):
        trailer[draw(st.integers(0, len(trailer) - 1))] = draw(st.integers(0, 255))
    return with_trailer(event_message(what, bytes(24)), bytes(trailer))


any_connectors = st.builds(
    lambda data, idx, val: netlink_message(3, cn_message(data, idx=idx, val=val)),
    st.binary(max_size=60),
    st.integers(0, 2) | st.just(0x636F6E6E),
    st.integers(0, 2),
)
any_messages = st.builds(netlink_message, st.integers(0, 20), st.binary(max_size=80))


@st.composite
def with_wrong_length(draw: st.DrawFn) -> bytes:
    message = bytearray(draw(any_events | losses))
    near = st.integers(-2, 2)
    field = draw(st.sampled_from(["nlmsg_len", "cn_msg.len"]))
    if field == "nlmsg_len":
        length = draw(uint32 | near.map(lambda n: max(0, len(message) + n)))
        message[0:4] = struct.pack("=I", length)
    else:
        size = draw(uint16 | near.map(lambda n: max(0, len(message) - 36 + n)))
        message[32:34] = struct.pack("=H", size)
    return bytes(message)


def joined(messages: list[bytes]) -> bytes:
    return b"".join(m + bytes(-len(m) % 4) for m in messages)


valid_buffers = st.lists(valid_events, max_size=8).map(joined)
mixed_buffers = st.lists(
    st.one_of(
        st.sampled_from(MESSAGES),
        valid_events,
        losses,
        with_any_trailer(),
        any_events,
        any_connectors,
        any_messages,
        with_wrong_length(),
    ),
    max_size=6,
).map(joined)


@st.composite
def mutated_buffers(draw: st.DrawFn) -> bytes:
    buffer = bytearray(draw(mixed_buffers.filter(bool)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(buffer) - 1))
        buffer[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
        buffer = buffer or bytearray(1)
    return bytes(buffer)


any_buffers = st.one_of(mixed_buffers, mutated_buffers(), st.binary(max_size=200))

thorough = settings(max_examples=150)


@given(valid_buffers)
@thorough
def test_valid_buffers_decode_like_the_reference(buffer: bytes) -> None:
    expected = reference_decoder.decode(buffer)

    assert len(buffer) == 76 * len(expected)
    assert expected == decode(buffer)


@given(mixed_buffers)
@thorough
def test_mixed_buffers_decode_like_the_reference(buffer: bytes) -> None:
    assert outcome(reference_decoder.decode, buffer) == outcome(decode, buffer)


@given(mutated_buffers())
@thorough
def test_mutated_buffers_decode_like_the_reference(buffer: bytes) -> None:
    assert outcome(reference_decoder.decode, buffer) == outcome(decode, buffer)


@given(st.binary(max_size=200))
@thorough
def test_random_bytes_decode_like_the_reference(buffer: bytes) -> None:
    assert outcome(reference_decoder.decode, buffer) == outcome(decode, buffer)


@given(any_buffers, st.integers(0, 3))
@thorough
def test_alignment_of_the_buffer_does_not_matter(buffer: bytes, shift: int) -> None:
    shifted = memoryview(bytes(shift) + buffer)[shift:]

    assert outcome(decode, buffer) == outcome(decode, shifted)


@given(any_buffers)
@thorough
def test_iteration_yields_the_events_of_decode(buffer: bytes) -> None:
    assert outcome(decode, buffer) == outcome(decode_by_iteration, buffer)


def decode_by_iteration(buffer: "ReadableBuffer") -> list[Event]:
    events: list[Event] = []
    messages = NetlinkMessageIter(buffer)
    while True:
        try:
            event = next(messages)
        except StopIteration:
            return events
        except TruncatedError as error:
            if is_foreign(error):
                continue
            raise TruncatedError(error.offset, events) from None
        except OverrunError as error:
            raise OverrunError(error.offset, events) from None
        except OSError as error:
            error.events = events  # type: ignore[attr-defined]
            raise
        if event is not None:
            events.append(event)


def is_foreign(error: TruncatedError) -> bool:
    return "cn_msg.id is not that of the Proc Connector" in error.__notes__[0]


@given(any_buffers)
@thorough
def test_iteration_equals_parsing_each_message(buffer: bytes) -> None:
    messages = NetlinkMessageIter(buffer)

    for message in split(buffer):
        parsed = result(partial(parse_netlink_message, message))

        assert parsed == result(partial(next, messages))


def result(step: Callable[[], Event | None]) -> tuple[object, ...]:
    try:
        event = step()
    except (TruncatedError, OverrunError) as error:
        return type(error), error.events
    except OSError as error:
        return type(error), error.errno, offset_and_events(error)[1]
    return type(event), event


def split(buffer: bytes) -> Iterator[bytes]:
    """Split a buffer into messages, up to a bare NLMSG_DONE or malformed framing."""
    at = 0
    while len(buffer) - at >= 16:
        length, message_type = struct.unpack_from("=IH", buffer, at)
        if not 16 <= length <= len(buffer) - at or (length, message_type) == (16, 3):
            return
        yield buffer[at : at + length]
        at += length + -length % 4
