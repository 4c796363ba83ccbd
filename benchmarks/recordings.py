"""Reading recordings: CPU time of an event."""

import struct
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contestants import ROUNDS
from benchmarks.processes import Command, run_execs
from benchmarks.report import Row
from procconn import EventType, recording
from procconn.recording import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

_WRITTEN = 300_000
_EXECS = 6_000
_PASSES = 3  # over a recording, in one measurement
_UNIT = "µs an event"


def _message(what: int, time_ns: int, *fields: int) -> bytes:
    """Return an event as the kernel sends it."""
    union = struct.pack(f"={len(fields)}I", *fields)
    headers = (76, 3, 0, 0, 0, 1, 1, 0, 0, 40, 0)
    return struct.pack("=IHHIIIIIIHHIIQ24s", *headers, what, 0, time_ns, union)


def _write(file: Path) -> None:
    """Write forks, execs without programs and exits with a `Recorder`."""
    with Recorder(file) as recorder:
        for n in range(_WRITTEN // 3):
            pid, time_ns = 20_000 + n % 10_000, 10**12 + n * 900_000
            recorder.write(
                _message(EventType.FORK, time_ns, 1234, 1234, pid, pid)
                + _message(EventType.EXEC, time_ns + 300_000, pid, pid)
                + _message(EventType.EXIT, time_ns + 600_000, pid, pid, 256, 17, 1, 1)
            )


def _record(file: Path) -> None:
    """Have `procconn record` record programs, with their command lines."""
    with closing(Command("record", str(file))) as command:
        run_execs(_EXECS)
        command.rest()
        command.interrupt()


def _read(file: Path) -> float:
    """Iterate over a recording; return the microseconds an event took."""
    count = 0
    start_ns = time.process_time_ns()
    for _ in range(_PASSES):
        with recording.open(file) as events:
            for _ in events:
                count += 1
    return (time.process_time_ns() - start_ns) / count / 1000


def recordings() -> list[Row]:
    """Read recordings with and without programs, taking turns."""
    makers: dict[str, Callable[[Path], None]] = {
        "events read from a recording": _write,
        "events read from a recording of `procconn record`, with programs": _record,
    }
    with tempfile.TemporaryDirectory() as folder:
        files = {figure: Path(folder, f"{n}.pcap") for n, figure in enumerate(makers)}
        for figure, make in makers.items():
            make(files[figure])
            _read(files[figure])  # brings the file into the page cache
        us: dict[str, list[float]] = {figure: [] for figure in makers}
        for _ in range(ROUNDS):
            for figure, file in files.items():
                us[figure].append(_read(file))
    return [Row(figure, "", _UNIT, us[figure]).must(0.7, 0.5) for figure in makers]
