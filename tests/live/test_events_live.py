"""Each action of a process is reported as the right event."""

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

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")

PTRACE_ATTACH, PTRACE_DETACH = 16, 17

NOBODY = 65534


def is_about(event: Event, pid: int) -> bool:
    return (isinstance(event, Fork) and event.child_pid == pid) or (
        getattr(event, "pid", None) == pid
    )


def life_of(connector: ProcConnector, pid: int) -> list[Event]:
    """Receive the events of a task up to its exit."""
    events = events_until(connector, lambda e: isinstance(e, Exit) and e.pid == pid)
    return [event for event in events if is_about(event, pid)]


def python(code: str, **options: object) -> int:
    """Run Python code in a process; return its pid."""
    with started(sys.executable, "-I", "-S", "-c", code, **options) as process:
        process.communicate()
    return process.pid


def test_a_process_is_seen_from_fork_to_exit(connector: ProcConnector) -> None:
    process = subprocess.Popen(["/bin/true"])
    process.wait()

    fork, execution, end = life_of(connector, process.pid)

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
def test_an_exit_tells_how_the_process_ended(
    connector: ProcConnector,
    script: str,
    returncode: int,
    number: signal.Signals | None,
) -> None:
    process = subprocess.Popen(["/bin/sh", "-c", script])
    status = process.wait()

    end = life_of(connector, process.pid)[-1]

    assert isinstance(end, Exit)
    assert status == returncode == end.returncode
    assert number == end.signal
    assert not end.dumped_core


def test_a_failed_exec_is_not_reported(connector: ProcConnector) -> None:
    pid = python(
        "import os\n"
        "try: os.execv('/nonexistent', ['x'])\n"
        "except FileNotFoundError: pass"
    )

    kinds = [type(event).__name__ for event in life_of(connector, pid)]

    assert ["Fork", "Exec", "Exit"] == kinds


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\nb\x1b[2J", b"fifteen bytes!!", b""])
def test_a_name_comes_with_the_very_bytes(
    connector: ProcConnector, name: bytes
) -> None:
    pid = python(f"import ctypes; ctypes.CDLL(None).prctl(15, {name!r}, 0, 0, 0)")

    events = life_of(connector, pid)

    assert [(pid, pid, name)] == [e[:3] for e in events if isinstance(e, Comm)]


def test_a_name_given_by_another_thread_is_the_named_ones(
    connector: ProcConnector,
) -> None:
    """Before Linux 5.15 a name that is written to /proc is not reported."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    assert thread.native_id
    Path(f"/proc/self/task/{thread.native_id}/comm").write_bytes(b"other")
    done.set()
    thread.join()

    names = [e for e in life_of(connector, thread.native_id) if isinstance(e, Comm)]
    given = [e[:3] for e in names if e.comm == b"other"]

    is_reported = KERNEL >= (5, 15)
    assert [(thread.native_id, os.getpid(), b"other")] * is_reported == given


def test_a_new_session_is_reported(connector: ProcConnector) -> None:
    pid = python("import os; os.setsid()")

    events = life_of(connector, pid)

    assert [(pid, pid)] == [e[:2] for e in events if isinstance(e, Sid)]


@as_root
def test_new_user_ids_are_reported(connector: ProcConnector) -> None:
    pid = python(f"import os; os.seteuid({NOBODY}); os.seteuid(0); os.setuid({NOBODY})")

    events = life_of(connector, pid)

    expected = [(pid, pid, 0, NOBODY), (pid, pid, 0, 0), (pid, pid, NOBODY, NOBODY)]
    assert expected == [e[:4] for e in events if isinstance(e, Uid)]


@as_root
def test_new_group_ids_are_reported(connector: ProcConnector) -> None:
    pid = python(f"import os; os.setegid({NOBODY}); os.setegid(0); os.setgid({NOBODY})")

    events = life_of(connector, pid)

    expected = [(pid, pid, 0, NOBODY), (pid, pid, 0, 0), (pid, pid, NOBODY, NOBODY)]
    assert expected == [e[:4] for e in events if isinstance(e, Gid)]


def test_a_tracer_is_reported_when_it_comes_and_goes(connector: ProcConnector) -> None:
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
        tracer.communicate()  # ends the child too

    events = life_of(connector, child)

    assert [(child, child, tracer.pid, tracer.pid), (child, child, 0, 0)] == [
        e[:4] for e in events if isinstance(e, Ptrace)
    ]


def test_a_core_dump_comes_before_the_exit(
    connector: ProcConnector, tmp_path: Path
) -> None:
    script = "ulimit -c unlimited && kill -ABRT $$"
    process = subprocess.Popen(["/bin/sh", "-c", script], cwd=tmp_path)
    process.wait()

    *_, dump, end = life_of(connector, process.pid)

    assert isinstance(dump, Coredump)
    assert (process.pid, process.pid) == (dump.pid, dump.tgid)
    assert (os.getpid(), os.getpid()) == (dump.parent_pid, dump.parent_tgid)
    assert isinstance(end, Exit)
    assert (-signal.SIGABRT, signal.SIGABRT) == (end.returncode, end.signal)
    assert end.dumped_core


def test_a_thread_is_told_from_a_process(connector: ProcConnector) -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    assert thread.native_id

    fork, *_, end = life_of(connector, thread.native_id)

    assert isinstance(fork, Fork)
    assert fork.is_thread
    assert (thread.native_id, os.getpid()) == (fork.child_pid, fork.child_tgid)
    assert isinstance(end, Exit)
    assert end.is_thread
    assert (thread.native_id, os.getpid()) == (end.pid, end.tgid)


def test_a_thread_that_names_itself_is_reported_as_itself(
    connector: ProcConnector,
) -> None:
    thread = threading.Thread(target=set_name, args=(b"weaver",))
    thread.start()
    thread.join()
    assert thread.native_id

    *_, name = [e for e in life_of(connector, thread.native_id) if isinstance(e, Comm)]

    assert (thread.native_id, os.getpid(), b"weaver") == name[:3]


def test_timestamps_are_those_of_the_monotonic_clock(connector: ProcConnector) -> None:
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


def test_the_cpu_is_one_of_this_machine(connector: ProcConnector) -> None:
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


def test_each_process_of_many_has_its_events_in_order(connector: ProcConnector) -> None:
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


def test_no_event_of_this_kernel_is_unknown(connector: ProcConnector) -> None:
    python("import os; os.fork() or os._exit(0); os.wait()")

    assert [] == [e for e in drain(connector) if isinstance(e, Unknown)]
