"""`procconn stat`, `wait` and `record`: output, signals and exit status."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.blocking import wait_until_blocked
from support.builders import event_message, words
from support.command import COMMAND, RENAME, TerminalCommand, run, watching
from support.json_schema import schema, violations
from support.live import wait_for
from support.strace import subscription_balance, traced_command

from procconn import EventType, recording

BUILD = Path(__file__).parents[2] / "examples/build.pcap"
STAT, WAIT = schema("stat"), schema("wait")
BURST = 5_003  # more than one batch


def events_in(recording: Path) -> list[Any]:
    result = run("watch", "--json", "--threads", "--input", recording)
    assert (0, "") == (result.returncode, result.stderr)
    return [json.loads(line) for line in result.stdout.splitlines()]


# stat


def test_stat_counts_events_by_kind_and_program() -> None:
    with watching("stat", "--json", command=COMMAND) as stat:
        assert stat.stdout is not None
        stat.stdout.readline()  # wait until it runs
        for _ in range(20):
            subprocess.run(["false"], check=False)
        stat.send_signal(signal.SIGTERM)
        seconds = [json.loads(line) for line in stat.stdout]
        stat.wait()

    # On a busy machine, a process may exit before its program is read.
    counts = [count for second in seconds for count in second["programs"]]
    unknown = sum(count["started"] for count in counts if count["name"] == "?")
    counted = [count for count in counts if count["name"] == "false"]
    own = [count for count in seconds[0]["programs"] if count["name"] == _own_name()]
    assert [[]] * len(seconds) == [violations(STAT, second) for second in seconds]
    assert 0 == stat.returncode
    assert 0 < sum(count["started"] for count in counted)
    assert 20 <= unknown + sum(count["started"] for count in counted)
    assert 20 <= unknown + sum(count["failed"] for count in counted)
    assert 20 <= sum(s["events"].get("exec", 0) for s in seconds)
    assert 0 < sum(count["running"] for count in own)


def _own_name() -> str:
    return Path("/proc/self/comm").read_text().strip()


def lines_in(recording: Path) -> str:
    return run("watch", "--json", "--input", recording).stdout


@pytest.mark.parametrize("subcommand", ["watch", "stat"])
def test_error_does_not_overwrite_the_output_file(
    subcommand: str, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    shutil.copy(BUILD, output)
    no_process = run(subcommand, "--tree", 2**31 - 1, "--output", output)
    same_file = run(subcommand, "--input", output, "--output", output)

    assert (2, 2) == (no_process.returncode, same_file.returncode)
    assert "is also the input" in same_file.stderr
    assert BUILD.read_bytes() == output.read_bytes()


def test_record_tree_records_only_descendants(tmp_path: Path) -> None:
    path = tmp_path / "tree.pcap"
    script = "read _; /bin/true; exec sh -c '/bin/true; exit 3'"
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE) as shell:
        arguments = ("record", "--tree", str(shell.pid), str(path))
        with watching(*arguments, command=COMMAND) as recorder:
            wait_for(path.exists)
            subprocess.run(["true"], check=True)
            shell.communicate(b"\n")
            wait_for(
                lambda: (
                    f'"pid":{shell.pid},"tgid":{shell.pid},"exit_code"'
                    in lines_in(path)
                )
            )
            recorder.send_signal(signal.SIGINT)
            recorder.wait()
    pids = [event["pid"] for event in events_in(path) if event["event"] == "exit"]

    assert 3 == len(pids)
    assert shell.pid == pids[-1]


def test_stat_prints_a_table_at_the_end() -> None:
    result = run("stat", "--duration", "0.3")
    first, heading, *_ = result.stdout.splitlines()

    assert first.startswith("in 300 ms: ")
    assert heading.split() == ["started", "failed", "running", "program"]


def test_stat_count_prints_the_duration_of_the_events() -> None:
    result = run("stat", "--input", BUILD, "--count", "200")

    assert re.match(r"in 1\.\d+ s: 68 fork, 68 exec, 64 exit\n", result.stdout)


def test_stat_counts_from_the_first_event_of_a_recording(tmp_path: Path) -> None:
    """The timestamp of the first event may be 0."""
    path = tmp_path / "early.pcap"
    with recording.Recorder(path) as recorder:
        for at in (0, 1, 999_999_999, 1_000_000_000):
            sid = words(7, 7, 0, 0, 0, 0)
            recorder.write(event_message(EventType.SID, sid, timestamp_ns=at))
    lines = run("stat", "--json", "-i", path, "-e", "sid").stdout.splitlines()
    results = [json.loads(line) for line in lines]
    table = run("stat", "-i", path, "-e", "sid").stdout

    assert [{"sid": 3}, {"sid": 1}] == [second["events"] for second in results]
    assert table.startswith("in 1.00 s: 4 sid\n")


def test_stat_on_a_terminal_refreshes_its_table_in_place() -> None:
    output = b""
    with TerminalCommand([*COMMAND, "stat", "--duration", "1.3"]) as terminal:
        while more := terminal.read_output():
            output += more
        status = terminal.wait()

    assert 0 == status
    assert 1 == output.count(b"F\x1b[J")


# wait


def test_wait_prints_each_exit_and_returns_the_last_status() -> None:
    first = subprocess.Popen(["sh", "-c", "read go; exit 3"], stdin=subprocess.PIPE)
    second = subprocess.Popen(
        ["sh", "-c", "read go; kill -TERM $$"], stdin=subprocess.PIPE
    )
    assert first.stdin is not None
    assert second.stdin is not None
    with watching("wait", str(first.pid), str(second.pid), command=COMMAND) as waiting:
        assert waiting.stdout is not None
        wait_until_blocked(waiting.pid)
        first.stdin.close()
        line = waiting.stdout.readline().decode()
        second.stdin.close()
        last = waiting.stdout.read().decode()
        waiting.wait()
    first.wait()
    second.wait()

    begin = f"exit {first.pid} sh -c 'read go; exit 3' status 3 after "
    assert line.startswith(begin)
    assert f"exit {second.pid} sh -c 'read go; kill -TERM $$' killed by SIGTERM" in last
    assert 128 + signal.SIGTERM == waiting.returncode


def test_wait_any_returns_at_the_first_exit() -> None:
    with subprocess.Popen(["sleep", "60"]) as long:
        short = subprocess.Popen(["sh", "-c", "read go; exit 4"], stdin=subprocess.PIPE)
        assert short.stdin is not None
        options = ("wait", "--any", "--json", str(long.pid), str(short.pid))
        with watching(*options, command=COMMAND) as waiting:
            assert waiting.stdout is not None
            wait_until_blocked(waiting.pid)
            short.stdin.close()
            (line,) = waiting.stdout
            waiting.wait()
        short.wait()
        long.kill()

    record = json.loads(line)
    assert [] == violations(WAIT, record)
    assert (short.pid, 4) == (record["pid"], record["returncode"])
    assert 4 == waiting.returncode


def test_wait_returns_124_on_timeout() -> None:
    result = run("wait", "--timeout", "0.1", os.getpid())

    assert (124, "") == (result.returncode, result.stdout)


def test_wait_returns_127_for_a_missing_process() -> None:
    result = run("wait", 4194304)

    assert 127 == result.returncode
    assert result.stderr.startswith("procconn: there is no process 4194304")


# record


def test_burst_is_recorded_and_replayed(tmp_path: Path) -> None:
    path = tmp_path / "burst.pcap"
    with watching("record", str(path), command=COMMAND) as recorder:
        while not path.exists() or path.stat().st_size < 1000:
            subprocess.run(["true"], check=True)
        burst = subprocess.Popen([sys.executable, "-c", RENAME, str(BURST)])
        burst.wait()
        recorder.send_signal(signal.SIGTERM)
        recorder.wait()
    events = [event for event in events_in(path) if event.get("pid") == burst.pid]

    assert 0 == recorder.returncode
    names = [event["name"] for event in events if event["event"] == "comm"]
    assert ["burst"] * BURST == names
    (start,) = (event for event in events if event["event"] == "exec")
    if not start["missing"]:  # a busy machine may read the program late
        assert [sys.executable, "-c", RENAME, str(BURST)] == start["argv"]


@pytest.mark.parametrize("count", [1, 4000])
def test_record_stops_after_count_events(count: int, tmp_path: Path) -> None:
    path = tmp_path / "some.pcap"
    with watching("record", "-c", str(count), str(path), command=COMMAND) as recorder:
        while recorder.poll() is None:
            subprocess.run([sys.executable, "-c", RENAME, "1000"], check=True)

    assert 0 == recorder.returncode
    with recording.open(path) as replayed:
        assert count == len(list(replayed))


@pytest.mark.skipif(shutil.which("tshark") is None, reason="requires tshark")
def test_tshark_finds_the_same_number_of_events(tmp_path: Path) -> None:
    path = tmp_path / "some.pcap"
    assert 0 == run("record", "-d", "0.3", path).returncode
    packets = subprocess.check_output(["tshark", "-r", str(path)]).splitlines()

    assert len(events_in(path)) == len(packets)


def test_truncated_recording_is_read_up_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "cut.pcap"
    with watching("record", "-c", "10", str(path), command=COMMAND) as recorder:
        while recorder.poll() is None:
            subprocess.run(["true"], check=True)
    complete = len(events_in(path))
    path.write_bytes(path.read_bytes()[:-5])
    result = run("watch", "--threads", "--input", path)

    assert 0 == result.returncode
    assert complete - 1 == result.stdout.count("\n")
    assert result.stderr.startswith("procconn: ")
    assert 1 == result.stderr.count("\n")


def test_missing_input_file_is_one_line_and_status_2() -> None:
    result = run("watch", "--input", "/nonexistent/file")

    expected = f"procconn: /nonexistent/file: {os.strerror(errno.ENOENT)}\n"
    assert (2, expected) == (result.returncode, result.stderr)


# Signals and errors

ENDLESS = {
    "stat": ("stat", "--json"),
    "record": ("record", "/dev/null"),
}


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, 0),
        (signal.SIGTERM, 0),
        (signal.SIGHUP, 128 + signal.SIGHUP),
    ],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_signal_sent_twice_leaves_no_subscription(
    name: str, number: signal.Signals, status: int, tmp_path: Path
) -> None:
    path = tmp_path / "trace"
    with traced_command(path, *ENDLESS[name], command=COMMAND) as process:
        wait_for(lambda: path.exists() and subscription_balance(path) == 1)
        process.send_signal(number)
        time.sleep(0.015)
        process.send_signal(number)

    assert (status, 0) == (process.returncode, subscription_balance(path))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_exit_status_of_an_interrupted_wait_is_the_signal(
    number: signal.Signals, tmp_path: Path
) -> None:
    path = tmp_path / "trace"
    with traced_command(path, "wait", str(os.getpid()), command=COMMAND) as process:
        wait_for(lambda: path.exists() and subscription_balance(path) == 1)
        process.send_signal(number)

    assert (128 + number, 0) == (process.returncode, subscription_balance(path))


@pytest.mark.parametrize(
    "arguments", [("stat", "-d", "0.1"), ("record", "/dev/full"), ("doctor",)]
)
def test_full_disk_is_one_line_and_status_2(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        result = run(
            *arguments, capture_output=False, stdout=full, stderr=subprocess.PIPE
        )

    assert 2 == result.returncode
    assert f"{os.strerror(errno.ENOSPC)}\n" in result.stderr
    assert 1 == result.stderr.count("\n")


def test_stat_ends_silently_if_the_reader_closes_the_pipe() -> None:
    with watching("stat", "--json", command=COMMAND) as stat:
        assert stat.stdout is not None
        assert stat.stderr is not None
        stat.stdout.close()
        stat.wait()

        assert 0 == stat.returncode
        assert b"rror" not in stat.stderr.read()
