"""Output lines of the command, as text and as JSON."""

import json
import os
import pwd
import time
from signal import SIGRTMIN

import pytest

from procconn import event_time
from procconn.clock import wall_ns
from procconn.events import (
    Comm,
    Coredump,
    Event,
    Exec,
    Exit,
    Fork,
    Gid,
    Lost,
    Ptrace,
    Sid,
    Uid,
    Unknown,
)
from procconn.pipeline.formats import fit, format_duration, format_size
from procconn.pipeline.json_lines import JsonLines
from procconn.pipeline.lines import TextLines
from procconn.processes import ProcessTable
from procconn.processes.tracker import EventInContext, Tracker
from procconn.programs import Program, Usage

MS = 1_000_000


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the origin of CLOCK_MONOTONIC to 2026-01-02 03:04:05 in local time, UTC."""
    monkeypatch.setattr(time, "time_ns", lambda: 1_767_323_045 * 10**9)
    monkeypatch.setattr(time, "monotonic_ns", lambda: 0)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def program(*argv: str, missing: str = "", cut: bool = False) -> Program:
    """Build a program of this user; without arguments, one that was not read."""
    uid = None if missing else os.geteuid()
    return Program(
        argv=argv or None,
        name="short" if missing != "busy" else None,
        exe=None,
        cwd=None,
        ppid=None,
        uid=uid,
        euid=uid,
        gid=None,
        egid=None,
        cgroup=None,
        cut=cut,
        missing=missing,
    )


def usage(cpu_ns: int | None, peak_rss: int | None) -> Usage:
    """Build a usage whose other fields are None."""
    return Usage(cpu_ns, None, None, peak_rss, *[None] * 9)


def text(
    event: EventInContext | Event, width: int | None = None, coloured: bool = False
) -> str:
    return TextLines(event_time, width=width, coloured=coloured)(in_context(event))


def record(event: EventInContext | Event) -> dict[str, object]:
    line = JsonLines(wall_ns)(in_context(event))
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    parsed: dict[str, object] = json.loads(line)
    return parsed


def in_context(event: EventInContext | Event) -> EventInContext:
    return (
        event
        if isinstance(event, EventInContext)
        else EventInContext.without_process(event)
    )


def tracked(*events: Event) -> list[EventInContext]:
    tracker = Tracker(ProcessTable())
    return [item for event in events for item in tracker.feed(event)]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Fork(7, 7, 8, 8, 0, 0), "fork           7 child 8"),
        (Fork(7, 7, 9, 8, 0, 0), "fork           7 thread 9"),
        (Exec(8, 8, 0, 0), "exec           8 ? (not recorded)"),
        (Exec(8, 8, 0, 0, program("sh", "-c", "a b")), "exec           8 sh -c 'a b'"),
        (
            Exec(8, 8, 0, 0, program(missing="gone")),
            "exec           8 ? [short] (it ended before it was read)",
        ),
        (
            Exec(8, 8, 0, 0, program(missing="later")),
            "exec           8 ? [short]"
            " (it ran another program before this one was read)",
        ),
        (
            Exec(8, 8, 0, 0, program(missing="busy")),
            "exec           8 ? (too many execs at once)",
        ),
        (Exec(8, 8, 0, 0, program("a", cut=True)), "exec           8 a…"),
        (Exit(8, 8, 0, 17, 0, 0, 0, 0), "exit           8 ? status 0"),
        (Exit(8, 8, 3 << 8, 17, 0, 0, 0, 0), "exit           8 ? status 3"),
        (Exit(8, 8, 9, 17, 0, 0, 0, 0), "exit           8 ? killed by SIGKILL"),
        (
            Exit(8, 8, 134, 17, 0, 0, 0, 0),
            "exit           8 ? killed by SIGABRT, core dumped",
        ),
        (
            Exit(8, 8, SIGRTMIN + 6, 17, 0, 0, 0, 0),
            "exit           8 ? killed by SIGRTMIN+6",
        ),
        (Exit(9, 8, 0, 17, 0, 0, 0, 0), "exit           9 (thread of 8) ? status 0"),
        (Uid(8, 8, 1000, 0, 0, 0), "uid            8 ruid 1000 euid 0"),
        (Gid(8, 8, 100, 200, 0, 0), "gid            8 rgid 100 egid 200"),
        (Sid(8, 8, 0, 0), "sid            8 leads a new session"),
        (Ptrace(8, 8, 9, 9, 0, 0), "ptrace         8 traced by 9"),
        (Ptrace(8, 8, 0, 0, 0, 0), "ptrace         8 no longer traced"),
        (Comm(8, 8, b"bash", 0, 0), 'comm           8 named "bash"'),
        (Coredump(8, 8, 0, 0, 0, 0), "coredump       8 dumps core"),
        (
            Unknown(0xDEAD, b"1234", 0, 0),
            "unknown        - kind 0x0000dead with 4 bytes",
        ),
        (Lost(12, 0), "lost           - 12 events"),
        (Lost(0, 0), "lost           - an unknown number of events"),
    ],
)
def test_text_line(event: Event, line: str) -> None:
    assert f"03:04:05.000 {line}\n" == text(event)


def test_text_line_has_local_time_in_milliseconds() -> None:
    assert text(Sid(1, 1, 1_234_567_890, 0)).startswith("03:04:06.234 ")


def test_exit_line_has_the_command_and_the_lifetime() -> None:
    *_, end = tracked(
        Fork(7, 7, 8, 8, 0, 0),
        Exec(8, 8, 1 * MS, 0, program("sh", "-c", "kill -SEGV $$")),
        Exit(8, 8, 11, 17, 7, 7, 53 * MS, 0),
    )

    line = "exit           8 sh -c 'kill -SEGV $$' killed by SIGSEGV after 53 ms\n"
    assert f"03:04:05.053 {line}" == text(end)


def test_child_has_the_parents_program_until_its_own_exec() -> None:
    *_, first, fork, second = tracked(
        Exec(7, 7, 0, 0, program("make")),
        Fork(7, 7, 8, 8, 1 * MS, 0),
        Exec(7, 7, 2 * MS, 0, program("other")),
        Exit(8, 8, 0, 17, 7, 7, 3 * MS, 0),
        Fork(7, 7, 9, 9, 4 * MS, 0),
        Exit(9, 9, 0, 17, 7, 7, 5 * MS, 0),
    )

    assert (first.program, second.program) == (program("make"), program("other"))
    assert fork.program == program("other")


def test_exec_without_a_program_clears_the_previous_program() -> None:
    *_, end = tracked(
        Exec(7, 7, 0, 0, program("make")),
        Exec(7, 7, 2 * MS, 0),
        Exit(7, 7, 0, 17, 7, 7, 3 * MS, 0),
    )

    assert end.program is None


def test_exit_of_the_last_thread_has_the_status_that_wait_returns() -> None:
    *_, first, last = tracked(
        Fork(1, 1, 8, 8, 0, 0),
        Fork(8, 8, 9, 8, 1 * MS, 0),
        Exit(8, 8, 3 << 8, 17, 0, 0, 2 * MS, 0),
        Exit(9, 8, 3 << 8, 17, 0, 0, 3 * MS, 0),
    )

    assert (False, True) == (first.ended, last.ended)
    assert text(last).endswith("exit           8 ? status 3 after 3.0 ms\n")
    assert (8, 8, 3) == tuple(record(last)[f] for f in ("pid", "tgid", "returncode"))


@pytest.mark.parametrize(
    ("accounted", "printed"),
    [
        (usage(12 * MS, 34 << 20), "status 0, cpu 12 ms, 34 MiB"),
        (usage(None, 34 << 20), "status 0, 34 MiB"),
        (usage(12 * MS, None), "status 0, cpu 12 ms"),
        (usage(None, None), "status 0"),
        (None, "status 0"),
    ],
)
def test_exit_line_has_the_known_fields_of_the_usage(
    accounted: Usage | None, printed: str
) -> None:
    assert text(Exit(8, 8, 0, 17, 0, 0, 0, 0, accounted)).endswith(f"? {printed}\n")


def test_usage_of_a_process_is_the_sum_of_its_threads() -> None:
    *_, thread, last = tracked(
        Fork(1, 1, 8, 8, 0, 0),
        Fork(8, 8, 9, 8, 1 * MS, 0),
        Exit(9, 8, 0, 17, 0, 0, 2 * MS, 0, usage(5 * MS, 3 << 20)),
        Exit(8, 8, 0, 17, 0, 0, 3 * MS, 0, usage(2 * MS, 2 << 20)),
    )

    assert text(thread).endswith(" status 0, cpu 5.0 ms, 3.0 MiB\n")
    assert text(last).endswith(" status 0 after 3.0 ms, cpu 7.0 ms, 3.0 MiB\n")
    assert usage(7 * MS, 3 << 20)._asdict() == record(last)["usage"]


def test_exec_line_names_another_user() -> None:
    other = pwd.getpwuid(1 if os.geteuid() != 1 else 0)
    executed = program("true")._replace(uid=other.pw_uid, euid=other.pw_uid)

    assert f" {other.pw_name}: true\n" in text(Exec(8, 8, 0, 0, executed))


@pytest.mark.parametrize("width", [60, 61, 70])
def test_command_is_shortened_to_the_width_and_the_status_is_not(width: int) -> None:
    *_, start, end = tracked(
        Exec(8, 8, 0, 0, program("echo", "x" * 100)),
        Exit(8, 8, 1 << 8, 17, 7, 7, 3 * MS, 0),
    )

    assert width == len(text(start, width).rstrip("\n"))
    assert text(start, width).endswith("x…\n")
    assert width == len(text(end, width).rstrip("\n"))
    assert text(end, width).endswith("x… status 1\n")


@pytest.mark.parametrize(
    ("columns", "fitted"), [(6, "中文字"), (5, "中文…"), (4, "中…"), (1, "…"), (0, "…")]
)
def test_wide_characters_take_two_columns(columns: int, fitted: str) -> None:
    assert fitted == fit("中文字", columns)


def test_failed_exits_are_coloured() -> None:
    failed = Exit(8, 8, 1 << 8, 17, 0, 0, 0, 0)

    assert text(failed, coloured=True).startswith("\x1b[31m")
    assert text(failed, coloured=True).endswith("\x1b[m\n")
    assert "\x1b" not in text(Exit(8, 8, 0, 17, 0, 0, 0, 0), coloured=True)


@pytest.mark.parametrize(
    ("seconds", "printed"),
    [
        (0.00042, "0.4 ms"),
        (0.00996, "10 ms"),
        (0.0532, "53 ms"),
        (0.9996, "1.00 s"),
        (1.5, "1.50 s"),
        (59.996, "1 min 0 s"),
        (75.2, "1 min 15 s"),
        (3600 * 27 + 60, "27 h 1 min"),
    ],
)
def test_durations_are_printed_in_a_suitable_unit(seconds: float, printed: str) -> None:
    assert printed == format_duration(seconds)


@pytest.mark.parametrize(
    ("count", "printed"),
    [
        (0, "0.0 MiB"),
        (1_500_000, "1.4 MiB"),
        (34 << 20, "34 MiB"),
        (1023 << 20, "1023 MiB"),
        (5 << 30, "5.0 GiB"),
    ],
)
def test_sizes_are_printed_in_a_suitable_unit(count: int, printed: str) -> None:
    assert printed == format_size(count)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"\xff\xfe", r"\xff\xfe"),
        (rb"\xff", r"\\xff"),
        (b'a"b', r"a\"b"),
        (b"a\nb", r"a\nb"),
        (b"\x1b[31mred", r"\x1b[31mred"),
        ("é".encode(), "é"),
        ("\u202e".encode(), r"\u202e"),
    ],
)
def test_name_cannot_inject_terminal_escapes(name: bytes, shown: str) -> None:
    assert f'named "{shown}"' in text(Comm(8, 8, name, 0, 0))


def test_command_line_cannot_inject_terminal_escapes() -> None:
    executed = program("echo", "\x1b[2J", "a\nb", "\udcff")

    line = text(Exec(8, 8, 0, 0, executed))
    assert line.endswith(r" echo '\x1b[2J' 'a\nb' '\xff'" + "\n")
    assert line[:-1].isprintable()


@pytest.mark.parametrize(
    "event",
    [
        Fork(7, 7, 8, 8, 5, 1),
        Uid(8, 8, 1000, 0, 5, 1),
        Gid(8, 8, 100, 200, 5, 1),
        Sid(8, 8, 5, 1),
        Ptrace(8, 8, 9, 9, 5, 1),
        Coredump(8, 8, 1, 1, 5, 1),
        Lost(12, 5),
    ],
)
def test_json_line_has_every_field(event: Event) -> None:
    expected = {
        "event": type(event).__name__.lower(),
        "time": "2026-01-02T03:04:05.000000+00:00",
        **event._asdict(),
    }

    assert expected == record(event)


def test_json_exec_has_the_fields_of_the_program() -> None:
    executed = program("sh", "-c", "a b")
    printed = record(Exec(8, 8, 5, 1, executed))

    for field, value in executed._asdict().items():
        assert printed.pop(field) == (list(value) if field == "argv" else value)
    assert pwd.getpwuid(os.geteuid()).pw_name == printed.pop("user")
    assert ["event", "time", "pid", "tgid", "timestamp_ns", "cpu"] == list(printed)


def test_json_exec_without_a_program_is_unread() -> None:
    printed = record(Exec(8, 8, 5, 1))

    assert (None, None, "unread") == (
        printed["argv"],
        printed["user"],
        printed["missing"],
    )


@pytest.mark.parametrize(
    ("exit_code", "returncode", "signal"),
    [
        (0, 0, None),
        (3 << 8, 3, None),
        (9, -9, "SIGKILL"),
        (SIGRTMIN + 6, -SIGRTMIN - 6, "SIGRTMIN+6"),
    ],
)
def test_json_exit_has_the_decoded_wait_status(
    exit_code: int, returncode: int, signal: str | None
) -> None:
    printed = record(Exit(8, 8, exit_code, 17, 1, 1, 5, 1))

    assert (returncode, signal) == (printed["returncode"], printed["signal"])
    assert exit_code == printed["exit_code"]
    assert printed["duration"] is None


def test_json_exit_has_the_arguments_and_the_duration() -> None:
    *_, end = tracked(
        Fork(7, 7, 8, 8, 0, 0),
        Exec(8, 8, 1 * MS, 0, program("sleep", "1")),
        Exit(8, 8, 0, 17, 7, 7, 1500 * MS, 0),
    )
    printed = record(end)

    assert (["sleep", "1"], 1.5) == (printed["argv"], printed["duration"])


def test_json_exit_has_the_usage_and_null_for_unknown_fields() -> None:
    accounted = usage(12 * MS, None)
    printed = record(Exit(8, 8, 0, 17, 1, 1, 5, 1, accounted))

    assert accounted._asdict() == printed["usage"]
    assert record(Exit(8, 8, 0, 17, 1, 1, 5, 1))["usage"] is None


def test_json_comm_has_the_name_and_its_bytes() -> None:
    printed = record(Comm(8, 8, b"a\xff", 5, 1))

    assert ("61ff", "61ff") == (printed["comm"], printed["name_hex"])
    assert "a\ufffd" == printed["name"]


def test_json_of_an_unknown_kind_has_the_raw_data() -> None:
    assert "0102" == record(Unknown(0xDEAD, b"\x01\x02", 5, 1))["raw_data"]
