"""What keeps process events away from this process, and what to do about it."""

import os
from collections.abc import Iterator

# The inode numbers of the initial namespaces (linux/proc_ns.h)
_INITIAL_USER_NAMESPACE = 0xEFFFFFFD
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC


class Condition:
    """Something that has to hold, and what shows if it does not."""

    def __init__(self, subject: str, holds: bool, cause: str, remedy: str) -> None:
        self.subject = subject
        self.holds = holds
        self.cause = cause
        self.remedy = remedy


def conditions() -> Iterator[Condition]:
    """Look at each thing without which the kernel does not answer."""
    connectors = _connectors()
    yield Condition(
        "network namespace",
        connectors is not None or not _proc_is_mounted(),
        "this process is in a network namespace of its own, where the kernel has no"
        " Proc Connector",
        "run it in the host's (--net=host for containers)",
    )
    yield Condition(
        "kernel configuration",
        connectors is None or "cn_proc" in connectors,
        "this kernel was built without CONFIG_PROC_EVENTS",
        "use one that has CONFIG_PROC_EVENTS=y",
    )
    yield Condition(
        "pid namespace",
        _in_namespace("pid", _INITIAL_PID_NAMESPACE),
        "this process is in a pid namespace of its own, and the kernel answers only"
        " those in the initial one",
        "run it there (--pid=host for containers)",
    )
    yield Condition(
        "user namespace",
        _in_namespace("user", _INITIAL_USER_NAMESPACE),
        "this process is in a user namespace of its own, and the kernel answers only"
        " those in the initial one",
        "run it there (--userns=host for containers, and not rootless)",
    )


def why_silent() -> str:
    """Say why the kernel does not answer, and what to do."""
    if broken := _what_is_broken():
        return broken
    if not _proc_is_mounted():
        return (
            "the kernel did not answer the request for process events, and without"
            " /proc it does not show why; mount /proc, or see that this process is in"
            " the host's network, pid and user namespaces"
        )
    return (
        "the kernel did not answer the request for process events, for no reason that"
        " shows; on a very busy machine a longer timeout may help"
    )


def why_refused() -> str:
    """Say why the kernel refuses. A namespace's own root has not what counts."""
    return _what_is_broken() or (
        "before Linux 6.6 process events take the capability CAP_NET_ADMIN: run as"
        " root, or grant it, as with AmbientCapabilities=CAP_NET_ADMIN in a systemd"
        " unit or --cap-add=NET_ADMIN for a container"
    )


def _what_is_broken() -> str:
    broken = (condition for condition in conditions() if not condition.holds)
    return "; ".join(f"{it.cause}; {it.remedy}" for it in broken)


def _connectors() -> str | None:
    """Read the list of connectors, which a network namespace of one's own lacks."""
    try:
        # Not /proc/net, which a /proc mounted with subset=pid does not have.
        with open("/proc/self/net/connector") as file:
            return file.read()
    except OSError:
        return None


def _proc_is_mounted() -> bool:
    return os.path.exists("/proc/self/ns")


def _in_namespace(kind: str, inode: int) -> bool:
    try:
        return os.stat(f"/proc/self/ns/{kind}").st_ino == inode
    except OSError:  # /proc is not mounted: nothing to tell from
        return True
