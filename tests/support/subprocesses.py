"""Starts commands, Python code, and the programs of tests/live/programs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from support.live import DEADLINE
from support.machine import AS_ORDINARY_USER, PYTHON

PROGRAMS = Path(__file__).parents[1] / "live" / "programs"


@contextmanager
def started(
    *command: str | int | Path, **options: object
) -> Iterator[subprocess.Popen[str]]:
    """Start a process with pipes for stdin and stdout; kill it at the end."""
    with subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def program(name: str, *arguments: str | int) -> Iterator[subprocess.Popen[str]]:
    """Start one of the Python programs of tests/live/programs."""
    with started(sys.executable, "-I", PROGRAMS / f"{name}.py", *arguments) as process:
        yield process


def spawn(*command: str) -> int:
    """Start a process; return its PID."""
    return os.posix_spawn(command[0], command, os.environ)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE, check=False
    )


@cache
def any_user_can_run_python() -> bool:
    """Return whether an ordinary user can run this Python with the library."""
    probe = run(*AS_ORDINARY_USER, sys.executable, "-c", "import procconn")
    return probe.returncode == 0


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return run(*PYTHON, "-c", code)


@contextmanager
def started_with_pid(
    *command: str | Path,
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a program that prints a PID and runs until the end of its stdin."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def close_stdin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
