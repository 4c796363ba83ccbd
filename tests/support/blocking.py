"""Detects that a thread is blocked in a system call, and waits until it is."""

import dis
import threading
from pathlib import Path
from types import FrameType

from live.programs.syscalls import NUMBERS

from support.live import wait_for

_CALLS = {str(number): name for name, number in NUMBERS.items()}


def system_call_of(task: Path) -> tuple[str, list[str]]:
    """Return the name and the arguments of the system call that a task is in.

    The name is "" if programs/syscalls.py does not list the call.

    Args:
        task: directory of the task in /proc.
    """
    number, *arguments = (task / "syscall").read_text().split()
    return _CALLS.get(number, ""), arguments


def is_iterating(frame: FrameType) -> bool:
    """Return whether the frame is in a `for` statement, fetching the next item.

    If so, C code of the iterator called the signal handler that got this frame.
    """
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] == "FOR_ITER"


def is_blocked(thread: threading.Thread) -> bool:
    """Return whether a thread sleeps until events arrive, or in an event loop."""
    task = Path(f"/proc/self/task/{thread.native_id}")
    try:
        call, _ = system_call_of(task)
        state = (task / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return call in ("ppoll", "epoll_wait", "epoll_pwait") and state == "S"


def wait_until_blocked(thread: threading.Thread | int) -> None:
    """Wait until a thread is blocked until events arrive.

    Given a PID, wait until the main thread of that process is, without a timeout.
    """
    if isinstance(thread, threading.Thread):
        task = Path(f"/proc/self/task/{thread.native_id}")
        wait_for(lambda: system_call_of(task)[0] == "ppoll")
        return
    process = Path(f"/proc/{thread}")

    def is_blocked_without_timeout() -> bool:
        call, arguments = system_call_of(process)
        timeout = arguments[2:3]
        return call == "recvmmsg" or (call, timeout) == ("ppoll", ["0x0"])

    wait_for(is_blocked_without_timeout)
