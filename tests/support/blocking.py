"""Where a thread is: blocked in a system call, or in an iterator of the library."""

import dis
import threading
from pathlib import Path
from types import FrameType

from live.programs.syscalls import NUMBERS

from support.live import wait_for

_CALLS = {str(number): name for name, number in NUMBERS.items()}


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
