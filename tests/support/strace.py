"""Traces the LISTEN and IGNORE requests that a program sends to the kernel."""

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from support.machine import PYTHON
from support.sandbox import sandbox
from support.subprocesses import run

LISTEN, IGNORE = 1, 2


class Requests:
    """The requests that a Python program and its children sent.

    Attributes:
        result: how the program ended.
        sent: the operations of each process in order, by PID.
    """

    def __init__(self, code: str, refusal: tuple[str, ...] = ()) -> None:
        if not shutil.which("strace") or "san" in os.environ.get("LD_PRELOAD", ""):
            pytest.skip("takes strace, and no sanitizer")
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
        """The operations of all processes."""
        return [operation for sent in self.sent.values() for operation in sent]
