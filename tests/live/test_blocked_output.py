"""The command with blocked output: it reports the loss, and signals still end it.

The output is a pipe that is full from the start.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import pytest
from support.blocking import system_call_of
from support.command import COMMAND, RENAME, unexpected_errors, watching
from support.live import wait_for
from support.machine import IS_ROOT
from support.strace import subscription_balance, traced_command

SHORT_GRACE_PERIOD = """
import sys
from procconn.cli import main, shutdown

shutdown._GRACE = 0.1
sys.exit(main(sys.argv[1:]))
"""
PAGE = 4096  # bytes; a pipe frees space in whole pages
BURST = 5_003


@contextmanager
def full_pipe(free_pages: int = 0) -> Iterator[tuple[FileIO, FileIO]]:
    """Create a pipe that is full except for `free_pages`; yield its two ends."""
    ends = os.pipe()
    with FileIO(ends[0]) as reading, FileIO(ends[1], "w") as writing:
        os.set_blocking(ends[1], False)
        while writing.write(bytes(PAGE)):
            pass
        os.set_blocking(ends[1], True)
        reading.read(free_pages * PAGE)
        yield reading, writing


def is_blocked(process: subprocess.Popen[bytes]) -> bool:
    """Return whether the main thread blocks in write(2), as the pipe is full."""
    call, _ = system_call_of(Path(f"/proc/{process.pid}"))
    return call == "write"


def block(process: subprocess.Popen[bytes]) -> None:
    """Cause events until the process blocks on its output."""
    while not is_blocked(process):
        subprocess.run([sys.executable, "-c", RENAME, "100"], check=True)


@pytest.mark.parametrize(
    "arguments",
    [("watch", "--json"), ("stat", "--json"), ("record", "-")],
    ids=lambda arguments: arguments[0],
)
def test_signal_ends_blocked_command_which_reports_unwritten_events(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", SHORT_GRACE_PERIOD]
    free_pages = int(arguments[0] == "record")  # for the header
    path = tmp_path / "trace"
    with (
        full_pipe(free_pages) as (_, writing),
        traced_command(path, *arguments, command=command, stdout=writing) as process,
    ):
        wait_for(lambda: path.exists() and subscription_balance(path) == 1)
        block(process)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        errors = process.stderr.read()

    assert (
        b"procconn: the last events were not written: the output was blocked" in errors
    )
    assert (0, 0) == (process.returncode, subscription_balance(path))


def test_signal_ends_traced_command_that_blocks_on_its_output(tmp_path: Path) -> None:
    script = "echo ready >&2; exec cat /dev/zero"
    path = tmp_path / "trace"
    arguments = ("trace", "sh", "-c", script)
    with (
        full_pipe() as (_, writing),
        traced_command(path, *arguments, command=COMMAND, stdout=writing) as process,
    ):
        assert process.stderr is not None
        while not (line := unexpected_errors(process.stderr.readline())):
            pass
        assert b"ready\n" == line
        process.send_signal(signal.SIGTERM)
        summary = process.stderr.read()

    assert summary.startswith(b"1 process in ")
    assert (128 + signal.SIGTERM, 0) == (process.returncode, subscription_balance(path))


@pytest.mark.skipif(not IS_ROOT, reason="ordinary users get warnings on stderr first")
def test_signal_ends_command_blocked_on_its_summary(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    arguments = ("trace", "sh", "-c", "exit 7")
    with (
        full_pipe() as (_, writing),
        traced_command(
            path, *arguments, command=COMMAND, stderr=writing, stdout=None
        ) as process,
    ):
        wait_for(lambda: is_blocked(process))
        process.send_signal(signal.SIGTERM)

    assert (7, 0) == (process.returncode, subscription_balance(path))


def test_watch_prints_all_events_once_its_output_is_read_again() -> None:
    with (
        full_pipe() as (reading, writing),
        watching("--json", "--events", "comm", stdout=writing) as watch,
    ):
        block(watch)
        burst = subprocess.Popen([sys.executable, "-c", RENAME, str(BURST)])
        burst.wait()
        watch.send_signal(signal.SIGTERM)
        writing.close()
        lines = reading.readall().lstrip(b"\0").splitlines()
    records = map(json.loads, lines)

    assert BURST == sum(r.get("pid") == burst.pid for r in records)
