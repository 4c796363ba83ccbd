"""Make a recording to be read elsewhere, and check one that was made elsewhere.

python -m kernels.recordings make | check FOLDER NAME
A recording, NAME.pcap, has its events and their times in words beside it, NAME.txt.
"""

import difflib
import sys
import warnings
from pathlib import Path

from kernels.test_alone import DEADLINE, commotion
from procconn import Exit, ProcConnector, decode, recording


def described(path: Path) -> list[str]:
    with recording.open(path) as replayed:
        return [f"{replayed.event_time(event)} {event!r}\n" for event in replayed]


def make(folder: Path, name: str) -> None:
    """Record all kinds of events, with programs and with what was used."""
    path = folder / f"{name}.pcap"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about limits: what is less is recorded too
        connector = ProcConnector(programs=True, usage=True)
    with connector, recording.Recorder(path) as recorder:
        pids = {commotion() for _ in range(3)}
        while pids:
            raw = connector.recv_raw(timeout=DEADLINE)
            if not raw:
                raise TimeoutError(f"no EXIT of {pids}")
            recorder.write(raw)
            pids -= {event.pid for event in decode(raw) if isinstance(event, Exit)}
    path.with_suffix(".txt").write_text("".join(described(path)))


def check(folder: Path, name: str) -> list[str]:
    """Return how a recording reads differently from where it was made."""
    path = folder / f"{name}.pcap"
    there = path.with_suffix(".txt").read_text().splitlines(keepends=True)
    return [*difflib.unified_diff(there, described(path), "there", "here")]


if __name__ == "__main__":
    verb, folder, name = sys.argv[1:]
    if verb == "make":
        make(Path(folder), name)
    else:
        sys.exit("".join(check(Path(folder), name)) or 0)
