"""Kernel version, privileges and limits of this machine."""

import os
import platform
import sys
import sysconfig
from pathlib import Path

import pytest

KERNEL = tuple(int(part) for part in platform.release().split(".")[:2])

IS_EMULATED = "PROCCONN_EMULATED" in os.environ  # threads may be too slow

# Warnings that ordinary users get. Tests fail at any other warning.
IS_ROOT = os.geteuid() == 0
LIMITS = [
    "the receive buffer is",
    "programs are read at normal priority",
    "usage is not reported",
]
EXPECTED_WARNINGS = [
    f"ignore:{limit}:RuntimeWarning" for limit in LIMITS if not IS_ROOT
]
PYTHON = (sys.executable, "-Werror", *(f"-W{warning}" for warning in EXPECTED_WARNINGS))

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
AS_ORDINARY_USER = NOBODY if IS_ROOT else ()

EVENT_CHARGE = 832  # bytes of SO_RCVBUF that the kernel charges for an event


def rmem_max() -> int:
    path = Path("/proc/sys/net/core/rmem_max")
    return int(path.read_text()) if path.exists() else 0  # absent in network namespaces


def requires_capacity(events: int) -> pytest.MarkDecorator:
    """Skip a test unless a receive buffer can hold twice as many events."""
    return pytest.mark.skipif(
        not IS_ROOT and rmem_max() < events * EVENT_CHARGE,
        reason=f"a buffer for {events} events requires root or a larger rmem_max",
    )


def has_realtime_priority(task: Path) -> bool:
    """Return whether a thread, given its directory in /proc, runs under SCHED_FIFO.

    musl does not implement sched_getscheduler().
    """
    fields = (task / "stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[38]) == os.SCHED_FIFO


survives_failed_allocations = pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="free-threaded CPython frees lists twice if an allocation fails",
)
