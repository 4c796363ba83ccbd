"""Forged datagrams, hostile process names, and malformed datagrams do no harm."""

import errno
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from support.command import unexpected_errors
from support.live import (
    DEADLINE,
    drain,
    events_until,
    preserve_name,
    serials_of,
    set_name,
    set_serials,
)
from support.machine import requires_capacity
from support.sockets import (
    NO_EVENT,
    TOO_LARGE,
    event_socket,
    plain_socket,
    replaced_by_rtnetlink,
)
from support.subprocesses import started

from procconn import (
    Comm,
    Event,
    EventMask,
    Lost,
    ProcConnector,
    decode,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="requires root")

HOSTILE_NAMES = [
    b"\xff\xfe",
    b"line\nbreak",
    b"\x1b[2J\x1b[H",
    b"\r\t\b\x07",
    b"\xc2\x9b31m",
    b'"}\\',
    b"%s%n{0}",
    b"\xf0\x9f\x90\x8d\xf0\x9f",
    b"\xe2\x80\xae",
    b"",
]
LAST_NAME = "last"


@pytest.fixture(autouse=True)
def _restore_name() -> Iterator[None]:
    with preserve_name():
        yield


def forged(pid: int) -> bytes:
    """Build the datagram of a COMM event that did not happen."""
    event = struct.pack("=IIQII16s", 0x200, 0, 1, pid, pid, b"forged")
    connector = struct.pack("=IIIIHH", 1, 1, 0, 0, len(event), 0)
    message = connector + event
    return struct.pack("=IHHII", 16 + len(message), 3, 0, 0, 0) + message


def port_of(connector: ProcConnector) -> int:
    with socket.socket(fileno=os.dup(event_socket(connector))) as same:
        port: int = same.getsockname()[0]
        return port


@as_root
@pytest.mark.parametrize("mask", [EventMask.ALL, EventMask.COMM], ids=str)
@pytest.mark.parametrize("delivery", ["unicast", "multicast"])
def test_forged_datagram_is_dropped(delivery: str, mask: EventMask) -> None:
    ghost = 4_000_000_000
    with (
        ProcConnector(mask) as connector,
        plain_socket(groups=1) as witness,
        plain_socket() as forger,
    ):
        target = (port_of(connector), 0) if delivery == "unicast" else (0, 1)
        set_serials(range(1))
        for _ in range(10):
            forger.sendto(forged(ghost), target)
        set_serials(range(1, 2))
        raw = connector.recv_raw(timeout=0)
        for _ in range(10):
            forger.sendto(forged(ghost), target)
        set_serials(range(2, 3))
        events = decode(raw) + drain(connector)

        if delivery == "multicast":  # the kernel did deliver it
            sender = 0
            while sender == 0:
                datagram, (sender, _) = witness.recvfrom(1000)
            assert forged(ghost) == datagram
        assert 0 == connector.lost

    assert [0, 1, 2] == serials_of(events)
    assert [] == [e for e in events if isinstance(e, Comm) and e.pid == ghost]


@as_root
def test_burst_of_forged_datagrams_does_not_delay_a_timeout() -> None:
    with ProcConnector(EventMask.COMM) as connector, plain_socket() as forger:
        target = (port_of(connector), 0)
        done = threading.Event()
        forger.setblocking(False)

        def send() -> None:
            while not done.is_set():
                try:
                    forger.sendto(forged(1), target)
                except BlockingIOError:
                    time.sleep(0.0001)

        thread = threading.Thread(target=send)
        thread.start()
        connector.recv_many(timeout=0)
        began = time.monotonic()
        connector.subscribe(EventMask.NONE)
        event = connector.recv(timeout=0.3)
        elapsed = time.monotonic() - began
        done.set()
        thread.join(DEADLINE)

    assert event is None
    assert 0.3 <= elapsed < 3


@pytest.mark.parametrize("size", [0, 1, 16, 36, 75, 77, 5000])
@as_root
def test_datagram_of_another_program_is_dropped_at_any_size(size: int) -> None:
    with ProcConnector(EventMask.COMM) as connector, plain_socket() as forger:
        forger.sendto((forged(1) * 100)[:size] or b"\0", (port_of(connector), 0))
        set_serials(range(2))
        events = drain(connector)

        assert 0 == connector.lost

    assert [0, 1] == serials_of(events)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_comm_event_has_any_name(name: bytes) -> None:
    with ProcConnector(EventMask.COMM) as connector:
        drain(connector)
        set_name(name)
        own = threading.get_native_id()
        (event,) = (e for e in drain(connector) if isinstance(e, Comm) and e.pid == own)

    assert name[:15] == event.comm
    assert name[:15] == os.fsencode(event.name)
    assert str(event).startswith(f"COMM pid={own} ")


def printed(*options: str) -> list[str]:
    """Return the lines of `procconn watch` while this thread sets hostile names."""
    command = (sys.executable, "-m", "procconn", "watch", "--events", "comm")
    with started(*command, *options, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        while not select.select([process.stdout], [], [], 0.05)[0]:
            set_name(b"ready?")
        for name in [*HOSTILE_NAMES, LAST_NAME.encode()]:
            set_name(name)
        lines: list[str] = []
        while not lines or f'"{LAST_NAME}"' not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1].endswith("\n")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()

    assert (0, b"") == (process.returncode, unexpected_errors(errors.encode()))
    return [line.removesuffix("\n") for line in lines]


def test_command_prints_one_printable_line_for_each_name() -> None:
    own = str(threading.get_native_id())
    lines = printed()

    assert len(HOSTILE_NAMES) < sum(line.split()[2] == own for line in lines)
    assert [] == [line for line in lines if not line.isprintable()]


def test_command_prints_each_name_as_json() -> None:
    own = threading.get_native_id()
    records = [json.loads(line) for line in printed("--json")]

    names = [
        bytes.fromhex(record["comm"]) for record in records if record["pid"] == own
    ]
    assert [name[:15] for name in HOSTILE_NAMES] == names[-len(HOSTILE_NAMES) - 1 : -1]
    for record in records:
        text = record["name"].encode().hex()
        assert record["comm"] == record.get("name_hex", text)


@requires_capacity(20_000)
def test_reader_receives_a_burst_of_hostile_names() -> None:
    code = (
        "import ctypes, os\n"
        "prctl = ctypes.CDLL(None).prctl\n"
        "for _ in range(20000): prctl(15, os.urandom(15), 0, 0, 0)"
    )
    with (
        ProcConnector(EventMask.COMM | EventMask.EXIT) as connector,
        started(sys.executable, "-c", code) as process,
    ):
        events: list[Event] = events_until(
            connector, lambda e: not isinstance(e, Comm) and e[0] == process.pid
        )

    texts = [str(e) for e in events if isinstance(e, Comm) and e.pid == process.pid]
    assert 20000 == len(texts)


def reply_size(request: bytes) -> int:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.bind((0, 0))
        sock.send(request)
        return len(sock.recv(65536))


malformed = pytest.mark.parametrize(
    "request_", [TOO_LARGE, NO_EVENT], ids=["too large", "no event"]
)


def test_reply_sizes_of_the_malformed_datagrams() -> None:
    assert reply_size(TOO_LARGE) > 256 >= reply_size(NO_EVENT)


@malformed
@pytest.mark.parametrize("mode", ["recv", "recv_many", "recv_raw", "recv_into", "for"])
def test_malformed_datagram_of_the_kernel_is_reported_as_lost(
    mode: str, request_: bytes
) -> None:
    """The Proc Connector sends none, so replies of route netlink stand in for them."""
    with ProcConnector(EventMask.COMM) as connector:
        set_serials(range(3))
        events = drain(connector)
        with replaced_by_rtnetlink(connector) as sock:
            for _ in range(3):
                sock.send(request_)
            if mode == "recv":
                events += [event for event in [connector.recv(DEADLINE)] if event]
            elif mode == "recv_many":
                events += connector.recv_many(DEADLINE)
            elif mode == "recv_raw":
                events += decode(connector.recv_raw(DEADLINE))
            elif mode == "recv_into":
                buffer = bytearray(1000)
                events += decode(buffer[: connector.recv_into(buffer, DEADLINE)])
            else:
                events.append(next(iter(connector)))
        set_serials(range(3, 6))
        events += drain(connector)
        lost = connector.lost

    (index,) = (i for i, event in enumerate(events) if isinstance(event, Lost))
    assert [0, 1, 2] == serials_of(events[:index])
    assert [3, 4, 5] == serials_of(events[index:])
    assert (3, 3) == (events[index].count, lost)


def test_events_left_in_the_socket_are_not_coalesced_again() -> None:
    """With a small buffer, each call leaves events in the socket."""
    with ProcConnector(EventMask.COMM, max_latency=DEADLINE) as connector:
        drain(connector)
        set_serials(range(200))
        began = time.monotonic()
        events: list[Event] = []
        while serials_of(events) != list(range(200)):
            buffer = bytearray(76)
            events += decode(buffer[: connector.recv_into(buffer, DEADLINE / 2)])
            assert time.monotonic() - began < DEADLINE / 4


def test_pending_events_are_delivered_before_an_error() -> None:
    with ProcConnector(EventMask.COMM) as connector:
        set_serials(range(2))
        deadline = time.monotonic() + DEADLINE
        while (event := connector.recv(DEADLINE)) and serials_of([event]) != [0]:
            assert time.monotonic() < deadline
        fd = event_socket(connector)
        own = os.dup(fd)
        with open(os.devnull) as file:
            os.dup2(file.fileno(), fd)
        try:
            pending = connector.recv_many(0)
            with pytest.raises(OSError, match=os.strerror(errno.ENOTSOCK)):
                connector.recv_many(0)
        finally:
            os.dup2(own, fd)
            os.close(own)

        assert [1] == serials_of(pending)
