"""Run a ProcessMonitor out of file descriptors; print what it reports meanwhile."""

import json
import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator

from procconn import Lost
from procconn.processes import Ended, ProcessMonitor, take_snapshot, wait

DEADLINE = 60.0  # seconds


def open_all() -> Iterator[int]:
    """Open descriptors until the limit is reached."""
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


def ended_pids(monitor: ProcessMonitor, seconds: float) -> Iterator[int]:
    """Yield the PIDs of processes that end, and -1 for each loss."""
    deadline = time.monotonic() + seconds
    while (remaining := deadline - time.monotonic()) > 0:
        for change in monitor.recv_many(remaining):
            if isinstance(change, Ended):
                yield change.process.pid
            elif isinstance(change, Lost):
                yield -1


running, killed = (subprocess.Popen(["sleep", "600"]) for _ in range(2))
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
with ProcessMonitor(receive_buffer=32_768, programs=False) as monitor:
    descriptors = list(open_all())
    for _ in range(200):  # overruns the receive buffer
        if (pid := os.fork()) == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    killed.kill()
    killed.wait()
    errors = [errno_of(lambda: take_snapshot([running.pid]))]
    errors.append(errno_of(lambda: wait([running.pid], 0)))
    ended = list(ended_pids(monitor, 2.5))  # two more snapshots would be due
    known = [process.pid in monitor.processes for process in (running, killed)]
    for descriptor in descriptors:
        os.close(descriptor)
    ended_later = next(
        pid for pid in ended_pids(monitor, DEADLINE) if pid == killed.pid
    )
    still_running = running.pid in monitor.processes
running.kill()
running.wait()
print(
    json.dumps(
        {
            "errors": errors,
            "lost": -1 in ended,
            "ended_early": {running.pid, killed.pid} & set(ended) != set(),
            "known": known,
            "killed_is_reported_later": ended_later == killed.pid,
            "still_running": still_running,
        }
    )
)
