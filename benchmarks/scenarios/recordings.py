"""Reading recordings: the CPU time of an event."""

import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks.messages import process_messages
from benchmarks.processes import Command, run_execs
from benchmarks.report import Row
from benchmarks.scenarios import take_turns
from procconn import recording
from procconn.recording import Recorder

_EVENTS = 300_000
_EXECS = 6_000
_PASSES = 3  # over a recording, in one measurement


def recordings() -> list[Row]:
    """Read recordings without and with programs."""
    writers = {
        "events read from a recording": _write,
        "events read from a recording of `procconn record`, with programs": _record,
    }
    with tempfile.TemporaryDirectory() as folder:
        files = {figure: Path(folder, f"{n}.pcap") for n, figure in enumerate(writers)}
        for figure, write in writers.items():
            write(files[figure])
            _read(files[figure])  # into the page cache
        us = take_turns(_read, files)
    return [
        Row(figure, "", "µs an event", results).expect(0.7, 0.5)
        for figure, results in us.items()
    ]


def _write(file: Path) -> None:
    """Write events without programs with a `Recorder`."""
    with Recorder(file) as recorder:
        for message in process_messages(_EVENTS // 3):
            recorder.write(message)


def _record(file: Path) -> None:
    """Record commands with `procconn record`."""
    with closing(Command("record", str(file))) as command:
        run_execs(_EXECS)
        command.wait_until_idle()


def _read(file: Path) -> float:
    """Iterate over a recording; return the CPU time of an event in µs."""
    count = 0
    start_ns = time.process_time_ns()
    for _ in range(_PASSES):
        with recording.open(file) as events:
            for _ in events:
                count += 1
    return (time.process_time_ns() - start_ns) / count / 1000
