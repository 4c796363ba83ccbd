"""The command, on the live kernel."""

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


def test_prints_a_process_from_fork_to_exit() -> None:
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


def test_prints_text_with_the_exit_decoded() -> None:
    with watching("--events", "fork,exec,exit") as watch:
        wait_until_printing(watch)
        child = subprocess.Popen(["sh", "-c", "read go; kill -KILL $$"], stdin=-1)
        assert watch.stdout is not None
        for line in watch.stdout:
            text = line.decode()
            if text.split()[1:3] == ["exec", str(child.pid)]:
                child.communicate(b"go\n")
            if text.split()[1:3] == ["exit", str(child.pid)]:
                break

    command = "sh -c 'read go; kill -KILL $$'"
    assert f" {child.pid} {command} killed by SIGKILL after " in text


def test_stops_after_count_events() -> None:
    with watching("--count", "3", "--events", "exec") as watch:
        wait_until_printing(watch)
        for _ in range(3):
            subprocess.run(["true"], check=True)
        rest, errors = finish(watch)

    assert (0, 2, b"") == (watch.returncode, rest.count(b"\n"), errors)


def test_stops_after_the_duration() -> None:
    with watching("--duration", "0.2", "--events", "ptrace") as watch:
        _, errors = finish(watch)

    assert (0, b"") == (watch.returncode, errors)


def test_the_duration_may_be_longer_than_anyone_waits() -> None:
    with watching("--duration", "1e308", "--events", "exec") as watch:
        wait_until_printing(watch)
        watch.send_signal(signal.SIGINT)
        _, errors = finish(watch)

    assert (0, b"") == (watch.returncode, errors)


def test_events_limits_what_is_printed() -> None:
    with watching("--json", "--events", "exec,nonzero-exit") as watch:
        wait_until_printing(watch)
        subprocess.run(["true"], check=True)
        child = subprocess.Popen(["false"])
        child.wait()
        records = events_until(watch, child.pid, "exit")

    assert {"exec", "exit"} == {record["event"] for record in records}
    assert 0 not in {record.get("returncode") for record in records}


@pytest.mark.parametrize(("options", "shown"), [((), False), (("--threads",), True)])
def test_threads_are_hidden_unless_asked_for(
    options: tuple[str, ...], shown: bool
) -> None:
    code = "import threading as t; x = t.Thread(target=int); x.start(); x.join()"
    with watching("--json", "--events", "fork,exit", *options) as watch:
        wait_until_printing(watch)
        child = subprocess.Popen([sys.executable, "-c", code])
        child.wait()
        records = events_until(watch, child.pid, "exit")

    threads = [r for r in records if r.get("child_tgid") == child.pid != r["child_pid"]]
    assert shown == bool(threads)


def test_head_ends_it_quietly() -> None:
    with watching("--events", "exec") as watch:
        wait_until_printing(watch)
        assert watch.stdout is not None
        assert watch.stderr is not None
        watch.stdout.close()
        while watch.poll() is None:
            subprocess.run(["true"], check=True)

        assert (0, b"") == (watch.returncode, unexpected_errors(watch.stderr.read()))


def test_failing_to_write_is_one_line_and_status_2() -> None:
    options = ("--events", "exec")
    with open("/dev/full", "wb") as full, watching(*options, stdout=full) as watch:
        assert watch.stderr is not None
        while watch.poll() is None:
            subprocess.run(["true"], check=True)

        assert 2 == watch.returncode
        errors = unexpected_errors(watch.stderr.read())
        assert f"procconn: {os.strerror(errno.ENOSPC)}\n" == errors.decode()


@requires_capacity(5000)
def test_an_output_that_does_not_block_is_waited_for() -> None:
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
def test_a_closed_output_is_one_line_and_status_2(command: str) -> None:
    line = f"exec {sys.executable} -m procconn {command} >&-"
    shell = subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE, check=False)

    errors = unexpected_errors(shell.stderr)
    assert 2 == shell.returncode
    assert 1 == errors.count(b"\n")
    assert errors.startswith(b"procconn: standard output is closed")


def test_each_warning_is_one_line_whatever_the_environment_says() -> None:
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


def test_errors_do_not_go_to_the_output_instead() -> None:
    if os.geteuid() != 0:
        pytest.skip("making a network namespace takes root")
    line = f"exec unshare --net {sys.executable} -m procconn watch 2>&-"
    shell = subprocess.run(["sh", "-c", line], stdout=subprocess.PIPE, check=False)

    assert (2, b"") == (shell.returncode, shell.stdout)


@pytest.mark.heavy
@requires_capacity(5000)
def test_nothing_is_lost_while_the_output_is_blocked() -> None:
    """A pipe nobody reads during a storm of 4,000 processes, which it cannot hold."""
    storm = "for ((i = 0; i < 4000; i++)); do (:); done"
    with watching("--json", "--events", "fork,exit") as watch:
        wait_until_printing(watch)
        child = subprocess.Popen(["bash", "-c", storm])
        child.wait()
        records = events_until(watch, child.pid, "exit")
        watch.send_signal(signal.SIGINT)
        _, errors = finish(watch)

    # An exit has no parent if bash was so quick to wait that the kernel knew of none.
    born = Counter(
        r["child_pid"]
        for r in records
        if r.get("parent_pid") == child.pid and r["event"] == "fork"
    )
    died = Counter(r["pid"] for r in records if r["event"] == "exit")
    assert b"" == errors
    assert [] == [record for record in records if record["event"] == "lost"]
    assert 4_000 == born.total() == (born & died).total()


@pytest.mark.heavy
@requires_capacity(40_000)
def test_nothing_is_lost_of_many_events_at_full_speed() -> None:
    """Of five times as many as the kernel's buffer holds."""
    count = 200_000
    with watching("--json", "--events", "comm,exit") as watch:
        wait_until_printing(watch)
        storm = subprocess.Popen([sys.executable, "-c", RENAME, str(count)])
        own = b'"pid":%d,' % storm.pid
        assert watch.stdout is not None
        shown = 0
        for line in watch.stdout:
            shown += own in line and b'"name":"storm"' in line
            if own in line and b'"exit"' in line:
                break
        storm.wait()
        watch.send_signal(signal.SIGINT)
        _, errors = finish(watch)

    assert (count, b"") == (shown, errors)


def with_little_room(receive_buffer: int) -> str:
    """Return the beginning of a program that runs the command, its queue small."""
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


def test_loss_is_told_in_the_stream_and_at_the_end() -> None:
    """With the queue and the kernel's buffer made small, and nobody reading."""
    code = (
        with_little_room(20_000)
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


def test_what_happened_within_the_duration_is_printed_or_counted() -> None:
    """With the queue and the kernel's buffer made small, and nobody reading."""
    code = (
        with_little_room(1_000_000)
        + "sys.exit(main(['watch', '--json', '--events', 'comm', '--duration', '3']))"
    )
    count = 50_000
    with watching(command=[sys.executable, "-c", code]) as watch:
        lines = [wait_until_printing(watch)]
        storm = subprocess.Popen([sys.executable, "-c", RENAME, str(count)])
        storm.wait()
        time.sleep(3)
        rest, errors = finish(watch)

    records = [json.loads(line) for line in [*lines, *rest.splitlines()]]
    in_stream = sum(r["count"] for r in records if r["event"] == "lost")
    shown = sum(record.get("pid") == storm.pid for record in records)
    assert 0 == watch.returncode
    assert shown < count <= shown + in_stream
    assert in_stream <= int(errors.split()[1])
