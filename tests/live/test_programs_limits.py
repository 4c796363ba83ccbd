"""Programs when descriptors run out, or when a sandbox refuses a system call."""

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
def test_exec_programs_are_read_if_descriptors_run_out() -> None:
    """The program reader has reserved descriptors."""
    done = run(*PYTHON, PROGRAMS / "programs_without_descriptors.py")

    assert "('sleep', '100') True\n" == done.stdout, done.stderr


def test_read_program_raises_emfile_if_descriptors_run_out() -> None:
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
def test_refused_system_call_ends_the_reader_and_is_reported(call: str) -> None:
    """The reader does not retry forever at real-time priority.

    The stream still works, as it uses other calls: ppoll(2), or only recvmmsg(2).
    """
    done = run(sys.executable, PROGRAMS / "refused_reader.py", call)

    assert "1 busy True\n" == done.stdout, done.stderr


def test_warning_hook_of_a_refused_call_may_read() -> None:
    """Like a signal handler, the hook runs while no call owns the stream."""
    done = run(sys.executable, PROGRAMS / "read_in_warning.py")

    assert "1 True\n" == done.stdout, done.stderr


def title_of(script: str) -> Program:
    """Start a program that overwrites its arguments with a title, and read it."""
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


def test_padding_of_a_process_title_is_removed() -> None:
    assert ("server: worker 1",) == title_of("server: worker 1").argv


def test_empty_arguments_at_the_end_are_kept() -> None:
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
def test_cgroup_is_of_the_most_specific_hierarchy(
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


def test_accessible_or_ended_process_is_not_hidden() -> None:
    """If a PID was reused, its new owner is accessible and the old one is gone."""
    with subprocess.Popen(["true"]) as ended:
        ended.wait()

    assert not lib.procconn_is_hidden(os.getpid())
    assert not lib.procconn_is_hidden(ended.pid)
