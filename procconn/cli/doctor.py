"""`procconn doctor`: check whether process events are available, and why not."""

import argparse
import os
import platform
import re
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from procconn._core import ffi, lib
from procconn.cli.output import Output
from procconn.cli.shutdown import Shutdown
from procconn.connector import ProcConnector
from procconn.diagnosis import (
    MIN_RECEIVE_BUFFER,
    conditions,
    explain_no_usage,
    explain_normal_priority,
    kernel_is_at_least,
)
from procconn.errors import UnsupportedError
from procconn.events import Comm, EventMask, Exit
from procconn.pipeline.formats import format_duration, user_name
from procconn.pipeline.json_text import line

_CAP_NET_ADMIN, _CAP_SYS_PTRACE = 12, 19  # linux/capability.h
VERSION = 1  # of docs/doctor.schema.json
_PATIENCE = 2.0  # seconds to wait for events that should arrive at once
_OK, _LIMITED, _PROBLEM, _UNKNOWN = "ok", "limited", "problem", "unknown"
_WITHOUT_PROC = "not visible in /proc"
_IN_NAMESPACE = "visible only in the initial network namespace"


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        subject: what was checked.
        state: "ok"; "limited" if events arrive, but parts of them will be missing;
            "problem"; "unknown" if it cannot be checked here.
        text: the result.
        remedy: what to do, or None.
    """

    subject: str
    state: str
    text: str
    remedy: str | None = None


def run(options: argparse.Namespace, _: Shutdown) -> int:
    """Print the report; return 1 if there is a problem."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each has its line in the report
        findings = list(examine())
    ok = all(finding.state != _PROBLEM for finding in findings)
    if options.json:
        found = [finding._asdict() for finding in findings]
        text = line({"version": VERSION, "ok": ok, "findings": found}, indent=2)
    else:
        text = "".join(map(_line, findings))
    Output().write(text)
    return 0 if ok else 1


def examine() -> Iterator[Finding]:
    """Check all conditions for process events, also with a test subscription."""
    yield Finding("kernel", _OK, f"{platform.system()} {platform.release()}")
    broken: set[str] = set()
    has_proc = Path("/proc/self/ns").exists()
    for it in conditions():
        if it.holds:
            yield Finding(it.subject, _OK, "as needed")
        elif it.holds is None:
            why = _IN_NAMESPACE if has_proc and broken else _WITHOUT_PROC
            yield Finding(it.subject, _UNKNOWN, why)
        else:
            broken.add(it.subject)
            yield Finding(it.subject, _PROBLEM, it.cause, it.remedy)
    privilege = _privilege(is_initial="user namespace" not in broken)
    yield privilege
    try:
        yield from _test_subscription()
    except OSError as error:
        text = "the kernel does not respond" if broken else str(error.strerror or error)
        if not broken and privilege.state != _PROBLEM:  # nothing above explains it
            text, _, remedy = text.partition("; ")
        else:
            remedy = "solve the problems above"
        remedy = remedy or "report this to the project"
        yield Finding("subscription", _PROBLEM, text, remedy)
    else:
        yield _usage()
    yield _other_listeners(is_initial="network namespace" not in broken)


def _privilege(*, is_initial: bool) -> Finding:
    """Check the capability, which must be one of the initial user namespace."""
    has = _has_capability(_CAP_NET_ADMIN) if is_initial else False
    if has:
        return Finding("privilege", _OK, "CAP_NET_ADMIN")
    is_required = not kernel_is_at_least(6, 6)
    if has is None:
        hint = "; before Linux 6.6, CAP_NET_ADMIN is required" if is_required else ""
        return Finding("privilege", _UNKNOWN, _WITHOUT_PROC + hint)
    if is_required:
        return Finding(
            "privilege",
            _PROBLEM,
            "no CAP_NET_ADMIN, which is required before Linux 6.6",
            "run as root, or grant the capability",
        )
    return Finding("privilege", _OK, "none; none is required since Linux 6.6")


def _test_subscription() -> Iterator[Finding]:
    """Subscribe, cause an event, and check that it is received."""
    began = time.perf_counter()
    with ProcConnector(timeout=_PATIENCE) as connector:
        took = time.perf_counter() - began
        yield Finding(
            "subscription",
            _OK,
            f"acknowledged by the kernel within {format_duration(took)}",
        )
        yield _receive_buffer(connector)
        yield _drop_count(connector)
        lib.procconn_rename_thread()
        is_received = _await(connector, Comm)
    if is_received:
        yield Finding("events", _OK, "test event received")
    else:
        yield Finding(
            "events",
            _PROBLEM,
            "test event not received",
            "another program may have ended the subscription: use a heartbeat",
        )
    yield _filter()
    yield _programs()


def _receive_buffer(connector: ProcConnector) -> Finding:
    limit = _read("/proc/sys/net/core/rmem_max").strip() or "unknown"
    got = connector.receive_buffer
    text = f"{got} bytes, for {got // 416} events; net.core.rmem_max is {limit}"
    if got >= MIN_RECEIVE_BUFFER:
        return Finding("receive buffer", _OK, text)
    return Finding(
        "receive buffer",
        _PROBLEM,
        f"{text}; bursts may overflow it",
        f"sysctl net.core.rmem_max={MIN_RECEIVE_BUFFER}, or grant CAP_NET_ADMIN",
    )


def _drop_count(connector: ProcConnector) -> Finding:
    if connector._stream.view.counts_drops:
        return Finding("drop count", _OK, "exact")
    return Finding(
        "drop count",
        _PROBLEM,
        "this kernel does not count dropped messages",
        "use Linux 4.12 or newer",
    )


def _filter() -> Finding:
    """Cause an event that is filtered out, then one that is not."""
    with ProcConnector(EventMask.EXIT) as connector:
        lib.procconn_rename_thread()
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        unwanted = False
        deadline = time.monotonic() + _PATIENCE
        while (left := deadline - time.monotonic()) > 0:
            for event in connector.recv_many(left):
                unwanted = unwanted or not isinstance(event, Exit)
                if isinstance(event, Exit) and event.pid == thread.native_id:
                    if not unwanted:
                        return Finding("filters", _OK, "applied by the kernel")
                    break
    return Finding(
        "filters",
        _PROBLEM,
        "not applied by the kernel" if unwanted else "test event not received",
        "report this kernel to the project",
    )


def _programs() -> Finding:
    """Check the priority and the privilege with which programs are read."""
    try:
        with ProcConnector(EventMask.EXEC, programs=True) as connector:
            reason = explain_normal_priority(connector._stream.view.realtime)
    except UnsupportedError as error:
        text, _, remedy = str(error.strerror).partition("; ")
        return Finding("programs", _PROBLEM, text, remedy)
    state = _LIMITED if reason else _OK
    text = f"read {'at normal' if reason else 'at real-time'} priority"
    text += f" as {user_name(os.geteuid())}"
    if not (sees_all := _has_capability(_CAP_SYS_PTRACE)):
        text += "; exe and cwd of other users' processes require CAP_SYS_PTRACE"
        state = _UNKNOWN if sees_all is None and not reason else _LIMITED
    return Finding("programs", state, text, reason or None)


def _usage() -> Finding:
    """Check the registration for taskstats, which only resource usage needs."""
    error = ffi.new("int *")
    usage = lib.procconn_usage_open(0, error)
    lib.procconn_usage_close(usage)
    if not error[0]:
        return Finding("usage", _OK, "as needed")
    text, _, remedy = explain_no_usage(-error[0]).partition(": ")
    return Finding("usage", _LIMITED, text, remedy)


def _other_listeners(*, is_initial: bool) -> Finding:
    """Count the sockets in the multicast group. This process has closed its own."""
    # A /proc mounted with subset=pid lacks /proc/net.
    table = _read("/proc/self/net/netlink") if is_initial else ""
    if not table:
        why = _WITHOUT_PROC if is_initial else _IN_NAMESPACE
        return Finding("other listeners", _UNKNOWN, why)
    count = 0
    for row in table.splitlines()[1:]:
        _, protocol, _, groups, *_ = row.split()
        count += int(protocol) == lib.CONNECTOR_PROTOCOL and bool(
            int(groups, 16) & lib.CONNECTOR_GROUP
        )
    return Finding("other listeners", _OK, str(count) if count else "none")


def _await(connector: ProcConnector, kind: type[Comm]) -> bool:
    """Wait for an event of this thread; return whether it arrived."""
    deadline = time.monotonic() + _PATIENCE
    while (left := deadline - time.monotonic()) > 0:
        event = connector.recv(left)
        if isinstance(event, kind) and event.pid == threading.get_native_id():
            return True
    return False


def _has_capability(number: int) -> bool | None:
    """Return whether a capability is effective; None without /proc."""
    match = re.search(r"^CapEff:\s*(\w+)", _read("/proc/self/status"), re.MULTILINE)
    return bool(int(match[1], 16) & 1 << number) if match else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _line(finding: Finding) -> str:
    line = f"{finding.subject:<21} {finding.state:<8} {finding.text}"
    return line + (f": {finding.remedy}\n" if finding.remedy else "\n")
