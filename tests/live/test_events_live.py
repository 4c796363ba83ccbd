"""Each action of a process causes the right event."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.live import (
    drain,
    events_until,
    preserve_name,
    serials_of,
    set_name,
    set_serials,
)
from support.machine import KERNEL
from support.subprocesses import started

from procconn import (
    Comm,
    Coredump,
    Event,
    Exec,
    Exit,
    Fork,
    Gid,
    ProcConnector,
    Ptrace,
    Sid,
    Uid,
    Unknown,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="requires root")

PTRACE_ATTACH, PTRACE_DETACH = 16, 17

NOBODY = 65534


def is_about(event: Event, pid: int) -> bool:
    return (isinstance(event, Fork) and event.child_pid == pid) or (
        getattr(event, "pid", None) == pid
    )


def events_of(connector: ProcConnector, pid: int) -> list[Event]:
    """Receive events up to the exit of a task; return those about it."""
    events = events_until(connector, lambda e: isinstance(e, Exit) and e.pid == pid)
    return [event for event in events if is_about(event, pid)]


def python(code: str, **options: object) -> int:
    """Run Python code in a process; return its PID."""
    with started(sys.executable, "-I", "-S", "-c", code, **options) as process:
        process.communicate()
    return process.pid


def test_process_causes_fork_exec_and_exit(connector: ProcConnector) -> None:
    process = subprocess.Popen(["/bin/true"])
    process.wait()

    fork, execution, end = events_of(connector, process.pid)

    assert isinstance(fork, Fork)
    assert (os.getpid(), os.getpid()) == (fork.parent_pid, fork.parent_tgid)
    assert (process.pid, process.pid) == (fork.child_pid, fork.child_tgid)
    assert isinstance(execution, Exec)
    assert (process.pid, process.pid) == (execution.pid, execution.tgid)
    assert isinstance(end, Exit)
    assert (process.pid, process.pid) == (end.pid, end.tgid)
    assert (os.getpid(), os.getpid()) == (end.parent_pid, end.parent_tgid)
    assert (0, None, signal.SIGCHLD) == (end.returncode, end.signal, end.exit_signal)


@pytest.mark.parametrize(
    ("script", "returncode", "number"),
    [
        ("exit 0", 0, None),
        ("exit 3", 3, None),
        ("kill -KILL $$", -9, signal.SIGKILL),
        ("ulimit -c 0; kill -ABRT $$", -6, signal.SIGABRT),
    ],
)
def test_exit_has_returncode_and_signal(
    connector: ProcConnector,
    script: str,
    returncode: int,
    number: signal.Signals | None,
) -> None:
    process = subprocess.Popen(["/bin/sh", "-c", script])
    status = process.wait()

    end = events_of(connector, process.pid)[-1]

    assert isinstance(end, Exit)
    assert status == returncode == end.returncode
    assert number == end.signal
    assert not end.dumped_core


def test_failed_exec_causes_no_event(connector: ProcConnector) -> None:
    pid = python(
        "import os\n"
        "try: os.execv('/nonexistent', ['x'])\n"
        "except FileNotFoundError: pass"
    )

    kinds = [type(event).__name__ for event in events_of(connector, pid)]

    assert ["Fork", "Exec", "Exit"] == kinds


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\nb\x1b[2J", b"fifteen bytes!!", b""])
def test_comm_keeps_the_bytes_of_the_name(
    connector: ProcConnector, name: bytes
) -> None:
    pid = python(f"import ctypes; ctypes.CDLL(None).prctl(15, {name!r}, 0, 0, 0)")

    events = events_of(connector, pid)

    assert [(pid, pid, name)] == [e[:3] for e in events if isinstance(e, Comm)]


def test_comm_written_through_proc_is_reported_for_the_named_thread(
    connector: ProcConnector,
) -> None:
    """Before Linux 5.15, writing to /proc/PID/comm causes no event."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    assert thread.native_id
    Path(f"/proc/self/task/{thread.native_id}/comm").write_bytes(b"other")
    done.set()
    thread.join()

    names = [e for e in events_of(connector, thread.native_id) if isinstance(e, Comm)]
    written = [e[:3] for e in names if e.comm == b"other"]

    is_reported = KERNEL >= (5, 15)
    assert [(thread.native_id, os.getpid(), b"other")] * is_reported == written


def test_setsid_causes_sid_event(connector: ProcConnector) -> None:
    pid = python("import os; os.setsid()")

    events = events_of(connector, pid)

    assert [(pid, pid)] == [e[:2] for e in events if isinstance(e, Sid)]


@as_root
def test_changed_user_ids_cause_uid_events(connector: ProcConnector) -> None:
    pid = python(f"import os; os.seteuid({NOBODY}); os.seteuid(0); os.setuid({NOBODY})")

    events = events_of(connector, pid)

    expected = [(pid, pid, 0, NOBODY), (pid, pid, 0, 0), (pid, pid, NOBODY, NOBODY)]
    assert expected == [e[:4] for e in events if isinstance(e, Uid)]


@as_root
def test_changed_group_ids_cause_gid_events(connector: ProcConnector) -> None:
    pid = python(f"import os; os.setegid({NOBODY}); os.setegid(0); os.setgid({NOBODY})")

    events = events_of(connector, pid)

    expected = [(pid, pid, 0, NOBODY), (pid, pid, 0, 0), (pid, pid, NOBODY, NOBODY)]
    assert expected == [e[:4] for e in events if isinstance(e, Gid)]


def test_ptrace_attach_and_detach_cause_events(connector: ProcConnector) -> None:
    code = f"""
import ctypes, os, sys
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
child = os.fork()
if child == 0:
    sys.stdin.read()
    os._exit(0)
assert ptrace({PTRACE_ATTACH}, child, None, None) == 0, ctypes.get_errno()
os.waitpid(child, 0)
assert ptrace({PTRACE_DETACH}, child, None, None) == 0, ctypes.get_errno()
print(child)
"""
    with started(sys.executable, "-I", "-S", "-c", code) as tracer:
        assert tracer.stdout
        child = int(tracer.stdout.readline())
        tracer.communicate()  # also ends the child, at EOF on stdin

    events = events_of(connector, child)

    assert [(child, child, tracer.pid, tracer.pid), (child, child, 0, 0)] == [
        e[:4] for e in events if isinstance(e, Ptrace)
    ]


def test_coredump_event_precedes_exit(connector: ProcConnector, tmp_path: Path) -> None:
    script = "ulimit -c unlimited && kill -ABRT $$"
    process = subprocess.Popen(["/bin/sh", "-c", script], cwd=tmp_path)
    process.wait()

    *_, dump, end = events_of(connector, process.pid)

    assert isinstance(dump, Coredump)
    assert (process.pid, process.pid) == (dump.pid, dump.tgid)
    assert (os.getpid(), os.getpid()) == (dump.parent_pid, dump.parent_tgid)
    assert isinstance(end, Exit)
    assert (-signal.SIGABRT, signal.SIGABRT) == (end.returncode, end.signal)
    assert end.dumped_core


def test_thread_events_have_is_thread(connector: ProcConnector) -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    assert thread.native_id

    fork, *_, end = events_of(connector, thread.native_id)

    assert isinstance(fork, Fork)
    assert fork.is_thread
    assert (thread.native_id, os.getpid()) == (fork.child_pid, fork.child_tgid)
    assert isinstance(end, Exit)
    assert end.is_thread
    assert (thread.native_id, os.getpid()) == (end.pid, end.tgid)


def test_comm_of_a_thread_has_its_thread_id(connector: ProcConnector) -> None:
    thread = threading.Thread(target=set_name, args=(b"weaver",))
    thread.start()
    thread.join()
    assert thread.native_id

    *_, name = [
        e for e in events_of(connector, thread.native_id) if isinstance(e, Comm)
    ]

    assert (thread.native_id, os.getpid(), b"weaver") == name[:3]


def test_timestamps_are_clock_monotonic(connector: ProcConnector) -> None:
    drain(connector)
    with preserve_name():
        before = time.monotonic_ns()
        set_serials(range(20))
        after = time.monotonic_ns()

    own = [e for e in drain(connector) if serials_of([e])]

    times = [e.timestamp_ns for e in own]
    assert 20 == len(times)
    assert sorted(times) == times
    assert before <= times[0]
    assert times[-1] <= after


def test_cpu_is_the_one_that_caused_the_event(connector: ProcConnector) -> None:
    with preserve_name():
        allowed = os.sched_getaffinity(0)
        try:
            for cpu in allowed:
                os.sched_setaffinity(0, {cpu})
                set_name(b"%d" % cpu)
        finally:
            os.sched_setaffinity(0, allowed)

    cpus = [
        (int(e.comm), e.cpu)
        for e in drain(connector)
        if isinstance(e, Comm) and serials_of([e])
    ]

    assert [(cpu, cpu) for cpu in allowed] == cpus


def test_events_of_each_process_are_in_order(connector: ProcConnector) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9 10; do /bin/true & /bin/true; done; wait"
    shell = subprocess.Popen(["/bin/sh", "-c", script])
    shell.wait()

    kinds_by_pid: dict[int, list[str]] = {}
    events = events_until(
        connector, lambda e: isinstance(e, Exit) and e.pid == shell.pid
    )
    for event in events:
        if isinstance(event, Fork) and event.parent_tgid == shell.pid:
            kinds_by_pid[event.child_pid] = ["Fork"]
        elif isinstance(event, Exec | Exit) and event.pid in kinds_by_pid:
            kinds_by_pid[event.pid].append(type(event).__name__)

    assert [["Fork", "Exec", "Exit"]] * 20 == list(kinds_by_pid.values())


def test_this_kernel_sends_no_unknown_event(connector: ProcConnector) -> None:
    python("import os; os.fork() or os._exit(0); os.wait()")

    assert [] == [e for e in drain(connector) if isinstance(e, Unknown)]
