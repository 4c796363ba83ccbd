"""Recordings: writing, reading, files of other machines, malformed files."""

import errno
import gzip
import io
import os
import struct
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import event_message, words
from support.messages import (
    DONE,
    EXEC_WITH_PROGRAM,
    EXIT_WITH_USAGE,
    FOREIGN,
    LOSS,
    LOST,
    MESSAGES,
    NEWER_KIND,
    NO_EVENTS,
    NOOP,
    OLDER_COREDUMP,
    OLDER_EXIT,
    PROGRAM,
    SAMPLES,
    USAGE,
)
from support.pcaps import COOKED, HEADER_SIZE, ChunkedFile, pcap
from support.reference_packets import converted

from procconn import (
    Event,
    Exec,
    Exit,
    TruncatedError,
    clock,
    decode,
    event_time,
    recording,
)

COMPLETE = [
    *(sample.message for sample in SAMPLES.values()),
    *NO_EVENTS.values(),
    OLDER_EXIT,
    OLDER_COREDUMP,
    LOSS,
    EXEC_WITH_PROGRAM,
    EXIT_WITH_USAGE,
    event_message(0x400, words(1, 2, 3), cpu=2, timestamp_ns=7),
]
BUFFER = b"".join(message + bytes(-len(message) % 4) for message in COMPLETE)
SWAPPED = [converted(message, "=") for message in COMPLETE]
EVENTS = decode(BUFFER)


def recorded(*buffers: bytes) -> bytes:
    file = io.BytesIO()
    recorder = recording.Recorder(file)
    for buffer in buffers:
        recorder.write(buffer)
    return file.getvalue()


def replay(file: bytes) -> list[Event]:
    return list(recording.open(io.BytesIO(file)))


def exec_at(timestamp_ns: int, pid: int = 1) -> bytes:
    union = words(pid, pid).ljust(24, b"\0")
    return event_message(2, union, timestamp_ns=timestamp_ns)


def test_every_kind_survives_recording() -> None:
    assert replay(recorded(BUFFER)) == EVENTS


def test_recording_has_programs_usages_and_losses() -> None:
    events = replay(recorded(EXIT_WITH_USAGE + LOSS + EXEC_WITH_PROGRAM))

    assert isinstance(events[0], Exit)
    assert isinstance(events[2], Exec)
    assert (USAGE, LOST, PROGRAM) == (events[0].usage, events[1], events[2].program)


def test_each_message_is_a_packet_with_its_date() -> None:
    before = time.time_ns()
    timestamp_ns = time.monotonic_ns()
    after = time.time_ns()

    file = recorded(exec_at(timestamp_ns) + LOSS)

    seconds, nanoseconds, *sizes = struct.unpack_from("=IIII", file, HEADER_SIZE)
    date = seconds * 10**9 + nanoseconds
    assert before - 2 * clock.STEP_NS <= date <= after + 2 * clock.STEP_NS
    assert [92, 92] == sizes
    assert file[HEADER_SIZE + 16 :][:92] == COOKED + exec_at(timestamp_ns)
    assert len(file) == HEADER_SIZE + 32 + 76 + 32 + 60
    assert file[:HEADER_SIZE] == pcap()


def test_read_methods_can_be_mixed(tmp_path: Path) -> None:
    count = 7001
    path = tmp_path / "some.pcap"
    path.write_bytes(recorded(b"".join(exec_at(0, pid) for pid in range(count))))

    with recording.open(path) as replayed:
        events = [replayed.recv(), next(iter(replayed))]
        events += replayed.recv_many(timeout=1)
        events += decode(replayed.recv_raw())
        events += replayed

        assert [Exec(pid, pid, 0, 0) for pid in range(count)] == events
        assert replayed.recv() is None
        assert replayed.recv_many() == []
        assert replayed.recv_raw() == b""
        assert not replayed.damage
        assert not replayed.closed
    assert replayed.closed
    with pytest.raises(ValueError, match="closed"):
        replayed.recv()


def test_write_counts_messages() -> None:
    recorder = recording.Recorder(io.BytesIO())

    assert recorder.write(BUFFER) == len(COMPLETE)
    assert recorder.write(b"") == 0
    assert recorder.write(bytearray(LOSS)) == 1


def test_truncated_message_is_not_written() -> None:
    file = io.BytesIO()
    recorder = recording.Recorder(file)

    with pytest.raises(TruncatedError) as caught:
        recorder.write(LOSS + EXEC_WITH_PROGRAM[:-1])

    assert caught.value.offset == len(LOSS)
    assert replay(file.getvalue()) == [LOST]


def test_written_messages_are_in_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "some.pcap"
    with recording.Recorder(path) as recorder:
        recorder.write(LOSS)

        assert [LOST] == replay(path.read_bytes())


def test_failed_write_leaves_the_file_unchanged(tmp_path: Path) -> None:
    """Recording can continue once there is space again."""
    path = tmp_path / "some.pcap"
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with recording.Recorder(path) as recorder:
        recorder.write(LOSS)
        kept = path.read_bytes()
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) + 50, limits[1]))
        try:
            with pytest.raises(OSError, match="large") as caught:
                recorder.write(LOSS + LOSS)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)

        assert errno.EFBIG == caught.value.errno
        assert kept == path.read_bytes()
        recorder.write(OLDER_EXIT)
    assert [LOST, *decode(OLDER_EXIT)] == replay(path.read_bytes())


def test_pipe_is_read_while_it_is_written() -> None:
    out, into = os.pipe()
    with open(out, "rb") as reading, open(into, "wb") as writing:
        recorder = recording.Recorder(writing)
        recorder.write(LOSS)
        replayed = recording.open(reading)

        assert replayed.recv() == LOST

        recorder.close()
        recorder.write(OLDER_EXIT)

        assert replayed.recv_many() == decode(OLDER_EXIT)

        writing.close()

        assert replayed.recv() is None


def test_callers_file_object_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / "some.pcap.gz"
    with gzip.open(path, "wb") as packed:
        packed.write(recorded(LOSS))
    with gzip.open(path, "rb") as packed, recording.open(packed) as replayed:
        assert [LOST] == list(replayed)

        replayed.close()

        assert not packed.closed


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("magic", "unit"), [(0xA1B23C4D, 1), (0xA1B2C3D4, 1000)])
def test_byte_order_and_time_unit_of_the_header_are_respected(
    order: str, magic: int, unit: int
) -> None:
    timestamp_ns = 5_000_000_000
    fraction = 123_456_000 // unit
    file = pcap(exec_at(timestamp_ns), order=order, magic=magic, times=[(7, fraction)])
    replayed = recording.open(io.BytesIO(file))

    assert [Exec(1, 1, timestamp_ns, 0)] == (events := list(replayed))
    date = datetime(1970, 1, 1, 0, 0, 7, 123_456, tzinfo=UTC)
    assert date == replayed.event_time(events[0])


@pytest.mark.parametrize("order", "<>")
def test_messages_in_the_other_byte_order_are_converted(order: str) -> None:
    """The message decides: a tool may have rewritten the headers in its own order."""
    file = pcap(*SWAPPED, order=order)

    assert EVENTS == replay(file)


def test_file_may_have_messages_of_both_byte_orders() -> None:
    file = pcap(OLDER_EXIT, converted(OLDER_EXIT, "="), LOSS, converted(LOSS, "="))

    assert [*decode(OLDER_EXIT) * 2, LOST, LOST] == replay(file)


def test_event_time_uses_the_recording_machines_clock_offset() -> None:
    """Timestamps count from that machine's boot, so this machine's offset is wrong."""
    timestamp_ns, year = 3_000_000_000, timedelta(days=365)
    then = datetime.now(UTC).replace(microsecond=0) - year
    date = int(then.timestamp())
    replayed = recording.open(
        io.BytesIO(
            pcap(
                exec_at(timestamp_ns), exec_at(timestamp_ns + 1), times=[(date, 0)] * 2
            )
        )
    )
    first, second = replayed.recv_many()

    assert then == replayed.event_time(first) == replayed.event_time(second)
    assert then != event_time(first)


def test_event_time_follows_a_step_of_the_wall_clock() -> None:
    timestamps = [10**9, 2 * 10**9, 3 * 10**9]
    times = [(1001, 0), (1002, 0), (5003, 0)]
    replayed = recording.open(io.BytesIO(pcap(*map(exec_at, timestamps), times=times)))

    events = list(replayed)

    dates = [int(replayed.event_time(event).timestamp()) for event in events]
    assert [1001, 1002, 5003] == dates


def test_event_time_follows_a_reboot() -> None:
    """CLOCK_MONOTONIC restarts; each event is dated when it is read."""
    timestamps = [9 * 10**9, 10 * 10**9, 1 * 10**9, 2 * 10**9]
    times = [(1009, 0), (1010, 0), (7001, 0), (7002, 0)]
    replayed = recording.open(io.BytesIO(pcap(*map(exec_at, timestamps), times=times)))

    dates = [int(replayed.event_time(event).timestamp()) for event in replayed]

    assert [1009, 1010, 7001, 7002] == dates


def test_event_time_of_a_local_recording_is_the_live_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timestamp_ns = time.monotonic_ns()
    replayed = recording.open(io.BytesIO(recorded(exec_at(timestamp_ns))))
    (event,) = replayed.recv_many()
    here = event_time(event)
    monkeypatch.setattr(clock, "wall_offset_ns", lambda: 0)  # as on another machine

    assert abs(replayed.event_time(event) - here) <= timedelta(milliseconds=2)


def test_event_time_before_the_first_read_is_an_error() -> None:
    replayed = recording.open(io.BytesIO(recorded(LOSS)))

    with pytest.raises(ValueError, match="read the event first"):
        replayed.event_time(LOST)


def test_dates_out_of_the_formats_range_do_not_stop_recording() -> None:
    buffer = exec_at(2**64 - 1) + exec_at(0)

    assert decode(buffer) == replay(recorded(buffer))


def test_truncated_recording_warns_after_the_last_event() -> None:
    """The file is cut at every byte after its header."""
    file = recorded(OLDER_EXIT + LOSS + OLDER_COREDUMP)
    ends = [HEADER_SIZE]
    for message in (OLDER_EXIT, LOSS, OLDER_COREDUMP):
        ends.append(ends[-1] + 32 + len(message))
    events = decode(OLDER_EXIT + LOSS + OLDER_COREDUMP)
    for size in range(HEADER_SIZE, len(file)):
        complete = sum(end <= size for end in ends[1:])
        replayed = recording.open(io.BytesIO(file[:size]))
        got = [event for _, event in zip(range(complete), replayed, strict=False)]

        assert events[:complete] == got
        left = size - ends[complete]
        if left == 0:
            assert replayed.recv() is None
            assert not replayed.damage
            continue
        with pytest.warns(RuntimeWarning, match=f"truncated: its last {left} bytes"):
            assert replayed.recv() is None
        assert f"from byte {ends[complete]} on" in replayed.damage


def test_damage_is_reported_once() -> None:
    replayed = recording.open(io.BytesIO(recorded(LOSS)[:-1]))
    with pytest.warns(RuntimeWarning, match="is truncated"):
        assert replayed.recv_many() == []

    assert replayed.recv_many() == []
    assert list(replayed) == []


def test_trailing_zeros_are_damage() -> None:
    """Some filesystems leave zeros after a crash."""
    file = recorded(LOSS)
    with pytest.warns(RuntimeWarning, match=f"from byte {len(file)} on"):
        assert [LOST] == replay(file + bytes(4096))


def test_malformed_message_does_not_hide_the_next() -> None:
    too_short = event_message(2, words(1))
    file = pcap(OLDER_EXIT, too_short, LOSS[:-4], LOSS)
    with pytest.warns(RuntimeWarning, match="malformed packets skipped: 2$"):
        assert [*decode(OLDER_EXIT), LOST] == replay(file)


def test_packets_without_events_are_skipped() -> None:
    """A capture of all netlink traffic has such packets."""
    other_protocol = pcap(LOSS)
    at = other_protocol.index(COOKED)
    other_protocol = other_protocol[: at + 15] + b"\0" + other_protocol[at + 16 :]
    request = event_message(1, b"")[:40]
    request = struct.pack("=I", 40) + request[4:34] + request[34:]
    file = other_protocol + pcap(NOOP, DONE, FOREIGN, request, LOSS)[HEADER_SIZE:]

    assert [LOST] == replay(file)


def test_several_messages_in_one_packet() -> None:
    padded = NEWER_KIND.ljust(56, b"\0")

    assert decode(padded + LOSS) == replay(pcap(padded + LOSS))


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b"", "empty; make one with: procconn record FILE"),
        (b"\xd4\xc3\xb2\xa1", "too short for a recording; make one with"),
        (b"#!/bin/sh\n" * 10, "is not a recording; make one with: procconn record"),
        (OLDER_EXIT * 9, "is not a recording; make one with"),
        (pcap(link_type=1), "of link type 1, not 253 (netlink); make one with"),
        (b"\n\r\r\n" + bytes(40), "a pcapng file; convert it: editcap -F nsecpcap"),
        (gzip.compress(pcap()), "compressed; unpack it: gzip -d"),
    ],
    ids=["empty", "short", "script", "raw", "ethernet", "pcapng", "gzip"],
)
def test_error_for_a_file_of_another_format_says_what_to_do(
    content: bytes, remedy: str, tmp_path: Path
) -> None:
    path = tmp_path / "some.file"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=path.name) as caught:
        recording.open(path)

    assert remedy in str(caught.value)


def test_missing_file_is_a_file_not_found_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        recording.open(tmp_path / "none")


def read_all(file: bytes) -> list[Event]:
    """Read untrusted bytes with each read method."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            replayed = recording.open(io.BytesIO(file))
        except ValueError:
            return []
        events = []
        for event in replayed:
            replayed.event_time(event)
            events.append(event)
        raw = b"".join(iter(recording.open(io.BytesIO(file)).recv_raw, b""))
        if not replayed.damage:
            assert decode(raw) == events
    assert len(events) <= len(file) // 76 + len(file) // 60
    return events


@given(st.binary(max_size=600))
def test_any_bytes_after_a_header(rest: bytes) -> None:
    for order in "<>":
        read_all(pcap(order=order) + rest)


@given(st.binary(max_size=200))
def test_any_bytes(file: bytes) -> None:
    read_all(file)


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_any_packets(packets: list[bytes]) -> None:
    read_all(pcap(*packets))


def mutated(messages: list[bytes], draw: Callable[[int], int]) -> bytes:
    file = bytearray(pcap(*messages))
    for _ in range(draw(3)):
        file[draw(len(file) - 1)] = draw(255)
    return bytes(file)


@given(
    st.lists(st.sampled_from([*MESSAGES, *SWAPPED]), max_size=6),
    st.data(),
)
def test_mutated_recordings(messages: list[bytes], data: st.DataObject) -> None:
    read_all(mutated(messages, lambda most: data.draw(st.integers(0, most))))


@given(st.lists(st.sampled_from(COMPLETE), max_size=20), st.integers(1, 50))
def test_sizes_of_file_reads_do_not_matter(messages: list[bytes], piece: int) -> None:
    buffer = b"".join(message + bytes(-len(message) % 4) for message in messages)

    assert decode(buffer) == list(recording.open(ChunkedFile(recorded(buffer), piece)))


@pytest.mark.parametrize("opened", [recording.open, recording.Recorder])
def test_text_file_is_a_type_error(opened: Callable[[io.StringIO], object]) -> None:
    with pytest.raises(TypeError, match=r"^file must be open in mode '[rw]b', not "):
        opened(io.StringIO())
