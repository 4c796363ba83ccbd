"""`procconn doctor`: can process events be had here, and if not, why not?"""

import argparse
import json
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
from procconn.cli.lines import user_name
from procconn.cli.output import Output
from procconn.connector import ProcConnector
from procconn.environment import (
    ROOM_FOR_BURSTS,
    conditions,
    is_kernel,
    why_no_usage,
    why_not_realtime,
)
from procconn.errors import UnsupportedError
from procconn.events import Comm, EventMask, Exit

_CAP_NET_ADMIN, _CAP_SYS_PTRACE = 12, 19  # linux/capability.h
_UNKNOWN = "unknown"
_UNKNOWN_WITHOUT_PROC = "unknown without /proc"
_PATIENCE = 2.0  # seconds for what should come at once


class Finding(NamedTuple):
    """One line of the report; what has a remedy is a problem."""

    subject: str
    text: str
    remedy: str | None = None


def run(options: argparse.Namespace) -> int:
    """Print the report; return 1 if there is a problem."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # each has its line in the report
        findings = list(examine())
    well = all(finding.remedy is None for finding in findings)
    if options.json:
        report = {
            "ok": well,
            "findings": [
                {"ok": finding.remedy is None, **finding._asdict()}
                for finding in findings
            ],
        }
        text = json.dumps(report, indent=2) + "\n"
    else:
        text = "".join(map(_line, findings))
    Output().write(text)
    return 0 if well else 1


def examine() -> Iterator[Finding]:
    """Look at everything that process events depend on."""
    yield Finding("kernel", f"{platform.system()} {platform.release()}")
    broken = set()
    shows = Path("/proc/self/ns").exists()
    for it in conditions():
        if it.holds:
            yield Finding(it.subject, "as needed" if shows else _UNKNOWN_WITHOUT_PROC)
        else:
            broken.add(it.subject)
            yield Finding(it.subject, it.cause, it.remedy)
    privilege = _privilege(counts="user namespace" not in broken)
    yield privilege
    try:
        yield from _trial()
    except OSError as error:
        text = "the kernel is silent" if broken else str(error.strerror or error)
        if not broken and privilege.remedy is None:  # nothing above explains it
            text, _, remedy = text.partition("; ")
        else:
            remedy = "solve the problems above"
        yield Finding("subscription", text, remedy or "report this to the project")
    else:
        yield _usage()
    yield _other_listeners(show="network namespace" not in broken)


def _privilege(*, counts: bool) -> Finding:
    """Look at the capability; one of another user namespace does not count."""
    has = _has_capability(_CAP_NET_ADMIN) if counts else False
    if has:
        return Finding("privilege", "CAP_NET_ADMIN")
    held = _UNKNOWN_WITHOUT_PROC if has is None else "none"
    if is_kernel(6, 6):
        return Finding("privilege", f"{held}, and none is needed from Linux 6.6 on")
    text = f"{held}, and before Linux 6.6 CAP_NET_ADMIN is needed"
    if has is None:
        return Finding("privilege", text)
    return Finding("privilege", text, "run as root, or grant the capability")


def _trial() -> Iterator[Finding]:
    """Subscribe, cause events, and see what comes."""
    began = time.perf_counter()
    with ProcConnector(timeout=_PATIENCE) as connector:
        took = time.perf_counter() - began
        yield Finding("subscription", f"the kernel answered within {took * 1e3:.2f} ms")
        yield _receive_buffer(connector)
        yield _drop_count(connector)
        lib.procconn_rename_thread()
        came = _await(connector, Comm)
    if came:
        yield Finding("events", "one that was caused here came")
    else:
        yield Finding(
            "events",
            "one that was caused here did not come",
            "another program may have ended the subscription: use a heartbeat",
        )
    yield _filter()
    yield _programs()


def _receive_buffer(connector: ProcConnector) -> Finding:
    limit = _read("/proc/sys/net/core/rmem_max").strip() or _UNKNOWN
    got = connector.receive_buffer
    text = f"{got} bytes, for {got // 416} events; net.core.rmem_max is {limit}"
    if got >= ROOM_FOR_BURSTS:
        return Finding("receive buffer", text)
    return Finding(
        "receive buffer",
        f"{text}; bursts may overflow it",
        f"sysctl net.core.rmem_max={ROOM_FOR_BURSTS}, or grant CAP_NET_ADMIN",
    )


def _drop_count(connector: ProcConnector) -> Finding:
    if connector._stream.window.counts_drops:
        return Finding("drop count", "exact")
    return Finding(
        "drop count",
        "this kernel does not count what it drops",
        "use Linux 4.12 or newer",
    )


def _filter() -> Finding:
    """Let an event happen that is masked out, then one that is not."""
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
                        return Finding("filters", "the kernel applies them")
                    break
    return Finding(
        "filters",
        "the kernel does not apply them" if unwanted else "nothing came through one",
        "report this kernel to the project",
    )


def _programs() -> Finding:
    """See how programs would be read; that some may be missed is no problem."""
    try:
        with ProcConnector(EventMask.EXEC, programs=True) as connector:
            reason = why_not_realtime(connector._stream.window.realtime)
    except UnsupportedError as error:
        text, _, remedy = str(error.strerror).partition("; ")
        return Finding("programs", text, remedy)
    text = f"read {'at normal' if reason else 'at real-time'} priority"
    text += f" as {user_name(os.geteuid())}"
    if not _has_capability(_CAP_SYS_PTRACE):
        text += ", so exe and cwd of others' processes only with CAP_SYS_PTRACE"
    return Finding("programs", f"{text}; {reason}" if reason else text)


def _usage() -> Finding:
    """Register for what tasks have used; events can be had without."""
    error = ffi.new("int *")
    usage = lib.procconn_usage_open(0, error)
    lib.procconn_usage_close(usage)
    return Finding("usage", why_no_usage(-error[0]) if error[0] else "as needed")


def _other_listeners(*, show: bool) -> Finding:
    """Count the sockets in the group; this process has none open by now."""
    # Not /proc/net, which a /proc mounted with subset=pid does not have.
    table = _read("/proc/self/net/netlink") if show else ""
    if not table:
        return Finding("other listeners", f"{_UNKNOWN}: /proc does not show them here")
    count = 0
    for row in table.splitlines()[1:]:
        _, protocol, _, groups, *_ = row.split()
        count += int(protocol) == lib.CONNECTOR_PROTOCOL and bool(
            int(groups, 16) & lib.CONNECTOR_GROUP
        )
    return Finding("other listeners", str(count) if count else "none")


def _await(connector: ProcConnector, kind: type[Comm]) -> bool:
    """Wait for an event about this thread."""
    deadline = time.monotonic() + _PATIENCE
    while (left := deadline - time.monotonic()) > 0:
        event = connector.recv(left)
        if isinstance(event, kind) and event.pid == threading.get_native_id():
            return True
    return False


def _has_capability(number: int) -> bool | None:
    """Tell from the set of effective capabilities; None without /proc."""
    match = re.search(r"^CapEff:\s*(\w+)", _read("/proc/self/status"), re.MULTILINE)
    return bool(int(match[1], 16) & 1 << number) if match else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _line(finding: Finding) -> str:
    state = "ok" if finding.remedy is None else "problem"
    line = f"{finding.subject:<21} {state:<8} {finding.text}"
    return line + ("\n" if finding.remedy is None else f": {finding.remedy}\n")
