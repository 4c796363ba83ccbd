"""Explain why process events are not available or incomplete, and how to fix that."""

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

# Inode numbers of the initial namespaces (linux/proc_ns.h)
_INITIAL_USER_NAMESPACE = 0xEFFFFFFD
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC

MIN_RECEIVE_BUFFER = 33_554_432  # bytes, of the default receive buffer
_MAX_RECEIVE_BUFFER = 4 * MIN_RECEIVE_BUFFER
_SHARE_OF_MEMORY = 64


class LimitWarning(RuntimeWarning):
    """Data will be missing because of a limit of the system or a missing privilege."""


class Condition:
    """A condition for receiving events.

    Attributes:
        subject: what the condition is about.
        holds: whether it is met; None if that cannot be determined.
        cause, remedy: for the user, if it is not met.
    """

    def __init__(
        self, subject: str, holds: bool | None, cause: str, remedy: str
    ) -> None:
        self.subject = subject
        self.holds = holds
        self.cause = cause
        self.remedy = remedy


def conditions() -> Iterator[Condition]:
    """Check the conditions on which the kernel acknowledges a subscription."""
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


def default_receive_buffer() -> int:
    """Return the default size of a receive buffer, in bytes.

    It depends on the memory of the machine, as each socket of a connector that is not
    read occupies twice that.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(max(memory // _SHARE_OF_MEMORY, MIN_RECEIVE_BUFFER), _MAX_RECEIVE_BUFFER)


def warn_about_limits(view: View, expected: int) -> None:
    """Warn about data that a stream will not deliver or count.

    Args:
        view: the stream's.
        expected: the size of the receive buffer below which to warn, in bytes.
    """
    if view.receive_buffer < expected:
        _warn_about_limit(
            f"the receive buffer is {view.receive_buffer} bytes instead of {expected},"
            " so bursts may overflow it: raise net.core.rmem_max with sysctl or grant"
            " CAP_NET_ADMIN"
        )
    if not view.counts_drops:
        _warn_about_limit(
            "this kernel does not count dropped events (Linux 4.12 and newer do): each"
            " overrun is reported as a Lost of count 0, and `lost` does not include it"
        )

    if reason := explain_normal_priority(view.realtime):
        _warn_about_limit(
            f"programs are read at normal priority, so many will be missing: {reason}"
        )
    if view.usage_error:
        _warn_about_limit(
            f"usage is not reported: {explain_no_usage(-view.usage_error)}"
        )


def explain_normal_priority(status: int) -> str:
    """Explain why programs are read at normal priority; "" if they are not."""
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


def explain_no_usage(number: int) -> str:
    """Explain why `Exit.usage` is not available, by an errno, and what to do."""
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


def explain_no_thread() -> str:
    """Explain why a thread cannot be started, and what to do."""
    return f"cannot start a thread: {_thread_limit()}"


def _thread_limit() -> str:
    import resource  # noqa: PLC0415 - needed only here

    for cgroup in _own_cgroups():
        limit = _read_number(f"{cgroup}/pids.max")
        if limit is not None and (_read_number(f"{cgroup}/pids.current") or 0) >= limit:
            return (
                f"the cgroup {cgroup} is at its limit of {limit} tasks; raise pids.max"
            )
    limit, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if limit != resource.RLIM_INFINITY and os.getuid() != 0:
        return (
            f"this user is limited to {limit} tasks (RLIMIT_NPROC); raise the limit, as"
            " with ulimit -u, or end other tasks"
        )
    return (
        "kernel.threads-max, kernel.pid_max or memory is exhausted, or a sandbox blocks"
        " clone(2)"
    )


def _own_cgroups() -> Iterator[str]:
    """Yield the directories of this process's cgroups, each before its parent."""
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
    except (OSError, ValueError):  # no such file, or "max"
        return None


def warn_heartbeat_blocked() -> None:
    """Warn that the heartbeat cannot check the subscription."""
    _warn_about_limit(
        "a sandbox blocks prctl(PR_SET_NAME), which the heartbeat uses to check the"
        " subscription, so the end of the subscription would go unnoticed: allow that"
        " call"
    )


def warn_renewed() -> None:
    """Warn that the subscription was renewed, so that events were lost."""
    _warn(
        "the subscription to process events had ended unexpectedly and was renewed; an"
        " unknown number of events was lost"
    )


def warn_programs_ended(number: int) -> None:
    """Warn that the thread that reads programs has ended."""
    _warn(
        f"programs are no longer read: a system call failed ({os.strerror(number)}); a"
        " sandbox must allow poll(2) and recvfrom(2). From now on each program has"
        ' missing="busy"'
    )


def _warn_about_limit(message: str) -> None:
    _warn(message, LimitWarning)


def _warn(message: str, kind: type[Warning] = RuntimeWarning) -> None:
    """Issue a warning for the line that called the package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("procconn."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, kind, stacklevel=level)


def kernel_is_at_least(major: int, minor: int) -> bool:
    """Return whether the kernel has at least that version."""
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return bool(version and tuple(map(int, version.groups())) >= (major, minor))


def explain_no_acknowledgement() -> str:
    """Explain why the kernel did not acknowledge a subscription, and what to do."""
    if unmet := _unmet_conditions():
        return unmet
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


def explain_refusal() -> str:
    """Explain why the kernel denies a subscription, and what to do.

    It requires capabilities in the initial user namespace, so root of another one is
    denied as well.
    """
    if kernel_is_at_least(6, 6):
        return (
            "a sandbox blocks system calls that process events require: allow socket,"
            " bind, setsockopt and sendto on netlink sockets"
        )
    return _unmet_conditions() or (
        "before Linux 6.6 process events require CAP_NET_ADMIN: run as root or grant"
        " it, as with AmbientCapabilities=CAP_NET_ADMIN in a systemd unit or"
        " --cap-add=NET_ADMIN for a container"
    )


def _unmet_conditions() -> str:
    unmet = (condition for condition in conditions() if condition.holds is False)
    return "; ".join(f"{it.cause}; {it.remedy}" for it in unmet)


def _connectors() -> str | None:
    """Return the list of connectors, which only the initial network namespace has."""
    try:
        # Not /proc/net: /proc mounted with subset=pid lacks it.
        with open("/proc/self/net/connector") as file:
            return file.read()
    except OSError:
        return None


def _has_connectors() -> bool | None:
    """Return whether the list of connectors exists; None if /proc is not mounted.

    Before Linux 5.13, with subset=pid, the file exists but cannot be read.
    """
    try:
        return "connector" in os.listdir("/proc/self/net")
    except OSError:
        return None


def check_proc() -> None:
    """Check that /proc shows this PID namespace, and times without an offset.

    The /proc of another PID namespace has other PIDs. In a time namespace (Linux 5.6,
    see time_namespaces(7)) start times in /proc do not match the times of events.

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
    """Return whether /proc of this PID namespace is; another one has no /proc/self."""
    return os.path.exists("/proc/self/ns")


def _clocks_are_shifted() -> bool:
    try:
        with open("/proc/self/timens_offsets") as file:
            return any(int(word) for line in file for word in line.split()[1:])
    except OSError:  # Linux before 5.6, or without CONFIG_TIME_NS
        return False


def _in_namespace(kind: str, inode: int) -> bool | None:
    """Return whether this process is in a namespace; None if /proc is not mounted."""
    try:
        return os.stat(f"/proc/self/ns/{kind}").st_ino == inode
    except OSError:
        return None
