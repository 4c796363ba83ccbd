"""The lines of `procconn watch`."""

import json
import os
import time

import pytest

from procconn.cli.lines import json_lines, text_lines
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

GONE = 2**31  # no task has this pid


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let CLOCK_MONOTONIC begin at 2026-01-02 03:04:05 UTC, which is local time."""
    monkeypatch.setattr(time, "time_ns", lambda: 1_767_323_045 * 10**9)
    monkeypatch.setattr(time, "monotonic_ns", lambda: 0)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def text(event: Event) -> str:
    (line,) = text_lines([event])
    return line


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Fork(7, 7, 8, 8, 0, 0), "fork           7 child 8"),
        (Fork(7, 7, 9, 8, 0, 0), "fork           7 thread 9"),
        (Exec(GONE, GONE, 0, 0), "exec     2147483648"),
        (Exit(8, 8, 0, 17, 0, 0, 0, 0), "exit           8 status 0"),
        (Exit(8, 8, 3 << 8, 17, 0, 0, 0, 0), "exit           8 status 3"),
        (Exit(8, 8, 9, 17, 0, 0, 0, 0), "exit           8 killed by SIGKILL"),
        (
            Exit(8, 8, 134, 17, 0, 0, 0, 0),
            "exit           8 killed by SIGABRT, core dumped",
        ),
        (Exit(8, 8, 40, 17, 0, 0, 0, 0), "exit           8 killed by SIGRTMIN+6"),
        (Exit(9, 8, 0, 17, 0, 0, 0, 0), "exit           9 (thread of 8) status 0"),
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


def test_text_of_an_exec_has_the_command_line() -> None:
    line = text(Exec(os.getpid(), os.getpid(), 0, 0))

    assert "pytest" in line or "python" in line


def test_an_exec_that_another_followed_is_not_given_its_command_line() -> None:
    pid = os.getpid()
    first, second = text_lines([Exec(pid, pid, 1, 0), Exec(pid, pid, 2, 0)])

    assert first.endswith(f" {pid}\n")
    assert not second.endswith(f" {pid}\n")


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


@pytest.mark.parametrize(
    "event",
    [
        Fork(7, 7, 8, 8, 5, 1),
        Exec(8, 8, 5, 1),
        Uid(8, 8, 1000, 0, 5, 1),
        Gid(8, 8, 100, 200, 5, 1),
        Sid(8, 8, 5, 1),
        Ptrace(8, 8, 9, 9, 5, 1),
        Coredump(8, 8, 1, 1, 5, 1),
        Lost(12, 5),
    ],
)
def test_json_has_every_field(event: Event) -> None:
    (line,) = json_lines([event])
    expected = {
        "event": type(event).__name__.lower(),
        "time": "2026-01-02T03:04:05.000000+00:00",
        **event._asdict(),
    }

    assert expected == json.loads(line)
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("exit_code", "returncode", "signal"),
    [(0, 0, None), (3 << 8, 3, None), (9, -9, "SIGKILL"), (40, -40, "SIGRTMIN+6")],
)
def test_json_of_an_exit_decodes_the_wait_status(
    exit_code: int, returncode: int, signal: str | None
) -> None:
    (line,) = json_lines([Exit(8, 8, exit_code, 17, 1, 1, 5, 1)])
    record = json.loads(line)

    assert (returncode, signal) == (record["returncode"], record["signal"])
    assert exit_code == record["exit_code"]


def test_json_of_a_comm_has_the_name_and_its_bytes() -> None:
    (line,) = json_lines([Comm(8, 8, b"a\xff", 5, 1)])
    record = json.loads(line)

    assert "61ff" == record["comm"]
    assert b"a\xff" == os.fsencode(record["name"])


def test_json_of_an_unknown_kind_has_its_bytes() -> None:
    (line,) = json_lines([Unknown(0xDEAD, b"\x01\x02", 5, 1)])

    assert "0102" == json.loads(line)["raw_data"]
