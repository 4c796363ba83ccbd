"""Programs that print which commands were run, and what they printed."""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import NamedTuple

from benchmarks.processes import Process

WATCH, FORKSTAT, FORKSTAT_FIRST, EXTRACE = (
    "procconn watch",
    "forkstat",
    "forkstat -r",
    "extrace",
)
_FORKSTATS = r"^\S+ exec +(\d+) +(.*?) *$"
PRINTERS = {
    WATCH: (
        [sys.executable, "-m", "procconn", "watch", "--events", "exec"],
        r"^\S+ exec +(\d+) (?:\? .*|(.*))$",
    ),
    FORKSTAT: (["forkstat", "-e", "exec"], _FORKSTATS),
    FORKSTAT_FIRST: (["forkstat", "-r", "-e", "exec"], _FORKSTATS),
    EXTRACE: (["extrace", "-f"], r"^(\d+) (.*)$"),
}

Reported = list[tuple[int, str | None]]  # PIDs with the command lines reported of them


class Heard(NamedTuple):
    """What a reader reported, and the CPU time it used."""

    reported: Reported
    cpu_ns: int
    unmarked: int = 0  # absent without a reason


class Printer(Process):
    """A program that prints the commands that were run."""

    def __init__(self, name: str, user: str | None = None) -> None:
        arguments, self._pattern = PRINTERS[name]
        self._printed = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - until `heard`
        super().__init__([*arguments], self._printed, subprocess.DEVNULL, user)
        self.subscribed()
        self._before_ns = self.cpu_ns()

    def begin(self) -> None:
        """Do nothing: it reads already."""

    def heard(self) -> Heard:
        """Wait until it has printed everything, stop it, and read that."""
        self.rest()
        cpu_ns = self.cpu_ns() - self._before_ns
        self.interrupt()
        self.close()
        with self._printed as printed:
            printed.seek(0)
            lines = re.findall(self._pattern, printed.read(), re.MULTILINE)
        return Heard([(int(pid), _unquoted(text)) for pid, text in lines], cpu_ns)


def printers() -> list[str]:
    """List those that are installed."""
    return [name for name, (command, _) in PRINTERS.items() if shutil.which(command[0])]


def _unquoted(text: str) -> str | None:
    """Join arguments by spaces only; None for what the printers print for nothing."""
    with suppress(ValueError):  # somebody else's, as ours have no quotes but a pair
        text = " ".join(shlex.split(text))
    return None if text in ("", "<unknown>") else text
