"""Resource usage in the output of the command (`--usage`)."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command import (
    COMMAND,
    WATCH,
    events_until,
    finish,
    wait_until_printing,
    watching,
)
from support.json_schema import schema, violations
from support.machine import KERNEL

from procconn import Usage

SCHEMA = schema("watch")
MIB = 1 << 20

# Uses 64 MiB of memory, and 0.3 s of CPU time in a thread other than the main thread.
COSTLY = """
import threading, time
def burn():
    while time.thread_time() < 0.3:
        pass
memory = b"1" * (64 << 20)
thread = threading.Thread(target=burn)
thread.start()
thread.join()
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="taskstats requires root")


def run_costly() -> int:
    child = subprocess.Popen([sys.executable, "-c", COSTLY])
    child.wait()
    return child.pid


def assert_is_costly(usage: dict[str, int]) -> None:
    assert list(Usage._fields) == list(usage)
    assert 0.29e9 <= usage["cpu_ns"] <= usage["elapsed_ns"]
    assert 64 * MIB < usage["peak_rss"] < 128 * MIB


@as_root
def test_json_exit_has_the_usage_of_the_process() -> None:
    with watching("--json", "--usage") as watch:
        wait_until_printing(watch)
        records = events_until(watch, run_costly(), "exit")

    for record in records[-500:]:  # other programs may cause many more
        assert [] == violations(SCHEMA, record)
    assert_is_costly(records[-1]["usage"])


@as_root
def test_thread_exit_has_the_usage_of_the_thread() -> None:
    with watching("--json", "--usage", "--threads") as watch:
        wait_until_printing(watch)
        pid = run_costly()
        records = events_until(watch, pid, "exit")

    exits = [r for r in records if r["event"] == "exit" and r["tgid"] == pid]
    thread, process = (r["usage"] for r in exits)
    assert 0.29e9 <= thread["cpu_ns"] < process["cpu_ns"]


@as_root
def test_text_exit_has_cpu_time_and_memory() -> None:
    with watching("--usage", "--events", "exit") as watch:
        wait_until_printing(watch)
        pid = str(run_costly()).encode()
        assert watch.stdout is not None
        line = next(line for line in watch.stdout if line.split()[2] == pid).decode()

    *_, cpu, memory = line.rstrip("\n").split(", ")
    assert cpu.startswith("cpu ")
    number, unit = memory.split()
    assert 64 < int(number) < 128
    assert "MiB" == unit


def test_usage_is_null_by_default() -> None:
    with watching("--json") as watch:
        wait_until_printing(watch)
        child = subprocess.Popen(["true"])
        child.wait()
        records = events_until(watch, child.pid, "exit")

    assert {None} == {r["usage"] for r in records if r["event"] == "exit"}


@as_root
@pytest.mark.skipif(KERNEL < (6, 6), reason="requires Linux 6.6")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="requires setpriv")
def test_missing_capability_is_reported_and_events_have_no_usage() -> None:
    without = ["setpriv", "--bounding-set=-net_admin", *WATCH]
    with watching("--json", "--usage", command=without) as watch:
        wait_until_printing(watch)
        child = subprocess.Popen(["sh", "-c", "exit 3"])
        child.wait()
        record = events_until(watch, child.pid, "exit")[-1]
        watch.terminate()
        _, errors = finish(watch)

    assert (3, None) == (record["returncode"], record["usage"])
    assert (
        b"procconn: usage is not reported: taskstats requires CAP_NET_ADMIN" in errors
    )
    assert 1 == errors.count(b"CAP_NET_ADMIN in the initial user namespace")


@as_root
def test_recording_keeps_usage(tmp_path: Path) -> None:
    path = tmp_path / "costly.pcap"
    with watching("record", "--usage", str(path), command=COMMAND) as recorder:
        while not path.exists() or path.stat().st_size < 1000:
            subprocess.run(["true"], check=True)
        pid = run_costly()
        recorder.terminate()
        recorder.wait()
    lines = subprocess.check_output([*WATCH, "--json", "--input", path])
    records: list[dict[str, Any]] = list(map(json.loads, lines.splitlines()))
    (printed,) = (r for r in records if (r["event"], r.get("pid")) == ("exit", pid))

    assert_is_costly(printed["usage"])


@as_root
def test_trace_summary_lists_processes_by_cpu_time(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    command = ["sh", "-c", 'true; "$@"', "sh", sys.executable, "-c", COSTLY]
    subprocess.run(
        [*COMMAND, "trace", "--usage", "-o", path, "--", *command], check=True
    )
    lines = path.read_text().splitlines()

    first = lines[lines.index("most CPU time:") + 1]
    assert f" {sys.executable} -c " in first
    assert ", cpu " in first
    assert first.endswith(" MiB")
