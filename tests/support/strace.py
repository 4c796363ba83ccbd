"""Traces the LISTEN and IGNORE requests that a process sends."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.command import WATCH, watching
from support.live import wait_for
from support.machine import PYTHON
from support.sandbox import sandbox
from support.subprocesses import run

LISTEN, IGNORE = 1, 2


class Requests:
    """Runs Python code and records the requests that it and its children send.

    Attributes:
        result: exit status and output of the code.
        sent: operations of each process in order, by PID.
    """

    def __init__(self, code: str, refusal: tuple[str, ...] = ()) -> None:
        if not shutil.which("strace") or "san" in os.environ.get("LD_PRELOAD", ""):
            pytest.skip("requires strace, and no sanitizer")
        with tempfile.NamedTemporaryFile() as log:
            strace = ["strace", "-f", "-qq", "-xx", "-s", "64", "-o", log.name]
            filters = ["-e", "trace=sendto", "-e", "signal=none", "--seccomp-bpf"]
            python = [*PYTHON, "-c", code]
            if refusal:
                python = [*sandbox(refusal), *python]
            self.result = run(*strace, *filters, *python)
            lines = Path(log.name).read_text().splitlines()
        self.sent: dict[int, list[int]] = {}
        for line in lines:
            found = re.match(r'(\d+) +sendto\(\d+, \[{nlmsg.*}, "([^"]*)"', line)
            if found:
                message = bytes.fromhex(found[2].replace("\\x", ""))
                self.sent.setdefault(int(found[1]), []).append(message[-4])

    @property
    def all_sent(self) -> list[int]:
        """Operations of all processes."""
        return [operation for sent in self.sent.values() for operation in sent]


@contextmanager
def traced_command(
    trace: Path, *options: str, command: list[str] = WATCH, **settings: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command under strace; the trace is complete when the block ends."""
    strace = ["strace", "-D", "-f", "--seccomp-bpf", "-xx", "-o", str(trace)]
    strace += ["-e", "trace=sendto"]
    if shutil.which("strace") is None:
        pytest.skip("requires strace")
    with watching(*options, command=[*strace, *command], **settings) as watch:
        yield watch
        if watch.stdout is not None:
            watch.stdout.read()
        watch.wait()
    end = re.compile(rf"^{watch.pid} +\+\+\+ (exited|killed)", re.MULTILINE)
    wait_for(lambda: end.search(trace.read_text()))


def subscription_balance(trace: Path) -> int:
    """Return how many LISTEN requests of a trace no IGNORE balances."""
    balance = 0
    for line in trace.read_text().splitlines():
        if operation := re.search(r"\\x0([12])\\x00\\x00\\x00\"\], 40, ", line):
            balance += {"1": 1, "2": -1}[operation[1]]
    return balance
