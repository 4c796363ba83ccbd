"""Processes that tests start."""

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
    """Start a process with pipes; kill it at the end if need be."""
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
    """Start one of the programs beside this file."""
    with started(sys.executable, "-I", PROGRAMS / f"{name}.py", *arguments) as process:
        yield process


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE, check=False
    )


@cache
def everyone_may_run_python() -> bool:
    """Whether this Python and the library are where an ordinary user may read them."""
    probe = run(*AS_ORDINARY_USER, sys.executable, "-c", "import procconn")
    return probe.returncode == 0


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return run(*PYTHON, "-c", code)


@contextmanager
def speaking(*command: str | Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a program; give it and the pid it prints. It ends when its input does."""
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def end_input(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
