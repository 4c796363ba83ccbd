"""Restart a service, daemon or not, when it dies: restart.py COMMAND [ARGUMENT]...

It is dead when the last of the processes that descend from the command has ended.
"""

import os
import subprocess
import sys
import time

from procconn.processes import Ended, ProcessMonitor

PAUSE = 1.0  # seconds between a death and the next start


def run_once(command: list[str]) -> None:
    """Start the service and wait until it is dead."""
    mine = os.getpid()
    with (
        ProcessMonitor(tree=mine, programs=False) as monitor,
        subprocess.Popen(command),
    ):
        for change in monitor:
            if isinstance(change, Ended) and monitor.processes.keys() <= {mine}:
                return


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    while True:
        run_once(sys.argv[1:])
        print("restarting", *sys.argv[1:], file=sys.stderr)
        time.sleep(PAUSE)
