"""Run the command many times, and send each run a signal at a different point.

signal_at_each_point.py SIGNAL POINTS ARGUMENT…
Python runs signal handlers when a function is entered and when a C function returns.
Such points are counted within the package, from the first wait of the command. Each run
sets its name to 0 … 49 before the first point, and to 50 … 99 before the signal. In the
arguments, @ stands for the point, and "own" for the PID. Prints point, PID and exit
status of each run that reached its point.
"""

import ctypes
import os
import sys
from types import FrameType

from procconn.cli import (
    main,
    record,  # noqa: F401 - imported once, before the forks
    stat,  # noqa: F401
    watch,  # noqa: F401
)

PR_SET_NAME = 15
PARALLEL = 8  # runs
NOT_REACHED = 99  # exit status

prctl = ctypes.CDLL(None).prctl


def set_serials(serials: range) -> None:
    for serial in serials:
        prctl(PR_SET_NAME, b"%d" % serial)


def run(number: int, point: int, arguments: list[str]) -> int:
    remaining = point
    has_begun = is_signalled = False

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal remaining, has_begun, is_signalled
        if not has_begun:
            if frame.f_code.co_name == "received":
                has_begun = True
                set_serials(range(50))
            return
        if event not in ("call", "c_return", "c_exception"):
            return
        if not frame.f_globals["__name__"].startswith("procconn."):
            return
        remaining -= 1
        if remaining >= 0:
            return
        sys.setprofile(None)
        set_serials(range(50, 100))
        is_signalled = True
        os.kill(os.getpid(), number)

    own = {"own": str(os.getpid())}
    words = [own.get(word, word.replace("@", str(point))) for word in arguments]
    sys.setprofile(profile)
    status = main(words)
    sys.setprofile(None)
    return status if is_signalled else NOT_REACHED


def run_all(number: int, points: int, arguments: list[str]) -> None:
    for first in range(0, points, PARALLEL):
        running = {}
        for point in range(first, min(first + PARALLEL, points)):
            pid = os.fork()
            if pid == 0:
                os._exit(run(number, point, arguments))
            running[pid] = point
        for pid, point in running.items():
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if status != NOT_REACHED:
                print(point, pid, status, flush=True)


if __name__ == "__main__":
    run_all(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
