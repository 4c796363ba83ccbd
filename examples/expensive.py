"""Run a command and list its most expensive processes: expensive.py COMMAND..."""

import os
import subprocess
import sys

from procconn.processes import Ended, Process, ProcessMonitor


def main(command: list[str]) -> None:
    """Print the ten processes that used the most CPU time.

    Each line has the CPU time, the peak memory and the command line.
    """
    ended: list[Process] = []
    with (
        ProcessMonitor(tree=os.getpid(), usage=True) as monitor,
        subprocess.Popen(command) as child,
    ):
        for change in monitor:
            if isinstance(change, Ended):
                ended.append(change.process)
                if change.process.pid == child.pid:
                    break
    costs = [
        (it.usage.cpu_ns or 0, it.usage.peak_rss or 0, it) for it in ended if it.usage
    ]
    for cpu_ns, peak_rss, it in sorted(costs, key=lambda cost: -cost[0])[:10]:
        command_line = (it.program and it.program.command) or it.name
        print(f"{cpu_ns / 1e9:8.3f} s {peak_rss / 2**20:6.0f} MiB  {command_line}")


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    main(sys.argv[1:])
