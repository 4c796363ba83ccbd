"""The messages of a shipper in the stream of a server on the loopback."""

import asyncio
import os
import re
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.json_schema import schema, violations

from fleet.servers import PATIENCE, Server, free_port
from fleet.shippers import KIND, SHIP, STORM, Storm, ship, shipping, stop
from fleet.streams import (
    count,
    delete,
    settings,
    stored,
    wait_for_events,
    wait_for_messages,
)
from procconn.cli.parser import parse
from procconn.ship.shipping import Shipping

pytestmark = [pytest.mark.slow, pytest.mark.heavy]

ROOT = Path(__file__).parents[2]
BUILD = str(ROOT / "examples" / "build.pcap")
WATCH = schema("watch")
SHIPPER = schema("shipper")
OURS = {"host", "kind"}  # fields that tests add


def schema_of(kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = SHIPPER if kind == "shipper" else WATCH
    return schema


def lines(found: Any) -> list[dict[str, Any]]:
    return [{k: v for k, v in it.items() if k not in OURS} for it in found]


def test_this_machines_events_are_in_the_stream_between_start_and_stop(
    server: Server,
) -> None:
    options = ["--argv", "--host", "web1.example", "--events", "fork,exec,exit"]
    with shipping(server.url, *options) as shipper:
        wait_for_messages(server.url, 2)  # it knows what runs by then
        child = subprocess.Popen(["sh", "-c", "true; exit 3", "marked"])
        child.wait()
        errors = stop(shipper)
    found = stored(server.url)

    assert (0, "") == (shipper.returncode, errors)
    assert {"web1_example"} == {it["host"] for it in found.records}
    assert ["started", "stopped"] == [it["event"] for it in found.of("shipper")]
    assert "shipper" == found.records[0]["kind"] == found.records[-1]["kind"]
    exits = [it for it in found.of("exit") if it["pid"] == child.pid]
    assert [3] == [it["returncode"] for it in exits]
    assert ["sh", "-c", "true; exit 3", "marked"] == exits[0]["argv"]
    for record in found.records:
        line = {name: value for name, value in record.items() if name not in OURS}
        assert [] == violations(schema_of(record["kind"]), line)


def test_the_stop_tells_how_many_events_were_shipped(server: Server) -> None:
    subprocess.run([*SHIP, server.url, "--input", BUILD], check=True)
    found = stored(server.url)

    assert [228] == [it["events"] for it in found.of("shipper") if "events" in it]
    assert {"fork": 76, "exec": 76, "exit": 76, "shipper": 2} == found.kinds
    assert {"gzip"} == {it["Content-Encoding"] for it in found.headers}
    assert 228 == sum(int(it["Procconn-Events"]) for it in found.headers)


def test_arguments_are_withheld_unless_asked_for(server: Server) -> None:
    subprocess.run([*SHIP, server.url, "--input", BUILD], check=True)
    found = stored(server.url)

    assert {None} == {it["argv"] for it in (*found.of("exec"), *found.of("exit"))}
    assert {"withheld"} == {it["missing"] for it in found.of("exec")}
    assert "cc1" in {it["name"] for it in found.of("exec")}


def test_the_elastic_common_schema_has_its_own_words(server: Server) -> None:
    command = [*SHIP, server.url, "--input", BUILD, "--format", "ecs", "--argv"]
    subprocess.run(command, check=True)
    found = stored(server.url)
    made = next(it for it in found.of("exec") if it["process"]["name"] == "make")

    assert "make" == made["process"]["args"][0]
    assert ("exec", ["start"]) == (made["event"]["action"], made["event"]["type"])
    assert {"ecs"} == {it["Procconn-Schema"] for it in found.headers}


def test_a_stream_is_made_as_told_and_used_as_it_is(server: Server) -> None:
    options = ["--input", BUILD, "--stream", "events"]
    limits = ["--max-age", "3600", "--max-bytes", "10000000"]
    subprocess.run([*SHIP, server.url, *options, *limits], check=True)
    subprocess.run([*SHIP, server.url, *options], check=True)
    made = settings(server.url, "events")

    assert (3600, 10_000_000) == (made.max_age, made.max_bytes)
    assert ["procconn.>"] == made.subjects
    assert 10 == count(server.url, "events")
    assert 0 == stored(server.url, "events").twice


def test_what_happened_before_the_signal_is_stored(server: Server) -> None:
    found = ship(Storm(), server.url)

    assert STORM == found.kinds[KIND] + found.lost


def test_what_does_not_fit_while_the_server_is_away_is_told_as_lost_in_its_place(
    server: Server,
) -> None:
    """The queue and the kernel's buffer hold less than this storm."""
    storm = Storm(400_000)
    options = [*storm.options, "--queue", "76000"]
    with shipping(server.url, *options) as shipper:
        wait_for_messages(server.url)
        server.kill()
        storm.begin()
        storm.end()
        server.start()
        wait_for_messages(server.url, 2)
        after = Storm(10)
        after.begin()
        after.end()
        wait_for_events(server.url, KIND, 400_000)
        errors = stop(shipper)
    found = stored(server.url)
    ours = found.of(KIND)
    gaps = [at for at, it in enumerate(found.records) if it["kind"] == "lost"]

    assert "events were lost" in errors
    assert gaps
    assert 0 < found.lost
    assert 400_000 <= len(ours) + found.lost
    assert len(ours) == len({it["timestamp_ns"] for it in ours})
    for gap in gaps:
        before = found.records[gap - 1]["timestamp_ns"]
        assert before <= found.records[gap]["timestamp_ns"]


def test_what_was_lost_by_the_end_is_told_though_nobody_was_there() -> None:
    storm = Storm(400_000)
    url = f"nats://127.0.0.1:{free_port()}"
    with shipping(url, *storm.options, "--queue", "76000") as shipper:
        assert shipper.stderr is not None
        shipper.stderr.readline()  # it has subscribed by then
        storm.begin()
        storm.end()
        errors = stop(shipper)

    assert 2 == shipper.returncode
    assert re.search(r"[1-9]\d* events were lost", errors)
    assert "a larger --queue" in errors


def test_a_stream_that_was_deleted_is_made_again(server: Server) -> None:
    storm = Storm(1000)
    with shipping(server.url, *storm.options) as shipper:
        wait_for_messages(server.url)
        delete(server.url)
        storm.begin()
        storm.end()
        wait_for_messages(server.url)
        errors = stop(shipper)
    found = stored(server.url)

    assert 0 == shipper.returncode, errors
    assert 1000 == found.kinds[KIND]
    assert "the stream does not accept procconn.>" in errors
    assert "working again" in errors


@contextmanager
def on_terminal(*options: str) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """Run a shipper on a terminal of its own; bring both of the terminal's sides."""
    leader, terminal = os.openpty()
    with subprocess.Popen([*SHIP, *options], stderr=terminal) as shipper:
        try:
            yield shipper, leader, terminal
        finally:
            shipper.kill()


def test_a_stopped_terminal_keeps_nobody_from_ending_it(server: Server) -> None:
    with on_terminal(server.url, "--events", "exit") as (shipper, leader, terminal):
        wait_for_messages(server.url)
        termios.tcflow(terminal, termios.TCOOFF)
        before = count(server.url)
        server.kill()
        time.sleep(
            3
        )  # the server shows, and the shipper reports, the broken connection
        server.start()
        wait_for_messages(server.url, before + 1)
        shipper.terminate()
        assert 0 == shipper.wait(PATIENCE)
        os.close(leader)
        os.close(terminal)

    assert "stopped" == stored(server.url).records[-1]["event"]


def test_a_terminal_that_goes_away_ends_nothing(server: Server) -> None:
    with on_terminal(server.url, "--events", "exit") as (shipper, leader, terminal):
        os.close(terminal)
        wait_for_messages(server.url)
        os.close(leader)
        time.sleep(3)  # it would show
        assert shipper.poll() is None
        shipper.terminate()
        assert 0 == shipper.wait(PATIENCE)

    assert "stopped" == stored(server.url).records[-1]["event"]


def test_a_killed_shipper_leaves_a_start_without_a_stop(server: Server) -> None:
    for number in (signal.SIGKILL, signal.SIGTERM):
        before = max(count(server.url), 0)
        with shipping(server.url, "--events", "exit") as shipper:
            wait_for_messages(server.url, before + 2)
            stop(shipper, number)
    events = [it["event"] for it in stored(server.url).of("shipper")]

    assert ["started", "started", "stopped"] == events


def test_events_wait_for_a_server_that_is_away_at_the_start(server: Server) -> None:
    server.kill()
    storm = Storm(1000)
    with shipping(server.url, *storm.options) as shipper:
        assert shipper.stderr is not None
        assert "connection refused; events are queued" in shipper.stderr.readline()
        storm.begin()
        storm.end()
        server.start()
        assert "working again" in shipper.stderr.readline()
        assert "" == stop(shipper)

    assert 0 == shipper.returncode
    assert 1000 == stored(server.url).kinds[KIND]


def test_a_shipper_without_its_server_ends_within_its_time_and_says_so(
    server: Server,
) -> None:
    with shipping(server.url, "--events", "exit") as shipper:
        wait_for_messages(server.url)
        server.kill()
        began = time.monotonic()
        errors = stop(shipper)

    assert 2 == shipper.returncode
    assert "could not be stored in time" in errors
    assert time.monotonic() - began < PATIENCE / 2


def test_blocked_input_does_not_hide_that_events_are_not_stored() -> None:
    """The thread that reads a pipe does not end before its writer."""
    url = f"nats://127.0.0.1:{free_port()}"
    reading, writing = os.pipe()
    with open(reading, "rb") as pipe, open(writing, "wb", buffering=0) as source:
        source.write(Path(BUILD).read_bytes())
        command = [*SHIP, url, "--input", "-"]
        with subprocess.Popen(
            command, stdin=pipe, stderr=subprocess.PIPE, text=True
        ) as shipper:
            assert shipper.stderr is not None
            assert "connection refused" in shipper.stderr.readline()
            errors = stop(shipper)

    assert 2 == shipper.returncode
    assert "could not be stored in time" in errors


class NoSignals:
    """`procconn.pipeline.stop.Signals` of a process that receives none."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    @contextmanager
    def delegated(self, abandon: object) -> Iterator[int]:
        """Yield a descriptor that never becomes readable."""
        del abandon
        yield self.reading


def test_failed_shipping_leaves_no_reader_of_signals() -> None:
    signals = NoSignals()
    options = parse(["ship", f"nats://127.0.0.1:{free_port()}", "--input", BUILD])

    async def is_left() -> bool:
        shipping = asyncio.create_task(Shipping(options).run(signals))
        await asyncio.sleep(0.1)
        shipping.cancel()
        await asyncio.wait((shipping,))
        return asyncio.get_running_loop().remove_reader(signals.reading)

    assert not asyncio.run(is_left())
    os.close(signals.reading)
    os.close(signals.writing)


def test_a_terminal_shows_what_is_shipped_and_waits(server: Server) -> None:
    leader, terminal = os.openpty()
    command = [*SHIP, server.url, "--events", "exit"]
    with subprocess.Popen(command, stderr=terminal) as shipper:
        os.close(terminal)
        shown = b""
        while not re.search(rb"\r[1-9]\d* events shipped, \d+ waiting, 0 lost", shown):
            subprocess.run(["true"], check=True)
            shown += os.read(leader, 4096)
        server.kill()
        while not re.search(
            rb"[1-9]\d* waiting", shown.partition(b"events are queued")[2]
        ):
            subprocess.run(["true"], check=True)
            shown += os.read(leader, 4096)
        shipper.kill()
    os.close(leader)

    assert b"connection lost; events are queued" in shown
