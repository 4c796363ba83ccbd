"""Wait for a process that is not a child, and tell its exit: wait_for_exit.py PID."""

import os
import select
import sys
import time

from procconn import EventMask, Exit, ProcConnector

GRACE = 0.5  # seconds from the process's end until its event is given up


def wait_for_exit(pid: int) -> int | None:
    """Return the process's status as `subprocess` does; None if it was missed.

    Events tell the status but not the end: a first thread may exit and leave others
    running, and a pid may be used again. A pidfd tells when this very process ended.

    Raises:
        ProcessLookupError: there is no such process.
    """
    with ProcConnector(EventMask.EXIT) as connector:  # first, so as to miss nothing
        pidfd = os.pidfd_open(pid)
        try:
            return last_status(connector, pid, pidfd)
        finally:
            os.close(pidfd)


def last_status(connector: ProcConnector, pid: int, pidfd: int) -> int | None:
    """Return the status of the last thread to exit; None if its event was lost."""
    deadline = None
    while deadline is None or time.monotonic() < deadline:
        if deadline is None:
            select.select([connector.fileno(), pidfd], [], [])
        exits = [
            event
            for event in connector.recv_many(timeout=0 if deadline is None else GRACE)
            if isinstance(event, Exit) and event.tgid == pid
        ]
        if select.select([pidfd], [], [], 0)[0]:  # the process has ended
            if exits:
                return exits[-1].returncode
            deadline = deadline or time.monotonic() + GRACE
    return None


if __name__ == "__main__":
    status = wait_for_exit(int(sys.argv[1]))
    print("unknown" if status is None else status)
