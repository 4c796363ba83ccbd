"""`procconn watch` on the live kernel: output, limits, and errors of the output."""

import errno
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from support.command import (
    RENAME,
    events_until,
    finish,
    unexpected_errors,
    wait_until_printing,
    watching,
)
from support.machine import requires_capacity


def test_json_reports_process_from_fork_to_exit() -> None:
    options = "--json", "--latency", "0", "--events", "fork,exec,exit"
    with watching(*options) as watch:
        wait_until_printing(watch)
        child = subprocess.Popen(["sh", "-c", "exit 3"])
        child.wait()
        records = events_until(watch, child.pid, "exit")

    (fork,) = (r for r in records if r.get("child_pid") == child.pid)
    assert os.getpid() == fork["parent_tgid"]
    assert "exec" == next(r["event"] for r in records if r.get("pid") == child.pid)
    assert (3, None) == (records[-1]["returncode"], records[-1]["signal"])


def test_text_reports_exit_with_command_and_signal() -> None:
    with watching("--events", "fork,exec,exit") as watch:
        wait_until_printing(watch)
        child = subprocess.Popen(
            ["sh", "-c", "read go; kill -KILL $$"], stdin=subprocess.PIPE
        )
        assert watch.stdout is not None
        for line in watch.stdout:
            text = line.decode()
            if text.split()[1:3] == ["exec", str(child.pid)]:
                child.communicate(b"go\n")
            if text.split()[1:3] == ["exit", str(child.pid)]:
                break

    command = "sh -c 'read go; kill -KILL $$'"
    assert f" {child.pid} {command} killed by SIGKILL after " in text


def test_count_ends_command() -> None:
    with watching("--count", "3", "--events", "exec") as watch:
        wait_until_printing(watch)
        for _ in range(3):
            subprocess.run(["true"], check=True)
        rest, errors = finish(watch)

    assert (0, 2, b"") == (watch.returncode, rest.count(b"\n"), errors)


def test_duration_ends_command() -> None:
    with watching("--duration", "0.2", "--events", "ptrace") as watch:
        _, errors = finish(watch)

    assert (0, b"") == (watch.returncode, errors)


def test_duration_may_exceed_the_clock_range() -> None:
    with watching("--duration", "1e308", "--events", "exec") as watch:
        wait_until_printing(watch)
        watch.send_signal(signal.SIGINT)
        _, errors = finish(watch)

    assert (0, b"") == (watch.returncode, errors)


def test_events_option_selects_the_kinds_of_events() -> None:
    with watching("--json", "--events", "exec,nonzero-exit") as watch:
        wait_until_printing(watch)
        subprocess.run(["true"], check=True)
        child = subprocess.Popen(["false"])
        child.wait()
        records = events_until(watch, child.pid, "exit")

    assert {"exec", "exit"} == {record["event"] for record in records}
    assert 0 not in {record.get("returncode") for record in records}


@pytest.mark.parametrize(("options", "shown"), [((), False), (("--threads",), True)])
def test_threads_are_hidden_by_default(options: tuple[str, ...], shown: bool) -> None:
    code = "import threading as t; x = t.Thread(target=int); x.start(); x.join()"
    with watching("--json", "--events", "fork,exit", *options) as watch:
        wait_until_printing(watch)
        child = subprocess.Popen([sys.executable, "-c", code])
        child.wait()
        records = events_until(watch, child.pid, "exit")

    threads = [r for r in records if r.get("child_tgid") == child.pid != r["child_pid"]]
    assert shown == bool(threads)


def test_closed_pipe_ends_command_with_status_0() -> None:
    """As in `procconn watch | head`."""
    with watching("--events", "exec") as watch:
        wait_until_printing(watch)
        assert watch.stdout is not None
        assert watch.stderr is not None
        watch.stdout.close()
        while watch.poll() is None:
            subprocess.run(["true"], check=True)

        assert (0, b"") == (watch.returncode, unexpected_errors(watch.stderr.read()))


def test_write_error_is_one_line_and_status_2() -> None:
    options = ("--events", "exec")
    with open("/dev/full", "wb") as full, watching(*options, stdout=full) as watch:
        assert watch.stderr is not None
        while watch.poll() is None:
            subprocess.run(["true"], check=True)

        assert 2 == watch.returncode
        errors = unexpected_errors(watch.stderr.read())
        assert f"procconn: {os.strerror(errno.ENOSPC)}\n" == errors.decode()


@requires_capacity(5000)
def test_nonblocking_output_gets_all_lines() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with watching("--events", "comm", stdout=writing) as watch:
        os.close(writing)
        while not select.select([reading], [], [], 0.05)[0]:
            subprocess.run([sys.executable, "-c", RENAME, "1"], check=True)
        subprocess.run([sys.executable, "-c", RENAME, "5000"], check=True)
        with open(reading, "rb") as pipe:
            for _ in range(5000):
                assert pipe.readline()
            watch.send_signal(signal.SIGINT)
            pipe.read()
        watch.wait()
        assert watch.stderr is not None

        assert (0, b"") == (watch.returncode, unexpected_errors(watch.stderr.read()))


@pytest.mark.parametrize("command", ["watch --duration 0.1", "doctor"])
def test_closed_standard_output_is_one_line_and_status_2(command: str) -> None:
    line = f"exec {sys.executable} -m procconn {command} >&-"
    shell = subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE, check=False)

    errors = unexpected_errors(shell.stderr)
    assert 2 == shell.returncode
    assert 1 == errors.count(b"\n")
    assert errors.startswith(b"procconn: standard output is closed")


def test_each_warning_is_one_line_under_any_warning_filter() -> None:
    code = (
        "import sys, warnings\n"
        "from procconn.cli import main, watch\n"
        "def run(*_):\n"
        "    for _ in range(2):\n"
        "        warnings.warn('renewed', RuntimeWarning)\n"
        "    return 0\n"
        "watch.run = run\n"
        "sys.exit(main(['watch']))"
    )
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], stderr=subprocess.PIPE, check=False
    )

    assert (0, b"procconn: renewed\n" * 2) == (process.returncode, process.stderr)


def test_closed_standard_error_does_not_move_errors_to_standard_output() -> None:
    if os.geteuid() != 0:
        pytest.skip("creating a network namespace requires root")
    line = f"exec unshare --net {sys.executable} -m procconn watch 2>&-"
    shell = subprocess.run(["sh", "-c", line], stdout=subprocess.PIPE, check=False)

    assert (2, b"") == (shell.returncode, shell.stdout)


@pytest.mark.heavy
@requires_capacity(5000)
def test_blocked_output_loses_no_event() -> None:
    """Nobody reads the pipe during a burst of 4,000 processes, which fills it."""
    burst = "for ((i = 0; i < 4000; i++)); do (:); done"
    with watching("--json", "--events", "fork,exit") as watch:
        wait_until_printing(watch)
        child = subprocess.Popen(["bash", "-c", burst])
        child.wait()
        records = events_until(watch, child.pid, "exit")
        watch.send_signal(signal.SIGINT)
        _, errors = finish(watch)

    # An EXIT event lacks the parent if bash reaps the child before the kernel sends it.
    forked = Counter(
        r["child_pid"]
        for r in records
        if r.get("parent_pid") == child.pid and r["event"] == "fork"
    )
    exited = Counter(r["pid"] for r in records if r["event"] == "exit")
    assert b"" == errors
    assert [] == [record for record in records if record["event"] == "lost"]
    assert 4_000 == forked.total() == (forked & exited).total()


@pytest.mark.heavy
@requires_capacity(40_000)
def test_burst_at_full_speed_loses_no_event() -> None:
    """The burst has five times as many events as the receive buffer can hold."""
    count = 200_000
    with watching("--json", "--events", "comm,exit") as watch:
        wait_until_printing(watch)
        burst = subprocess.Popen([sys.executable, "-c", RENAME, str(count)])
        own = b'"pid":%d,' % burst.pid
        assert watch.stdout is not None
        printed = 0
        for line in watch.stdout:
            printed += own in line and b'"name":"burst"' in line
            if own in line and b'"exit"' in line:
                break
        burst.wait()
        watch.send_signal(signal.SIGINT)
        _, errors = finish(watch)

    assert (count, b"") == (printed, errors)


def with_small_buffers(receive_buffer: int) -> str:
    """Return code that gives the command a small queue and receive buffer."""
    return f"""if 1:
        import sys
        from procconn.cli import main
        from procconn.pipeline import source
        class Small(source.ProcConnector):
            def __init__(self, *arguments, **settings):
                settings |= {{"queue": 262_144, "receive_buffer": {receive_buffer}}}
                super().__init__(*arguments, **settings)
        source.ProcConnector = Small
        """


def test_loss_is_reported_in_the_stream_and_at_the_end() -> None:
    code = (
        with_small_buffers(20_000)
        + "sys.exit(main(['watch', '--json', '--events', 'comm']))"
    )
    with watching(command=[sys.executable, "-c", code]) as watch:
        lines = [wait_until_printing(watch)]
        subprocess.run([sys.executable, "-c", RENAME, "100000"], check=True)
        assert watch.stdout is not None
        while b'"lost"' not in lines[-1]:
            lines.append(watch.stdout.readline())
            assert lines[-1]
        watch.send_signal(signal.SIGINT)
        rest, errors = finish(watch)

    in_stream = [
        record["count"]
        for record in map(json.loads, [*lines, *rest.splitlines(keepends=True)[:-1]])
        if record["event"] == "lost"
    ]
    assert errors.startswith(b"procconn: ")
    assert b" events were lost" in errors
    assert 0 < sum(in_stream) <= int(errors.split()[1])


def test_events_within_the_duration_are_printed_or_counted_as_lost() -> None:
    """Even if nobody reads the output until the duration is over."""
    code = (
        with_small_buffers(1_000_000)
        + "sys.exit(main(['watch', '--json', '--events', 'comm', '--duration', '3']))"
    )
    count = 50_000
    with watching(command=[sys.executable, "-c", code]) as watch:
        lines = [wait_until_printing(watch)]
        burst = subprocess.Popen([sys.executable, "-c", RENAME, str(count)])
        burst.wait()
        time.sleep(3)
        rest, errors = finish(watch)

    records = [json.loads(line) for line in [*lines, *rest.splitlines()]]
    in_stream = sum(r["count"] for r in records if r["event"] == "lost")
    printed = sum(record.get("pid") == burst.pid for record in records)
    assert 0 == watch.returncode
    assert printed < count <= printed + in_stream
    assert in_stream <= int(errors.split()[1])
