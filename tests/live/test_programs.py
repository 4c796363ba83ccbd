"""Programs read right after an exec, and programs of running processes."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.c_programs import compiled
from support.exec_programs import (
    LONG_LATENCY,
    MASK,
    assert_right_or_missing,
    delayed_readers,
    is_realtime,
    program_reader,
    programs_of,
    programs_socket,
    programs_until,
    read_after_exec,
    threads,
)
from support.live import wait_for
from support.subprocesses import run_python, started

from procconn import ProcConnector, read_program

MOST_ARGUMENTS = 49_152
root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")


@pytest.fixture
def taking() -> Iterator[ProcConnector]:
    with ProcConnector(MASK, programs=True) as connector:
        yield connector


@pytest.fixture
def unhurried() -> Iterator[ProcConnector]:
    with ProcConnector(MASK, programs=True, max_latency=LONG_LATENCY) as connector:
        yield connector


def test_a_program_is_read_with_all_that_belongs_to_it(
    unhurried: ProcConnector,
) -> None:
    with started("cat", "-", "some arguments", "") as process:
        (program,) = programs_of(unhurried, process.pid, 1)

    if is_realtime(unhurried):
        assert ("cat", "-", "some arguments", "") == program.argv
    if not program.missing:
        assert "cat" == program.name
        assert program.exe is not None
        assert program.exe.endswith("/cat")
        assert str(Path.cwd()) == program.cwd
        assert os.getpid() == program.ppid
        assert (os.getuid(), os.geteuid()) == (program.uid, program.euid)
        assert (os.getgid(), os.getegid()) == (program.gid, program.egid)
        assert not program.cut


def test_in_a_chain_each_exec_has_its_own_program_or_none(
    taking: ProcConnector,
) -> None:
    for serial in range(30):
        text = f"exec true {serial}"
        with started("sh", "-c", text) as process:
            process.wait()
            programs = programs_of(taking, process.pid, 2)

        assert_right_or_missing(programs, ("sh", "-c", text), ("true", str(serial)))


def test_of_a_program_that_runs_itself_again_only_the_last_is_sure(
    unhurried: ProcConnector,
) -> None:
    again = str(compiled("again"))
    with started(again, "x", env={"TIMES": "3"}) as process:
        programs = programs_of(unhurried, process.pid, 4)

    if is_realtime(unhurried):
        assert (again, "x") == programs[-1].argv
    assert_right_or_missing(programs, *[(again, "x")] * 4)


def test_a_script_has_its_interpreters_arguments_and_its_own_name(
    taking: ProcConnector, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh -e\nread line\n")
    script.chmod(0o755)
    with started(script, "x") as process:
        (program,) = programs_of(taking, process.pid, 1)

    assert_right_or_missing([program], ("/bin/sh", "-e", str(script), "x"))
    assert program.name in ("script", None)


def test_a_reading_is_of_one_of_two_programs_with_equal_arguments(
    tmp_path: Path,
) -> None:
    paths = [tmp_path / "one", tmp_path / "other"]
    for path in paths:
        shutil.copy(compiled("flip"), path)
    with started(*paths) as process:
        found = [read_program(process.pid) for _ in range(2000)]
    names = {(it.name, Path(it.exe).name) for it in found if it and it.name and it.exe}

    assert {("one", "one"), ("other", "other")} == names


def test_arguments_can_have_any_bytes() -> None:
    argument = os.fsdecode(bytes(range(1, 256)))
    with started("cat", argument, "-", "") as process:
        wait_for(lambda: os.readlink(f"/proc/{process.pid}/exe").endswith("cat"))
        program = read_program(process.pid)

    assert program is not None
    assert ("cat", argument, "-", "") == program.argv


def test_a_program_can_have_no_arguments_at_all() -> None:
    """Since Linux 5.18 the kernel gives it one, of no length."""
    code = (
        "import ctypes, os; os.write(1, b'.');"
        "ctypes.CDLL(None).execve(b'/bin/cat', None, None)"
    )
    with started(sys.executable, "-c", code) as process:
        wait_for(lambda: os.readlink(f"/proc/{process.pid}/exe").endswith("cat"))
        program = read_program(process.pid)

    assert program is not None
    assert program.argv in ((), ("",))
    assert not program.cut


@pytest.mark.parametrize("over", [0, 1, 4096, 60_000])
def test_arguments_longer_than_48_kib_are_cut(over: int) -> None:
    """The NUL after the last one does not count."""
    capacity = MOST_ARGUMENTS - len("cat\0-\0")
    text = "x" * (capacity + over)
    with started("cat", "-", text) as process:
        wait_for(lambda: os.readlink(f"/proc/{process.pid}/exe").endswith("cat"))
        program = read_program(process.pid)

    assert program is not None
    assert ("cat", "-", text[:capacity]) == program.argv
    assert (over > 0) == program.cut


def test_a_process_can_write_over_its_arguments() -> None:
    arguments = compiled("arguments")
    with started(arguments, "write", "text") as process:
        assert process.stdout is not None
        process.stdout.readline()
        program = read_program(process.pid)

    assert program is not None
    assert (str(arguments), "write", "wwww") == program.argv


@pytest.mark.parametrize("means", ["protect", "replace", "fault"])
def test_arguments_with_a_hole_are_cut(means: str) -> None:
    if means == "fault" and os.geteuid() != 0:
        pytest.skip("takes root")
    arguments = compiled("arguments")
    with started(arguments, means, "x" * 40_000) as process:
        assert process.stdout is not None
        process.stdout.readline()
        program = read_program(process.pid)

    assert program is not None
    assert program.cut
    assert program.argv is not None
    assert (str(arguments), means) == program.argv[:2]
    assert len(program.argv[2]) < 40_000


def test_a_deleted_executable_is_marked(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(Path("/bin/cat").read_bytes())
    copy.chmod(0o755)
    with started(copy) as process:
        wait_for(lambda: os.readlink(f"/proc/{process.pid}/exe") == str(copy))
        copy.unlink()
        program = read_program(process.pid)

    assert program is not None
    assert f"{copy} (deleted)" == program.exe
    assert "copy" == program.name


def test_a_thread_of_the_kernel_has_a_name_and_no_arguments() -> None:
    program = read_program(2)

    if program is not None and program.name == "kthreadd":
        assert () == program.argv
        assert program.exe is None
        assert 0 == program.ppid


def test_there_is_no_program_where_there_is_no_process() -> None:
    process = subprocess.Popen(["true"])
    process.wait()

    assert read_program(process.pid) is None


def test_a_zombie_has_a_name_still() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    program = read_program(process.pid)
    late = read_after_exec(process.pid)
    process.wait()

    assert program is not None
    assert ("true", None, "gone") == (program.name, program.argv, program.missing)
    assert "gone" == late.missing


@pytest.mark.parametrize("pid", [0, -1, 2**31])
def test_what_can_be_no_process_is_refused(pid: int) -> None:
    with pytest.raises(ValueError, match="pid must be from 1"):
        read_program(pid)


@pytest.mark.parametrize("pid", ["1", 1.0, True, None])
def test_what_is_no_pid_is_named(pid: object) -> None:
    with pytest.raises(TypeError, match="pid must be a process id"):
        read_program(pid)  # type: ignore[arg-type]


@root
def test_a_program_in_other_namespaces_is_seen_from_here(
    unhurried: ProcConnector,
) -> None:
    command = ("unshare", "--user", "--map-root-user", "--pid", "--mount", "--fork")
    inside = ("cat", "-", "inside")
    with started(*command, *inside) as process:
        execs = programs_until(unhurried, lambda _, it: it.argv == inside)
        (found,) = [it for it in execs if it[1].argv == inside]
        pid, program = found

        assert process.pid == program.ppid
        assert os.getuid() == program.uid
        assert pid != 1


@contextmanager
def slow_links(thread: int) -> Iterator[None]:
    """Let a thread read links slowly."""
    if not shutil.which("strace") or "san" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("takes strace, and no sanitizer")
    delay = "inject=readlinkat:delay_enter=4000"
    command = ["strace", "-e", "trace=readlinkat", "-e", delay, "-p", str(thread)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        assert "attached" in strace.stderr.readline()
        yield
        strace.terminate()
        strace.stderr.read()


@root
def test_an_executable_is_not_the_next_ones_however_long_the_reading_takes(
    tmp_path: Path,
) -> None:
    """The second program has the first one's arguments, and another executable.

    Ten milliseconds are the longest for which no other thread takes over.
    """
    first, second = compiled("next"), shutil.copy(compiled("next"), tmp_path)
    before = threads()
    with (
        ProcConnector(MASK, programs=True, max_latency=0.01) as taking,
        slow_links(program_reader(before)),
        started("x", executable=first, env={"NEXT": second}) as process,
    ):
        programs = programs_of(taking, process.pid, 2)

    assert programs[0].exe in (str(first), None)
    assert programs[1].exe in (second, None)
    assert_right_or_missing(programs, ("x",), ("x",))


@root
def test_what_a_tracer_holds_in_an_exec_is_not_shown() -> None:
    """The new program is in /proc, and its EXEC comes when the tracer likes.

    The shell's exec is read so late that its process is held in that of cat already.
    """
    before = threads()
    with (
        ProcConnector(MASK, programs=True, max_latency=0.01) as taking,
        started(compiled("hold"), "/bin/sh", "-c", "exec cat x") as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        running = read_program(pid)
        with delayed_readers(before) as delay:
            delay.begin(30)
            process.stdin.write("\n")
            process.stdin.flush()
            process.stdout.readline()
            (first,) = programs_of(taking, pid, 1)
            process.stdin.write("\n")
            process.stdin.flush()
            (second,) = programs_of(taking, pid, 1)

    assert running is not None
    assert ("/bin/sh", "-c", "exec cat x") == running.argv
    assert ("held", None, None) == (first.missing, first.argv, first.exe)
    assert_right_or_missing([second], ("cat", "x"))


@root
def test_traced_execs_are_right_or_absent(taking: ProcConnector) -> None:
    with started(compiled("hold"), "/bin/sh", "-c", "exec cat x") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        process.stdin.write("\n")
        process.stdin.flush()
        programs = programs_of(taking, pid, 2)

    assert_right_or_missing(programs, ("/bin/sh", "-c", "exec cat x"), ("cat", "x"))


@root
def test_a_pid_used_again_at_once_has_the_right_program_or_none(
    taking: ProcConnector,
) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    take = compiled("take")
    for serial in range(50):
        subprocess.run([take, str(child.pid), "/bin/true", str(serial)], check=True)
    programs = programs_of(taking, child.pid, 51)

    assert_right_or_missing(
        programs, ("true",), *[("/bin/true", str(serial)) for serial in range(50)]
    )


@root
@pytest.mark.parametrize("hidepid", [1, 2])
def test_a_hidden_process_is_denied_not_gone(hidepid: int) -> None:
    code = f"""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
os.unshare(os.CLONE_NEWNS) if hasattr(os, "unshare") else libc.unshare(0x20000)
assert libc.mount(b"none", b"/", None, 0x44000, None) == 0
assert libc.mount(b"proc", b"/proc", b"proc", 0, b"hidepid={hidepid}") == 0
import procconn
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
program = procconn.read_program(1)
print(program.missing, program.argv, program.exe)
print(procconn.read_program({2**22 - 1}))
"""
    done = run_python(code)

    assert "denied None None\nNone\n" == done.stdout, done.stderr


@root
def test_without_privilege_others_executables_are_denied() -> None:
    with started("cat", "-") as process:
        wait_for(lambda: os.readlink(f"/proc/{process.pid}/exe").endswith("cat"))
        code = f"""
import os, procconn
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
program = procconn.read_program({process.pid})
print(program.argv, program.exe, program.uid, program.missing)
"""
        done = run_python(code)

    assert f"('cat', '-') None {os.getuid()} denied\n" == done.stdout, done.stderr


def test_the_thread_ends_and_its_descriptors_with_it() -> None:
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = threads(), descriptors()
    for _ in range(20):
        with ProcConnector(MASK, programs=True, usage=True, queue=1 << 20) as connector:
            connector.fileno()
    del connector

    def have_ended() -> bool:  # as those of other tests may, meanwhile
        return threads() <= before[0] and descriptors() <= before[1]

    wait_for(have_ended)


def test_execs_that_its_socket_drops_are_busy_or_right() -> None:
    with ProcConnector(MASK, programs=True) as taking:
        with programs_socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        chains = [
            subprocess.Popen(["sh", "-c", f"true; exec true {i}"]) for i in range(50)
        ]
        for chain in chains:
            chain.wait()
        last = subprocess.Popen(["true", "the last"])
        last.wait()
        execs = programs_until(taking, lambda pid, _: pid == last.pid)

    pids = {chain.pid: i for i, chain in enumerate(chains)}
    for pid, found in execs:
        if pid in pids and found.argv is not None:
            serial = pids[pid]
            assert found.argv in (
                ("sh", "-c", f"true; exec true {serial}"),
                ("true", str(serial)),
            )


def test_signals_stay_with_the_threads_of_the_program() -> None:
    before = threads()
    with ProcConnector(MASK, programs=True):
        wait_for(lambda: len(threads() - before) == 2)  # one stands by
        for thread in threads() - before:
            status = Path(f"/proc/self/task/{thread}/status").read_text()
            blocked = int(status.split("SigBlk:")[1].split()[0], 16)

            assert blocked >> (signal.SIGTERM - 1) & 1
            assert blocked >> (signal.SIGUSR1 - 1) & 1
