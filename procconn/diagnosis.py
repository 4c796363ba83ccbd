"""What keeps process events away from this process, and what to do about it."""

from __future__ import annotations

import errno
import os
import re
import sys
import warnings
from typing import TYPE_CHECKING

from procconn._core import lib
from procconn.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from procconn._core import View

# The inode numbers of the initial namespaces (linux/proc_ns.h)
_INITIAL_USER_NAMESPACE = 0xEFFFFFFD
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC

ROOM_FOR_BURSTS = 33_554_432  # bytes, which the usual receive buffer has at least
_MOST_ROOM = 4 * ROOM_FOR_BURSTS
_SHARE_OF_MEMORY = 64


class LimitWarning(RuntimeWarning):
    """Something will be missing, as the system or a privilege limits it."""


class Condition:
    """Something that has to hold, and what shows if it does not.

    Attributes:
        holds: whether it does; None if that cannot be known from here.
    """

    def __init__(
        self, subject: str, holds: bool | None, cause: str, remedy: str
    ) -> None:
        self.subject = subject
        self.holds = holds
        self.cause = cause
        self.remedy = remedy


def conditions() -> Iterator[Condition]:
    """Check each condition for the kernel's acknowledgement."""
    connectors = _connectors()
    yield Condition(
        "network namespace",
        connectors is not None or _has_connectors(),
        "this process is not in the initial network namespace, the only one with a Proc"
        " Connector",
        "run it in the host's network namespace (--net=host for containers)",
    )
    yield Condition(
        "kernel configuration",
        None if connectors is None else "cn_proc" in connectors,
        "this kernel was built without CONFIG_PROC_EVENTS",
        "use a kernel with CONFIG_PROC_EVENTS=y",
    )
    yield Condition(
        "pid namespace",
        _in_namespace("pid", _INITIAL_PID_NAMESPACE),
        "this process is not in the initial PID namespace, and the kernel ignores"
        " subscriptions from any other",
        "run it in the host's PID namespace (--pid=host for containers)",
    )
    yield Condition(
        "user namespace",
        _in_namespace("user", _INITIAL_USER_NAMESPACE),
        "this process is not in the initial user namespace, and the kernel ignores"
        " subscriptions from any other",
        "run it in the host's user namespace (--userns=host for containers, not"
        " rootless)",
    )


def usual_room() -> int:
    """Tell what receive buffer to ask for, in bytes.

    For a reader that stopped, the kernel keeps twice that, in each socket of a
    connector. Small machines could not spare it.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(max(memory // _SHARE_OF_MEMORY, ROOM_FOR_BURSTS), _MOST_ROOM)


def warn_of_limits(view: View, asked: int) -> None:
    """Warn whose stream will lose events sooner, or not count them."""
    if view.receive_buffer < asked:
        _warn_of_limit(
            f"the receive buffer is {view.receive_buffer} bytes instead of {asked}, so"
            " bursts may overflow it: raise net.core.rmem_max with sysctl or grant"
            " CAP_NET_ADMIN"
        )
    if not view.counts_drops:
        _warn_of_limit(
            "this kernel does not count dropped events (Linux 4.12 and newer do): each"
            " overrun is reported as a Lost of count 0, and `lost` does not include it"
        )

    if reason := why_not_realtime(view.realtime):
        _warn_of_limit(
            f"programs are read at normal priority, so many will be missing: {reason}"
        )
    if view.usage_error:
        _warn_of_limit(f"usage is not reported: {why_no_usage(-view.usage_error)}")


def why_not_realtime(status: int) -> str:
    """Say what keeps the thread that reads programs from real-time priority."""
    if status == lib.PROCCONN_NEEDS_CAPABILITY:
        return (
            "grant CAP_SYS_NICE or raise RLIMIT_RTPRIO, as with LimitRTPRIO=1 in a"
            " systemd unit"
        )
    if status == lib.PROCCONN_NEEDS_RUNTIME:
        return (
            "this process's cgroup has no real-time budget: set its cpu.rt_runtime_us"
            " or run in the root cgroup"
        )
    if status == lib.PROCCONN_IN_SANDBOX:
        return "a sandbox blocks sched_setscheduler(2): allow that call"
    return ""


def why_no_usage(number: int) -> str:
    """Say, of an errno, why `Exit.usage` cannot be had, and what to do."""
    if number == errno.EPERM:
        return (
            "taskstats requires CAP_NET_ADMIN in the initial user namespace: run as"
            " root or grant it"
        )
    if number == errno.EINVAL:
        return (
            "taskstats requires the initial PID and user namespaces: run there"
            " (--pid=host --userns=host for containers)"
        )
    if number in (errno.ENOENT, errno.EPROTONOSUPPORT):
        return (
            "this kernel has no taskstats: use one with CONFIG_TASKSTATS,"
            " CONFIG_TASK_DELAY_ACCT and CONFIG_TASK_IO_ACCOUNTING"
        )
    if number == errno.ENOPROTOOPT:
        return (
            "dropped usage records cannot be counted: use Linux 4.12 or newer and allow"
            " getsockopt(2) in the sandbox"
        )
    return f"taskstats failed ({os.strerror(number)}): try again, or report a bug"


def why_no_thread() -> str:
    """Say why no thread can be started, and what to do."""
    return f"cannot start a thread: {_thread_limit()}"


def _thread_limit() -> str:
    import resource  # noqa: PLC0415 - nobody else needs it

    for folder in _own_cgroups():
        most = _read_number(f"{folder}/pids.max")
        if most is not None and (_read_number(f"{folder}/pids.current") or 0) >= most:
            return (
                f"the cgroup {folder} is at its limit of {most} tasks; raise pids.max"
            )
    most, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if most != resource.RLIM_INFINITY and os.getuid() != 0:
        return (
            f"this user is limited to {most} tasks (RLIMIT_NPROC); raise the limit, as"
            " with ulimit -u, or end other tasks"
        )
    return (
        "kernel.threads-max, kernel.pid_max or memory is exhausted, or a sandbox blocks"
        " clone(2)"
    )


def _own_cgroups() -> Iterator[str]:
    """Yield the folders of this process's cgroups, each before the one above it."""
    try:
        with open("/proc/self/cgroup") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "pids"):
            continue
        root = f"/sys/fs/cgroup/{controllers}".rstrip("/")
        while path.strip("/"):
            yield root + path
            path = os.path.dirname(path)
        yield root


def _read_number(path: str) -> int | None:
    try:
        with open(path) as file:
            return int(file.read())
    except (OSError, ValueError):  # not there, or "max"
        return None


def warn_of_heartbeat() -> None:
    """Warn whose heartbeat has nothing to beat with."""
    _warn_of_limit(
        "a sandbox blocks prctl(PR_SET_NAME), which the heartbeat uses to check the"
        " subscription, so the end of the subscription would go unnoticed: allow that"
        " call"
    )


def warn_of_renewal() -> None:
    """Warn who has missed events, but will not know how many."""
    _warn(
        "the subscription to process events had ended unexpectedly and was renewed; an"
        " unknown number of events was lost"
    )


def warn_of_programs(number: int) -> None:
    """Warn that the thread which reads programs has ended."""
    _warn(
        f"programs are no longer read: a system call failed ({os.strerror(number)}); a"
        " sandbox must allow poll(2) and recvfrom(2). From now on each program has"
        ' missing="busy"'
    )


def _warn_of_limit(message: str) -> None:
    _warn(message, LimitWarning)


def _warn(message: str, kind: type[Warning] = RuntimeWarning) -> None:
    """Warn about the line that called the package."""
    frame, distance = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("procconn."):
        frame, distance = frame.f_back, distance + 1
    warnings.warn(message, kind, stacklevel=distance)


def is_kernel(major: int, minor: int) -> bool:
    """Tell whether the kernel is at least of that version."""
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return bool(version and tuple(map(int, version.groups())) >= (major, minor))


def why_silent() -> str:
    """Return why the kernel acknowledges nothing, and what to do."""
    if broken := _what_is_broken():
        return broken
    if not _proc_is_mounted():
        return (
            "the kernel did not acknowledge the subscription, and without /proc the"
            " reason cannot be determined; mount /proc, or run in the host's network,"
            " PID and user namespaces"
        )
    return (
        "the kernel did not acknowledge the subscription, and /proc shows no reason; on"
        " a very busy machine a longer timeout may help"
    )


def why_refused() -> str:
    """Say why the kernel refuses. A namespace's own root has not what counts."""
    if is_kernel(6, 6):
        return (
            "a sandbox blocks system calls that process events require: allow socket,"
            " bind, setsockopt and sendto on netlink sockets"
        )
    return _what_is_broken() or (
        "before Linux 6.6 process events require CAP_NET_ADMIN: run as root or grant"
        " it, as with AmbientCapabilities=CAP_NET_ADMIN in a systemd unit or"
        " --cap-add=NET_ADMIN for a container"
    )


def _what_is_broken() -> str:
    broken = (condition for condition in conditions() if condition.holds is False)
    return "; ".join(f"{it.cause}; {it.remedy}" for it in broken)


def _connectors() -> str | None:
    """Read the list of connectors, which a network namespace of one's own lacks."""
    try:
        # Not /proc/net, which a /proc mounted with subset=pid does not have.
        with open("/proc/self/net/connector") as file:
            return file.read()
    except OSError:
        return None


def _has_connectors() -> bool | None:
    """Return whether that list exists; None where /proc is not mounted.

    Before Linux 5.13 it can be listed, but not read, with subset=pid.
    """
    try:
        return "connector" in os.listdir("/proc/self/net")
    except OSError:
        return None


def check_proc() -> None:
    """See that /proc shows this pid namespace, and the kernel's own clocks.

    In another pid namespace's, ids are of others; in a time namespace (Linux 5.6, see
    time_namespaces(7)), processes seem to be of other times than their events.

    Raises:
        UnsupportedError: it does not.
    """
    if not _proc_is_mounted():
        raise UnsupportedError(
            errno.ENOTSUP,
            "/proc is not mounted, or belongs to another PID namespace; mount it for"
            " this one, as with mount -t proc proc /proc",
        )
    if _clocks_are_shifted():
        raise UnsupportedError(
            errno.ENOTSUP,
            "this process is in a time namespace, whose clocks differ from those of the"
            " kernel's events; start it in the initial time namespace",
        )


def _proc_is_mounted() -> bool:
    """Tell so; of another pid namespace, there is no /proc/self."""
    return os.path.exists("/proc/self/ns")


def _clocks_are_shifted() -> bool:
    try:
        with open("/proc/self/timens_offsets") as file:
            return any(int(word) for line in file for word in line.split()[1:])
    except OSError:  # Linux before 5.6, or without CONFIG_TIME_NS
        return False


def _in_namespace(kind: str, inode: int) -> bool | None:
    """Tell so; None where /proc is not mounted."""
    try:
        return os.stat(f"/proc/self/ns/{kind}").st_ino == inode
    except OSError:
        return None
