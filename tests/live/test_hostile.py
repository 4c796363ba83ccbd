"""What others send or call themselves harms nobody."""

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

from live.staging import (
    DEADLINE,
    events_until,
    name_kept,
    plain_socket,
    rest_of,
    serials_of,
    set_name,
    set_serials,
    started,
)
from procconn import (
    Comm,
    Event,
    EventMask,
    ProcConnector,
    decode,
)
from procconn._core import ffi, lib

RTM_GETLINK, REQUEST = 18, 1  # linux/rtnetlink.h, linux/netlink.h

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")

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
def _own_name() -> Iterator[None]:
    with name_kept():
        yield


def forged(pid: int) -> bytes:
    """Make the datagram of a COMM event that did not happen."""
    event = struct.pack("=IIQII16s", 0x200, 0, 1, pid, pid, b"forged")
    connector = struct.pack("=IIIIHH", 1, 1, 0, 0, len(event), 0)
    message = connector + event
    return struct.pack("=IHHII", 16 + len(message), 3, 0, 0, 0) + message


def port_of(connector: ProcConnector) -> int:
    with socket.socket(fileno=os.dup(connector.fileno())) as same:
        port: int = same.getsockname()[0]
        return port


@as_root
@pytest.mark.parametrize("mask", [EventMask.ALL, EventMask.COMM], ids=str)
@pytest.mark.parametrize("way", ["unicast", "multicast"])
def test_a_forged_datagram_never_appears(way: str, mask: EventMask) -> None:
    ghost = 4_000_000_000
    with (
        ProcConnector(mask) as connector,
        plain_socket(groups=1) as witness,
        plain_socket() as forger,
    ):
        target = (port_of(connector), 0) if way == "unicast" else (0, 1)
        set_serials(range(1))
        for _ in range(10):
            forger.sendto(forged(ghost), target)
        set_serials(range(1, 2))
        raw = connector.recv_raw(timeout=0)
        for _ in range(10):
            forger.sendto(forged(ghost), target)
        set_serials(range(2, 3))
        events = decode(raw) + rest_of(connector)

        if way == "multicast":  # it did go out
            sender = 0
            while sender == 0:
                datagram, (sender, _) = witness.recvfrom(1000)
            assert forged(ghost) == datagram
        assert 0 == connector.lost

    assert [0, 1, 2] == serials_of(events)
    assert [] == [e for e in events if isinstance(e, Comm) and e.pid == ghost]


@as_root
def test_a_flood_of_forged_datagrams_does_not_keep_a_reader_from_its_deadline() -> None:
    with ProcConnector(EventMask.COMM) as connector, plain_socket() as forger:
        target = (port_of(connector), 0)
        done = threading.Event()
        forger.setblocking(False)

        def flood() -> None:
            while not done.is_set():
                try:
                    forger.sendto(forged(1), target)
                except BlockingIOError:
                    time.sleep(0.0001)

        thread = threading.Thread(target=flood)
        thread.start()
        connector.recv_many(timeout=0)
        begun = time.monotonic()
        connector.subscribe(EventMask.SID)
        event = connector.recv(timeout=0.3)
        elapsed = time.monotonic() - begun
        done.set()
        thread.join(DEADLINE)

    assert event is None
    assert 0.3 <= elapsed < 3


@pytest.mark.parametrize("size", [0, 1, 16, 36, 75, 77, 5000])
@as_root
def test_datagrams_of_any_size_from_others_are_thrown_away(size: int) -> None:
    with ProcConnector(EventMask.COMM) as connector, plain_socket() as forger:
        forger.sendto((forged(1) * 100)[:size] or b"\0", (port_of(connector), 0))
        set_serials(range(2))
        events = rest_of(connector)

        assert 0 == connector.lost

    assert [0, 1] == serials_of(events)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_any_name_is_an_event_like_others(name: bytes) -> None:
    with ProcConnector(EventMask.COMM) as connector:
        rest_of(connector)
        set_name(name)
        own = threading.get_native_id()
        (event,) = (
            e for e in rest_of(connector) if isinstance(e, Comm) and e.pid == own
        )

    assert name[:15] == event.comm
    assert name[:15] == os.fsencode(event.name)
    assert str(event).startswith(f"COMM pid={own} ")


def printed(*options: str) -> list[str]:
    """Tell what `procconn watch` prints while this thread takes hostile names."""
    command = (sys.executable, "-m", "procconn", "watch", "--events", "comm")
    with started(*command, *options, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        while not select.select([process.stdout], [], [], 0.05)[0]:
            set_name(b"ready?")
        for name in [*HOSTILE_NAMES, LAST_NAME.encode()]:
            set_name(name)
        lines = []
        while not lines or f'"{LAST_NAME}"' not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1].endswith("\n")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()

    assert (0, "") == (process.returncode, errors)
    return [line.removesuffix("\n") for line in lines]


def test_the_command_prints_one_printable_line_for_each_name() -> None:
    own = str(threading.get_native_id())
    lines = printed()

    assert len(HOSTILE_NAMES) < sum(line.split()[2] == own for line in lines)
    assert [] == [line for line in lines if not line.isprintable()]


def test_the_command_prints_each_name_as_json() -> None:
    own = threading.get_native_id()
    records = [json.loads(line) for line in printed("--json")]

    names = [
        bytes.fromhex(record["comm"]) for record in records if record["pid"] == own
    ]
    assert [name[:15] for name in HOSTILE_NAMES] == names[-len(HOSTILE_NAMES) - 1 : -1]
    for record in records:
        assert record["comm"] == os.fsencode(record["name"]).hex()


def test_a_reader_in_a_storm_of_hostile_names_goes_on() -> None:
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


def test_a_datagram_of_the_kernel_that_is_too_large_counts_as_damaged() -> None:
    """No event is, so this asks about a network interface, which takes more."""
    request = struct.pack("=IHHIIBxHiII", 32, RTM_GETLINK, REQUEST, 1, 0, 0, 0, 1, 0, 0)
    buffer = ffi.new("uint8_t[]", 4096)
    received = ffi.new("struct procconn_received *")
    wake = os.eventfd(0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.bind((0, 0))
        sock.send(request)
        assert len(sock.recv(4096, socket.MSG_PEEK)) > 256
        status = lib.procconn_receive(sock.fileno(), wake, 0, 0, buffer, 4096, received)
    os.close(wake)

    assert (0, 0, 1) == (status, received.size, received.damaged)


def test_a_drain_says_whether_it_emptied_the_socket() -> None:
    with ProcConnector(EventMask.COMM) as connector:
        set_serials(range(200))
        connector._source.drain(0, 4096)
        assert 0 == connector._source.received.emptied_ns
        connector.recv_raw(0)
        rest_of(connector)

        assert 0 < connector._source.received.emptied_ns
