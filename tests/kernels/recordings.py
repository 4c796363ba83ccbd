"""Makes a recording for another machine, or checks a recording of another machine.

python -m kernels.recordings make | check DIRECTORY NAME
NAME.txt has the times and the repr() of the events in NAME.pcap.
"""

import difflib
import sys
import warnings
from pathlib import Path

from kernels.test_alone import DEADLINE, cause_every_kind
from procconn import Exit, ProcConnector, decode, recording


def described(path: Path) -> list[str]:
    with recording.open(path) as replayed:
        return [f"{replayed.event_time(event)} {event!r}\n" for event in replayed]


def make(directory: Path, name: str) -> None:
    """Record all kinds of events, with programs and usage."""
    path = directory / f"{name}.pcap"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about limits of the user
        connector = ProcConnector(programs=True, usage=True)
    with connector, recording.Recorder(path) as recorder:
        pids = {cause_every_kind() for _ in range(3)}
        while pids:
            raw = connector.recv_raw(timeout=DEADLINE)
            if not raw:
                raise TimeoutError(f"no EXIT of {pids}")
            recorder.write(raw)
            pids -= {event.pid for event in decode(raw) if isinstance(event, Exit)}
    path.with_suffix(".txt").write_text("".join(described(path)))


def check(directory: Path, name: str) -> list[str]:
    """Return the differences between reading a recording here and where it was made."""
    path = directory / f"{name}.pcap"
    expected = path.with_suffix(".txt").read_text().splitlines(keepends=True)
    return [*difflib.unified_diff(expected, described(path), "there", "here")]


if __name__ == "__main__":
    verb, directory, name = sys.argv[1:]
    if verb == "make":
        make(Path(directory), name)
    else:
        sys.exit("".join(check(Path(directory), name)) or 0)
