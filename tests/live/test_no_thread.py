"""Errors when a task limit prevents the start of a thread."""

import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machine import AS_ORDINARY_USER, KERNEL
from support.subprocesses import any_user_can_run_python, run

SET_LIMIT = """
import resource

resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
"""
START_THREADS = """
import asyncio, json, warnings
from procconn import ProcConnector

warnings.simplefilter("ignore")

async def read_one():
    with ProcConnector() as connector:
        await connector.arecv_many(0)

raised = []
for call in (
    lambda: ProcConnector(queue=1 << 20),
    lambda: ProcConnector(programs=True),
    lambda: asyncio.run(read_one()),
):
    try:
        call()
    except OSError as error:
        raised.append([type(error).__name__, str(error)])
print(json.dumps(raised))
"""
ATTEMPTS = 3


@pytest.fixture
def full_cgroup() -> Iterator[Path]:
    """Create a cgroup that is limited to one task."""
    for top in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")):
        directory = top / f"procconn-test-{os.getpid()}"
        try:
            directory.mkdir()
            (directory / "pids.max").write_text("1")
        except OSError:
            if directory.is_dir():
                directory.rmdir()
            continue
        yield directory
        directory.rmdir()
        return
    pytest.skip("cannot create a cgroup with pids.max")


def in_cgroup(directory: Path, *command: str) -> list[str]:
    """Return the command line that runs a command as the only task of a cgroup."""
    enter = f"echo $$ > {directory}/cgroup.procs && exec {shlex.join(command)}"
    return ["sh", "-c", enter]


@pytest.mark.skipif(
    KERNEL < (6, 6) or not any_user_can_run_python(),
    reason="requires a Python that any user can run, and Linux 6.6",
)
def test_error_names_rlimit_nproc() -> None:
    done = run(*AS_ORDINARY_USER, sys.executable, "-c", SET_LIMIT + START_THREADS)
    raised = json.loads(done.stdout)

    assert [kind for kind, _ in raised] == ["OSError"] * ATTEMPTS
    for _, text in raised:
        assert "cannot start a thread" in text
        assert "this user is limited to 0 tasks (RLIMIT_NPROC)" in text


def test_error_names_full_cgroup(full_cgroup: Path) -> None:
    done = run(*in_cgroup(full_cgroup, sys.executable, "-c", START_THREADS))
    raised = json.loads(done.stdout)

    assert [kind for kind, _ in raised] == ["OSError"] * ATTEMPTS
    for _, text in raised:
        assert f"the cgroup {full_cgroup} is at its limit of 1 tasks" in text


def test_command_reports_full_cgroup(full_cgroup: Path) -> None:
    watch = (sys.executable, "-m", "procconn", "watch", "--count", "1")
    done = run(*in_cgroup(full_cgroup, *watch))

    assert done.returncode == 2
    assert done.stderr.startswith("procconn: cannot start a thread: the cgroup")
    assert done.stdout == ""
