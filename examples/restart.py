"""Restart a service, daemon or not, when it ends: restart.py COMMAND [ARGUMENT]...

It has ended when the command and all of its descendants have.
"""

import os
import subprocess
import sys
import time

from procconn.processes import Ended, ProcessMonitor

PAUSE = 1.0  # seconds between an end and the next start


def run_once(command: list[str]) -> None:
    """Start the service and wait until it has ended."""
    own_pid = os.getpid()
    with (
        ProcessMonitor(tree=own_pid, programs=False) as monitor,
        subprocess.Popen(command),
    ):
        for change in monitor:
            if isinstance(change, Ended) and monitor.processes.keys() <= {own_pid}:
                return


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    while True:
        run_once(sys.argv[1:])
        print("restarting", *sys.argv[1:], file=sys.stderr)
        time.sleep(PAUSE)
