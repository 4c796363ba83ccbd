"""Behaviour without other listeners, on different kernels."""

import contextlib
import ctypes
import errno
import gc
import os
import re
import resource
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path

import pytest
from support.sandbox import NO_ACKNOWLEDGEMENTS, run_sandboxed

from procconn import (
    Event,
    EventMask,
    Fork,
    Lost,
    ProcConnector,
    Unknown,
    UnsupportedError,
)
from procconn._core import lib
from procconn.events import KINDS

KERNEL = tuple(int(part) for part in os.uname().release.split(".")[:2])
HAS_MASKS = KERNEL >= (6, 6)  # also: subscriptions per socket, without privilege

DEADLINE = 30.0
NOBODY = 65534
SMALL_BUFFER = 65_536
BURST = 5_003

NETLINK_CONNECTOR, GROUP = 11, 1  # linux/netlink.h, linux/connector.h
CLONE_NEWNET = 0x40000000  # linux/sched.h

NAME = attrgetter("name")

PTRACE_CONT = 7
PTRACE_SEIZE = 0x4206

IGNORE = struct.pack("=IHHII IIIIHHI", 40, 3, 0, 0, 0, 1, 1, 0, 0, 4, 0, 2)


def kernel_sends_events() -> bool:
    """Return whether the kernel sends events, as it does while it counts a listener.

    A socket receives them without a subscription of its own. The kernel queues an
    event before the call that causes it returns, so the test need not wait.
    """
    with connector_socket() as witness:
        witness.bind((0, GROUP))
        rename_thread()
        try:
            witness.recv(4096, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        return True


def connector_socket() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_CONNECTOR)


def rename_thread() -> None:
    """Cause a COMM event."""
    assert lib.procconn_rename_thread() == 0


def in_child(action: Callable[[], object]) -> int:
    """Run an action in a forked child; return the child's PID."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    return pid


def run_python(
    script: str, *, user: int | None = None, unshare: str | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script]
    if unshare:
        command = ["unshare", f"--{unshare}", "--fork", *command]
    return subprocess.run(
        command,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def stray_ignore() -> None:
    """Send an IGNORE from a process and a socket that never sent a LISTEN."""

    def send() -> None:
        with connector_socket() as sock:
            sock.sendto(IGNORE, (0, 0))

    in_child(send)


def kind_of(fd: int) -> tuple[int, int, int]:
    with socket.socket(fileno=os.dup(fd)) as same:
        size = same.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    return same.family, same.proto, size


def end_subscription_of(connector: ProcConnector) -> None:
    """End a connector's subscription without its knowledge, on any kernel."""
    usual = [(socket.AF_NETLINK, NETLINK_CONNECTOR, 2 * connector.receive_buffer)]
    (fd,) = (
        int(path.name)
        for path in Path("/proc/self/fd").iterdir()
        if path.is_symlink()
        and os.readlink(path).startswith("socket:")
        and kind_of(int(path.name)) not in usual
    )
    with socket.socket(fileno=os.dup(fd)) as requests:
        requests.sendto(IGNORE, (0, 0))


def subject(event: Event) -> int | None:
    """Return the PID of the process to which an event belongs."""
    match event:
        case Fork():
            return event.child_pid
        case Unknown() | Lost():
            return None
    return event.pid


def events_of(connector: ProcConnector, pid: int, *awaited: str) -> list[Event]:
    """Read until all `awaited` kinds have arrived; return the events of a process.

    Tests must wait for EXITs, as the kernel sends them after it wakes the parent.
    """
    events = [e for e in connector.recv_many(timeout=0) if subject(e) == pid]
    until = time.monotonic() + DEADLINE
    while not {*awaited} <= {*names(events)} and time.monotonic() < until:
        events += [e for e in connector.recv_many(timeout=1) if subject(e) == pid]
    return events


def names(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def await_renewal(connector: ProcConnector) -> None:
    """Read until the connector reports that it renewed the subscription."""
    with pytest.warns(RuntimeWarning, match="renewed"):
        assert 0 == next(e.count for e in connector if isinstance(e, Lost))


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Assert before and after each test that the kernel sends no events."""
    assert not kernel_sends_events()
    yield
    gc.collect()
    assert not kernel_sends_events()


# No leaked listener


def test_close_ends_the_events() -> None:
    with ProcConnector():
        assert kernel_sends_events()
    assert not kernel_sends_events()


def test_last_close_ends_the_events() -> None:
    first, second = ProcConnector(), ProcConnector(EventMask.EXEC)
    first.close()
    assert kernel_sends_events()
    second.close()
    assert not kernel_sends_events()


def test_second_close_does_not_affect_another_connector() -> None:
    with ProcConnector():
        other = ProcConnector()
        other.close()
        other.close()
        assert kernel_sends_events()


def test_unsubscribe_ends_and_subscribe_resumes_the_events() -> None:
    with ProcConnector() as connector:
        for _ in range(25):
            connector.unsubscribe()
            assert not kernel_sends_events()
            connector.subscribe()
            assert kernel_sends_events()


def test_second_unsubscribe_does_not_affect_another_connector() -> None:
    with ProcConnector(), ProcConnector() as connector:
        connector.unsubscribe()
        connector.unsubscribe()
        assert kernel_sends_events()


def test_change_of_the_mask_keeps_one_listener() -> None:
    with ProcConnector() as connector:
        for mask in (EventMask.EXEC, EventMask.NONE, EventMask.ALL):
            connector.subscribe(mask)
    assert not kernel_sends_events()


def test_many_connectors_in_turn_leave_no_listener() -> None:
    for _ in range(203):
        ProcConnector().close()
    assert not kernel_sends_events()


def test_ended_subscriptions_do_not_leak_kernel_memory() -> None:
    def in_use() -> int:
        slabs = Path("/proc/slabinfo").read_text()
        return sum(map(int, re.findall(r"^kmalloc\S*-8 +([0-9]+)", slabs, re.M)))

    count = 5_003  # many slabs, as free objects of a slab may count as in use
    with ProcConnector(EventMask.NONE) as connector:
        before = in_use()
        for _ in range(count):
            connector.unsubscribe()
            connector.subscribe()
        assert in_use() < before + count / 2


def test_garbage_collection_ends_the_events() -> None:
    unclosed = [ProcConnector()]
    assert kernel_sends_events()
    with pytest.warns(ResourceWarning, match="unclosed"):
        unclosed.clear()
    assert not kernel_sends_events()


@pytest.mark.parametrize(
    "ending", ["", "raise SystemExit(0)", "raise RuntimeError('of the test')"]
)
def test_interpreter_exit_ends_the_events(ending: str) -> None:
    script = f"from procconn import ProcConnector\nc = ProcConnector()\n{ending}"
    expected = 1 if "RuntimeError" in ending else 0
    assert run_python(script).returncode == expected
    assert not kernel_sends_events()


def test_close_in_a_forked_child_does_not_affect_the_parent() -> None:
    with ProcConnector() as connector:
        in_child(connector.close)
        assert kernel_sends_events()
    assert not kernel_sends_events()


def test_exit_of_a_forked_child_does_not_affect_the_parent() -> None:
    script = """
import os
from procconn import ProcConnector

with ProcConnector() as connector:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        program = os.spawnlp(os.P_WAIT, "true", "true")
        received = {type(event).__name__ for event in connector.recv_many(timeout=0)}
        assert program == 0 and {"Fork", "Exec"} <= received, received
"""
    # The child leaves the `with` block and exits, like its parent.
    result = run_python(script)
    assert (0, "") == (result.returncode, result.stderr)
    assert not kernel_sends_events()


def test_close_ends_the_events_while_a_forked_child_runs() -> None:
    connector = ProcConnector()
    reading_end, writing_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing_end)
        os.read(reading_end, 1)
        os._exit(0)
    connector.close()
    assert not kernel_sends_events()
    os.close(writing_end)
    os.close(reading_end)
    assert os.waitpid(child, 0)[1] == 0
    assert not kernel_sends_events()


def test_connector_without_acknowledgement_leaves_no_listener() -> None:
    """The kernel counts its requests, but the sandbox blocks the acknowledgements."""
    script = "from procconn import ProcConnector; ProcConnector()"
    result = run_sandboxed(NO_ACKNOWLEDGEMENTS, "-c", script)
    assert "UnsupportedError" in result.stderr
    assert not kernel_sends_events()


def test_connector_that_times_out_leaves_no_listener() -> None:
    for exponent in range(3, 10):
        with contextlib.suppress(UnsupportedError):
            ProcConnector(timeout=10.0**-exponent).close()
        assert not kernel_sends_events()


@pytest.mark.parametrize("descriptors", range(3))
def test_connector_without_free_descriptors_leaves_no_listener(
    descriptors: int,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        free = os.dup(0)  # the lowest free descriptor
        os.close(free)
        limit = (free + descriptors, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)) as caught:
            ProcConnector()
    assert errno.EMFILE == caught.value.errno
    assert not kernel_sends_events()


@pytest.mark.parametrize("kind", ["pid", "user", "net"])
def test_connector_in_another_namespace_does_not_affect_others(kind: str) -> None:
    with ProcConnector() as connector:
        result = run_python("import procconn; procconn.ProcConnector()", unshare=kind)
        assert kernel_sends_events()
        rename_thread()
        assert "Comm" in names(events_of(connector, os.getpid()))
    assert 1 == result.returncode
    assert f"--{kind}{'ns' if kind == 'user' else ''}=host" in result.stderr
    assert not kernel_sends_events()


# Privilege

OPEN_AND_READ = """
import os, warnings
from procconn import Exec, ProcConnector

warnings.simplefilter("ignore")
with ProcConnector() as connector:
    child = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(child, 0)
    assert any(isinstance(e, Exec) and e.pid == child for e in connector.recv_many(0))
    print("received")
"""


@pytest.mark.skipif(HAS_MASKS, reason="no privilege is required since Linux 6.6")
def test_error_names_the_missing_capability() -> None:
    result = run_python(OPEN_AND_READ, user=NOBODY)
    assert "PermissionError" in result.stderr
    assert "CAP_NET_ADMIN" in result.stderr
    assert 1 == result.returncode


@pytest.mark.skipif(HAS_MASKS, reason="no privilege is required since Linux 6.6")
def test_refused_connector_does_not_affect_others() -> None:
    with ProcConnector():
        run_python(OPEN_AND_READ, user=NOBODY)
        assert kernel_sends_events()


@pytest.mark.skipif(not HAS_MASKS, reason="requires CAP_NET_ADMIN before Linux 6.6")
def test_unprivileged_user_receives_events() -> None:
    result = run_python(OPEN_AND_READ, user=NOBODY)
    assert (0, "received\n", "") == (result.returncode, result.stdout, result.stderr)
    assert not kernel_sends_events()


# Masks, while this connector is the only listener


def cause_every_kind() -> int:
    """Cause every kind of event in a child that fails; return its PID."""
    libc = ctypes.CDLL(None, use_errno=True)
    go, allow = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(allow)
            os.read(go, 1)  # until this process is traced
            os.setsid()
            rename_thread()
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.execlp("sh", "sh", "-c", "kill -SEGV $$")
        finally:
            os._exit(127)
    os.close(go)
    assert libc.ptrace(PTRACE_SEIZE, pid, 0, 0) == 0, os.strerror(ctypes.get_errno())
    os.close(allow)
    while os.WIFSTOPPED(status := os.waitpid(pid, 0)[1]):
        assert libc.ptrace(PTRACE_CONT, pid, 0, os.WSTOPSIG(status)) == 0
    return pid


MASKS = {
    EventMask.ALL: {kind.__name__ for kind in KINDS},
    **{EventMask(kind.what): {kind.__name__} for kind in KINDS},
    EventMask.NONZERO_EXIT: {"Exit"},
    EventMask.EXEC | EventMask.UID: {"Exec", "Uid"},
    EventMask.NONE: set(),
}


@pytest.mark.parametrize("mask", MASKS, ids=NAME)
def test_connector_receives_the_events_of_its_mask(mask: EventMask) -> None:
    with ProcConnector(mask) as connector:
        for _ in range(3):
            events = events_of(connector, cause_every_kind(), *MASKS[mask])
            assert MASKS[mask] == {*names(events)}
        assert 0 == connector.lost


def test_nonzero_exit_mask_excludes_other_exits() -> None:
    with ProcConnector(EventMask.NONZERO_EXIT) as connector:
        for _ in range(3):
            in_child(lambda: None)
            failing = cause_every_kind()
            assert [failing] == [
                subject(event) for event in connector.recv_many(DEADLINE)
            ]


def test_kernel_keeps_sending_if_no_listener_wants_the_events() -> None:
    with ProcConnector(EventMask.SID) as connector:
        for _ in range(1_003):
            rename_thread()
        child = in_child(os.setsid)
        assert ["Sid"] == names(events_of(connector, child))
        assert kernel_sends_events()


def test_mask_can_be_changed() -> None:
    with ProcConnector(EventMask.NONE) as connector:
        for kind in KINDS:
            connector.subscribe(EventMask(kind.what))
            name = kind.__name__
            assert {name} == {*names(events_of(connector, cause_every_kind(), name))}


# Heartbeat


@pytest.mark.skipif(HAS_MASKS, reason="stray IGNOREs have no effect since Linux 6.6")
@pytest.mark.parametrize("strays", [1, 3])
@pytest.mark.parametrize("mask", [EventMask.ALL, EventMask.EXEC], ids=NAME)
def test_heartbeat_detects_stray_ignores(mask: EventMask, strays: int) -> None:
    with ProcConnector(mask, heartbeat=0.1) as connector:
        for _ in range(strays):
            stray_ignore()
        assert not kernel_sends_events()
        await_renewal(connector)
        child = subprocess.Popen(["true"])
        assert 0 == child.wait()
        assert "Exec" in names(events_of(connector, child.pid))
        assert 0 == connector.lost
    assert not kernel_sends_events()


@pytest.mark.skipif(HAS_MASKS, reason="stray IGNOREs have no effect since Linux 6.6")
def test_connector_compensates_for_earlier_stray_ignores() -> None:
    for _ in range(3):
        stray_ignore()
    with ProcConnector():
        assert kernel_sends_events()
    assert not kernel_sends_events()
    with ProcConnector():
        assert kernel_sends_events()


@pytest.mark.skipif(
    not HAS_MASKS, reason="a stray IGNORE ends subscriptions before Linux 6.6"
)
def test_stray_ignore_has_no_effect() -> None:
    with ProcConnector() as connector:
        stray_ignore()
        assert kernel_sends_events()
        child = in_child(lambda: None)
        assert ["Fork", "Exit"] == names(events_of(connector, child, "Exit"))


@pytest.mark.parametrize("mask", [EventMask.ALL, EventMask.EXEC], ids=NAME)
def test_renewal_keeps_the_number_of_listeners(mask: EventMask) -> None:
    with ProcConnector(mask, heartbeat=0.1) as connector:
        for _ in range(3):
            end_subscription_of(connector)
            assert not kernel_sends_events()
            await_renewal(connector)
            assert kernel_sends_events()
    assert not kernel_sends_events()
    with ProcConnector():
        assert kernel_sends_events()
    assert not kernel_sends_events()


@contextlib.contextmanager
def empty_network_namespace() -> Iterator[None]:
    """Run in a new network namespace, where the kernel does not acknowledge."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as home:
        assert libc.unshare(CLONE_NEWNET) == 0
        try:
            yield
        finally:
            assert libc.setns(home.fileno(), CLONE_NEWNET) == 0


def test_failed_renewal_is_retried() -> None:
    with ProcConnector(EventMask.EXEC, heartbeat=0.1) as connector:
        end_subscription_of(connector)
        for _ in range(2):
            with empty_network_namespace(), pytest.raises(UnsupportedError):
                connector.recv(timeout=DEADLINE)
            assert not kernel_sends_events()
        await_renewal(connector)
        assert kernel_sends_events()


@pytest.mark.parametrize("mask", [EventMask.ALL, EventMask.SID], ids=NAME)
def test_heartbeat_events_are_not_delivered(mask: EventMask) -> None:
    with ProcConnector(mask, heartbeat=0.05) as connector:
        until = time.monotonic() + 1
        while (left := until - time.monotonic()) > 0:
            event = connector.recv(timeout=left)
            assert event is None or (not isinstance(event, Lost) and mask & event.what)
        assert kernel_sends_events()
    assert not kernel_sends_events()


# Overruns


def test_stream_continues_after_an_overrun() -> None:
    with ProcConnector(EventMask.COMM, receive_buffer=SMALL_BUFFER) as connector:
        reported = 0
        for _ in range(3):
            for _ in range(BURST):
                rename_thread()
            events = connector.recv_many(timeout=0)
            lost = sum(event.count for event in events if isinstance(event, Lost))
            assert lost > 0
            assert BURST == names(events).count("Comm") + lost
            reported += lost
            rename_thread()
            assert ["Comm"] == names(connector.recv_many(timeout=0))
        assert reported == connector.lost


def test_kernel_keeps_sending_after_an_overrun_without_a_filter() -> None:
    with ProcConnector(receive_buffer=SMALL_BUFFER) as connector:
        for _ in range(BURST):
            rename_thread()
        connector.recv_many(timeout=0)
        assert connector.lost > 0
        child = in_child(lambda: None)
        assert ["Fork", "Exit"] == names(events_of(connector, child, "Exit"))


def test_listener_that_never_reads_does_not_affect_others() -> None:
    with (
        ProcConnector(receive_buffer=SMALL_BUFFER) as idle,
        ProcConnector(EventMask.COMM) as reader,
    ):
        for _ in range(BURST):
            rename_thread()
        assert BURST == len(reader.recv_many(timeout=0))
        assert idle.lost > 0


def test_close_closes_all_sockets() -> None:
    def listed() -> int:
        lines = Path("/proc/net/netlink").read_text().splitlines()[1:]
        return sum(int(line.split()[1]) == NETLINK_CONNECTOR for line in lines)

    before = listed()
    with ProcConnector():
        assert listed() > before
    assert before == listed()
