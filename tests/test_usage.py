"""Parsing of taskstats messages into `Usage` values, without the kernel."""

import random

import pytest
from support.builders import NLMSG_ERROR, event_message, netlink_message, words
from support.guard_page import GuardedMemory
from support.taskstats import (
    ABSENT,
    AGGR_PID,
    AGGR_TGID,
    COMMAND_GET,
    FAMILY,
    NULL,
    PID,
    STATS,
    TGID,
    attribute,
    generic_message,
    stats,
    task_message,
)

from procconn import EventType, Exit, decode
from procconn._core import ffi, lib

SEED = 20260805
MUTATED_MESSAGES = 50_000
VERSIONS = (13, 14, 15, 16)
VALUES = (
    "cpu_ns",
    "user_ns",
    "system_ns",
    "peak_rss",
    "read_bytes",
    "write_bytes",
    "read_chars",
    "write_chars",
    "minor_faults",
    "major_faults",
    "switches",
    "involuntary_switches",
    "elapsed_ns",
)
FIELDS = ("pid", "tgid", "exit_code", *VALUES)
RAW_FIELDS = {
    "ac_exitcode": 256,
    "ac_tgid": 41,
    "cpu_delay_total": 11,
    "cpu_run_virtual_total": 1_000_001,
    "ac_utime": 4000,
    "ac_stime": 8000,
    "hiwater_rss": 3,
    "hiwater_vm": 4,
    "read_bytes": 1024,
    "write_bytes": 2048,
    "read_char": 3072,
    "write_char": 4096,
    "ac_minflt": 5,
    "ac_majflt": 6,
    "nvcsw": 7,
    "nivcsw": 8,
    "ac_etime": 9,
}


def parse(message: bytes | memoryview, size: int | None = None) -> dict[str, int] | int:
    """Return the record in a message, or the status code if there is none."""
    record = ffi.new("struct procconn_task_record *")
    status = lib.procconn_parse_taskstats(
        ffi.from_buffer("uint8_t[]", message),
        len(message) if size is None else size,
        FAMILY,
        record,
    )
    if status != lib.PROCCONN_TASK_RECORD:
        return status
    return {name: getattr(record, name) for name in FIELDS}


def value(name: str, **fields: int) -> int:
    record = parse(task_message(42, stats(**fields)))
    assert isinstance(record, dict)
    return record[name]


@pytest.fixture(scope="module")
def guarded() -> GuardedMemory:
    return GuardedMemory()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_gives_the_same_record(version: int) -> None:
    """Version 15 inserts fields between the existing ones."""
    expected = {
        "pid": 42,
        "tgid": 41,
        "exit_code": 256,
        "cpu_ns": 1_000_001,
        "user_ns": 4_000_000,
        "system_ns": 8_000_000,
        "peak_rss": 3072,
        "read_bytes": 1024,
        "write_bytes": 2048,
        "read_chars": 3072,
        "write_chars": 4096,
        "minor_faults": 5,
        "major_faults": 6,
        "switches": 7,
        "involuntary_switches": 8,
        "elapsed_ns": 9000,
    }

    assert expected == parse(task_message(42, stats(version, **RAW_FIELDS)))


def test_longer_structure_of_a_newer_kernel_is_read() -> None:
    assert isinstance(parse(task_message(42, stats(16) + bytes(128))), dict)


def test_oldest_structure_has_no_tgid() -> None:
    record = parse(task_message(42, stats(13, **RAW_FIELDS | {"version": 9})[:352]))

    assert isinstance(record, dict)
    assert (record["tgid"], record["switches"]) == (0, 7)


def test_too_small_structure_is_malformed() -> None:
    assert lib.PROCCONN_TASK_BAD == parse(task_message(42, stats(13)[:287]))


def test_padding_before_the_structure_is_skipped() -> None:
    """The kernel pads on CPUs that require alignment of 64-bit fields."""
    task = attribute(PID, words(42)) + attribute(NULL, b"") + attribute(STATS, stats())

    assert isinstance(parse(generic_message(attribute(AGGR_PID, task))), dict)


def test_record_of_the_thread_group_is_ignored() -> None:
    group = attribute(TGID, words(41)) + attribute(STATS, stats(nvcsw=99))
    message = task_message(42, stats(nvcsw=1), after=attribute(AGGR_TGID, group))
    record = parse(message)

    assert isinstance(record, dict)
    assert (record["pid"], record["switches"]) == (42, 1)


@pytest.mark.parametrize(
    "message",
    [
        netlink_message(NLMSG_ERROR, words(0, 0, 0, 0, 0)),
        generic_message(b"", command=COMMAND_GET),
        generic_message(b"", family=FAMILY + 1),
    ],
)
def test_other_messages_have_no_record(message: bytes) -> None:
    assert lib.PROCCONN_TASK_NONE == parse(message)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        netlink_message(FAMILY)[:15],
        netlink_message(FAMILY, b"\x02\x01\0"),
        generic_message(b""),
        generic_message(attribute(AGGR_PID, attribute(STATS, stats()))),
        generic_message(attribute(AGGR_PID, attribute(PID, words(42)))),
        generic_message(
            attribute(AGGR_PID, attribute(PID, b"\0") + attribute(STATS, stats()))
        ),
        task_message(0, stats()),
    ],
)
def test_incomplete_record_is_malformed(message: bytes) -> None:
    assert lib.PROCCONN_TASK_BAD == parse(message)


def test_cpu_time_of_a_task_that_slept_is_its_scheduler_run_time() -> None:
    fields = {"cpu_run_virtual_total": 70, "ac_etime": 9, "cpu_delay_total": 2000}

    assert value("cpu_ns", nvcsw=1, **fields) == 70


def test_cpu_time_of_a_task_that_never_slept_is_elapsed_time_minus_delays() -> None:
    """The scheduler's run time omits the time after the last tick or switch."""
    fields = {"cpu_run_virtual_total": 70, "ac_etime": 9, "cpu_delay_total": 2000}

    assert value("cpu_ns", nvcsw=0, **fields) == 7000
    assert value("cpu_ns", nvcsw=0, **fields | {"cpu_run_virtual_total": 7001}) == 7001
    assert value("cpu_ns", nvcsw=0, **fields | {"cpu_delay_total": 9001}) == 70


def test_values_that_the_kernel_does_not_collect_are_absent() -> None:
    """Fields are 0 without CONFIG_TASK_DELAY_ACCT and CONFIG_TASK_XACCT."""
    without = {"cpu_count": 0, "hiwater_rss": 0, "hiwater_vm": 0}
    names = ("cpu_ns", "peak_rss", "read_chars", "write_chars")

    assert {ABSENT} == {value(name, **without) for name in names}


def test_no_io_is_zero_rather_than_absent() -> None:
    assert value("read_chars", hiwater_rss=1, hiwater_vm=1) == 0
    assert value("write_bytes") == 0


def test_written_trailer_decodes_to_the_record() -> None:
    record = ffi.new("struct procconn_task_record *")
    for number, name in enumerate(VALUES):
        setattr(record, name, ABSENT if name == "peak_rss" else number)
    trailer = ffi.new("uint8_t[]", lib.USAGE_SIZE)
    lib.procconn_write_usage(record, trailer)
    union = bytes(24) + bytes(ffi.buffer(trailer, lib.USAGE_SIZE)[:])
    (event,) = decode(event_message(EventType.EXIT, union))
    expected = {name: number for number, name in enumerate(VALUES)}

    assert isinstance(event, Exit)
    assert event.usage is not None
    assert expected | {"peak_rss": None} == event.usage._asdict()


@pytest.mark.parametrize("version", VERSIONS)
def test_no_over_read_of_any_prefix(guarded: GuardedMemory, version: int) -> None:
    message = task_message(42, stats(version))
    for size in range(len(message)):
        prefix = guarded.place(message[:size])

        assert lib.PROCCONN_TASK_BAD == parse(prefix)


def test_no_over_read_of_mutated_messages(guarded: GuardedMemory) -> None:
    rng = random.Random(SEED)
    group = attribute(TGID, words(41)) + attribute(STATS, stats())
    messages = [task_message(42, stats(version, **RAW_FIELDS)) for version in VERSIONS]
    messages.append(task_message(42, stats(), after=attribute(AGGR_TGID, group)))
    outcomes = set()
    for _ in range(MUTATED_MESSAGES):
        message = bytearray(rng.choice(messages))
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(48)  # within the headers
            message[at] = rng.choice((0, 1, 2, 3, 4, 8, 0x7F, 0x80, 0xFF))
        size = rng.choice((len(message), rng.randrange(len(message))))
        outcome = parse(guarded.place(bytes(message[:size])))
        outcomes.add(outcome if isinstance(outcome, int) else "record")

    assert outcomes == {lib.PROCCONN_TASK_NONE, lib.PROCCONN_TASK_BAD, "record"}
