"""Run the procconn command, with or without a terminal, and read its output."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.live import wait_for
from support.machine import IS_ROOT, LIMITS

TIMEOUT = 60.0  # seconds

# Causes one FORK, EXEC and EXIT event, and COUNT (its argument) COMM events.
RENAME = """
import ctypes, sys
prctl = ctypes.CDLL(None).prctl
for _ in range(int(sys.argv[1])):
    prctl(15, b"burst")
"""

COMMAND = [sys.executable, "-m", "procconn"]
WATCH = [*COMMAND, "watch"]
TRACE = [*COMMAND, "trace"]


def run(*arguments: object, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run the command and wait for it; keep only unexpected lines of stderr."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        text=True,
        check=False,
        **{"capture_output": True, "timeout": TIMEOUT, **settings},
    )
    if done.stderr:
        done.stderr = unexpected_errors(done.stderr.encode()).decode()
    return done


@contextmanager
def watching(
    *options: str, command: list[str] = WATCH, **settings: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command until the block ends, for at most TIMEOUT seconds."""
    process = subprocess.Popen(
        [*command, *options],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings},
    )
    watchdog = threading.Timer(TIMEOUT, process.kill)
    watchdog.start()
    with process:
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


class TerminalCommand:
    """A command on a pseudo-terminal, which hangs up when the block ends."""

    def __init__(self, command: list[str]) -> None:
        with warnings.catch_warnings():  # Python 3.12+: fork in a threaded process
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.environ["TERM"] = "xterm"
            os.execv(command[0], command)
        self._status: int | None = None

    def __enter__(self) -> "TerminalCommand":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._terminal)
        if self._status is None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)

    def press(self, keys: bytes) -> None:
        """Send keystrokes to the command."""
        os.write(self._terminal, keys)

    def read_output(self) -> bytes:
        """Return the next output, or b"" at its end."""
        assert select.select([self._terminal], [], [], TIMEOUT)[0]
        try:
            return os.read(self._terminal, 10_000)
        except OSError:  # EIO: the command has closed the terminal
            return b""

    def signal(self, number: int) -> None:
        """Send a signal to the command."""
        os.kill(self._pid, number)

    def wait(self) -> int:
        """Wait for the command; return its exit code."""
        _, self._status = os.waitpid(self._pid, 0)
        return os.waitstatus_to_exitcode(self._status)


def finish(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """Wait for the command; return its remaining stdout and unexpected stderr lines."""
    assert process.stdout is not None
    assert process.stderr is not None
    output, errors = process.stdout.read(), process.stderr.read()
    process.wait()
    return output, unexpected_errors(errors)


def unexpected_errors(errors: bytes) -> bytes:
    """Return `errors` without the warnings that unprivileged users get."""
    limits = tuple(f"procconn: {limit}".encode() for limit in LIMITS)
    lines = errors.splitlines(keepends=True)
    return b"".join(line for line in lines if IS_ROOT or not line.startswith(limits))


def wait_until_subscribed(process: subprocess.Popen[bytes]) -> None:
    """Wait for the receiving thread, which starts fourth, after two program readers."""
    threads = Path(f"/proc/{process.pid}/task")
    wait_for(lambda: len(list(threads.iterdir())) >= 4)


def wait_until_printing(process: subprocess.Popen[bytes]) -> bytes:
    """Cause events until the command prints a line; return that line."""
    assert process.stdout is not None
    while not select.select([process.stdout], [], [], 0.05)[0]:
        subprocess.run([sys.executable, "-c", RENAME, "1"], check=True)
    line = process.stdout.readline()
    assert line, "the command ended"
    return line


def events_until(process: subprocess.Popen[bytes], pid: int, event: str) -> list[Any]:
    """Read JSON lines until the given event of `pid`; return all records."""
    assert process.stdout is not None
    records = []
    for line in process.stdout:
        records.append(json.loads(line))
        if (records[-1]["event"], records[-1].get("pid")) == (event, pid):
            return records
    raise AssertionError("the command ended")
