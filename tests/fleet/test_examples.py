"""The example consumers, also after crashes."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fleet.servers import FLEET, PATIENCE, Server, free_port
from fleet.shippers import SHIP
from fleet.streams import delete_consumer, make, publish

pytestmark = [pytest.mark.slow, pytest.mark.heavy]

HOSTS = ("web1", "web2.example")
EXITS = 76  # of the recording


@contextmanager
def consuming(*command: str) -> Iterator[None]:
    """Run an example, and kill it at the end of the block."""
    with subprocess.Popen([sys.executable, *command]) as process:
        try:
            yield
        finally:
            process.kill()


def ship(server: Server, *hosts: str, form: str = "json") -> None:
    build = str(FLEET.parent / "build.pcap")
    for host in hosts:
        command = [*SHIP, server.url, "--input", build, "--host", host]
        subprocess.run([*command, "--format", form], check=True)


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_failed_programs_are_counted_once_despite_crashes(
    server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "failed.json"
    command = (str(FLEET / "count_failed.py"), server.url, str(path))

    def counted() -> dict[str, int]:
        if not path.exists():
            return {}
        failed: dict[str, int] = json.loads(path.read_text())["failed"]
        return failed

    ship(server, *HOSTS)
    with consuming(*command):
        wait_for(lambda: len(counted()) == len(HOSTS))
    once = counted()
    ship(server, "web3", form="ecs")
    ship(server, *HOSTS)  # while the consumer is down
    with consuming(*command):
        wait_for(lambda: sum(counted().values()) >= 2 * sum(once.values()))
    twice = counted()

    assert set(HOSTS) == {name.partition(" on ")[2] for name in once}
    assert {name: 2 * number for name, number in once.items()} == twice


def test_counting_continues_after_stream_and_consumer_are_recreated(
    server: Server, tmp_path: Path
) -> None:
    path, log = tmp_path / "failed.json", tmp_path / "log"
    command = [sys.executable, str(FLEET / "count_failed.py"), server.url, str(path)]

    def counted() -> int:
        return sum(json.loads(path.read_text())["failed"].values())

    with log.open("w") as errors, subprocess.Popen(command, stderr=errors) as consumer:
        try:
            wait_for(lambda: "stream not found" in log.read_text())
            ship(server, "web1")
            wait_for(path.exists)
            once = counted()
            delete_consumer(server.url, "count-failed")
            ship(server, "web2")
            wait_for(lambda: counted() == 2 * once)
        finally:
            consumer.kill()

    assert "Traceback" not in log.read_text()


def test_unreachable_hub_is_reported_in_one_line() -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    done = subprocess.run(
        [sys.executable, str(FLEET / "gather.py"), url, "rack7"],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    (line,) = done.stderr.splitlines()

    assert 1 == done.returncode
    assert line.startswith(f"{url}: ")


def test_parquet_files_have_each_exit_once_by_hour(
    server: Server, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    duckdb = pytest.importorskip("duckdb")
    command = (str(FLEET / "to_parquet.py"), server.url, str(tmp_path / "exits"), "0.5")
    files = f"'{tmp_path}/exits/*/*.parquet'"

    def query(text: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = duckdb.sql(text).fetchall()
        return rows

    def has(total: int) -> bool:
        if not list(tmp_path.glob("exits/*/*.parquet")):
            return False
        return bool(query(f"SELECT count(*) FROM {files}")[0][0] >= total)

    ship(server, "web3", form="ecs")
    ship(server, *HOSTS)
    with consuming(*command):
        wait_for(lambda: has(EXITS * len(HOSTS)))
    (tmp_path / "exits" / "next").unlink()  # as after a crash before it was written
    with consuming(*command):
        wait_for((tmp_path / "exits" / "next").exists)
    found = query(f"SELECT host, count(*) FROM {files} GROUP BY host ORDER BY host")
    longest = query(
        f"SELECT name, max(duration) FROM {files} WHERE returncode = 0"
        " GROUP BY name ORDER BY 2 DESC LIMIT 1"
    )

    assert [(host, EXITS) for host in HOSTS] == found
    assert "make" == longest[0][0]
    assert ["2026-11-24T21"] == [it.name for it in tmp_path.glob("exits/*T*")]


# Limits the messages per file, as a slower server would.
_SLOWER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import to_parquet
to_parquet.MAX_MESSAGES = int(sys.argv[4])
asyncio.run(to_parquet.to_parquet(sys.argv[2], Path(sys.argv[3]), 1.0))
"""


def test_crash_between_files_duplicates_no_row(server: Server, tmp_path: Path) -> None:
    """The second run splits the files differently."""
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = tmp_path / "exits"
    make(server.url, "procconn", "procconn.>")
    headers = {"Procconn-Host": "web1", "Procconn-Schema": "urn:test"}
    exits = {"name": "x", "user": "root", "returncode": 0, "duration": 1.0}
    for pid in range(6):
        row = {**exits, "pid": pid, "time": f"2026-11-24T{10 + pid // 3}:30:00+00:00"}
        publish(server.url, "procconn.web1.exit", json.dumps(row), headers)

    def pids() -> list[int]:
        tables = [parquet.read_table(it) for it in sorted(folder.glob("*/*.parquet"))]
        return sorted(pid for it in tables for pid in it["pid"].to_pylist())

    def is_done() -> bool:
        position = folder / "next"
        return position.exists() and position.read_text() == "7"

    for many in (5, 3):
        command = ["-c", _SLOWER, str(FLEET), server.url, str(folder), str(many)]
        (folder / "next").unlink(missing_ok=True)  # as after a crash before its write
        with consuming(*command):
            wait_for(is_done)

        assert [*range(6)] == pids()
