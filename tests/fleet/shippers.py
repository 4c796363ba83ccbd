"""Run `procconn ship`, and cause events for it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fleet.servers import PATIENCE
from fleet.streams import Stored, stored, wait_for_messages

SHIP = [sys.executable, "-m", "procconn", "ship"]
BURST = 100_000  # events

# The kind of these events. Only root can cause UID events, which are otherwise rare.
KIND = "uid" if os.geteuid() == 0 else "comm"

# Causes a number of events, evenly spread over some seconds, after a line on stdin.
_BURST = """
import ctypes, os, sys, time
prctl = ctypes.CDLL(None).prctl
one = {
    "uid": lambda number: os.seteuid(1 - number % 2),
    "comm": lambda number: prctl(15, b"burst"),
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


class Burst:
    """A process that causes events after `start`."""

    def __init__(self, total: int = BURST, seconds: float = 0) -> None:
        command = [sys.executable, "-c", _BURST, KIND, str(total), str(seconds)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
        self.options = ["--events", KIND, "--pid", str(self._process.pid)]

    def start(self) -> None:
        """Start causing the events."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def wait(self) -> None:
        """Wait until all events happened."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(PATIENCE) == 0


@contextmanager
def shipping(
    *options: str, within: tuple[str, ...] = (), environ: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run `procconn ship` until the block ends."""
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
    """Stop `procconn ship` by a signal; return its stderr."""
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    return errors


def ship(burst: Burst, url: str, *options: str) -> Stored:
    """Ship a burst of events, and stop; return the stored records."""
    with shipping(url, *burst.options, *options) as shipper:
        wait_for_messages(url)
        burst.start()
        burst.wait()
        assert "" == stop(shipper)
        assert 0 == shipper.returncode
    return stored(url)
