"""Starts shippers, and causes events for them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fleet.servers import PATIENCE
from fleet.streams import Stored, stored, wait_for_messages

SHIP = [sys.executable, "-m", "procconn", "ship"]
STORM = 100_000

# What storms are made of: root can make events that hardly anybody else makes.
KIND = "uid" if os.geteuid() == 0 else "comm"

# Causes so many events within so many seconds, after a line on stdin.
_STORM = """
import ctypes, os, sys, time
prctl = ctypes.CDLL(None).prctl
one = {
    "uid": lambda number: os.seteuid(1 - number % 2),
    "comm": lambda number: prctl(15, b"storm"),
}[sys.argv[1]]
total, seconds = int(sys.argv[2]), float(sys.argv[3])
sys.stdin.readline()
begin, done = time.monotonic(), 0
while done < total:
    due = min(total, int(total * (time.monotonic() - begin) / (seconds or 1e-9)) + 1)
    for number in range(done, due):
        one(number)
    done = due
    time.sleep(0.01 if seconds else 0)
"""


class Storm:
    """A process that makes events, and waits for `begin` before that."""

    def __init__(self, total: int = STORM, seconds: float = 0) -> None:
        command = [sys.executable, "-c", _STORM, KIND, str(total), str(seconds)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
        self.options = ["--events", KIND, "--pid", str(self._process.pid)]

    def begin(self) -> None:
        """Let it make them."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Wait until all are made."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(PATIENCE) == 0


@contextmanager
def shipping(
    *options: str, within: tuple[str, ...] = (), environ: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a shipper until the block ends."""
    with subprocess.Popen(
        [*within, *SHIP, *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environ or {})},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def stop(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
    """End a shipper by a signal; return its stderr."""
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    return errors


def ship(storm: Storm, url: str, *options: str) -> Stored:
    """Ship a storm, and stop; return what is stored then."""
    with shipping(url, *storm.options, *options) as shipper:
        wait_for_messages(url)
        storm.begin()
        storm.end()
        assert "" == stop(shipper)
        assert 0 == shipper.returncode
    return stored(url)
