"""Programs when descriptors run out, or a sandbox refuses a system call."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.machine import PYTHON
from support.subprocesses import PROGRAMS, run, run_python, started

from live.programs.syscalls import NUMBERS
from procconn import Program, read_program
from procconn._core import lib


@pytest.mark.skipif(os.geteuid() != 0, reason="requires root: real-time priority")
def test_without_descriptors_programs_are_read_all_the_same() -> None:
    """The thread that reads keeps some for that."""
    done = run(*PYTHON, PROGRAMS / "programs_without_descriptors.py")

    assert "('sleep', '100') True\n" == done.stdout, done.stderr


def test_without_descriptors_a_process_is_not_taken_for_gone() -> None:
    code = f"""
import os, resource
from procconn import read_program
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
try:
    while True:
        os.open("/dev/null", os.O_RDONLY)
except OSError:
    pass
try:
    print(read_program({os.getpid()}))
except OSError as error:
    print(error.errno)
"""
    done = run_python(code)

    assert f"{errno.EMFILE}\n" == done.stdout, done.stderr


@pytest.mark.parametrize("call", ["poll" if "poll" in NUMBERS else "ppoll", "recvfrom"])
def test_a_refused_call_ends_the_thread_and_is_reported(call: str) -> None:
    """It does not try again for ever, at a priority above all others.

    The stream itself goes on: with poll(2) as it uses ppoll(2), else as it uses
    recvmmsg(2).
    """
    done = run(sys.executable, PROGRAMS / "refused_reader.py", call)

    assert "1 busy True\n" == done.stdout, done.stderr


def test_the_warning_of_that_may_read() -> None:
    """It is Python code, so it runs outside the stream, as signal handlers do."""
    done = run(sys.executable, PROGRAMS / "read_in_warning.py")

    assert "1 True\n" == done.stdout, done.stderr


def title_of(script: str) -> Program:
    """Read a program of ours that has written a title over its arguments."""
    code = f"""
import ctypes, sys
with open("/proc/self/stat", "rb") as file:
    start, end = map(int, file.read().rsplit(b")", 1)[1].split()[45:47])
ctypes.memset(start, 0, end - start)
ctypes.memmove(start, {script.encode()!r}, {len(script)})
print("ready", flush=True)
sys.stdin.read()
"""
    with started(sys.executable, "-c", code, *["x"] * 40) as process:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        program = read_program(process.pid)
    assert program is not None
    return program


def test_a_title_is_shown_without_its_padding() -> None:
    assert ("server: worker 1",) == title_of("server: worker 1").argv


def test_empty_arguments_at_the_end_are_shown() -> None:
    with started("cat", "-", "", "") as process:
        path = Path(f"/proc/{process.pid}/cmdline")
        while not path.read_bytes().startswith(b"cat"):
            pass
        program = read_program(process.pid)

    assert program is not None
    assert ("cat", "-", "", "") == program.argv


@pytest.mark.skipif(os.geteuid() != 0, reason="requires root")
@pytest.mark.parametrize(
    ("lines", "cgroup"),
    [
        pytest.param(["0::/a.slice/b.service"], "/a.slice/b.service", id="v2"),
        pytest.param(["1:name=systemd:/c", "0::/"], "/c", id="systemd's"),
        pytest.param(["2:cpu:/x", "1:name=systemd:/c", "0::/v"], "/v", id="hybrid"),
        pytest.param(
            ["3:cpu,cpuacct:/docker/" + 64 * "a", "2:memory:/docker", "0::/"],
            "/docker/" + 64 * "a",
            id="v1-without-systemd",
        ),
        pytest.param(["2:memory:/docker/x", "1:name=systemd:/"], "/docker/x", id="v1"),
        pytest.param(["2:memory:/", "1:name=systemd:/", "0::/"], "/", id="the root"),
        pytest.param([], None, id="none"),
    ],
)
def test_the_cgroup_is_that_of_the_hierarchy_that_says_most(
    lines: list[str], cgroup: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "cgroup"
    file.write_text("".join(f"{line}\n" for line in lines))
    code = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x20000) == 0
assert libc.mount(b"none", b"/", None, 0x44000, None) == 0
over = f"/proc/{{os.getpid()}}/cgroup".encode()
assert libc.mount({os.fsencode(file)!r}, over, None, 0x1000, None) == 0
import procconn
print(procconn.read_program(os.getpid()).cgroup)
"""
    done = run_python(code)

    assert f"{cgroup}\n" == done.stdout, done.stderr


def test_a_pid_that_is_used_again_is_not_taken_for_a_hidden_process() -> None:
    """Its process can be signalled, and read: the one that was asked for is gone."""
    with subprocess.Popen(["true"]) as ended:
        ended.wait()

    assert not lib.procconn_is_hidden(os.getpid())
    assert not lib.procconn_is_hidden(ended.pid)
