"""Compiles the C programs of tests/live/programs."""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from support.machine import KERNEL
from support.subprocesses import PROGRAMS

BUILT = PROGRAMS / "built"  # compiled beforehand, for a machine without a compiler
FLAGS = ("-O1", "-Wall", "-Werror", "-pthread")
MORE_FLAGS = {"early": ("-static",)}

# The lifetimes of programs/lifetimes.c, and the status that wait(2) returns.
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
# The status that events show. Before Linux 6.0 they do not show it if the thread-group
# leader ended first.
REPORTED_STATUS: dict[str, int | None] = {**WAIT_STATUS}
if KERNEL < (6, 0):
    WAIT_STATUS["leader-first-alone"] = 3  # the thread-group leader's
    REPORTED_STATUS |= {"leader-first": None, "leader-first-alone": None}


@cache
def _folder() -> Path:
    folder = Path(mkdtemp(prefix="procconn-tests-"))
    folder.chmod(0o755)
    return folder


@cache
def compiled(name: str) -> Path:
    """Return the path of a C program, which is compiled at most once."""
    if BUILT.is_dir():
        return BUILT / name
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    target = _folder() / name
    flags = (*FLAGS, *MORE_FLAGS.get(name, ()))
    command = [compiler, *flags, f"{PROGRAMS / name}.c", "-o", str(target)]
    subprocess.run(command, check=True)
    return target
