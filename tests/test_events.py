"""Event classes: fields, derived properties, text and comparison."""

import copy
import gc
import os
import pickle
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from unittest.mock import ANY

import pytest
from support.builders import event_message
from support.messages import CPU, SAMPLES, TIMESTAMP_NS, Sample

import procconn
from procconn import (
    Comm,
    Coredump,
    Event,
    EventMask,
    EventType,
    Exec,
    Exit,
    Fork,
    Gid,
    Lost,
    Ptrace,
    Sid,
    Uid,
    Unknown,
    clock,
    decode,
    event_time,
)
from procconn.events import KINDS

every_kind = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)

UNKNOWN = Unknown(0xDEAD, b"\x01\x02\x03\x04", 7, 1)
LOST = Lost(12, 0)
EVENTS: list[Event] = [*(sample.event for sample in SAMPLES.values()), UNKNOWN, LOST]
every_event = pytest.mark.parametrize(
    "event", EVENTS, ids=[type(event).__name__ for event in EVENTS]
)


def exit_with(exit_code: int) -> Exit:
    return Exit(42, 42, exit_code, 17, 1, 1, 0, 0)


# Classes


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Exec, "pid tgid timestamp_ns cpu program"),
        (Fork, "parent_pid parent_tgid child_pid child_tgid timestamp_ns cpu"),
        (
            Exit,
            "pid tgid exit_code exit_signal parent_pid parent_tgid timestamp_ns cpu"
            " usage",
        ),
        (Uid, "pid tgid ruid euid timestamp_ns cpu"),
        (Gid, "pid tgid rgid egid timestamp_ns cpu"),
        (Sid, "pid tgid timestamp_ns cpu"),
        (Ptrace, "pid tgid tracer_pid tracer_tgid timestamp_ns cpu"),
        (Comm, "pid tgid comm timestamp_ns cpu"),
        (Coredump, "pid tgid parent_pid parent_tgid timestamp_ns cpu"),
        (Unknown, "what raw_data timestamp_ns cpu"),
        (Lost, "count timestamp_ns"),
    ],
)
def test_fields_have_their_names_and_order(kind: type[Event], fields: str) -> None:
    assert fields.split() == list(kind._fields)


def test_event_is_the_union_of_all_classes() -> None:
    assert {*KINDS, Unknown, Lost} == set(get_args(Event))


def test_classes_are_exported_and_name_the_module_that_pickle_imports() -> None:
    for kind in get_args(Event):
        assert kind is getattr(procconn, kind.__name__)
        assert "procconn.events" == kind.__module__


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (Fork, "FORK", 0x00000001),
        (Exec, "EXEC", 0x00000002),
        (Uid, "UID", 0x00000004),
        (Gid, "GID", 0x00000040),
        (Sid, "SID", 0x00000080),
        (Ptrace, "PTRACE", 0x00000100),
        (Comm, "COMM", 0x00000200),
        (Coredump, "COREDUMP", 0x40000000),
        (Exit, "EXIT", 0x80000000),
    ],
)
def test_what_has_the_kernels_value(kind: Any, name: str, value: int) -> None:
    assert (value, value) == (EventType[name].value, EventMask[name].value)
    assert EventType[name] is kind.what


def test_event_type_has_no_other_members() -> None:
    assert EventType.NONE.value == 0
    assert {kind.what for kind in KINDS} | {EventType.NONE} == set(EventType)


def test_masks_have_the_kernels_values() -> None:
    assert EventMask.ALL.value == 0xE00003C7
    assert EventMask.NONZERO_EXIT.value == 0x20000000
    assert EventMask.NONE.value == 0
    assert EventMask.ALL == EventMask(sum(kind.what for kind in KINDS) + 0x20000000)


def test_masks_combine() -> None:
    assert 0x80000002 == EventMask.EXEC | EventMask.EXIT
    assert EventMask.FORK in EventMask.ALL
    assert EventMask.NONZERO_EXIT not in EventMask.EXIT


def test_inverted_mask_is_all_other_kinds() -> None:
    assert EventMask.ALL ^ EventMask.FORK == ~EventMask.FORK
    assert EventMask.NONE == ~EventMask.ALL


# Named tuples


@every_event
def test_asdict_maps_field_names_to_values(event: Event) -> None:
    assert dict(zip(event._fields, event, strict=True)) == event._asdict()


@every_event
def test_make_builds_an_equal_event_from_an_iterable(event: Event) -> None:
    made = type(event)._make([*event])

    assert (type(event), event) == (type(made), made)


@every_event
def test_replace_changes_one_field(event: Event) -> None:
    other = event._replace(timestamp_ns=1)

    assert type(event) is type(other)
    assert event._asdict() | {"timestamp_ns": 1} == other._asdict()


@every_event
def test_event_is_immutable(event: Event) -> None:
    with pytest.raises(AttributeError):
        event.timestamp_ns = 1  # type: ignore[misc]
    with pytest.raises(AttributeError):
        event.another = 1  # type: ignore[union-attr]
    with pytest.raises(TypeError):
        event[0] = 1  # type: ignore[index]
    assert not hasattr(event, "__dict__")


@every_event
def test_event_survives_pickling(event: Event) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        unpickled = pickle.loads(pickle.dumps(event, protocol))

        assert [event] == [unpickled]


@every_event
def test_event_survives_copying(event: Event) -> None:
    assert [event] * 2 == [copy.copy(event), copy.deepcopy(event)]


def test_repr_is_the_constructor_call() -> None:
    assert "Sid(pid=1, tgid=2, timestamp_ns=3, cpu=4)" == repr(Sid(1, 2, 3, 4))
    assert "Exec(pid=1, tgid=2, timestamp_ns=3, cpu=4, program=None)" == repr(
        Exec(1, 2, 3, 4)
    )


# Events that the C decoder builds equal those built in Python


def decoded(sample: Sample) -> Event:
    (event,) = decode(sample.message)
    return event


@every_kind
def test_decoded_event_equals_the_constructed_one(sample: Sample) -> None:
    event = decoded(sample)

    assert sample.event == event
    assert tuple(sample.event) == tuple(event)
    assert repr(sample.event) == repr(event)
    assert str(sample.event) == str(event)


@every_kind
def test_decoded_event_hashes_like_the_constructed_one(sample: Sample) -> None:
    event = decoded(sample)

    assert hash(sample.event) == hash(event) == hash(tuple(event))
    assert hash(event) == hash(event)
    assert {sample.event: "found"}[event] == "found"


def test_decoded_unknown_event_hashes_like_the_constructed_one() -> None:
    (event,) = decode(event_message(0xDEAD, b"\x01\x02\x03\x04", cpu=1, timestamp_ns=7))

    assert hash(UNKNOWN) == hash(event) == hash(tuple(UNKNOWN))


@every_kind
def test_decoded_event_survives_pickling_and_copying(sample: Sample) -> None:
    event = decoded(sample)

    assert event == pickle.loads(pickle.dumps(event))
    assert [event] * 2 == [copy.copy(event), copy.deepcopy(event)]


@every_kind
def test_decoded_event_has_plain_ints_and_bytes(sample: Sample) -> None:
    assert {type(value) for value in decoded(sample)} <= {int, bytes, type(None)}


@every_kind
def test_garbage_collector_does_not_track_decoded_events(sample: Sample) -> None:
    """An event refers only to ints and bytes, so it cannot be part of a cycle."""
    assert not gc.is_tracked(decoded(sample))


def test_decoded_events_survive_garbage_collection() -> None:
    samples = list(SAMPLES.values()) * 100
    events = decode(b"".join(sample.message for sample in samples))

    gc.collect()
    del events[::2]
    gc.collect()

    assert [sample.event for sample in samples[1::2]] == events


def test_events_are_matched_by_class_and_field() -> None:
    found: list[tuple[str, *tuple[int, ...]]] = []
    for sample in SAMPLES.values():
        match decoded(sample):
            case Exec(pid=pid, tgid=tgid):
                found.append(("exec", pid, tgid))
            case Exit(0x91223301, exit_signal=number):
                found.append(("exit", number))
            case Fork(parent_pid, _, child_pid):
                found.append(("fork", parent_pid, child_pid))
            case Comm(comm=b"sixteen bytes..."):
                found.append(("comm",))

    assert [
        ("fork", 0x11223301, 0x11223303),
        ("exec", 0x21223301, 0xF1223302),
        ("comm",),
        ("exit", 0x91223304),
    ] == found


# Equality


def compared(one: object, other: object) -> tuple[bool, bool]:
    return one == other, one != other


@every_event
def test_event_never_equals_a_plain_tuple(event: Event) -> None:
    plain = tuple(event)

    assert (False, True) == compared(event, plain) == compared(plain, event)
    assert event not in [plain]
    assert len({event, plain}) == 2


def test_events_of_different_classes_are_never_equal() -> None:
    others = [Exec(1, 1, 2, 3), Sid(1, 1, 2, 3)]

    assert (False, True) == compared(*others)
    assert len(set(others)) == 2
    assert [1, 0] == [others.index(others[1]), others.index(Exec(1, 1, 2, 3))]
    assert hash(others[0]) == hash(Exec(1, 1, 2, 3))


def test_events_differ_in_any_field() -> None:
    event = Uid(1, 2, 3, 4, 5, 6)

    for field in event._fields:
        other = event._replace(**{field: 0})
        assert (False, True) == compared(event, other)


def test_comparison_defers_to_the_other_operand() -> None:
    assert (True, False) == compared(LOST, ANY)
    assert (False, True) == compared(LOST, "LOST count=12 ts=0")


# Derived properties


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not Fork])
def test_is_thread_if_pid_differs_from_tgid(kind: Any) -> None:
    rest = [b"" if field == "comm" else 0 for field in kind._fields[2:]]

    assert kind(42, 42, *rest).is_thread is False
    assert kind(43, 42, *rest).is_thread is True


def test_fork_is_of_a_thread_if_the_child_is_one() -> None:
    assert Fork(1, 2, 3, 3, 0, 0).is_thread is False
    assert Fork(1, 1, 3, 1, 0, 0).is_thread is True


def test_unknown_and_lost_have_no_is_thread() -> None:
    assert not hasattr(UNKNOWN, "is_thread")
    assert not hasattr(LOST, "is_thread")
    assert not hasattr(LOST, "what")


@pytest.mark.parametrize(
    ("exit_code", "returncode", "name", "dumped_core"),
    [
        (0, 0, None, False),
        (0x0100, 1, None, False),
        (0x8000, 128, None, False),
        (0x0080, 0, None, False),
        (0xFF00, 255, None, False),
        (9, -9, signal.SIGKILL, False),
        (15, -15, signal.SIGTERM, False),
        (134, -6, signal.SIGABRT, True),
        (139, -11, signal.SIGSEGV, True),
        (int(signal.SIGRTMIN), -signal.SIGRTMIN, signal.SIGRTMIN, False),
        (64, -64, signal.SIGRTMAX, False),
        (signal.SIGRTMIN + 1, -signal.SIGRTMIN - 1, None, False),
        (63, -63, None, False),
        (32, -32, None, False),
        (128 + 40, -40, None, True),
    ],
)
def test_wait_status_is_decoded(
    exit_code: int, returncode: int, name: signal.Signals | None, dumped_core: bool
) -> None:
    event = exit_with(exit_code)

    assert (returncode, name, dumped_core) == (
        event.returncode,
        event.signal,
        event.dumped_core,
    )


def test_every_wait_status_is_decoded_like_the_standard_library() -> None:
    for exit_code in range(0x10000):
        if os.WIFEXITED(exit_code) or os.WIFSIGNALED(exit_code):
            event = exit_with(exit_code)

            assert os.waitstatus_to_exitcode(exit_code) == event.returncode
            if os.WIFSIGNALED(exit_code) and os.WTERMSIG(exit_code):
                assert os.WCOREDUMP(exit_code) == event.dumped_core


@pytest.mark.parametrize(
    ("comm", "name"),
    [
        (b"bash", "bash"),
        (b"", ""),
        ("größe".encode(), "größe"),
        (b"\xff\xfe", "\udcff\udcfe"),
        (b'a "b" \\ \n\x1b', 'a "b" \\ \n\x1b'),
    ],
)
def test_name_round_trips_through_fsencode(comm: bytes, name: str) -> None:
    event = Comm(1, 1, comm, 0, 0)

    assert name == event.name
    assert comm == os.fsencode(event.name)


# Text forms


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            Exec(pid=42, tgid=100, timestamp_ns=0, cpu=3),
            "EXEC pid=42 tgid=100 ts=0",
        ),
        (
            Fork(100, 101, 200, 201, timestamp_ns=9, cpu=3),
            "FORK parent=(100,101) child=(200,201) ts=9",
        ),
        (
            Exit(42, 43, 256, 17, 7, 8, timestamp_ns=9, cpu=3),
            "EXIT pid=42 tgid=43 code=256 signal=17 ts=9",
        ),
        (Uid(1, 2, 1000, 5, 9, 3), "UID pid=1 tgid=2 ruid=1000 euid=5 ts=9"),
        (Gid(2, 3, 100, 200, 9, 3), "GID pid=2 tgid=3 rgid=100 egid=200 ts=9"),
        (Sid(3, 4, 9, 3), "SID pid=3 tgid=4 ts=9"),
        (Ptrace(10, 11, 98, 99, 9, 3), "PTRACE pid=10 tgid=11 tracer=(98,99) ts=9"),
        (Comm(1, 2, b"bash", 9, 3), 'COMM pid=1 tgid=2 name="bash" ts=9'),
        (Comm(1, 2, b"\xc3\xb6", 9, 3), 'COMM pid=1 tgid=2 name="ö" ts=9'),
        (Comm(1, 2, b"ok\xff", 9, 3), 'COMM pid=1 tgid=2 name="<invalid>" ts=9'),
        (Comm(1, 2, b"", 9, 3), 'COMM pid=1 tgid=2 name="" ts=9'),
        (Coredump(7, 8, 1, 2, 9, 3), "COREDUMP pid=7 tgid=8 ts=9"),
        (Unknown(0xDEAD, b"\x01\x02\x03\x04", 9, 3), "UNKNOWN what=0x0000dead len=4"),
        (Unknown(0xFFFFFFFF, b"", 9, 3), "UNKNOWN what=0xffffffff len=0"),
        (Lost(12, 0), "LOST count=12 ts=0"),
    ],
)
def test_text_form(event: Event, text: str) -> None:
    assert text == str(event)
    assert text == f"{event}"


# Dates

WALL_NS = 1_800_000_000_123_456_789
MONOTONIC_NS = 5_000_000_000


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Settable wall clock; the monotonic clock stands still."""
    now = [WALL_NS]
    monkeypatch.setattr(clock, "_offset", 0)
    monkeypatch.setattr(time, "time_ns", lambda: now[0])
    monkeypatch.setattr(time, "monotonic_ns", lambda: MONOTONIC_NS)
    return now


def test_event_time_is_aware_and_in_utc(wall: list[int]) -> None:
    when = event_time(Exec(1, 1, MONOTONIC_NS, 0))

    assert datetime(2027, 1, 15, 8, 0, 0, 123456, tzinfo=UTC) == when
    assert timedelta(0) == when.utcoffset()


def test_event_time_of_a_past_event_is_in_the_past(wall: list[int]) -> None:
    when = event_time(Lost(1, MONOTONIC_NS - 2_500_000_000))

    assert datetime(2027, 1, 15, 7, 59, 57, 623456, tzinfo=UTC) == when


def test_event_time_follows_a_step_of_the_wall_clock(wall: list[int]) -> None:
    event = Exec(1, 1, MONOTONIC_NS, 0)
    before = event_time(event)

    for step in (3600, -7200):
        wall[0] = WALL_NS + step * 1_000_000_000
        assert before + timedelta(seconds=step) == event_time(event)


def test_event_time_ignores_jitter_between_the_clocks(wall: list[int]) -> None:
    """Equal timestamps give equal dates, although each call reads two clocks."""
    event = Exec(1, 1, MONOTONIC_NS, 0)
    before = event_time(event)

    for jitter in (400, -90_000, 900_000):
        wall[0] = WALL_NS + jitter
        assert before == event_time(event)


def test_event_time_does_not_mistake_a_pause_for_a_clock_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    event = Exec(1, 1, MONOTONIC_NS, 0)
    elapsed = 0
    pauses = iter([0, 20_000_000, 0, 20_000_000])

    def after_a_pause(start: int) -> int:
        nonlocal elapsed
        elapsed += next(pauses, 0)
        return start + elapsed

    monkeypatch.setattr(clock, "_offset", WALL_NS - MONOTONIC_NS)
    monkeypatch.setattr(time, "time_ns", lambda: after_a_pause(WALL_NS))
    monkeypatch.setattr(time, "monotonic_ns", lambda: after_a_pause(MONOTONIC_NS))
    dates = {event_time(event) for _ in range(5)}

    assert 1 == len(dates)


@pytest.mark.parametrize("event", [UNKNOWN, LOST, SAMPLES["fork"].event])
def test_event_time_accepts_any_event(event: Event, wall: list[int]) -> None:
    assert UTC == event_time(event._replace(timestamp_ns=0)).tzinfo


@pytest.mark.parametrize("wrong", [5, None, "now", datetime.now(UTC), Exec])
def test_event_time_of_another_type_is_a_type_error(wrong: Any) -> None:
    with pytest.raises(
        TypeError, match=r"^event must be an event, such as an Exec, not "
    ):
        event_time(wrong)


def test_event_time_of_the_current_monotonic_time_is_now() -> None:
    earliest = datetime.now(UTC) - timedelta(milliseconds=10)
    when = event_time(Exec(1, 1, time.monotonic_ns(), 0))
    latest = datetime.now(UTC) + timedelta(milliseconds=10)

    assert earliest <= when <= latest


def test_samples_exceed_signed_integers() -> None:
    """Otherwise the tests would not detect a field decoded as signed."""
    assert CPU > 2**31
    assert TIMESTAMP_NS > 2**63
