"""What live tests are staged with: names to set, processes to watch, deadlines."""

import ctypes
import dis
import gc
import inspect
import os
import platform
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType

import pytest

from live.programs.syscalls import NUMBERS
from procconn import Comm, Event, Lost, ProcConnector

DEADLINE = 60.0  # seconds; generous, as other programs may keep the machine busy
PROGRAMS = Path(__file__).parent / "programs"

KERNEL = tuple(int(part) for part in platform.release().split(".")[:2])
DROPS_COLUMN, INODE_COLUMN = 8, 9  # of /proc/net/netlink

CONNECTOR = 11  # NETLINK_CONNECTOR of linux/netlink.h
# What an ordinary user gets less of, and is told so each time. Of nothing else may
# tests be warned.
IS_ROOT = os.geteuid() == 0
LIMITS = [
    "the receive buffer is",
    "programs are read at normal priority",
    "no usage will be told",
]
EXPECTED_WARNINGS = [f"ignore:{it}:RuntimeWarning" for it in LIMITS if not IS_ROOT]
PYTHON = (sys.executable, "-Werror", *(f"-W{it}" for it in EXPECTED_WARNINGS))

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
AS_ORDINARY_USER = NOBODY if IS_ROOT else ()

EVENT_CHARGE = 832  # bytes of a receive buffer

PR_SET_NAME = 15
PR_GET_NAME = 16
_prctl = ctypes.CDLL(None, use_errno=True).prctl

# How programs/lifetimes.c can live, and the status that wait(2) tells.
LIFETIMES = {
    "leader-first": 7,
    "leader-first-alone": 5,
    "leader-first-killed": -9,
    "leader-first-exec": 6,
    "exec-by-thread": 6,
    "exit-by-thread": 7,
    "joined": 7,
    "core": -6,
}
# What events show of it: before Linux 6.0, not whether the last thread to end decides.
KNOWN_LIFETIMES: dict[str, int | None] = {**LIFETIMES}
if KERNEL < (6, 0):
    LIFETIMES["leader-first-alone"] = 3  # the first thread's
    KNOWN_LIFETIMES |= {"leader-first": None, "leader-first-alone": None}

_CALLS = {str(number): name for name, number in NUMBERS.items()}


def set_name(name: bytes) -> None:
    """Name the calling thread; its COMM event is queued on return."""
    if _prctl(PR_SET_NAME, ctypes.c_char_p(name), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def get_name() -> bytes:
    name = ctypes.create_string_buffer(16)
    if _prctl(PR_GET_NAME, name, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    return name.value


@contextmanager
def name_kept() -> Iterator[None]:
    """Give the calling thread its name back at the end."""
    name = get_name()
    try:
        yield
    finally:
        set_name(name)


def set_serials(serials: range) -> None:
    """Name the calling thread by one number after the other."""
    for serial in serials:
        set_name(b"%d" % serial)


def serials_of(events: list[Event], pid: int | None = None) -> list[int]:
    """Tell by which numbers a task, or else the calling thread, named itself."""
    pid = threading.get_native_id() if pid is None else pid
    return [
        int(event.comm)
        for event in events
        if isinstance(event, Comm) and event.pid == pid and event.comm.isdigit()
    ]


def lost_of(events: list[Event]) -> int:
    return sum(event.count for event in events if isinstance(event, Lost))


def rest_of(connector: ProcConnector) -> list[Event]:
    """Receive what is queued."""
    events: list[Event] = []
    while batch := connector.recv_many(timeout=0):
        events += batch
    return events


def events_until(
    connector: ProcConnector, is_last: Callable[[Event], bool]
) -> list[Event]:
    """Receive all events up to the batch with the last one."""
    deadline = time.monotonic() + DEADLINE
    events: list[Event] = []
    while (left := deadline - time.monotonic()) > 0:
        batch = connector.recv_many(timeout=left)
        events += batch
        if any(is_last(event) for event in batch):
            return events
    raise AssertionError(f"the last event never came; the rest: {events[-50:]}")


def descriptors() -> set[str]:
    """List the descriptors of this process."""
    return set(os.listdir("/proc/self/fd"))


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


@contextmanager
def interposed(moment: int, action: Callable[[], object]) -> Iterator[list[bool]]:
    """Act in the midst of the library's code, as a signal handler or a thread may.

    Python lets them run where a function begins and where a call of C has come back.

    Args:
        moment: at how manieth of these; the first is 0.
        action: may raise, as a signal handler may.

    Yields:
        A list that is empty until it was done.
    """
    done: list[bool] = []
    left = moment

    def look(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        if event not in ("call", "c_return", "c_exception") or done:
            return
        if not frame.f_globals["__name__"].startswith("procconn."):
            return
        if frame.f_code.co_flags & inspect.CO_GENERATOR:
            return  # it may be ending, when an exception is told to nobody
        if left:
            left -= 1
            return
        done.append(True)
        sys.setprofile(None)
        action()

    gc.disable()  # the library's finalizers, run for others, are not what is meant
    sys.setprofile(look)
    try:
        yield done
    finally:
        sys.setprofile(None)
        gc.enable()


def call_of(task: Path) -> tuple[str, list[str]]:
    """Return the table's name of the system call a task is in, or "", and arguments.

    Args:
        task: its folder in /proc.
    """
    number, *arguments = (task / "syscall").read_text().split()
    return _CALLS.get(number, ""), arguments


def is_iterating(frame: FrameType) -> bool:
    """Whether the frame is in a `for` statement that takes the next item.

    A signal handler that finds it there was called by the iterator itself, in C.
    """
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] == "FOR_ITER"


def is_blocked(thread: threading.Thread) -> bool:
    """Whether a thread sleeps for events, or for what a loop waits for."""
    task = Path(f"/proc/self/task/{thread.native_id}")
    try:
        call, _ = call_of(task)
        state = (task / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return call in ("ppoll", "epoll_wait", "epoll_pwait") and state == "S"


def wait_until_blocked(thread: threading.Thread | int) -> None:
    """Wait until a thread, or for ever a process's first, sleeps for events."""
    if isinstance(thread, threading.Thread):
        task = Path(f"/proc/self/task/{thread.native_id}")
        wait_for(lambda: call_of(task)[0] == "ppoll")
        return
    process = Path(f"/proc/{thread}")

    def is_blocked_for_ever() -> bool:
        call, arguments = call_of(process)
        timeout = arguments[2:3]
        return call == "recvmmsg" or (call, timeout) == ("ppoll", ["0x0"])

    wait_for(is_blocked_for_ever)


def event_socket(connector: ProcConnector) -> int:
    """Find the descriptor that events come to, among all of this process.

    Told by its receive buffer, so it takes one that no other connector here has.
    """
    found = []
    for path in Path("/proc/self/fd").iterdir():
        if path.is_symlink() and os.readlink(path).startswith("socket:"):
            with socket.socket(fileno=os.dup(int(path.name))) as same:
                size = same.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            kind = (same.family, same.proto, size)
            if kind == (socket.AF_NETLINK, CONNECTOR, 2 * connector.receive_buffer):
                found.append(int(path.name))
    (fd,) = found
    return fd


def drops_column(connector: ProcConnector) -> int:
    """Tell what the kernel shows to everybody as dropped for this connector."""
    inode = str(os.fstat(event_socket(connector)).st_ino)
    for line in Path("/proc/net/netlink").read_text().splitlines():
        columns = line.split()
        if columns[INODE_COLUMN] == inode:
            return int(columns[DROPS_COLUMN])
    raise AssertionError(f"no socket {inode}")


def request(operation: int, ack: int = 7) -> bytes:
    """Make a request as programs send it: 1 is LISTEN, 2 IGNORE."""
    body = struct.pack("=IIIIHHI", 1, 1, 0, ack, 4, 0, operation)
    return struct.pack("=IHHII", 16 + len(body), 3, 0, 0, 0) + body


RTM_GETLINK, REQUEST = 18, 1  # linux/rtnetlink.h, linux/netlink.h


@contextmanager
def rtnetlink_in_place_of(connector: ProcConnector) -> Iterator[socket.socket]:
    """Let datagrams of the kernel that are no events come where events come."""
    fd = event_socket(connector)
    own = os.dup(fd)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.bind((0, 0))
        os.dup2(sock.fileno(), fd)
        try:
            yield sock
        finally:
            os.dup2(own, fd)
            os.close(own)


def rtnetlink_request(kind: int) -> bytes:
    return struct.pack("=IHHIIBxHiII", 32, kind, REQUEST, 1, 0, 0, 0, 1, 0, 0)


TOO_LARGE = rtnetlink_request(RTM_GETLINK)  # about a network interface
NO_EVENT = rtnetlink_request(0x7FF0)  # the answer is an error


CLONE_NEWNET = 0x40000000  # linux/sched.h


@contextmanager
def no_network() -> Iterator[None]:
    """Take the calling thread to a network namespace where no kernel answers."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as home:
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            yield
        finally:
            assert libc.setns(home.fileno(), CLONE_NEWNET) == 0


def plain_socket(groups: int = 0) -> socket.socket:
    """Open a connector socket without this library."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, CONNECTOR)
    sock.bind((0, groups))
    sock.settimeout(DEADLINE)
    return sock


@contextmanager
def started(
    *command: str | int | Path, **options: object
) -> Iterator[subprocess.Popen[str]]:
    """Start a process with pipes; kill it at the end if need be."""
    with subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def program(name: str, *arguments: str | int) -> Iterator[subprocess.Popen[str]]:
    """Start one of the programs beside this file."""
    with started(sys.executable, "-I", PROGRAMS / f"{name}.py", *arguments) as process:
        yield process


def rmem_max() -> int:
    path = Path("/proc/sys/net/core/rmem_max")
    return int(path.read_text()) if path.exists() else 0  # in network namespaces


def room_for(events: int) -> pytest.MarkDecorator:
    """Skip a test where so many events of its own, and as many others, do not fit."""
    return pytest.mark.skipif(
        not IS_ROOT and rmem_max() < events * EVENT_CHARGE,
        reason=f"room for {events} events takes root or a larger net.core.rmem_max",
    )


def unexpected(errors: bytes) -> bytes:
    """Leave out of a command's errors what every ordinary user is told."""
    limits = tuple(f"procconn: {it}".encode() for it in LIMITS)
    lines = errors.splitlines(keepends=True)
    return b"".join(line for line in lines if IS_ROOT or not line.startswith(limits))


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE, check=False
    )


@cache
def everyone_may_run_python() -> bool:
    """Whether this Python and the library are where an ordinary user may read them."""
    probe = run(*AS_ORDINARY_USER, sys.executable, "-c", "import procconn")
    return probe.returncode == 0


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return run(*PYTHON, "-c", code)


LISTEN, IGNORE = 1, 2


class Requests:
    """The requests that a Python program and its children sent to the kernel.

    Attributes:
        result: how it ended.
        sent: the operations of each process, by pid, in their order.
    """

    def __init__(self, code: str, refusal: tuple[str, ...] = ()) -> None:
        if not shutil.which("strace") or "san" in os.environ.get("LD_PRELOAD", ""):
            pytest.skip("takes strace, and no sanitizer")
        with tempfile.NamedTemporaryFile() as log:
            strace = ["strace", "-f", "-qq", "-xx", "-s", "64", "-o", log.name]
            filters = ["-e", "trace=sendto", "-e", "signal=none", "--seccomp-bpf"]
            python = [*PYTHON, "-c", code]
            if refusal:
                python = [*sandbox(refusal), *python]
            self.result = run(*strace, *filters, *python)
            lines = Path(log.name).read_text().splitlines()
        self.sent: dict[int, list[int]] = {}
        for line in lines:
            found = re.match(r'(\d+) +sendto\(\d+, \[{nlmsg.*}, "([^"]*)"', line)
            if found:
                message = bytes.fromhex(found[2].replace("\\x", ""))
                self.sent.setdefault(int(found[1]), []).append(message[-4])

    @property
    def all_sent(self) -> list[int]:
        """The operations of all processes."""
        return [operation for sent in self.sent.values() for operation in sent]


# Refusals for a sandbox, as it takes them
NO_NETLINK = ("socket", "EAFNOSUPPORT", f"0={int(socket.AF_NETLINK)}")
NO_MEMINFO = ("getsockopt", "ENOPROTOOPT", "1=1", "2=55")
NO_NAMES = ("prctl", "EPERM", f"0={PR_SET_NAME}")
NO_ANSWERS = ("recvfrom", "EAGAIN")
NO_PRIORITY = ("sched_setscheduler", "EPERM")


def sandbox(refusal: tuple[str, ...]) -> list[str]:
    """Return what a command is put behind so that it is refused a system call."""
    call, _, *values = refusal
    if values and call not in NUMBERS:
        pytest.skip("no filter sees the arguments of socketcall(2)")
    return [sys.executable, str(PROGRAMS / "sandbox.py"), *refusal, "--"]


def run_refused(
    refusal: tuple[str, ...], *arguments: str | Path
) -> subprocess.CompletedProcess[str]:
    """Run Python with such arguments, in a sandbox that refuses a system call."""
    return run(*sandbox(refusal), sys.executable, *arguments)


@contextmanager
def speaking(*command: str | Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a program; give it and the pid it prints. It ends when its input does."""
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def end_input(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
