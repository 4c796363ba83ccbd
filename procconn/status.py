"""What C functions return: a negative errno becomes the exception it stands for."""

from __future__ import annotations

import errno
import os

from procconn.environment import why_no_thread, why_refused, why_silent
from procconn.errors import ConnectionClosedError, UnsupportedError

BUSY = (
    "this connector is being read already, by another thread or task or further up in"
    " this one; give each reader a ProcConnector of its own"
)
_NOT_OURS = (
    "this connector belongs to the process that opened it, which would miss what is"
    " read or changed here; open another after the fork"
)


def checked(status: int) -> int:
    """Return what a C function returned, unless that is a failure.

    Raises:
        ConnectionClosedError: the connector was closed meanwhile.
        RuntimeError: somebody else is reading, or this is a forked child.
        MemoryError: there is not enough; what was received is kept.
        UnsupportedError, PermissionError: as `failure` makes them.
        OSError: another system call failed, or no thread can be started.
    """
    if status >= 0:
        return status
    match -status:
        case errno.ECANCELED:
            raise ConnectionClosedError
        case errno.EBUSY:
            raise RuntimeError(BUSY)
        case errno.ECHILD:
            raise RuntimeError(_NOT_OURS)
        case errno.ENOMEM:
            raise MemoryError("too little; what was received is kept: free some first")
        case number:
            raise failure(number)


def failure(number: int) -> OSError:
    """Make the exception for an errno that the kernel or a sandbox gave.

    UnsupportedError and PermissionError say why, and what to do.
    """
    if number == errno.EAFNOSUPPORT:  # all kernels have netlink
        return UnsupportedError(
            number,
            "this process is in a sandbox without netlink sockets; allow AF_NETLINK"
            " there, as in RestrictAddressFamilies= of a systemd unit",
        )
    if number == errno.EPROTONOSUPPORT:
        return UnsupportedError(
            number,
            "this kernel has no connector; it takes one built with CONFIG_CONNECTOR=y"
            " and CONFIG_PROC_EVENTS=y",
        )
    if number in (errno.ECONNREFUSED, errno.ETIME):
        shown = errno.ENOTSUP if number == errno.ETIME else number
        return UnsupportedError(shown, why_silent())
    if number in (errno.EPERM, errno.EACCES):
        return PermissionError(number, why_refused())
    if number == errno.EAGAIN:  # only a thread's start fails with that
        error = OSError(why_no_thread())
        error.errno, error.strerror = number, str(error)  # no BlockingIOError
        return error
    return OSError(number, os.strerror(number))
