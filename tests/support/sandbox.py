"""Runs commands in a seccomp sandbox, where a system call fails."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from live.programs.syscalls import NUMBERS

from support.live import PR_SET_NAME
from support.subprocesses import PROGRAMS, run

# Refusals: a system call, its error, and the arguments for which it fails.
NO_NETLINK = ("socket", "EAFNOSUPPORT", f"0={int(socket.AF_NETLINK)}")
NO_MEMINFO = ("getsockopt", "ENOPROTOOPT", "1=1", "2=55")
NO_NAMES = ("prctl", "EPERM", f"0={PR_SET_NAME}")
NO_ACKNOWLEDGEMENTS = ("recvfrom", "EAGAIN")
NO_PRIORITY = ("sched_setscheduler", "EPERM")


def sandbox(refusal: tuple[str, ...]) -> list[str]:
    """Return the command prefix that makes a system call fail."""
    call, _, *values = refusal
    if values and call not in NUMBERS:
        pytest.skip("seccomp cannot read the arguments of socketcall(2)")
    return [sys.executable, str(PROGRAMS / "sandbox.py"), *refusal, "--"]


def run_sandboxed(
    refusal: tuple[str, ...], *arguments: str | Path
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments in a sandbox where a system call fails."""
    return run(*sandbox(refusal), sys.executable, *arguments)
