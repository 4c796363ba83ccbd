"""`procconn ship` with a server on the loopback interface."""

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
from fleet.shippers import BURST, KIND, SHIP, Burst, ship, shipping, stop
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
ADDED = {"host", "kind"}  # fields that `stored` adds


def schema_of(kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = SHIPPER if kind == "shipper" else WATCH
    return schema


def lines(found: Any) -> list[dict[str, Any]]:
    return [{k: v for k, v in it.items() if k not in ADDED} for it in found]


def test_live_events_are_stored_between_started_and_stopped(
    server: Server,
) -> None:
    options = ["--argv", "--host", "web1.example", "--events", "fork,exec,exit"]
    with shipping(server.url, *options) as shipper:
        wait_for_messages(server.url, 2)  # the snapshot of /proc is complete
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
        line = {name: value for name, value in record.items() if name not in ADDED}
        assert [] == violations(schema_of(record["kind"]), line)


def test_stopped_message_has_the_number_of_events(server: Server) -> None:
    subprocess.run([*SHIP, server.url, "--input", BUILD], check=True)
    found = stored(server.url)

    assert [228] == [it["events"] for it in found.of("shipper") if "events" in it]
    assert {"fork": 76, "exec": 76, "exit": 76, "shipper": 2} == found.kinds
    assert {"gzip"} == {it["Content-Encoding"] for it in found.headers}
    assert 228 == sum(int(it["Procconn-Events"]) for it in found.headers)


def test_arguments_are_withheld_by_default(server: Server) -> None:
    subprocess.run([*SHIP, server.url, "--input", BUILD], check=True)
    found = stored(server.url)

    assert {None} == {it["argv"] for it in (*found.of("exec"), *found.of("exit"))}
    assert {"withheld"} == {it["missing"] for it in found.of("exec")}
    assert "cc1" in {it["name"] for it in found.of("exec")}


def test_ecs_format_uses_ecs_field_names(server: Server) -> None:
    command = [*SHIP, server.url, "--input", BUILD, "--format", "ecs", "--argv"]
    subprocess.run(command, check=True)
    found = stored(server.url)
    made = next(it for it in found.of("exec") if it["process"]["name"] == "make")

    assert "make" == made["process"]["args"][0]
    assert ("exec", ["start"]) == (made["event"]["action"], made["event"]["type"])
    assert {"ecs"} == {it["Procconn-Schema"] for it in found.headers}


def test_stream_is_created_with_the_options_and_reused_unchanged(
    server: Server,
) -> None:
    options = ["--input", BUILD, "--stream", "events"]
    limits = ["--max-age", "3600", "--max-bytes", "10000000"]
    subprocess.run([*SHIP, server.url, *options, *limits], check=True)
    subprocess.run([*SHIP, server.url, *options], check=True)
    made = settings(server.url, "events")

    assert (3600, 10_000_000) == (made.max_age, made.max_bytes)
    assert ["procconn.>"] == made.subjects
    assert 10 == count(server.url, "events")
    assert 0 == stored(server.url, "events").duplicates


def test_events_before_the_signal_are_stored(server: Server) -> None:
    found = ship(Burst(), server.url)

    assert BURST == found.kinds[KIND] + found.lost


def test_overrun_while_server_is_down_is_reported_at_its_position(
    server: Server,
) -> None:
    """The queue and the receive buffer are smaller than the burst."""
    burst = Burst(400_000)
    options = [*burst.options, "--queue", "76000"]
    with shipping(server.url, *options) as shipper:
        wait_for_messages(server.url)
        server.kill()
        burst.start()
        burst.wait()
        server.start()
        wait_for_messages(server.url, 2)
        after = Burst(10)
        after.start()
        after.wait()
        wait_for_events(server.url, KIND, 400_000)
        errors = stop(shipper)
    found = stored(server.url)
    ours = found.of(KIND)
    overruns = [at for at, it in enumerate(found.records) if it["kind"] == "lost"]

    assert "events were lost" in errors
    assert overruns
    assert 0 < found.lost
    assert 400_000 <= len(ours) + found.lost
    assert len(ours) == len({it["timestamp_ns"] for it in ours})
    for at in overruns:
        before = found.records[at - 1]["timestamp_ns"]
        assert before <= found.records[at]["timestamp_ns"]


def test_losses_are_reported_on_stderr_without_a_server() -> None:
    burst = Burst(400_000)
    url = f"nats://127.0.0.1:{free_port()}"
    with shipping(url, *burst.options, "--queue", "76000") as shipper:
        assert shipper.stderr is not None
        shipper.stderr.readline()  # printed after the subscription
        burst.start()
        burst.wait()
        errors = stop(shipper)

    assert 2 == shipper.returncode
    assert re.search(r"[1-9]\d* events were lost", errors)
    assert "a larger --queue" in errors


def test_deleted_stream_is_recreated(server: Server) -> None:
    burst = Burst(1000)
    with shipping(server.url, *burst.options) as shipper:
        wait_for_messages(server.url)
        delete(server.url)
        burst.start()
        burst.wait()
        wait_for_messages(server.url)
        errors = stop(shipper)
    found = stored(server.url)

    assert 0 == shipper.returncode, errors
    assert 1000 == found.kinds[KIND]
    assert "the stream does not accept procconn.>" in errors
    assert "recovered; queued events are being delivered" in errors


@contextmanager
def on_terminal(*options: str) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """Run `procconn ship` on a new terminal; yield it and both ends of the terminal."""
    leader, terminal = os.openpty()
    with subprocess.Popen([*SHIP, *options], stderr=terminal) as shipper:
        try:
            yield shipper, leader, terminal
        finally:
            shipper.kill()


def test_stopped_terminal_does_not_block_shutdown(server: Server) -> None:
    with on_terminal(server.url, "--events", "exit") as (shipper, leader, terminal):
        wait_for_messages(server.url)
        termios.tcflow(terminal, termios.TCOOFF)
        before = count(server.url)
        server.kill()
        time.sleep(3)  # until the lost connection is reported
        server.start()
        wait_for_messages(server.url, before + 1)
        shipper.terminate()
        assert 0 == shipper.wait(PATIENCE)
        os.close(leader)
        os.close(terminal)

    assert "stopped" == stored(server.url).records[-1]["event"]


def test_closed_terminal_does_not_end_the_shipper(server: Server) -> None:
    with on_terminal(server.url, "--events", "exit") as (shipper, leader, terminal):
        os.close(terminal)
        wait_for_messages(server.url)
        os.close(leader)
        time.sleep(3)  # writes fail meanwhile
        assert shipper.poll() is None
        shipper.terminate()
        assert 0 == shipper.wait(PATIENCE)

    assert "stopped" == stored(server.url).records[-1]["event"]


def test_killed_shipper_leaves_started_without_stopped(server: Server) -> None:
    for number in (signal.SIGKILL, signal.SIGTERM):
        before = max(count(server.url), 0)
        with shipping(server.url, "--events", "exit") as shipper:
            wait_for_messages(server.url, before + 2)
            stop(shipper, number)
    events = [it["event"] for it in stored(server.url).of("shipper")]

    assert ["started", "started", "stopped"] == events


def test_events_are_queued_until_the_server_starts(server: Server) -> None:
    server.kill()
    burst = Burst(1000)
    with shipping(server.url, *burst.options) as shipper:
        assert shipper.stderr is not None
        assert "connection refused; events are queued" in shipper.stderr.readline()
        burst.start()
        burst.wait()
        server.start()
        assert (
            "recovered; queued events are being delivered" in shipper.stderr.readline()
        )
        assert "" == stop(shipper)

    assert 0 == shipper.returncode
    assert 1000 == stored(server.url).kinds[KIND]


def test_shipper_without_server_ends_in_time_with_an_error(
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


def test_blocked_input_does_not_hide_unstored_events() -> None:
    """The thread that reads a pipe ends only after the writer closes it."""
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
        self.are_delegated = asyncio.Event()

    @contextmanager
    def delegated(self, abandon: object) -> Iterator[int]:
        """Yield a descriptor that never becomes readable."""
        del abandon
        self.are_delegated.set()
        yield self.reading


def test_failed_shipping_leaves_no_reader_of_signals() -> None:
    signals = NoSignals()
    options = parse(["ship", f"nats://127.0.0.1:{free_port()}", "--input", BUILD])

    async def is_left() -> bool:
        shipping = asyncio.create_task(Shipping(options).run(signals))
        await asyncio.wait_for(signals.are_delegated.wait(), PATIENCE)
        shipping.cancel()
        await asyncio.wait((shipping,))
        return asyncio.get_running_loop().remove_reader(signals.reading)

    assert not asyncio.run(is_left())
    os.close(signals.reading)
    os.close(signals.writing)


def test_terminal_shows_shipped_and_waiting_events(server: Server) -> None:
    leader, terminal = os.openpty()
    command = [*SHIP, server.url, "--events", "exit"]
    shown = b""

    def read_until(pattern: bytes, start: bytes = b"") -> None:
        nonlocal shown
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, shown.partition(start)[2] if start else shown):
            assert time.monotonic() < deadline, shown
            subprocess.run(["true"], check=True)
            shown += os.read(leader, 4096)

    with subprocess.Popen(command, stderr=terminal) as shipper:
        os.close(terminal)
        try:
            read_until(rb"\r[1-9][\d,]* events shipped, [\d,]+ waiting, 0 lost")
            server.kill()
            read_until(rb"[1-9][\d,]* waiting", start=b"events are queued")
        finally:
            shipper.kill()
    os.close(leader)

    assert b"connection lost; events are queued" in shown
