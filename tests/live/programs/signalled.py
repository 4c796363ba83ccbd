"""Run the command many times, and send each a signal at another moment of its reading.

signalled.py SIGNAL MOMENTS ARGUMENT…
Python lets signal handlers run where a function begins and where one of C has come
back; the moments are counted in the package, from when the command first waits. Before
that it names itself 0 to 49, and before the signal 50 to 99. In the arguments, @ stands
for the moment, and "own" for the pid. Prints a line for each that got so far: moment,
pid, exit status.
"""

import ctypes
import os
import sys
from types import FrameType

from procconn.cli import (
    main,
    record,  # noqa: F401 - loaded once for all
    stat,  # noqa: F401
    watch,  # noqa: F401
)

PR_SET_NAME = 15
AT_ONCE = 8  # run at the same time
NOT_SO_FAR = 99  # status

prctl = ctypes.CDLL(None).prctl


def take_names(serials: range) -> None:
    for serial in serials:
        prctl(PR_SET_NAME, b"%d" % serial)


def run(number: int, moment: int, arguments: list[str]) -> int:
    left = moment
    has_begun = is_done = False

    def look(frame: FrameType, event: str, _: object) -> None:
        nonlocal left, has_begun, is_done
        if not has_begun:
            if frame.f_code.co_name == "received":
                has_begun = True
                take_names(range(50))
            return
        if event not in ("call", "c_return", "c_exception"):
            return
        if not frame.f_globals["__name__"].startswith("procconn."):
            return
        left -= 1
        if left >= 0:
            return
        sys.setprofile(None)
        take_names(range(50, 100))
        is_done = True
        os.kill(os.getpid(), number)

    own = {"own": str(os.getpid())}
    words = [own.get(it, it.replace("@", str(moment))) for it in arguments]
    sys.setprofile(look)
    status = main(words)
    sys.setprofile(None)
    return status if is_done else NOT_SO_FAR


def run_all(number: int, moments: int, arguments: list[str]) -> None:
    for first in range(0, moments, AT_ONCE):
        running = {}
        for moment in range(first, min(first + AT_ONCE, moments)):
            pid = os.fork()
            if pid == 0:
                os._exit(run(number, moment, arguments))
            running[pid] = moment
        for pid, moment in running.items():
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if status != NOT_SO_FAR:
                print(moment, pid, status, flush=True)


if __name__ == "__main__":
    run_all(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
