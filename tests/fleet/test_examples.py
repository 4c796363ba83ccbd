"""The consumers among the examples: what they count, and after a crash too."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fleet.servers import FLEET, PATIENCE, Server
from fleet.shippers import SHIP

pytestmark = [pytest.mark.slow, pytest.mark.heavy]

HOSTS = ("web1", "web2.example")
EXITS = 76  # of the recording


@contextmanager
def consuming(*command: str) -> Iterator[None]:
    """Run an example until the block ends, as a crash would end it."""
    with subprocess.Popen([sys.executable, *command]) as process:
        try:
            yield
        finally:
            process.kill()


def ship(server: Server, *hosts: str) -> None:
    build = str(FLEET.parent / "build.pcap")
    for host in hosts:
        command = [*SHIP, server.url, "--input", build, "--host", host]
        subprocess.run(command, check=True)


def wait_for(fact: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_failed_programs_are_counted_once_over_crashes(
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
    ship(server, *HOSTS)  # while it is away
    with consuming(*command):
        wait_for(lambda: sum(counted().values()) >= 2 * sum(once.values()))
    twice = counted()

    assert set(HOSTS) == {name.partition(" on ")[2] for name in once}
    assert {name: 2 * number for name, number in once.items()} == twice


def test_a_query_finds_each_exit_once_in_the_files_of_its_hour(
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

    ship(server, *HOSTS)
    with consuming(*command):
        wait_for(lambda: has(EXITS * len(HOSTS)))
    (tmp_path / "exits" / "next").unlink()  # as if it had crashed before it knew
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
