"""Programs of EXEC events, and read_program() of running processes."""

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

ARGUMENTS_LIMIT = 49_152
requires_root = pytest.mark.skipif(os.geteuid() != 0, reason="requires root")


@pytest.fixture
def connector() -> Iterator[ProcConnector]:
    with ProcConnector(MASK, programs=True) as connector:
        yield connector


@pytest.fixture
def high_latency() -> Iterator[ProcConnector]:
    """Open a connector that waits long enough for programs to be read."""
    with ProcConnector(MASK, programs=True, max_latency=LONG_LATENCY) as connector:
        yield connector


def test_exec_has_all_fields_of_its_program(high_latency: ProcConnector) -> None:
    with started("cat", "-", "some arguments", "") as process:
        (program,) = programs_of(high_latency, process.pid, 1)

    if is_realtime(high_latency):
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


def test_each_exec_of_a_chain_has_its_own_program_or_none(
    connector: ProcConnector,
) -> None:
    for serial in range(30):
        text = f"exec true {serial}"
        with started("sh", "-c", text) as process:
            process.wait()
            programs = programs_of(connector, process.pid, 2)

        assert_right_or_missing(programs, ("sh", "-c", text), ("true", str(serial)))


def test_last_exec_of_a_program_that_re_executes_itself_is_certain(
    high_latency: ProcConnector,
) -> None:
    again = str(compiled("reexec"))
    with started(again, "x", env={"TIMES": "3"}) as process:
        programs = programs_of(high_latency, process.pid, 4)

    if is_realtime(high_latency):
        assert (again, "x") == programs[-1].argv
    assert_right_or_missing(programs, *[(again, "x")] * 4)


def test_script_has_the_argv_of_its_interpreter_and_its_own_name(
    connector: ProcConnector, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh -e\nread line\n")
    script.chmod(0o755)
    with started(script, "x") as process:
        (program,) = programs_of(connector, process.pid, 1)

    assert_right_or_missing([program], ("/bin/sh", "-e", str(script), "x"))
    assert program.name in ("script", None)


def test_name_and_exe_are_of_the_same_program(tmp_path: Path) -> None:
    """A process alternates between two executables with equal arguments."""
    paths = [tmp_path / "one", tmp_path / "other"]
    for path in paths:
        shutil.copy(compiled("alternate"), path)
    with started(*paths) as process:
        found = [read_program(process.pid) for _ in range(2000)]
    names = {
        (program.name, Path(program.exe).name)
        for program in found
        if program and program.name and program.exe
    }

    assert {("one", "one"), ("other", "other")} == names


def test_arguments_may_contain_any_byte_but_nul() -> None:
    argument = os.fsdecode(bytes(range(1, 256)))
    with started("cat", argument, "-", "") as process:
        wait_for(lambda: os.readlink(f"/proc/{process.pid}/exe").endswith("cat"))
        program = read_program(process.pid)

    assert program is not None
    assert ("cat", argument, "-", "") == program.argv


def test_program_without_arguments() -> None:
    """Since Linux 5.18 the kernel passes an empty argv[0]."""
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
    """The last NUL does not count."""
    capacity = ARGUMENTS_LIMIT - len("cat\0-\0")
    text = "x" * (capacity + over)
    with started("cat", "-", text) as process:
        wait_for(lambda: os.readlink(f"/proc/{process.pid}/exe").endswith("cat"))
        program = read_program(process.pid)

    assert program is not None
    assert ("cat", "-", text[:capacity]) == program.argv
    assert (over > 0) == program.cut


def test_overwritten_arguments_are_read() -> None:
    arguments = compiled("arguments")
    with started(arguments, "write", "text") as process:
        assert process.stdout is not None
        process.stdout.readline()
        program = read_program(process.pid)

    assert program is not None
    assert (str(arguments), "write", "wwww") == program.argv


@pytest.mark.parametrize("means", ["protect", "replace", "fault"])
def test_arguments_are_cut_at_unreadable_memory(means: str) -> None:
    if means == "fault" and os.geteuid() != 0:
        pytest.skip("requires root")
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


def test_exe_of_a_deleted_file_is_marked(tmp_path: Path) -> None:
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


def test_kernel_thread_has_a_name_and_no_arguments() -> None:
    program = read_program(2)

    if program is not None and program.name == "kthreadd":
        assert () == program.argv
        assert program.exe is None
        assert 0 == program.ppid


def test_read_program_returns_none_without_a_process() -> None:
    process = subprocess.Popen(["true"])
    process.wait()

    assert read_program(process.pid) is None


def test_zombie_has_only_a_name() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    program = read_program(process.pid)
    after_exec = read_after_exec(process.pid)
    process.wait()

    assert program is not None
    assert ("true", None, "gone") == (program.name, program.argv, program.missing)
    assert "gone" == after_exec.missing


@pytest.mark.parametrize("pid", [0, -1, 2**31])
def test_read_program_rejects_pid_out_of_range(pid: int) -> None:
    with pytest.raises(ValueError, match="pid must be between 1"):
        read_program(pid)


@pytest.mark.parametrize("pid", ["1", 1.0, True, None])
def test_read_program_rejects_pid_of_wrong_type(pid: object) -> None:
    with pytest.raises(TypeError, match="pid must be a process ID"):
        read_program(pid)  # type: ignore[arg-type]


@requires_root
def test_ids_are_those_of_the_readers_namespaces(high_latency: ProcConnector) -> None:
    command = ("unshare", "--user", "--map-root-user", "--pid", "--mount", "--fork")
    inside = ("cat", "-", "inside")
    with started(*command, *inside) as process:
        execs = programs_until(high_latency, lambda _, program: program.argv == inside)
        (found,) = [result for result in execs if result[1].argv == inside]
        pid, program = found

        assert process.pid == program.ppid
        assert os.getuid() == program.uid
        assert pid != 1


@contextmanager
def slow_links(thread: int) -> Iterator[None]:
    """Delay each readlinkat(2) of a thread."""
    if not shutil.which("strace") or "san" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("requires strace, and no sanitizer")
    delay = "inject=readlinkat:delay_enter=4000"
    command = ["strace", "-e", "trace=readlinkat", "-e", delay, "-p", str(thread)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        assert "attached" in strace.stderr.readline()
        yield
        strace.terminate()
        strace.stderr.read()


@requires_root
def test_slow_read_does_not_report_the_next_executable(tmp_path: Path) -> None:
    """The second program has equal arguments, but another executable.

    The standby thread takes over from a slow read after max_latency, at most 10 ms.
    """
    first, second = compiled("exec_next"), shutil.copy(compiled("exec_next"), tmp_path)
    before = threads()
    with (
        ProcConnector(MASK, programs=True, max_latency=0.01) as connector,
        slow_links(program_reader(before)),
        started("x", executable=first, env={"NEXT": second}) as process,
    ):
        programs = programs_of(connector, process.pid, 2)

    assert programs[0].exe in (str(first), None)
    assert programs[1].exe in (second, None)
    assert_right_or_missing(programs, ("x",), ("x",))


@requires_root
def test_exec_stopped_by_a_tracer_is_held() -> None:
    """/proc shows the new program before the tracer lets the kernel send its EXEC.

    The delayed reader reads the shell's exec while the tracer stops the exec of cat.
    """
    before = threads()
    with (
        ProcConnector(MASK, programs=True, max_latency=0.01) as connector,
        started(compiled("stop_at_exec"), "/bin/sh", "-c", "exec cat x") as process,
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
            (first,) = programs_of(connector, pid, 1)
            process.stdin.write("\n")
            process.stdin.flush()
            (second,) = programs_of(connector, pid, 1)

    assert running is not None
    assert ("/bin/sh", "-c", "exec cat x") == running.argv
    assert ("held", None, None) == (first.missing, first.argv, first.exe)
    assert_right_or_missing([second], ("cat", "x"))


@requires_root
def test_traced_execs_have_the_right_program_or_none(connector: ProcConnector) -> None:
    with started(compiled("stop_at_exec"), "/bin/sh", "-c", "exec cat x") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        process.stdin.write("\n")
        process.stdin.flush()
        programs = programs_of(connector, pid, 2)

    assert_right_or_missing(programs, ("/bin/sh", "-c", "exec cat x"), ("cat", "x"))


@requires_root
def test_pid_reused_at_once_has_the_right_program_or_none(
    connector: ProcConnector,
) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    take = compiled("exec_with_pid")
    for serial in range(50):
        subprocess.run([take, str(child.pid), "/bin/true", str(serial)], check=True)
    programs = programs_of(connector, child.pid, 51)

    assert_right_or_missing(
        programs, ("true",), *[("/bin/true", str(serial)) for serial in range(50)]
    )


@requires_root
@pytest.mark.parametrize("hidepid", [1, 2])
def test_process_hidden_by_hidepid_is_denied(hidepid: int) -> None:
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


@requires_root
def test_executables_of_other_users_are_denied_without_privilege() -> None:
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


def test_close_ends_threads_and_closes_descriptors() -> None:
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = threads(), descriptors()
    for _ in range(20):
        with ProcConnector(MASK, programs=True, usage=True, queue=1 << 20) as connector:
            connector.fileno()
    del connector

    def have_ended() -> bool:  # `<=`, as threads of other tests may end meanwhile
        return threads() <= before[0] and descriptors() <= before[1]

    wait_for(have_ended)


def test_execs_dropped_by_the_readers_socket_are_busy_or_right() -> None:
    with ProcConnector(MASK, programs=True) as connector:
        with programs_socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        chains = [
            subprocess.Popen(["sh", "-c", f"true; exec true {i}"]) for i in range(50)
        ]
        for chain in chains:
            chain.wait()
        last = subprocess.Popen(["true", "the last"])
        last.wait()
        execs = programs_until(connector, lambda pid, _: pid == last.pid)

    pids = {chain.pid: i for i, chain in enumerate(chains)}
    for pid, found in execs:
        if pid in pids and found.argv is not None:
            serial = pids[pid]
            assert found.argv in (
                ("sh", "-c", f"true; exec true {serial}"),
                ("true", str(serial)),
            )


def test_reader_threads_block_signals() -> None:
    before = threads()
    with ProcConnector(MASK, programs=True):
        wait_for(lambda: len(threads() - before) == 2)  # one is on standby
        for thread in threads() - before:
            status = Path(f"/proc/self/task/{thread}/status").read_text()
            blocked = int(status.split("SigBlk:")[1].split()[0], 16)

            assert blocked >> (signal.SIGTERM - 1) & 1
            assert blocked >> (signal.SIGUSR1 - 1) & 1
