"""Recordings of live events, and their replay."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from support.live import DEADLINE, serials_of, set_name, set_serials
from support.subprocesses import started

from procconn import (
    Comm,
    Event,
    Exec,
    Exit,
    ProcConnector,
    decode,
    event_time,
    recording,
)

BURST = 100_003

RECORD_FOREVER = """
import sys
from procconn import ProcConnector, recording

with ProcConnector() as connector, recording.Recorder(sys.argv[1]) as recorder:
    print("begun", flush=True)
    while True:
        recorder.write(connector.recv_raw())
"""


def record(connector: ProcConnector, path: Path, last: bytes) -> list[Event]:
    """Record until a task is named `last`; return the received events."""
    deadline = time.monotonic() + DEADLINE
    events: list[Event] = []
    with recording.Recorder(path) as recorder:
        while time.monotonic() < deadline:
            raw = connector.recv_raw(timeout=1)
            recorder.write(raw)
            batch = decode(raw)
            events += batch
            if any(isinstance(event, Comm) and event.comm == last for event in batch):
                return events
    raise AssertionError("timed out before the last name")


def replay(path: Path) -> list[Event]:
    with recording.open(path) as replayed:
        return list(replayed)


def test_programs_exits_and_dates_are_replayed(tmp_path: Path) -> None:
    path = tmp_path / "some.pcap"
    with ProcConnector(programs=True) as connector:
        shell = subprocess.Popen(["sh", "-c", "exit 3"])
        shell.wait()
        thread = threading.Thread(target=set_name, args=(b"the last",))
        thread.start()
        received = record(connector, path, b"the last")
        thread.join()

    with recording.open(path) as replayed:
        events = list(replayed)
        dates = [replayed.event_time(event) for event in events]

    assert received == events
    executed = [
        event for event in events if isinstance(event, Exec) and event.pid == shell.pid
    ]
    ended = [
        event for event in events if isinstance(event, Exit) and event.pid == shell.pid
    ]
    assert [3] == [event.returncode for event in ended]
    assert all(event.program is not None for event in executed)
    tolerance = timedelta(milliseconds=2)  # twice the threshold of a clock step
    for event, date in zip(events, dates, strict=True):
        assert abs(date - event_time(event)) <= tolerance


@pytest.mark.filterwarnings("ignore:.*is truncated")  # events of other processes
def test_recording_of_a_killed_program_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "some.pcap"
    with started(sys.executable, "-c", RECORD_FOREVER, path) as recorder:
        assert recorder.stdout is not None
        assert recorder.stdout.readline() == "begun\n"
        set_serials(range(1000))
        deadline = time.monotonic() + DEADLINE
        while serials_of(replay(path))[-1:] != [999]:
            assert time.monotonic() < deadline
        recorder.send_signal(signal.SIGKILL)
        recorder.wait()

    assert list(range(1000)) == serials_of(replay(path))


def output(*command: str | Path) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.skipif(not shutil.which("tshark"), reason="requires tshark")
def test_replay_of_a_burst_matches_other_tools(tmp_path: Path) -> None:
    path = tmp_path / "burst.pcap"

    def cause_burst() -> None:
        set_serials(range(BURST))
        set_name(b"the last")

    with ProcConnector(queue=1 << 26) as connector:
        thread = threading.Thread(target=cause_burst)
        thread.start()
        pid = thread.native_id
        received = record(connector, path, b"the last")
        thread.join()
        lost = connector.lost

    with recording.open(path) as replayed:
        events = list(replayed)
        assert not replayed.damage

    assert received == events
    assert lost or list(range(BURST)) == serials_of(events, pid)
    printed = output("capinfos", "-TmcE", path)
    assert re.search(rf"\b{len(events)}\b", printed), printed
    assert "netlink" in printed
    types = output("tshark", "-r", path, "-T", "fields", "-e", "netlink.hdr_type")
    assert ["0x0003"] * len(events) == types.split()
