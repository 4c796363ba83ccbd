"""Run out of descriptors, and print what is said of processes that run on meanwhile."""

import json
import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator

from procconn import Lost
from procconn.processes import Ended, ProcessMonitor, take_snapshot, wait

PATIENCE = 60.0  # seconds


def all_descriptors() -> Iterator[int]:
    while True:
        try:
            yield os.open("/dev/null", os.O_RDONLY)
        except OSError:
            return


def errno_of(function: Callable[[], object]) -> int | None:
    try:
        function()
    except OSError as error:
        return error.errno
    return None


def ended(monitor: ProcessMonitor, seconds: float) -> Iterator[int]:
    """Tell the pids of what ends, and -1 of a loss."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        for change in monitor.recv_many(left):
            if isinstance(change, Ended):
                yield change.process.pid
            elif isinstance(change, Lost):
                yield -1


running, killed = (subprocess.Popen(["sleep", "600"]) for _ in range(2))
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
with ProcessMonitor(receive_buffer=32_768, programs=False) as monitor:
    descriptors = list(all_descriptors())
    for _ in range(200):  # more events than there is space for
        if (pid := os.fork()) == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    killed.kill()
    killed.wait()
    at_once = [errno_of(lambda: take_snapshot([running.pid]))]
    at_once.append(errno_of(lambda: wait([running.pid], 0)))
    without = list(ended(monitor, 2.5))  # two more snapshots would be due
    known = [it.pid in monitor.processes for it in (running, killed)]
    for descriptor in descriptors:
        os.close(descriptor)
    with_some = next(it for it in ended(monitor, PATIENCE) if it == killed.pid)
    still = running.pid in monitor.processes
running.kill()
running.wait()
print(
    json.dumps(
        {
            "errors": at_once,
            "lost": -1 in without,
            "ended_without": {running.pid, killed.pid} & set(without) != set(),
            "known": known,
            "ended_with": with_some == killed.pid,
            "still": still,
        }
    )
)
