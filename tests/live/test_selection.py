"""Options that select events, and the fields of the output, on the live kernel."""

import json
import os
import pwd
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from support.command import (
    events_until,
    run,
    wait_until_printing,
    wait_until_subscribed,
    watching,
)
from support.json_schema import schema, violations

SCHEMA = schema("watch")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="requires root")


def lines_of(*options: str, command: list[str], **settings: Any) -> list[Any]:
    """Return the records printed up to the EXIT of a command."""
    with watching("--json", *options) as watch:
        child = subprocess.Popen(["sh", "-c", "read go", "mark"], stdin=subprocess.PIPE)
        assert child.stdin is not None
        wait_until_printing(watch)
        child.communicate(b"go\n")
        process = subprocess.Popen(command, **settings)
        process.wait()
        return events_until(watch, process.pid, "exit")


def test_every_line_matches_the_schema() -> None:
    script = "true; (exit 3); kill -KILL $$"
    records = lines_of("--threads", command=["sh", "-c", script])

    for record in records:
        assert [] == violations(SCHEMA, record)
    assert {"fork", "exec", "exit"} <= {record["event"] for record in records}


def test_exec_and_exit_print_program_and_duration() -> None:
    first, second = ["sh", "-c", "read go; exec cat"], ["cat"]
    with watching("--json") as watch:
        wait_until_printing(watch)
        child = subprocess.Popen(first, stdin=subprocess.PIPE, cwd="/", bufsize=0)
        assert child.stdin is not None
        first_exec = events_until(watch, child.pid, "exec")[-1]
        received_at = time.monotonic()
        child.stdin.write(b"go\n")
        second_exec = events_until(watch, child.pid, "exec")[-1]
        elapsed = time.monotonic() - received_at
        child.communicate()
        ended = events_until(watch, child.pid, "exit")[-1]

    assert (first, second) == (first_exec["argv"], second_exec["argv"])
    assert (first_exec["cwd"], first_exec["missing"]) in (("/", ""), (None, "late"))
    assert os.getpid() == first_exec["ppid"]
    assert pwd.getpwuid(os.geteuid()).pw_name == first_exec["user"]
    assert second == ended["argv"]
    assert 0 < elapsed <= ended["duration"]


def test_failed_prints_only_failed_exits_with_their_programs() -> None:
    command = ["sh", "-c", "read go; exit 7"]
    with watching("--json", "--failed") as watch:
        while not (line := _line_within(watch, 0.1)):
            subprocess.run(["false"], check=False)
        subprocess.run(["true"], check=True)
        child = subprocess.Popen(command, stdin=subprocess.PIPE)
        later = subprocess.Popen(["false"])  # reported after the exec of `child`
        later.wait()
        records = [json.loads(line), *events_until(watch, later.pid, "exit")]
        child.communicate(b"go\n")
        records += events_until(watch, child.pid, "exit")

    assert {"exit"} == {record["event"] for record in records}
    assert 0 not in {record["returncode"] for record in records}
    assert command == records[-1]["argv"]


def test_pid_prints_only_that_process() -> None:
    child = subprocess.Popen(
        ["sh", "-c", "read go; true; exit 4"], stdin=subprocess.PIPE
    )
    assert child.stdin is not None
    with watching("--json", "--pid", str(child.pid)) as watch:
        wait_until_subscribed(watch)
        child.communicate(b"go\n")
        records = events_until(watch, child.pid, "exit")

    assert {child.pid} == {r.get("pid", r.get("parent_pid")) for r in records}
    assert 4 == records[-1]["returncode"]


def test_tree_prints_only_a_process_and_its_descendants() -> None:
    script = "while read go; do (:); done; (/bin/true; (sleep 0.01 &) ); exit 5"
    child = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, bufsize=0)
    assert child.stdin is not None
    with watching("--json", "--tree", str(child.pid), "-e", "fork,exit") as watch:
        while not (line := _line_within(watch, 0.1)):
            child.stdin.write(b"go\n")
        for _ in range(3):
            subprocess.run(["true"], check=True)
        child.communicate()
        records = events_until(watch, child.pid, "exit")

    tree = {child.pid}
    first = json.loads(line)
    tree.add(first.get("child_pid", first.get("pid")))
    for record in records:
        if record["event"] == "fork":
            assert record["parent_pid"] in tree
            tree.add(record["child_pid"])
        else:
            assert record["pid"] in tree
    assert 4 <= len(tree)


def test_name_matches_the_command_line() -> None:
    mark = f"mark-{os.getpid()}"
    records = []
    with watching("--json", "--name", f"^sh -c .* {mark}$") as watch:
        while not (line := _line_within(watch, 0.1)):
            subprocess.run(["sh", "-c", "exit 1", mark], check=False)
            subprocess.run(["sh", "-c", "exit 1", "other"], check=False)
        records.append(json.loads(line))
        child = subprocess.Popen(
            ["sh", "-c", "read go; exit 1", mark], stdin=subprocess.PIPE
        )
        records += events_until(watch, child.pid, "exec")
        child.communicate(b"go\n")
        records += events_until(watch, child.pid, "exit")

    printed = [r["argv"] for r in records if r["event"] in ("exec", "exit")]
    assert printed
    assert all(argv[-1] == mark for argv in printed)


@as_root
def test_user_prints_only_processes_of_that_user() -> None:
    nobody = pwd.getpwnam("nobody")
    with watching("--json", "--user", "nobody", "-e", "exec,exit") as watch:
        while not (line := _line_within(watch, 0.1)):
            subprocess.run(["true"], user=nobody.pw_uid, check=True)
            subprocess.run(["true"], check=True)
        child = subprocess.Popen(["true"], user=nobody.pw_uid)
        child.wait()
        records = [json.loads(line), *events_until(watch, child.pid, "exit")]

    assert {"nobody"} == {record["user"] for record in records}


@pytest.mark.parametrize("option", ["--pid", "--tree"])
@pytest.mark.parametrize(
    "subcommand",
    [["watch"], ["watch", "-e", "exec"], ["stat"], ["record", "file"]],
    ids=["watch", "watch-exec", "stat", "record"],
)
def test_missing_process_is_an_error(
    option: str, subcommand: list[str], tmp_path: Path
) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    result = run(*subcommand, option, gone.pid, cwd=tmp_path)

    assert 2 == result.returncode
    assert result.stderr.endswith(
        f"procconn: there is no process {gone.pid}: it has ended, or {gone.pid} is the"
        " ID of a thread; give the PID of a running process\n"
    )
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--pid", "--tree"])
@pytest.mark.parametrize("pid", ["0", "-1", "4194304", "99999999999", "x", ""])
def test_invalid_pid_is_an_error_even_with_a_recording(option: str, pid: str) -> None:
    result = run("watch", "--input", "no-such-file", f"{option}={pid}")

    assert 2 == result.returncode
    assert f"{pid!r} is not a process ID" in result.stderr


def test_name_does_not_match_the_command_itself() -> None:
    """The arguments of the command contain the pattern."""
    mark = f"mark-{os.getpid()}"
    options = ["stat", "--json", "--duration", "1.5", "--name", mark]
    with subprocess.Popen(
        ["sh", "-c", "read go", mark], stdin=subprocess.PIPE
    ) as child:
        result = run(*options)
        child.kill()
    seconds = [json.loads(line) for line in result.stdout.splitlines()]
    running = [
        {program["name"]: program["running"] for program in second["programs"]}
        for second in seconds
    ]

    assert {"sh": 1} in running
    assert running == [counts for counts in running if counts in ({"sh": 1}, {})]


def test_output_option_writes_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with watching("--json", "--output", str(path)) as watch:
        while not path.exists() or not path.stat().st_size:
            subprocess.run(["true"], check=True)
        watch.send_signal(signal.SIGTERM)
        assert watch.stdout is not None
        assert b"" == watch.stdout.read()

    for line in path.read_text().splitlines():
        assert [] == violations(SCHEMA, json.loads(line))


def _line_within(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    assert process.stdout is not None
    if select.select([process.stdout], [], [], seconds)[0]:
        return process.stdout.readline()
    return b""
