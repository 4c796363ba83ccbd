"""The output lines of the command, as text and as JSON."""

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
from procconn.pipeline.formats import fit, size, span
from procconn.pipeline.json_lines import JsonLines
from procconn.pipeline.lines import TextLines
from procconn.processes import ProcessTable
from procconn.processes.tracker import EventInContext, Tracker
from procconn.programs import Program, Usage

MS = 1_000_000


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let CLOCK_MONOTONIC begin at 2026-01-02 03:04:05 UTC, which is local time."""
    monkeypatch.setattr(time, "time_ns", lambda: 1_767_323_045 * 10**9)
    monkeypatch.setattr(time, "monotonic_ns", lambda: 0)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def program(*argv: str, missing: str = "", cut: bool = False) -> Program:
    """Make a program of this user; one that was not read if there are no arguments."""
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
    """Make a usage of which no more is accounted."""
    return Usage(cpu_ns, None, None, peak_rss, *[None] * 9)


def text(
    seen: EventInContext | Event, width: int | None = None, coloured: bool = False
) -> str:
    if not isinstance(seen, EventInContext):
        seen = EventInContext.alone(seen)
    return TextLines(event_time, width=width, coloured=coloured)(seen)


def record(seen: EventInContext | Event) -> dict[str, object]:
    line = JsonLines(wall_ns)(
        seen if isinstance(seen, EventInContext) else EventInContext.alone(seen)
    )
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    parsed: dict[str, object] = json.loads(line)
    return parsed


def life(*events: Event) -> list[EventInContext]:
    tracker = Tracker(ProcessTable())
    return [it for event in events for it in tracker.take(event)]


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
            "exec           8 ? (too many came at once)",
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
def test_text_says_what_changed(event: Event, line: str) -> None:
    assert f"03:04:05.000 {line}\n" == text(event)


def test_text_has_local_time_with_milliseconds() -> None:
    assert text(Sid(1, 1, 1_234_567_890, 0)).startswith("03:04:06.234 ")


def test_text_of_an_exit_has_the_command_and_the_lifetime() -> None:
    *_, end = life(
        Fork(7, 7, 8, 8, 0, 0),
        Exec(8, 8, 1 * MS, 0, program("sh", "-c", "kill -SEGV $$")),
        Exit(8, 8, 11, 17, 7, 7, 53 * MS, 0),
    )

    line = "exit           8 sh -c 'kill -SEGV $$' killed by SIGSEGV after 53 ms\n"
    assert f"03:04:05.053 {line}" == text(end)


def test_a_child_runs_its_parents_program_until_its_own() -> None:
    *_, first, fork, second = life(
        Exec(7, 7, 0, 0, program("make")),
        Fork(7, 7, 8, 8, 1 * MS, 0),
        Exec(7, 7, 2 * MS, 0, program("other")),
        Exit(8, 8, 0, 17, 7, 7, 3 * MS, 0),
        Fork(7, 7, 9, 9, 4 * MS, 0),
        Exit(9, 9, 0, 17, 7, 7, 5 * MS, 0),
    )

    assert (first.program, second.program) == (program("make"), program("other"))
    assert fork.program == program("other")


def test_an_exec_that_was_not_read_leaves_nothing_of_the_program_before() -> None:
    *_, end = life(
        Exec(7, 7, 0, 0, program("make")),
        Exec(7, 7, 2 * MS, 0),
        Exit(7, 7, 0, 17, 7, 7, 3 * MS, 0),
    )

    assert end.program is None


def test_the_last_thread_ends_the_process_with_what_wait_would_tell() -> None:
    *_, first, last = life(
        Fork(1, 1, 8, 8, 0, 0),
        Fork(8, 8, 9, 8, 1 * MS, 0),
        Exit(8, 8, 3 << 8, 17, 0, 0, 2 * MS, 0),
        Exit(9, 8, 3 << 8, 17, 0, 0, 3 * MS, 0),
    )

    assert (False, True) == (first.ended, last.ended)
    assert text(last).endswith("exit           8 ? status 3 after 3.0 ms\n")
    assert (8, 8, 3) == tuple(record(last)[f] for f in ("pid", "tgid", "returncode"))


@pytest.mark.parametrize(
    ("used", "printed"),
    [
        (usage(12 * MS, 34 << 20), "status 0, cpu 12 ms, 34 MiB"),
        (usage(None, 34 << 20), "status 0, 34 MiB"),
        (usage(12 * MS, None), "status 0, cpu 12 ms"),
        (usage(None, None), "status 0"),
        (None, "status 0"),
    ],
)
def test_text_of_an_exit_has_what_is_known_of_its_usage(
    used: Usage | None, printed: str
) -> None:
    assert text(Exit(8, 8, 0, 17, 0, 0, 0, 0, used)).endswith(f"? {printed}\n")


def test_a_process_used_what_its_threads_did_and_a_thread_its_own() -> None:
    *_, thread, last = life(
        Fork(1, 1, 8, 8, 0, 0),
        Fork(8, 8, 9, 8, 1 * MS, 0),
        Exit(9, 8, 0, 17, 0, 0, 2 * MS, 0, usage(5 * MS, 3 << 20)),
        Exit(8, 8, 0, 17, 0, 0, 3 * MS, 0, usage(2 * MS, 2 << 20)),
    )

    assert text(thread).endswith(" status 0, cpu 5.0 ms, 3.0 MiB\n")
    assert text(last).endswith(" status 0 after 3.0 ms, cpu 7.0 ms, 3.0 MiB\n")
    assert usage(7 * MS, 3 << 20)._asdict() == record(last)["usage"]


def test_text_of_an_exec_names_a_user_who_is_not_the_readers_own() -> None:
    other = pwd.getpwuid(1 if os.geteuid() != 1 else 0)
    ran = program("true")._replace(uid=other.pw_uid, euid=other.pw_uid)

    assert f" {other.pw_name}: true\n" in text(Exec(8, 8, 0, 0, ran))


@pytest.mark.parametrize("width", [60, 61, 70])
def test_on_a_terminal_commands_are_cut_and_the_end_is_not(width: int) -> None:
    *_, start, end = life(
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


def test_colours_are_for_what_matters() -> None:
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
def test_spans_have_the_unit_that_suits(seconds: float, printed: str) -> None:
    assert printed == span(seconds)


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
def test_sizes_have_the_unit_that_suits(count: int, printed: str) -> None:
    assert printed == size(count)


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
def test_a_name_cannot_command_the_terminal(name: bytes, shown: str) -> None:
    assert f'named "{shown}"' in text(Comm(8, 8, name, 0, 0))


def test_a_command_line_cannot_command_the_terminal() -> None:
    ran = program("echo", "\x1b[2J", "a\nb", "\udcff")

    line = text(Exec(8, 8, 0, 0, ran))
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
def test_json_has_every_field(event: Event) -> None:
    expected = {
        "event": type(event).__name__.lower(),
        "time": "2026-01-02T03:04:05.000000+00:00",
        **event._asdict(),
    }

    assert expected == record(event)


def test_json_of_an_exec_has_the_program() -> None:
    ran = program("sh", "-c", "a b")
    printed = record(Exec(8, 8, 5, 1, ran))

    for field, value in ran._asdict().items():
        assert printed.pop(field) == (list(value) if field == "argv" else value)
    assert pwd.getpwuid(os.geteuid()).pw_name == printed.pop("user")
    assert ["event", "time", "pid", "tgid", "timestamp_ns", "cpu"] == list(printed)


def test_json_of_an_exec_says_that_its_program_was_not_read() -> None:
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
def test_json_of_an_exit_decodes_the_wait_status(
    exit_code: int, returncode: int, signal: str | None
) -> None:
    printed = record(Exit(8, 8, exit_code, 17, 1, 1, 5, 1))

    assert (returncode, signal) == (printed["returncode"], printed["signal"])
    assert exit_code == printed["exit_code"]
    assert printed["duration"] is None


def test_json_of_an_exit_has_what_ran_and_how_long() -> None:
    *_, end = life(
        Fork(7, 7, 8, 8, 0, 0),
        Exec(8, 8, 1 * MS, 0, program("sleep", "1")),
        Exit(8, 8, 0, 17, 7, 7, 1500 * MS, 0),
    )
    printed = record(end)

    assert (["sleep", "1"], 1.5) == (printed["argv"], printed["duration"])


def test_json_of_an_exit_has_its_usage_and_null_for_what_is_not_known() -> None:
    used = usage(12 * MS, None)
    printed = record(Exit(8, 8, 0, 17, 1, 1, 5, 1, used))

    assert used._asdict() == printed["usage"]
    assert record(Exit(8, 8, 0, 17, 1, 1, 5, 1))["usage"] is None


def test_json_of_a_comm_has_the_name_and_its_bytes() -> None:
    printed = record(Comm(8, 8, b"a\xff", 5, 1))

    assert ("61ff", "61ff") == (printed["comm"], printed["name_hex"])
    assert "a\ufffd" == printed["name"]


def test_json_of_an_unknown_kind_has_its_bytes() -> None:
    assert "0102" == record(Unknown(0xDEAD, b"\x01\x02", 5, 1))["raw_data"]
