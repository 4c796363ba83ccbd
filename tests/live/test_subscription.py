"""Subscriptions, and the errors if the kernel does not acknowledge one."""

import errno
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.blocking import wait_until_blocked
from support.live import DEADLINE, drain, preserve_name, serials_of, set_serials
from support.machine import AS_ORDINARY_USER, KERNEL, requires_capacity, rmem_max
from support.sandbox import NO_ACKNOWLEDGEMENTS, NO_NETLINK, run_sandboxed
from support.sockets import plain_socket, request
from support.strace import IGNORE, LISTEN, Requests
from support.subprocesses import any_user_can_run_python, program, run

from procconn import Comm, Event, EventMask, ProcConnector, Sid

DEFAULT_BUFFER = 33_554_432  # bytes

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="requires root")

NAMESPACES = {
    "network": (("unshare", "--net"), "network namespace", "--net=host"),
    "pid": (("unshare", "--pid", "--fork"), "PID namespace", "--pid=host"),
    "user": (
        ("unshare", "--user", "--map-root-user"),
        "user namespace",
        "--userns=host",
    ),
}
namespaces = pytest.mark.parametrize(
    ("command", "cause", "remedy"), NAMESPACES.values(), ids=NAMESPACES
)

OPEN = """
import json, time
from procconn import ProcConnector
started = time.monotonic()
try:
    ProcConnector()
    error = None
except OSError as caught:
    error = type(caught).__name__, caught.errno, str(caught)
print(json.dumps([error, time.monotonic() - started]))
"""


@pytest.fixture(autouse=True)
def _restore_name() -> Iterator[None]:
    with preserve_name():
        yield


@as_root
@namespaces
def test_error_names_the_namespace_and_the_remedy(
    command: tuple[str, ...], cause: str, remedy: str
) -> None:
    result = run(*command, sys.executable, "-c", OPEN)
    (kind, number, text), seconds = json.loads(result.stdout)

    refused = cause == "user namespace" and KERNEL < (6, 6)  # ignored since 6.6
    assert ("PermissionError" if refused else "UnsupportedError") == kind
    assert number
    assert cause in text
    assert remedy in text
    assert [] == [
        other
        for _, other_cause, other in NAMESPACES.values()
        if other_cause != cause and (other_cause in text or other in text)
    ]
    assert seconds < 5 * 1.0  # the timeout


@as_root
@namespaces
def test_command_prints_namespace_and_remedy_in_one_line(
    command: tuple[str, ...], cause: str, remedy: str
) -> None:
    result = run(*command, sys.executable, "-m", "procconn", "watch", "--count", "1")

    assert (2, "") == (result.returncode, result.stdout)
    assert 1 == len(result.stderr.splitlines())
    assert result.stderr.startswith("procconn: ")
    assert cause in result.stderr
    assert remedy in result.stderr


ORDINARY = """
import json, os, sys, warnings
from procconn import EventMask, ProcConnector
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    size = json.loads(sys.argv[1])
    with ProcConnector(EventMask.EXIT, receive_buffer=size) as connector:
        granted = connector.receive_buffer
        child = os.posix_spawn("/bin/true", ["true"], {})
        received = any(event.pid == child for event in connector)
print(json.dumps([granted, received, [str(warning.message) for warning in caught]]))
"""


as_ordinary_user = pytest.mark.skipif(
    KERNEL < (6, 6) or not any_user_can_run_python(),
    reason="requires a Python that any user can run, and Linux 6.6",
)


@as_ordinary_user
def test_ordinary_user_is_warned_about_a_smaller_receive_buffer() -> None:
    limit = rmem_max()
    result = run(*AS_ORDINARY_USER, sys.executable, "-c", ORDINARY, str(limit + 1))
    granted, received, warned = json.loads(result.stdout)

    assert "" == result.stderr
    assert limit == granted
    assert received
    (text,) = warned
    assert f"is {limit} bytes instead of {limit + 1}" in text
    assert "net.core.rmem_max" in text
    assert "CAP_NET_ADMIN" in text


@as_ordinary_user
def test_ordinary_user_is_not_warned_within_rmem_max() -> None:
    limit = rmem_max()
    result = run(*AS_ORDINARY_USER, sys.executable, "-c", ORDINARY, str(limit))

    assert [limit, True, []] == json.loads(result.stdout)


@as_ordinary_user
@pytest.mark.skipif(
    rmem_max() >= DEFAULT_BUFFER, reason="requires a lower net.core.rmem_max"
)
def test_warning_names_the_default_receive_buffer() -> None:
    result = run(*AS_ORDINARY_USER, sys.executable, "-c", ORDINARY, "null")
    granted, _, warned = json.loads(result.stdout)

    assert rmem_max() == granted
    (text,) = warned
    assert f"is {granted} bytes instead of {DEFAULT_BUFFER}" in text


@as_root
def test_default_receive_buffer_of_root_is_a_64th_of_the_memory() -> None:
    """The size is at least 32 and at most 128 MiB."""
    (total,) = re.findall(r"MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text())
    with ProcConnector() as connector:
        assert connector.receive_buffer == min(
            max(int(total) * 1024 // 64, DEFAULT_BUFFER), 4 * DEFAULT_BUFFER
        )


@as_root
def test_receive_buffer_of_root_may_exceed_rmem_max() -> None:
    size = rmem_max() + 1_000_000
    with ProcConnector(receive_buffer=size) as connector:
        assert size == connector.receive_buffer


def test_acknowledgements_to_other_programs_are_ignored() -> None:
    """Connectors open and read while others send requests as fast as they can."""
    with program("request_loop"), program("request_loop"):
        for _ in range(20):
            with ProcConnector(EventMask.COMM) as connector:
                set_serials(range(5))
                events = drain(connector)

            assert list(range(5)) == serials_of(events)
            assert {Comm} == {type(event) for event in events}


@pytest.mark.parametrize("mask", [EventMask.ALL, EventMask.COMM])
def test_acknowledgements_to_others_are_not_in_raw_buffers(mask: EventMask) -> None:
    with ProcConnector(mask) as connector, plain_socket() as other:
        other.sendto(request(1), (0, 0))
        other.sendto(request(2), (0, 0))
        set_serials(range(1))
        raw = b""
        while part := connector.recv_raw(timeout=0):
            raw += part

    kinds = {raw[at + 36 : at + 40] for at in range(0, len(raw), 76)}
    assert bytes(4) not in kinds


def test_acknowledgements_to_others_do_not_count_as_lost() -> None:
    with (
        ProcConnector(EventMask.NONE, receive_buffer=2304) as connector,
        plain_socket() as other,
    ):
        for _ in range(200):
            other.sendto(request(1), (0, 0))
            other.sendto(request(2), (0, 0))

        assert 0 == connector.lost
        assert [] == drain(connector)


def test_subscription_is_independent_of_other_listeners() -> None:
    with ProcConnector(EventMask.COMM) as connector:
        for serial in range(20):
            with ProcConnector(), plain_socket() as other:
                other.sendto(request(1), (0, 0))
                set_serials(range(serial, serial + 1))
                other.sendto(request(2), (0, 0))
        events = drain(connector)

    assert list(range(20)) == serials_of(events)


def test_unsubscribe_keeps_queued_events_only() -> None:
    with ProcConnector(EventMask.COMM) as connector:
        set_serials(range(3))
        connector.unsubscribe()
        set_serials(range(3, 6))
        connector.unsubscribe()
        events = drain(connector)

    assert [0, 1, 2] == serials_of(events)


def test_subscribe_after_unsubscribe_delivers_later_events() -> None:
    with ProcConnector(EventMask.COMM) as connector:
        connector.unsubscribe()
        set_serials(range(3))
        connector.subscribe()
        set_serials(range(3, 6))
        events = drain(connector)

    assert [3, 4, 5] == serials_of(events)


@pytest.mark.parametrize("method", ["subscribe", "unsubscribe"])
def test_subscribe_is_refused_while_another_thread_reads(method: str) -> None:
    with ProcConnector(EventMask.SID) as connector:
        found: list[Event] = []
        reader = threading.Thread(target=lambda: found.extend(connector.recv_many()))
        reader.start()
        wait_until_blocked(reader)
        with pytest.raises(RuntimeError, match="already reading"):
            getattr(connector, method)()
        subprocess.run(["setsid", "true"], check=True)
        reader.join(DEADLINE)

    assert {Sid} == {type(event) for event in found}


@requires_capacity(20_000)
def test_subscribe_between_reads_of_another_thread_loses_no_event() -> None:
    """Each call may be refused while the other runs."""
    count = 20_000
    own = threading.get_native_id()
    found: list[int] = []

    def read(connector: ProcConnector) -> None:
        while not found or found[-1] != count - 1:
            with suppress(RuntimeError):
                event = connector.recv(timeout=0.001)
                found.extend(serials_of([event] if event else [], own))

    with ProcConnector(EventMask.COMM) as connector:
        reader = threading.Thread(target=read, args=(connector,))
        reader.start()
        for first in range(0, count, 100):
            set_serials(range(first, first + 100))
            with suppress(RuntimeError):
                other = EventMask.SID if first % 200 else EventMask.PTRACE
                connector.subscribe(EventMask.COMM | other)
        reader.join(DEADLINE)

    assert list(range(count)) == found


@as_root
@pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""), reason="ASan requires /proc"
)
def test_error_without_proc_does_not_blame_the_network_namespace() -> None:
    command = f"mount -t tmpfs none /proc; exec {sys.executable} -m procconn watch"
    result = run("unshare", "--mount", "--pid", "--fork", "sh", "-c", command)

    assert 2 == result.returncode
    assert "initial network namespace" not in result.stderr
    assert "mount -t proc" in result.stderr


def test_error_names_a_sandbox_without_netlink() -> None:
    opened = run_sandboxed(NO_NETLINK, "-c", OPEN)
    (kind, number, text), _ = json.loads(opened.stdout)
    diagnosis = run_sandboxed(NO_NETLINK, "-m", "procconn", "doctor")

    assert ("UnsupportedError", errno.EAFNOSUPPORT) == (kind, number)
    assert "sandbox" in text
    assert (1, "") == (diagnosis.returncode, diagnosis.stderr)
    (line,) = (
        line
        for line in diagnosis.stdout.splitlines()
        if line.startswith("subscription")
    )
    assert "AF_NETLINK" in line
    assert "above" not in line


def test_connector_without_acknowledgement_withdraws_every_request() -> None:
    requests = Requests(
        "from procconn import *\n"
        "try: ProcConnector(timeout=0.1)\n"
        "except UnsupportedError: print('timed out')",
        refusal=NO_ACKNOWLEDGEMENTS,
    )

    assert ("timed out\n", "") == (requests.result.stdout, requests.result.stderr)
    assert requests.all_sent.count(LISTEN) == requests.all_sent.count(IGNORE) > 0


@as_root
def test_foreign_acknowledgements_do_not_extend_the_timeout() -> None:
    """In another PID namespace, the connector receives only foreign ones."""
    with program("request_loop"):
        result = run("unshare", "--pid", "--fork", sys.executable, "-c", OPEN)
    (kind, _, _), seconds = json.loads(result.stdout)

    assert "UnsupportedError" == kind
    assert seconds < 5 * 1.0  # the timeout
