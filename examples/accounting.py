"""Summarize by program the processes that end within a time: accounting.py SECONDS.

Prints how many processes ended, how many of them failed, and how long they ran.
"""

import sys
import time
from collections import defaultdict

from procconn.processes import Ended, Process, ProcessMonitor


def main(seconds: float) -> None:
    """Collect the processes, then print the totals."""
    ended: defaultdict[str, list[Process]] = defaultdict(list)
    deadline = time.monotonic() + seconds
    with ProcessMonitor() as monitor:
        while (left := deadline - time.monotonic()) > 0:
            for change in monitor.recv_many(left):
                if isinstance(change, Ended):
                    ended[change.process.name or "unknown"].append(change.process)
    for name, processes in sorted(ended.items()):
        failed = sum(bool(process.returncode) for process in processes)
        ran = sum(process.duration or 0 for process in processes)
        text = name.encode("unicode_escape").decode()  # a name may contain newlines
        print(f"{len(processes):7} {failed:7} {ran:10.3f} s {text}")


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    main(float(sys.argv[1]))
