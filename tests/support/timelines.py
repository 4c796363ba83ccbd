"""Processes to draw as a timeline."""

from dataclasses import dataclass
from signal import SIGKILL, Signals

MS = 1_000_000
S = 1_000_000_000


@dataclass
class SampleProcess:
    """A process to draw; `ended_ns` is None while it runs."""

    pid: int
    ppid: int | None
    name: str | None
    started_ns: int | None
    ended_ns: int | None
    returncode: int | None = 0
    signal: Signals | None = None
    command: str | None = None


def build() -> list[SampleProcess]:
    """Return three processes: make, a compiler that fails, and a killed process."""
    start = 77 * S
    cc, sleep = "/usr/bin/cc -c 'a b.c'", "sleep 9"
    return [
        SampleProcess(12, 10, "sleep", start + 600 * MS, start + 900 * MS, -9,
              SIGKILL, sleep),
        SampleProcess(11, 10, "cc", start + 100 * MS, start + 500 * MS, 2, None, cc),
        SampleProcess(10, 1, "make", start, start + S),
    ]  # fmt: skip
