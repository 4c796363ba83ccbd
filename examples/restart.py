"""Restart a service, daemon or not, when it dies: restart.py COMMAND [ARGUMENT]...

It is dead when the last of the processes that descend from the command has ended.
"""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

from procconn import Event, EventMask, Exec, Exit, Fork, Lost, ProcConnector

PAUSE = 1.0  # seconds between a death and the next start


def follow(family: dict[int, set[int]], event: Event) -> None:
    """Bring a family up to date: the threads of each process, by tgid."""
    match event:
        case Fork(child_pid=pid, child_tgid=tgid) if event.is_thread:
            family.get(tgid, set()).add(pid)
        case Fork(parent_tgid=parent, child_pid=pid) if parent in family:
            family[pid] = {pid}
        case Exec(tgid=tgid) if tgid in family:
            family[tgid] = {tgid}  # of the threads one is left
        case Exit(pid=pid, tgid=tgid) if tgid in family:
            family[tgid].discard(pid)
            if not family[tgid]:
                del family[tgid]


def running(tgid: int) -> set[int]:
    """Ask /proc for the threads of a process; zombies do not count."""
    threads = set()
    for stat in Path(f"/proc/{tgid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            if stat.read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X"):
                threads.add(int(stat.parent.name))
    return threads


def run_once(command: list[str]) -> None:
    """Start the service and wait until it is dead."""
    mask = EventMask.FORK | EventMask.EXEC | EventMask.EXIT
    with ProcConnector(mask) as events, subprocess.Popen(command) as process:
        family = {process.pid: {process.pid}}
        while family:
            for event in (batch := events.recv_many()):
                follow(family, event)
            if any(isinstance(event, Lost) for event in batch):  # exits, maybe
                known = {tgid: running(tgid) for tgid in family}
                family = {tgid: threads for tgid, threads in known.items() if threads}


if __name__ == "__main__":
    while True:
        run_once(sys.argv[1:])
        print("restarting", *sys.argv[1:], file=sys.stderr)
        time.sleep(PAUSE)
