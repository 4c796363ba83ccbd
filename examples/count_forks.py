"""Count the processes that each command forks: count_forks.py SECONDS."""

import sys
import time
from collections import Counter
from pathlib import Path

from procconn import Event, EventMask, Exec, Exit, Fork, Lost, ProcConnector


class ForkCounter:
    """The number of forks by the name of the parent."""

    def __init__(self) -> None:
        self.forks: Counter[str] = Counter()
        self._names: dict[int, str] = {}  # of processes, by tgid

    def add(self, event: Event) -> None:
        """Process the next event."""
        match event:
            case Fork(parent_tgid=parent, child_tgid=child):
                name = self._names.get(parent) or name_in_proc(parent)
                self.forks[name] += 1
                self._names[child] = name  # also after PID wrap-around
            case Exec(tgid=tgid):
                self._names[tgid] = name_in_proc(tgid)
            case Exit(tgid=tgid):
                self._names.pop(tgid, None)  # if other threads run, /proc has the name
            case Lost():
                self._names.clear()  # an exec may have been lost


def name_in_proc(pid: int) -> str:
    """Read the name of a process, which may have ended since the event."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="surrogateescape").rstrip()
    except OSError:
        return "(gone)"


def main(seconds: float) -> None:
    """Count the forks, then print the totals."""
    counter = ForkCounter()
    deadline = time.monotonic() + seconds
    mask = EventMask.FORK | EventMask.EXEC | EventMask.EXIT
    with ProcConnector(mask, threads=False) as connector:
        while (left := deadline - time.monotonic()) > 0:
            for event in connector.recv_many(left):
                counter.add(event)
        lost = connector.lost
    for name, count in counter.forks.most_common():
        print(f"{count:7} {name.encode('unicode_escape').decode()}")
    print(f"{lost:7} events lost")


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    main(float(sys.argv[1]))
