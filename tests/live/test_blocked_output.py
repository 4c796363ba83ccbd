"""A blocked output: loss is reported, and signals still end the command.

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

IMPATIENT = """
import sys
from procconn.cli import main, shutdown

shutdown._GRACE = 0.1
sys.exit(main(sys.argv[1:]))
"""
PAGE = 4096  # bytes of a pipe that become free together
STORM = 5_003


@contextmanager
def full_pipe(free_pages: int = 0) -> Iterator[tuple[FileIO, FileIO]]:
    """Give a pipe that is full, but for so many pages."""
    ends = os.pipe()
    with FileIO(ends[0]) as reading, FileIO(ends[1], "w") as writing:
        os.set_blocking(ends[1], False)
        while writing.write(bytes(PAGE)):
            pass
        os.set_blocking(ends[1], True)
        reading.read(free_pages * PAGE)
        yield reading, writing


def is_blocked(process: subprocess.Popen[bytes]) -> bool:
    """Whether its main thread is writing, which nothing else than a full pipe lasts."""
    call, _ = system_call_of(Path(f"/proc/{process.pid}"))
    return call == "write"


def block(process: subprocess.Popen[bytes]) -> None:
    """Let things happen until it has something to write."""
    while not is_blocked(process):
        subprocess.run([sys.executable, "-c", RENAME, "100"], check=True)


@pytest.mark.parametrize(
    "arguments",
    [("watch", "--json"), ("stat", "--json"), ("record", "-")],
    ids=lambda it: it[0],
)
def test_a_signal_ends_it_and_what_is_missing_is_told(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", IMPATIENT]
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


def test_a_command_that_is_traced_blocks_and_ends_as_by_itself(tmp_path: Path) -> None:
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


@pytest.mark.skipif(not IS_ROOT, reason="others are warned before anything runs")
def test_a_signal_ends_a_summary_that_nobody_reads(tmp_path: Path) -> None:
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


def test_watch_tells_all_when_its_output_is_read_again() -> None:
    with (
        full_pipe() as (reading, writing),
        watching("--json", "--events", "comm", stdout=writing) as watch,
    ):
        block(watch)
        storm = subprocess.Popen([sys.executable, "-c", RENAME, str(STORM)])
        storm.wait()
        watch.send_signal(signal.SIGTERM)
        writing.close()
        lines = reading.readall().lstrip(b"\0").splitlines()
    records = map(json.loads, lines)

    assert STORM == sum(r.get("pid") == storm.pid for r in records)
