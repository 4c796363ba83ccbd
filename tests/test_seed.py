"""The test cases of the Rust parser that this project is based on, by value.

Functions without a counterpart here, such as the alignment of lengths, are tested
through decoding.
"""

import errno
import os
import struct
from collections.abc import Callable
from itertools import count

import pytest
from support.builders import (
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_MIN_TYPE,
    NLMSG_NOOP,
    NLMSG_OVERRUN,
    cn_message,
    event_message,
    netlink_message,
    words,
)

from procconn import (
    BufferTooSmallError,
    Comm,
    ConnectionClosedError,
    Coredump,
    Event,
    Exec,
    Exit,
    Fork,
    Gid,
    NetlinkMessageIter,
    OverrunError,
    ProcConnError,
    Ptrace,
    Sid,
    TruncatedError,
    Uid,
    Unknown,
    decode,
    parse_netlink_message,
)

FORK = 0x00000001
EXEC = 0x00000002
UID = 0x00000004
GID = 0x00000040
SID = 0x00000080
PTRACE = 0x00000100
COMM = 0x00000200
COREDUMP = 0x40000000
EXIT = 0x80000000

NLM_F_REQUEST = 1


def message(what: int, union: bytes, timestamp_ns: int = 0) -> bytes:
    return event_message(
        what, union, timestamp_ns=timestamp_ns, message_type=NLMSG_MIN_TYPE
    )


def with_length(message: bytes, length: int) -> bytes:
    return struct.pack("=I", length) + message[4:]


EXEC_42 = message(EXEC, words(42, 100))
EXEC_42_EVENT = Exec(pid=42, tgid=100, timestamp_ns=0, cpu=0)
DONE = netlink_message(NLMSG_DONE)
NOOP = netlink_message(NLMSG_NOOP)


# One message of each kind


@pytest.mark.parametrize(
    ("what", "union", "event"),
    [
        pytest.param(EXEC, words(42, 100), EXEC_42_EVENT, id="exec"),
        pytest.param(
            FORK, words(10, 10, 20, 20), Fork(10, 10, 20, 20, 0, 0), id="fork"
        ),
        pytest.param(
            EXIT, words(1, 1, 0, 17, 0, 0), Exit(1, 1, 0, 17, 0, 0, 0, 0), id="exit"
        ),
        pytest.param(UID, words(5, 5, 1000, 0), Uid(5, 5, 1000, 0, 0, 0), id="uid"),
        pytest.param(GID, words(5, 5, 100, 200), Gid(5, 5, 100, 200, 0, 0), id="gid"),
        pytest.param(SID, words(7, 7), Sid(7, 7, 0, 0), id="sid"),
        pytest.param(
            PTRACE, words(1, 1, 999, 999), Ptrace(1, 1, 999, 999, 0, 0), id="ptrace"
        ),
        pytest.param(
            COMM,
            words(42, 42) + b"bash".ljust(16, b"\0"),
            Comm(42, 42, b"bash", 0, 0),
            id="comm",
        ),
        pytest.param(
            COREDUMP, words(1, 1, 0, 0), Coredump(1, 1, 0, 0, 0, 0), id="coredump"
        ),
        pytest.param(
            0xDEAD,
            b"\x01\x02\x03\x04",
            Unknown(0xDEAD, b"\x01\x02\x03\x04", 0, 0),
            id="unknown",
        ),
    ],
)
def test_each_kind_is_parsed(what: int, union: bytes, event: Event) -> None:
    parsed = parse_netlink_message(message(what, union))

    assert [event] == [parsed]


def test_exec_keeps_its_timestamp() -> None:
    event = parse_netlink_message(message(EXEC, words(42, 100), 123456789012345))

    assert Exec(42, 100, 123456789012345, 0) == event
    assert str(event).endswith(" ts=123456789012345")


def test_negative_pids_read_as_unsigned() -> None:
    event = parse_netlink_message(message(EXEC, struct.pack("=2i", -1, -1)))

    assert Exec(0xFFFFFFFF, 0xFFFFFFFF, 0, 0) == event


def test_comm_without_nul_has_sixteen_bytes() -> None:
    event = parse_netlink_message(message(COMM, words(42, 42) + b"abcdefghijklmnop"))

    assert Comm(42, 42, b"abcdefghijklmnop", 0, 0) == event
    assert 'COMM pid=42 tgid=42 name="abcdefghijklmnop" ts=0' == str(event)


def test_comm_that_is_not_utf8_is_shown_as_invalid() -> None:
    name = b"\xff\xfe".ljust(16, b"\0")
    event = parse_netlink_message(message(COMM, words(1, 1) + name))

    assert 'COMM pid=1 tgid=1 name="<invalid>" ts=0' == str(event)


def test_unknown_kind_keeps_a_kilobyte_of_data() -> None:
    event = parse_netlink_message(message(0xFFFFFFFF, b"\xab" * 1024))

    assert Unknown(0xFFFFFFFF, b"\xab" * 1024, 0, 0) == event


def test_nlm_f_request_is_ignored() -> None:
    flagged = bytearray(EXEC_42)
    flagged[6:8] = struct.pack("=H", NLM_F_REQUEST)

    assert EXEC_42_EVENT == parse_netlink_message(flagged)


# Control messages


@pytest.mark.parametrize(
    "control",
    [
        pytest.param(NOOP, id="no-op"),
        pytest.param(DONE, id="done"),
        pytest.param(netlink_message(NLMSG_ERROR, bytes(20)), id="acknowledgement"),
    ],
)
def test_control_messages_have_no_event(control: bytes) -> None:
    assert parse_netlink_message(control) is None


def test_error_message_raises_its_errno() -> None:
    payload = struct.pack("=i", -errno.EPERM).ljust(36, b"\0")

    with pytest.raises(PermissionError) as caught:
        parse_netlink_message(netlink_message(NLMSG_ERROR, payload))

    assert errno.EPERM == caught.value.errno


def test_overrun_message_raises() -> None:
    with pytest.raises(OverrunError):
        parse_netlink_message(netlink_message(NLMSG_OVERRUN))


# Truncated and malformed messages


@pytest.mark.parametrize(
    "buffer",
    [
        pytest.param(bytes(4), id="four bytes"),
        pytest.param(message(EXEC, words(42)), id="exec without tgid"),
        pytest.param(message(FORK, words(10, 10, 20)), id="fork without child_tgid"),
        pytest.param(message(EXIT, words(1, 1, 0, 17, 0)), id="exit without a parent"),
        pytest.param(message(UID, words(5, 5, 1000)), id="uid without euid"),
        pytest.param(message(GID, words(5, 5, 100)), id="gid without egid"),
        pytest.param(message(SID, words(7)), id="sid without tgid"),
        pytest.param(message(PTRACE, words(1, 1, 999)), id="ptrace without a tracer"),
        pytest.param(message(COMM, words(42, 42)), id="comm without name"),
        pytest.param(message(COREDUMP, words(1)), id="coredump without tgid"),
        pytest.param(message(EXEC, b""), id="exec without data"),
        pytest.param(
            with_length(netlink_message(NLMSG_MIN_TYPE, bytes(20)), 10),
            id="nlmsg_len below a header",
        ),
        pytest.param(
            with_length(netlink_message(NLMSG_MIN_TYPE, bytes(20)), 1000),
            id="nlmsg_len beyond the buffer",
        ),
        pytest.param(
            with_length(netlink_message(NLMSG_MIN_TYPE, bytes(100)), 20),
            id="nlmsg_len cuts cn_msg",
        ),
        pytest.param(
            netlink_message(
                NLMSG_MIN_TYPE,
                cn_message(words(EXEC, 0, 0, 0, 42, 100), idx=999),
            ),
            id="another connector's idx",
        ),
        pytest.param(
            netlink_message(NLMSG_MIN_TYPE, bytes(10)), id="ten bytes of cn_msg"
        ),
        pytest.param(
            netlink_message(NLMSG_MIN_TYPE, bytes(15)), id="fifteen bytes of cn_msg"
        ),
        pytest.param(
            netlink_message(NLMSG_MIN_TYPE, struct.pack("=4I2H4x", 1, 1, 0, 0, 100, 0)),
            id="cn_msg.len beyond the message",
        ),
    ],
)
def test_malformed_message_raises(buffer: bytes) -> None:
    with pytest.raises(TruncatedError):
        parse_netlink_message(buffer)


# Iteration


def events_of(buffer: bytes) -> list[Event]:
    return [event for event in NetlinkMessageIter(buffer) if event is not None]


def test_two_messages_are_iterated() -> None:
    buffer = EXEC_42 + message(EXEC, words(43, 101))

    assert [EXEC_42_EVENT, Exec(43, 101, 0, 0)] == events_of(buffer)


def test_hundred_messages_are_iterated() -> None:
    assert [EXEC_42_EVENT] * 100 == events_of(EXEC_42 * 100)


def test_empty_buffer_iterates_over_nothing() -> None:
    assert [] == list(NetlinkMessageIter(b""))


def test_done_alone_iterates_over_nothing() -> None:
    assert [] == list(NetlinkMessageIter(DONE))


def test_done_ends_the_iteration() -> None:
    assert [EXEC_42_EVENT] == list(NetlinkMessageIter(EXEC_42 + DONE))


def test_iteration_stays_ended() -> None:
    messages = NetlinkMessageIter(DONE)

    assert next(messages, "ended") == "ended"
    assert next(messages, "ended") == "ended"


def test_control_messages_between_events_are_skipped() -> None:
    fork = message(FORK, words(10, 10, 20, 20))
    buffer = NOOP + EXEC_42 + NOOP + fork + DONE

    assert [EXEC_42_EVENT, Fork(10, 10, 20, 20, 0, 0)] == events_of(buffer)


def test_iterating_over_zero_length_raises() -> None:
    with pytest.raises(TruncatedError):
        next(NetlinkMessageIter(bytes(16)))


def test_iterating_over_less_than_a_header_raises() -> None:
    with pytest.raises(TruncatedError):
        next(NetlinkMessageIter(bytes(4)))


def test_aligned_messages_have_no_padding() -> None:
    assert [16, 60, 16] == [len(NOOP), len(EXEC_42), len(DONE)]
    assert [EXEC_42_EVENT] == events_of(NOOP + EXEC_42 + DONE)


# Lengths: nlmsg_hdrlen, nlmsg_length, nlmsg_align


def test_netlink_header_has_sixteen_bytes() -> None:
    """A message begins after 16 bytes; its cn_msg has 20 bytes."""
    assert 16 == len(netlink_message(NLMSG_MIN_TYPE))
    assert 36 == len(netlink_message(NLMSG_MIN_TYPE, cn_message(b"")))
    assert 0 == len(decode(netlink_message(NLMSG_NOOP)))
    with pytest.raises(TruncatedError):
        decode(netlink_message(NLMSG_NOOP)[:15])


@pytest.mark.parametrize(
    ("length", "aligned"),
    [
        (16, 16),
        (17, 20),
        (18, 20),
        (19, 20),
        (20, 20),
        (21, 24),
        (22, 24),
        (23, 24),
        (24, 24),
        (25, 28),
        (65535, 65536),
        (65536, 65536),
        (65537, 65540),
    ],
)
def test_next_message_begins_at_a_multiple_of_four(length: int, aligned: int) -> None:
    first = netlink_message(NLMSG_NOOP, bytes(length - 16))
    found = [
        at
        for at in range(length, length + 5)
        if _decodes(first.ljust(at, b"\0") + EXEC_42)
    ]

    assert [aligned] == found


def _decodes(buffer: bytes) -> bool:
    try:
        return decode(buffer) == [EXEC_42_EVENT]
    except TruncatedError:
        return False


# Text forms


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Exec(42, 100, 0, 0), "EXEC pid=42 tgid=100 ts=0"),
        (Comm(1, 1, b"bash", 0, 0), 'COMM pid=1 tgid=1 name="bash" ts=0'),
        (
            Fork(100, 100, 200, 200, 0, 0),
            "FORK parent=(100,100) child=(200,200) ts=0",
        ),
        (
            Exit(42, 42, 0, 17, 0, 0, 0, 0),
            "EXIT pid=42 tgid=42 code=0 signal=17 ts=0",
        ),
        (Uid(1, 1, 1000, 0, 0, 0), "UID pid=1 tgid=1 ruid=1000 euid=0 ts=0"),
        (Gid(2, 2, 100, 200, 0, 0), "GID pid=2 tgid=2 rgid=100 egid=200 ts=0"),
        (Sid(3, 3, 0, 0), "SID pid=3 tgid=3 ts=0"),
        (
            Ptrace(10, 10, 99, 99, 0, 0),
            "PTRACE pid=10 tgid=10 tracer=(99,99) ts=0",
        ),
        (Coredump(7, 7, 0, 0, 0, 0), "COREDUMP pid=7 tgid=7 ts=0"),
    ],
)
def test_text_form(event: Event, text: str) -> None:
    assert text == str(event)


# Errors


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EPERM, "Operation not permitted"),
         "[Errno 1] Operation not permitted"),
        (TruncatedError(), "truncated message"),
        (BufferTooSmallError(64), "buffer too small, need at least 64 bytes"),
        (BufferTooSmallError(16), "buffer too small, need at least 16 bytes"),
        (InterruptedError(errno.EINTR, "Interrupted system call"),
         "[Errno 4] Interrupted system call"),
        (ConnectionClosedError(), "connection closed"),
        (OverrunError(), "message overrun, events may have been dropped"),
    ],
)  # fmt: skip
def test_error_text(error: Exception, text: str) -> None:
    assert text == str(error)


@pytest.mark.parametrize(
    "error",
    [
        TruncatedError(),
        BufferTooSmallError(16),
        OSError(errno.EINTR, "Interrupted system call"),
        ConnectionClosedError(),
        OverrunError(),
    ],
    ids=repr,
)
def test_errors_have_no_cause(error: Exception) -> None:
    """The Rust error for EINTR is InterruptedError; Python retries most calls."""
    assert error.__cause__ is None
    assert error.__context__ is None
    assert isinstance(error, ProcConnError | InterruptedError)


def test_decoder_errors_have_no_cause() -> None:
    for buffer in (bytes(4), netlink_message(NLMSG_OVERRUN)):
        with pytest.raises(ProcConnError) as caught:
            decode(buffer)

        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


def test_nlmsg_error_raises_the_system_error() -> None:
    """An errno in a message raises what a failed system call raises."""
    payload = struct.pack("=i", -errno.EPERM).ljust(20, b"\0")

    with pytest.raises(PermissionError) as caught:
        decode(netlink_message(NLMSG_ERROR, payload))

    assert f"[Errno 1] {os.strerror(errno.EPERM)}" == str(caught.value)
    assert not isinstance(caught.value, ProcConnError)


# Equality and round trips


def test_equal_events_are_equal() -> None:
    assert Exec(42, 100, 0, 0) == EXEC_42_EVENT
    assert Exec(43, 100, 0, 0) != EXEC_42_EVENT


@pytest.mark.parametrize(
    ("what", "make", "number"),
    [
        (FORK, Fork, 4),
        (EXEC, Exec, 2),
        (UID, Uid, 4),
        (GID, Gid, 4),
        (SID, Sid, 2),
        (PTRACE, Ptrace, 4),
        (COREDUMP, Coredump, 4),
        (EXIT, Exit, 6),
    ],
)
def test_decoded_fields_are_the_packed_words(
    what: int, make: Callable[..., Event], number: int
) -> None:
    values = [value for value, _ in zip(count(1000), range(number), strict=False)]

    (event,) = decode(message(what, words(*values), timestamp_ns=9))

    assert make(*values, 9, 0) == event
