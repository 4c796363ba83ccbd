"""Compiles the C programs of tests/live/programs."""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from support.machine import KERNEL
from support.subprocesses import PROGRAMS

BUILT = PROGRAMS / "built"  # precompiled programs, for a machine without a compiler
FLAGS = ("-O1", "-Wall", "-Werror", "-pthread")
MORE_FLAGS = {"early_change": ("-static",)}

# The scenarios of programs/lifetimes.c, and the exit status that wait(2) returns.
WAIT_STATUS = {
    "leader-first": 7,
    "leader-first-alone": 5,
    "leader-first-killed": -9,
    "leader-first-exec": 6,
    "exec-by-thread": 6,
    "exit-by-thread": 7,
    "joined": 7,
    "core": -6,
}
# The exit status that events report. Before Linux 6.0 they do not report it if the
# thread-group leader exits before its threads.
REPORTED_STATUS: dict[str, int | None] = {**WAIT_STATUS}
if KERNEL < (6, 0):
    WAIT_STATUS["leader-first-alone"] = 3  # the thread-group leader's
    REPORTED_STATUS |= {"leader-first": None, "leader-first-alone": None}


@cache
def _directory() -> Path:
    directory = Path(mkdtemp(prefix="procconn-tests-"))
    directory.chmod(0o755)
    return directory


@cache
def compiled(name: str) -> Path:
    """Return the path of a C program; compile it on the first call."""
    if BUILT.is_dir():
        return BUILT / name
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    target = _directory() / name
    flags = (*FLAGS, *MORE_FLAGS.get(name, ()))
    command = [compiler, *flags, f"{PROGRAMS / name}.c", "-o", str(target)]
    subprocess.run(command, check=True)
    return target
