"""`--usage`: what processes used, as the command prints it."""

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

# What 64 MiB and 0.3 s on a processor show, though no first thread has used the latter.
COSTLY = """
import threading, time
def burn():
    while time.thread_time() < 0.3:
        pass
held = b"1" * (64 << 20)
thread = threading.Thread(target=burn)
thread.start()
thread.join()
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="taskstats takes root")


def run_costly() -> int:
    child = subprocess.Popen([sys.executable, "-c", COSTLY])
    child.wait()
    return child.pid


def check(usage: dict[str, int]) -> None:
    assert list(Usage._fields) == list(usage)
    assert 0.29e9 <= usage["cpu_ns"] <= usage["elapsed_ns"]
    assert 64 * MIB < usage["peak_rss"] < 128 * MIB


@as_root
def test_json_has_at_each_exit_what_the_process_used() -> None:
    with watching("--json", "--usage") as watch:
        wait_until_printing(watch)
        records = events_until(watch, run_costly(), "exit")

    for record in records[-500:]:  # others may have made many more
        assert [] == violations(SCHEMA, record)
    check(records[-1]["usage"])


@as_root
def test_with_threads_each_tells_what_it_used_itself() -> None:
    with watching("--json", "--usage", "--threads") as watch:
        wait_until_printing(watch)
        pid = run_costly()
        records = events_until(watch, pid, "exit")

    exits = [it for it in records if it["event"] == "exit" and it["tgid"] == pid]
    thread, process = (it["usage"] for it in exits)
    assert 0.29e9 <= thread["cpu_ns"] < process["cpu_ns"]


@as_root
def test_text_tells_processor_time_and_memory() -> None:
    with watching("--usage", "--events", "exit") as watch:
        wait_until_printing(watch)
        pid = str(run_costly()).encode()
        assert watch.stdout is not None
        line = next(it for it in watch.stdout if it.split()[2] == pid).decode()

    *_, cpu, memory = line.rstrip("\n").split(", ")
    assert cpu.startswith("cpu ")
    number, unit = memory.split()
    assert 64 < int(number) < 128
    assert "MiB" == unit


def test_nobody_is_told_what_was_not_asked_for() -> None:
    with watching("--json") as watch:
        wait_until_printing(watch)
        child = subprocess.Popen(["true"])
        child.wait()
        records = events_until(watch, child.pid, "exit")

    assert {None} == {it["usage"] for it in records if it["event"] == "exit"}


@as_root
@pytest.mark.skipif(KERNEL < (6, 6), reason="takes Linux 6.6")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="takes setpriv")
def test_who_may_not_have_it_is_told_so_and_gets_all_the_rest() -> None:
    without = ["setpriv", "--bounding-set=-net_admin", *WATCH]
    with watching("--json", "--usage", command=without) as watch:
        wait_until_printing(watch)
        child = subprocess.Popen(["sh", "-c", "exit 3"])
        child.wait()
        record = events_until(watch, child.pid, "exit")[-1]
        watch.terminate()
        _, errors = finish(watch)

    assert (3, None) == (record["returncode"], record["usage"])
    assert b"procconn: usage is not reported: not without the capability" in errors
    assert 1 == errors.count(b"CAP_NET_ADMIN in the initial user namespace")


@as_root
def test_a_recording_has_it_and_tells_it(tmp_path: Path) -> None:
    path = tmp_path / "costly.pcap"
    with watching("record", "--usage", str(path), command=COMMAND) as recorder:
        while not path.exists() or path.stat().st_size < 1000:
            subprocess.run(["true"], check=True)
        pid = run_costly()
        recorder.terminate()
        recorder.wait()
    lines = subprocess.check_output([*WATCH, "--json", "--input", path])
    records: list[dict[str, Any]] = list(map(json.loads, lines.splitlines()))
    (printed,) = (it for it in records if (it["event"], it.get("pid")) == ("exit", pid))

    check(printed["usage"])


@as_root
def test_trace_tells_of_each_process_and_lists_the_dearest(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    command = ["sh", "-c", 'true; "$@"', "sh", sys.executable, "-c", COSTLY]
    subprocess.run(
        [*COMMAND, "trace", "--usage", "-o", path, "--", *command], check=True
    )
    lines = path.read_text().splitlines()

    dearest = lines[lines.index("most processor time:") + 1]
    assert f" {sys.executable} -c " in dearest
    assert ", cpu " in dearest
    assert dearest.endswith(" MiB")
