"""Decoding of well-formed and malformed bytes."""

import array
import errno
import mmap
import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from support.builders import (
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_NOOP,
    NLMSG_OVERRUN,
    cn_message,
    event_message,
    lost_message,
    netlink_message,
    words,
)
from support.messages import (
    ACKNOWLEDGEMENT,
    CPU,
    DONE,
    FOREIGN,
    LOSS,
    LOST,
    MESSAGES,
    NEWER_KIND,
    NO_EVENTS,
    NOOP,
    OLDER_COREDUMP,
    OLDER_EXIT,
    OVERRUN,
    PROC_ACKNOWLEDGEMENT,
    REFUSAL,
    SAMPLES,
    TIMESTAMP_NS,
    Sample,
)

from procconn import (
    Comm,
    Coredump,
    Event,
    Exit,
    Lost,
    NetlinkMessageIter,
    OverrunError,
    TruncatedError,
    Unknown,
    decode,
    parse_netlink_message,
)
from procconn._core import lib
from procconn.errors import HasEvents
from procconn.events import KINDS

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

EXEC = SAMPLES["exec"]
FORK = SAMPLES["fork"]

MESSAGE_SIZE = 76
UNION_AT = 52
INT_MIN = -(2**31)

every_kind = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)


def with_nlmsg_len(message: bytes, length: int) -> bytes:
    return struct.pack("=I", length) + message[4:]


def with_cn_len(message: bytes, length: int) -> bytes:
    return message[:32] + struct.pack("=H", length) + message[34:]


def with_lengths(message: bytes) -> bytes:
    """Set both length fields to the actual lengths."""
    message = with_nlmsg_len(message, len(message)) if len(message) >= 4 else message
    if len(message) >= 36:
        message = with_cn_len(message, len(message) - 36)
    return message


def truncated(buffer: "ReadableBuffer") -> TruncatedError:
    with pytest.raises(TruncatedError) as caught:
        decode(buffer)
    return caught.value


def note(buffer: "ReadableBuffer") -> str:
    (text,) = truncated(buffer).__notes__
    return text


# Complete messages


@every_kind
def test_kind_is_decoded(sample: Sample) -> None:
    assert [sample.event] == decode(sample.message)


def test_messages_are_decoded_in_order() -> None:
    samples = list(SAMPLES.values()) * 50
    buffer = b"".join(sample.message for sample in samples)

    assert [sample.event for sample in samples] == decode(buffer)


def test_empty_buffer_has_no_events() -> None:
    assert [] == decode(b"")


@pytest.mark.parametrize("message_type", [0, *range(5, 20), 0xFFFF])
def test_every_type_but_the_four_control_types_carries_data(message_type: int) -> None:
    message = bytearray(EXEC.message)
    message[4:6] = struct.pack("=H", message_type)

    assert [EXEC.event] == decode(message)


def test_flags_seq_and_pid_of_the_netlink_header_are_ignored() -> None:
    message = bytearray(EXEC.message)
    message[6:16] = b"\xff" * 10

    assert [EXEC.event] == decode(message)


def test_seq_ack_and_flags_of_cn_msg_are_ignored() -> None:
    message = bytearray(EXEC.message)
    message[24:32] = b"\xff" * 8
    message[34:36] = b"\xff" * 2

    assert [EXEC.event] == decode(message)


def test_comm_ends_at_the_first_nul() -> None:
    name = b"one\0two\0".ljust(16, b"x")
    (event,) = decode(event_message(0x200, words(1, 2) + name))

    assert Comm(1, 2, b"one", 0, 0) == event


def test_comm_may_be_empty() -> None:
    (event,) = decode(event_message(0x200, words(1, 2) + bytes(16)))

    assert Comm(1, 2, b"", 0, 0) == event


def test_comm_has_at_most_16_bytes() -> None:
    """A longer union, as in a newer kernel, does not make the name longer."""
    (event,) = decode(event_message(0x200, words(1, 2) + b"x" * 20))

    assert Comm(1, 2, b"x" * 16, 0, 0) == event


# Every prefix of a message of every kind


@every_kind
def test_every_prefix_of_a_message_is_truncated(sample: Sample) -> None:
    assert [] == decode(sample.message[:0])
    for size in range(1, MESSAGE_SIZE):
        prefix = sample.message[:size]

        error = truncated(prefix)

        assert (0, []) == (error.offset, error.events), size


@every_kind
def test_prefix_with_correct_lengths_needs_only_its_fields(
    sample: Sample,
) -> None:
    for size in range(1, MESSAGE_SIZE + 1):
        prefix = with_lengths(sample.message[:size])

        expected = expected_of_prefix(sample, size)

        if expected is None:
            error = truncated(prefix)
            assert (0, []) == (error.offset, error.events), size
        elif size == 16:  # a bare NLMSG_DONE, the end of a multipart message
            assert [] == decode(prefix)
        else:
            assert [expected] == decode(prefix), size


def expected_of_prefix(sample: Sample, size: int) -> Event | None:
    """Return the event in a prefix with correct lengths; None if it is malformed."""
    union_size = size - UNION_AT
    if size == 16 or union_size >= sample.union_size:
        return sample.event
    match sample.event:
        case Exit() if union_size == 16:
            return sample.event._replace(parent_pid=0, parent_tgid=0)
        case Coredump() if union_size == 8:
            return sample.event._replace(parent_pid=0, parent_tgid=0)
    return None


@every_kind
def test_truncation_after_a_complete_message_has_its_offset(sample: Sample) -> None:
    for size in range(1, MESSAGE_SIZE):
        error = truncated(EXEC.message + sample.message[:size])

        assert (MESSAGE_SIZE, [EXEC.event]) == (
            error.offset,
            error.events,
        )


# Length fields off by one


@every_kind
def test_nlmsg_len_one_too_long_passes_the_end_of_the_buffer(sample: Sample) -> None:
    text = note(with_nlmsg_len(sample.message, MESSAGE_SIZE + 1))

    assert text == "At byte 0: nlmsg_len is below 16 or exceeds the buffer."


@every_kind
def test_nlmsg_len_one_too_short_truncates_cn_msg(sample: Sample) -> None:
    text = note(with_nlmsg_len(sample.message, MESSAGE_SIZE - 1))

    assert text == "At byte 0: cn_msg.len exceeds the message."


@every_kind
def test_cn_msg_len_one_too_long_passes_the_end_of_the_message(sample: Sample) -> None:
    assert 40 == struct.unpack_from("=H", sample.message, 32)[0]
    text = note(with_cn_len(sample.message, 41))

    assert text == "At byte 0: cn_msg.len exceeds the message."


@every_kind
def test_cn_msg_len_one_too_long_does_not_reach_the_next_message(
    sample: Sample,
) -> None:
    error = truncated(with_cn_len(sample.message, 41) + EXEC.message)

    assert 0 == error.offset


@every_kind
def test_cn_msg_len_one_too_short_truncates_kinds_that_fill_the_union(
    sample: Sample,
) -> None:
    message = with_cn_len(sample.message, 39)
    if sample.union_size == 24:
        text = note(message)
        assert text == "At byte 0: the event's fields are incomplete or inconsistent."
    else:
        assert [sample.event] == decode(message)


@every_kind
def test_exact_fields_suffice_and_one_byte_less_does_not(sample: Sample) -> None:
    size = UNION_AT + sample.union_size

    assert [sample.event] == decode(with_lengths(sample.message[:size]))
    truncated(with_lengths(sample.message[: size - 1]))


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (0, "nlmsg_len is below 16 or exceeds the buffer"),
        (15, "nlmsg_len is below 16 or exceeds the buffer"),
        (17, "the message is too short for a cn_msg"),
        (35, "the message is too short for a cn_msg"),
        (36, "cn_msg.len exceeds the message"),
        (77, "nlmsg_len is below 16 or exceeds the buffer"),
        (0x7FFFFFFF, "nlmsg_len is below 16 or exceeds the buffer"),
        (0x80000000, "nlmsg_len is below 16 or exceeds the buffer"),
        (0xFFFFFFFD, "nlmsg_len is below 16 or exceeds the buffer"),
        (0xFFFFFFFF, "nlmsg_len is below 16 or exceeds the buffer"),
    ],
)
def test_wrong_nlmsg_len(length: int, text: str) -> None:
    message = with_nlmsg_len(EXEC.message, length)

    assert f"At byte 0: {text}." == note(message)


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (0, "the message is too short for a proc_event"),
        (15, "the message is too short for a proc_event"),
        (16, "the event's fields are incomplete or inconsistent"),
        (23, "the event's fields are incomplete or inconsistent"),
        (41, "cn_msg.len exceeds the message"),
        (0xFFFF, "cn_msg.len exceeds the message"),
    ],
)
def test_wrong_cn_msg_len(length: int, text: str) -> None:
    message = with_cn_len(EXEC.message, length)

    assert f"At byte 0: {text}." == note(message)


def test_each_malformation_has_a_note_with_offset_and_cause() -> None:
    assert [
        "At byte 76: the buffer ends within a netlink header of 16 bytes.",
        "At byte 76: nlmsg_len is below 16 or exceeds the buffer.",
        "At byte 76: the NLMSG_ERROR is too short for an errno.",
        "At byte 76: the message is too short for a cn_msg.",
        "At byte 76: cn_msg.len exceeds the message.",
        "At byte 76: the message is too short for a proc_event.",
        "At byte 76: the event's fields are incomplete or inconsistent.",
    ] == [
        note(EXEC.message + malformed)
        for malformed in (
            bytes(15),
            bytes(16),
            netlink_message(NLMSG_ERROR, bytes(3)),
            netlink_message(NLMSG_DONE, bytes(19)),
            with_cn_len(EXEC.message, 41),
            netlink_message(NLMSG_DONE, cn_message(bytes(15))),
            event_message(0x2, words(1)),
        )
    ]


# Old kernels


def test_exit_of_an_old_kernel_has_no_parent() -> None:
    """Before COMM existed the union had 16 bytes, the message 68."""
    assert 68 == len(OLDER_EXIT)
    assert [Exit(7, 7, 256, 17, 0, 0, 5, 1)] == decode(OLDER_EXIT)


def test_parent_of_an_old_exit_is_not_read_from_the_next_message() -> None:
    first, second = decode(OLDER_EXIT + EXEC.message)

    assert Exit(7, 7, 256, 17, 0, 0, 5, 1) == first
    assert EXEC.event == second


def test_eight_byte_coredump_of_an_old_kernel_has_no_parent() -> None:
    assert [Coredump(8, 8, 0, 0, 6, 1)] == decode(OLDER_COREDUMP)


@pytest.mark.parametrize("size", [*range(16), *range(17, 24)])
def test_exit_of_any_other_size_is_malformed(size: int) -> None:
    truncated(event_message(0x80000000, bytes(size)))


@pytest.mark.parametrize("size", [*range(8), *range(9, 16)])
def test_coredump_of_any_other_size_is_malformed(size: int) -> None:
    truncated(event_message(0x40000000, bytes(size)))


@pytest.mark.parametrize("name", [n for n in SAMPLES if n not in ("exit", "comm")])
def test_other_kinds_fit_into_the_68_bytes_of_an_old_kernel(name: str) -> None:
    message = with_lengths(SAMPLES[name].message[:68])

    assert [SAMPLES[name].event] == decode(message)


def test_comm_does_not_fit_into_the_68_bytes_of_an_old_kernel() -> None:
    truncated(with_lengths(SAMPLES["comm"].message[:68]))


# Messages without an event


@pytest.mark.parametrize("message", NO_EVENTS.values(), ids=NO_EVENTS)
def test_messages_without_an_event_are_skipped(message: bytes) -> None:
    assert [EXEC.event, FORK.event] == decode(
        message + EXEC.message + message * 3 + FORK.message + message
    )


@pytest.mark.parametrize(
    ("idx", "val"), [(0, 1), (1, 0), (2, 1), (1, 2), (0x10001, 1), (1, 0x10001)]
)
def test_messages_of_other_connectors_are_skipped(idx: int, val: int) -> None:
    data = words(0x2, 0, 0, 0, 42, 42)
    foreign = netlink_message(NLMSG_DONE, cn_message(data, idx=idx, val=val))

    assert [EXEC.event] == decode(foreign + EXEC.message)
    with pytest.raises(TruncatedError):
        parse_netlink_message(foreign)


def test_cn_msg_len_of_other_connectors_is_not_checked() -> None:
    foreign = with_cn_len(FOREIGN, 0xFFFF)

    assert [EXEC.event] == decode(foreign + EXEC.message)


def test_proc_acknowledgement_without_errno_is_malformed() -> None:
    assert [] == decode(event_message(0, bytes(4)))
    truncated(event_message(0, bytes(3)))


def test_proc_acknowledgement_with_an_errno_is_skipped() -> None:
    assert [] == decode(event_message(0, words(1).ljust(24, b"\0"), message_type=3))
    assert parse_netlink_message(PROC_ACKNOWLEDGEMENT) is None


def test_no_op_may_have_a_payload() -> None:
    assert [EXEC.event] == decode(
        netlink_message(NLMSG_NOOP, b"123") + b"\0" + EXEC.message
    )


def test_bare_done_ends_the_buffer() -> None:
    assert [EXEC.event] == decode(EXEC.message + DONE + FORK.message)


def test_bytes_after_a_bare_done_are_ignored() -> None:
    assert [EXEC.event] == decode(EXEC.message + DONE + b"\xff")


def test_done_with_a_payload_too_short_for_cn_msg_is_malformed() -> None:
    truncated(netlink_message(NLMSG_DONE, b"\0"))


# Lost


def test_lost_is_decoded_in_order() -> None:
    assert [EXEC.event, LOST, FORK.event] == decode(EXEC.message + LOSS + FORK.message)
    assert LOST == parse_netlink_message(LOSS)
    assert [LOST, EXEC.event] == list(NetlinkMessageIter(LOSS + EXEC.message))


def test_unknown_number_of_lost_events_is_zero() -> None:
    assert [Lost(0, 7)] == decode(lost_message(0, 7))


def test_lost_without_its_count_is_malformed() -> None:
    assert 60 == len(LOSS)
    for size in range(36, 60):
        message = with_lengths(LOSS[:size])

        text = note(message)

        assert (
            text == "At byte 0: the event's fields are incomplete or inconsistent."
        ), size


def test_bytes_after_the_count_of_a_loss_are_ignored() -> None:
    """A later version may append fields."""
    assert [LOST, EXEC.event] == decode(with_lengths(LOSS + b"more") + EXEC.message)


def test_lost_with_cn_msg_len_beyond_the_message_is_malformed() -> None:
    text = note(with_cn_len(LOSS, 25) + EXEC.message)

    assert text == "At byte 0: cn_msg.len exceeds the message."


@pytest.mark.parametrize(("idx", "val"), [(0x636F6E6E, 2), (0x636F6E6E, 0), (1, 2)])
def test_other_messages_of_the_library_are_skipped(idx: int, val: int) -> None:
    other = LOSS[:16] + words(idx, val) + LOSS[24:]

    assert [EXEC.event] == decode(other + EXEC.message)


# NLMSG_ERROR and NLMSG_OVERRUN


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (-errno.EPERM, errno.EPERM),
        (-errno.ENOBUFS, errno.ENOBUFS),
        (errno.EPERM, errno.EPERM),
        (-4095, 4095),
        (2**31 - 1, 2**31 - 1),
        (-(2**31 - 1), 2**31 - 1),
        (INT_MIN, INT_MIN),
    ],
)
def test_nlmsg_error_raises_its_errno(value: int, number: int) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        decode(netlink_message(NLMSG_ERROR, struct.pack("=i", value)))

    assert number == caught.value.errno


def test_nlmsg_error_keeps_the_events_before_it() -> None:
    with pytest.raises(PermissionError) as caught:
        decode(EXEC.message + LOSS + REFUSAL + FORK.message)

    assert isinstance(caught.value, HasEvents)
    assert (136, [EXEC.event, LOST]) == (caught.value.offset, caught.value.events)


def test_nlmsg_error_as_a_single_message_has_no_events() -> None:
    with pytest.raises(PermissionError) as caught:
        parse_netlink_message(REFUSAL)

    assert isinstance(caught.value, HasEvents)
    assert (0, []) == (caught.value.offset, caught.value.events)


def test_nlmsg_error_raises_the_oserror_subclass() -> None:
    with pytest.raises(PermissionError, match=os.strerror(errno.EPERM)):
        decode(REFUSAL)


@pytest.mark.parametrize("size", range(4))
def test_nlmsg_error_without_an_errno_is_malformed(size: int) -> None:
    truncated(netlink_message(NLMSG_ERROR, bytes(size)))


def test_nlmsg_error_zero_is_an_acknowledgement() -> None:
    assert [] == decode(netlink_message(NLMSG_ERROR, words(0)))
    assert parse_netlink_message(ACKNOWLEDGEMENT) is None


def test_overrun_keeps_the_events_before_it() -> None:
    with pytest.raises(OverrunError) as caught:
        decode(EXEC.message + OVERRUN + FORK.message)

    assert (MESSAGE_SIZE, [EXEC.event]) == (caught.value.offset, caught.value.events)


def test_overrun_may_have_a_payload() -> None:
    with pytest.raises(OverrunError):
        decode(netlink_message(NLMSG_OVERRUN, b"payload."))


def test_truncation_keeps_the_events_before_it() -> None:
    error = truncated(NOOP + EXEC.message + FORK.message + bytes(16) + EXEC.message)

    assert (16 + 2 * MESSAGE_SIZE, [EXEC.event, FORK.event]) == (
        error.offset,
        error.events,
    )


# Padding and trailing bytes


@pytest.mark.parametrize("size", range(1, 8))
def test_messages_are_padded_to_four_bytes(size: int) -> None:
    message = event_message(0x400, b"x" * size)
    padded = message.ljust(-(-len(message) // 4) * 4, b"\xff")

    events = decode(padded + EXEC.message)

    assert [Unknown(0x400, b"x" * size, 0, 0), EXEC.event] == events


@pytest.mark.parametrize("size", range(1, 8))
def test_last_message_needs_no_padding(size: int) -> None:
    message = event_message(0x400, b"x" * size)

    for padding in range(-len(message) % 4 + 1):
        assert [Unknown(0x400, b"x" * size, 0, 0)] == decode(message + bytes(padding))


@pytest.mark.parametrize("size", range(1, 16))
def test_trailing_bytes_too_few_for_a_header_are_malformed(size: int) -> None:
    error = truncated(EXEC.message + bytes(size))

    assert (MESSAGE_SIZE, [EXEC.event]) == (error.offset, error.events)


# Unknown kinds


@pytest.mark.parametrize(
    "what",
    [
        *(1 << bit for bit in range(32) if 1 << bit not in {k.what for k in KINDS}),
        0x3,
        0x6,
        0x80000001,
        0xC0000000,
        0xFFFFFFFF,
    ],
)
def test_unknown_kind_keeps_its_bytes(what: int) -> None:
    union = bytes(range(24))
    message = event_message(what, union, cpu=CPU, timestamp_ns=TIMESTAMP_NS)

    assert [Unknown(what, union, TIMESTAMP_NS, CPU)] == decode(message)


@pytest.mark.parametrize("size", [0, 1, 3, 25, 4093, 0xFFFF - 16])
def test_unknown_kind_may_have_any_size(size: int) -> None:
    union = b"\xa5" * size

    assert [Unknown(0x400, union, 0, 0)] == decode(event_message(0x400, union))


def test_unknown_kind_ends_at_cn_msg_len() -> None:
    message = with_cn_len(NEWER_KIND, 18)

    assert [Unknown(0x400, b"\x01\x02", 7, 2)] == decode(message)


# Buffer types


BUFFER = EXEC.message + FORK.message
EVENTS = [EXEC.event, FORK.event]


@pytest.mark.parametrize(
    "buffer",
    [
        pytest.param(BUFFER, id="bytes"),
        pytest.param(bytearray(BUFFER), id="bytearray"),
        pytest.param(memoryview(BUFFER), id="memoryview"),
        pytest.param(memoryview(b"xyz" + BUFFER + b"z")[3:-1], id="unaligned slice"),
        pytest.param(memoryview(BUFFER).cast("I"), id="memoryview of words"),
        pytest.param(
            memoryview(BUFFER).cast("B", (2, 76)), id="memoryview of two dimensions"
        ),
        pytest.param(
            memoryview(bytes(b for byte in BUFFER for b in (byte, 0)))[::2],
            id="every second byte",
        ),
        pytest.param(memoryview(BUFFER[::-1])[::-1], id="backwards"),
        pytest.param(
            memoryview(EXEC.message + bytes(76) + FORK.message).cast("B", (3, 76))[::2],
            id="every second row",
        ),
        pytest.param(array.array("B", BUFFER), id="array of bytes"),
        pytest.param(array.array("I", BUFFER), id="array of words"),
    ],
)
def test_every_buffer_type_is_decoded(buffer: "ReadableBuffer") -> None:
    assert EVENTS == decode(buffer)
    assert EVENTS == list(NetlinkMessageIter(buffer))
    assert EVENTS[0] == [parse_netlink_message(buffer)][0]


def test_mapped_file_is_decoded() -> None:
    with mmap.mmap(-1, len(BUFFER)) as memory:
        memory[:] = BUFFER

        assert EVENTS == decode(memory)


@pytest.mark.parametrize("function", [decode, parse_netlink_message])
def test_buffer_is_released_after_decoding(
    function: Callable[[bytearray], object],
) -> None:
    """A bytearray with an exported buffer cannot be resized."""
    buffer = bytearray(BUFFER)
    function(buffer)
    buffer.clear()
    buffer.append(0)

    with pytest.raises(TruncatedError) as caught:
        function(buffer)
    buffer.append(0)

    assert 0 == caught.value.offset
    assert b"\0\0" == buffer


def test_iterator_copies_the_buffer() -> None:
    buffer = bytearray(BUFFER)
    messages = NetlinkMessageIter(buffer)

    buffer.clear()

    assert EVENTS == list(messages)


def test_events_do_not_change_with_the_buffer() -> None:
    buffer = bytearray(SAMPLES["comm"].message + NEWER_KIND)
    events = decode(buffer)

    buffer[:] = bytes(len(buffer))

    assert [SAMPLES["comm"].event, Unknown(0x400, b"\x01\x02\x03", 7, 2)] == events


@pytest.mark.parametrize("wrong", ["text", 76, None, [1, 2], object()])
def test_argument_without_the_buffer_protocol_is_a_type_error(wrong: object) -> None:
    for function in (decode, parse_netlink_message, NetlinkMessageIter):
        with pytest.raises(TypeError) as caught:
            function(wrong)  # type: ignore[arg-type]

        assert (
            "buffer must be bytes or another object with the buffer protocol, not"
            f" {type(wrong).__name__}"
        ) == str(caught.value)


# One message


def test_parse_ignores_bytes_after_the_first_message() -> None:
    assert EXEC.event == parse_netlink_message(EXEC.message + b"\xff")


def test_parse_of_an_empty_buffer_is_truncated() -> None:
    with pytest.raises(TruncatedError) as caught:
        parse_netlink_message(b"")

    assert (0, []) == (caught.value.offset, caught.value.events)


@pytest.mark.parametrize("message", [NOOP, DONE, ACKNOWLEDGEMENT, PROC_ACKNOWLEDGEMENT])
def test_parse_of_a_message_without_an_event_is_none(message: bytes) -> None:
    assert parse_netlink_message(message) is None


# Message by message


def results(buffer: bytes) -> list[Event | type[Exception] | None]:
    """Iterate to the end; return each step's result, or the class it raises."""
    found: list[Event | type[Exception] | None] = []
    messages = NetlinkMessageIter(buffer)
    for _ in range(len(buffer) + 1):
        try:
            found.append(next(messages))
        except StopIteration:
            return found
        except Exception as error:
            found.append(type(error))
    pytest.fail("iteration did not end")


def test_iter_returns_the_iterator_itself() -> None:
    messages = NetlinkMessageIter(BUFFER)

    assert iter(messages) is messages


def test_iteration_yields_none_for_messages_without_an_event() -> None:
    assert [None, EXEC.event, None, None] == results(
        NOOP + EXEC.message + ACKNOWLEDGEMENT + PROC_ACKNOWLEDGEMENT
    )


@pytest.mark.parametrize(
    ("malformed", "error"),
    [
        pytest.param(event_message(0x2, words(1)), TruncatedError, id="fields"),
        pytest.param(with_cn_len(EXEC.message, 41), TruncatedError, id="cn_msg.len"),
        pytest.param(netlink_message(3, bytes(8)), TruncatedError, id="no cn_msg"),
        pytest.param(netlink_message(3, cn_message(b"")), TruncatedError, id="empty"),
        pytest.param(netlink_message(2), TruncatedError, id="no errno"),
        pytest.param(FOREIGN, TruncatedError, id="foreign"),
        pytest.param(OVERRUN, OverrunError, id="overrun"),
        pytest.param(REFUSAL, PermissionError, id="refusal"),
    ],
)
def test_iteration_continues_after_a_malformed_message(
    malformed: bytes, error: type[Exception]
) -> None:
    assert [EXEC.event, error, FORK.event, error] == results(
        EXEC.message + malformed + FORK.message + malformed
    )


@pytest.mark.parametrize(
    "malformed",
    [
        pytest.param(bytes(16), id="zero length"),
        pytest.param(with_nlmsg_len(NOOP, 15), id="below a header"),
        pytest.param(with_nlmsg_len(NOOP, 0xFFFFFFFF), id="beyond the end"),
    ],
)
def test_malformed_framing_raises_once_and_ends_the_iteration(malformed: bytes) -> None:
    assert [EXEC.event, TruncatedError] == results(
        EXEC.message + malformed + FORK.message
    )


def test_trailing_byte_raises_once_and_ends_the_iteration() -> None:
    assert [EXEC.event, TruncatedError] == results(EXEC.message + b"\0")


def test_iteration_ends_at_a_bare_done() -> None:
    assert [EXEC.event] == results(EXEC.message + DONE + FORK.message)


def test_error_during_iteration_has_its_offset_in_the_buffer() -> None:
    messages = NetlinkMessageIter(NOOP + EXEC.message + event_message(0x2, b""))

    assert [None, EXEC.event] == [next(messages), next(messages)]
    with pytest.raises(TruncatedError) as caught:
        next(messages)

    assert (92, []) == (caught.value.offset, caught.value.events)
    assert ["At byte 92: the event's fields are incomplete or inconsistent."] == (
        caught.value.__notes__
    )


def test_iteration_over_a_single_message_of_every_sort_has_one_step() -> None:
    for message in MESSAGES:
        assert len(results(message)) == (0 if message == DONE else 1)


# The table of kinds in C against the classes in Python


def test_c_table_and_the_classes_agree() -> None:
    """C counts words, name and trailer; each class also has timestamp_ns and cpu."""
    rows = {
        1 << bit: row.words + row.has_name + 2 + row.has_trailer
        for bit, row in enumerate(lib.procconn_kinds)
        if row.words
    }

    assert rows == {int(kind.what): len(kind._fields) for kind in KINDS}


def test_a_name_in_the_c_table_is_the_comm_field_after_the_words() -> None:
    for bit, row in enumerate(lib.procconn_kinds):
        if row.has_name:
            (kind,) = (kind for kind in KINDS if kind.what == 1 << bit)
            assert "comm" == kind._fields[row.words]


def test_only_fields_of_trailers_have_a_default() -> None:
    for bit, row in enumerate(lib.procconn_kinds):
        if row.words:
            (kind,) = (kind for kind in KINDS if kind.what == 1 << bit)
            assert row.has_trailer == len(kind._field_defaults)


def test_timestamp_and_cpu_are_the_last_fields_without_a_default() -> None:
    for kind in (*KINDS, Unknown):
        last = len(kind._fields) - len(kind._field_defaults)
        assert ("timestamp_ns", "cpu") == kind._fields[last - 2 : last]
