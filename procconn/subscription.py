"""Asking the kernel to report events.

The requests go over a socket of their own. It belongs to the multicast group only
while it waits for an answer, so that no event has to pass through it, and the
kernel's bookkeeping (per socket from Linux 6.6 on) is that of this socket alone.
"""

import contextlib
import errno
import os
import socket
import struct
import time

from procconn import socketfilter
from procconn._core import ffi, lib
from procconn.environment import why_refused, why_silent
from procconn.errors import UnsupportedError

NETLINK_CONNECTOR = 11  # linux/netlink.h
GROUP = 1  # CN_IDX_PROC (linux/connector.h), as a bit of sockaddr_nl.nl_groups

_NLMSG_DONE = 3
_LISTEN = 1
_IGNORE = 2

# linux/netlink.h: options at level SOL_NETLINK
SOL_NETLINK = 270
_ADD_MEMBERSHIP = 1
_DROP_MEMBERSHIP = 2

_LARGEST_ANSWER = 4096

_MOST_LISTENS = 8  # before giving up


def open_socket() -> socket.socket:
    """Make a connector socket, not bound yet.

    Raises:
        UnsupportedError: the kernel has no connector, or a sandbox hides it.
    """
    try:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_CONNECTOR)
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:  # all kernels have netlink
            raise UnsupportedError(
                error.errno,
                "this process is in a sandbox without netlink sockets; allow AF_NETLINK"
                " there, as in RestrictAddressFamilies= of a systemd unit",
            ) from error
        if error.errno != errno.EPROTONOSUPPORT:
            raise
        raise UnsupportedError(
            error.errno,
            "this kernel has no connector; it takes one built with CONFIG_CONNECTOR=y"
            " and CONFIG_PROC_EVENTS=y",
        ) from error


def join_group(sock: socket.socket) -> None:
    """Bind the socket to the Proc Connector's group, with a port the kernel picks.

    Raises:
        PermissionError: before Linux 6.6 this takes a capability.
    """
    try:
        sock.bind((0, GROUP))
    except PermissionError as error:
        raise PermissionError(error.errno, why_refused()) from error


class Subscription:
    """One LISTEN, and the one IGNORE that takes it back.

    The kernel counts listeners and does not notice when one goes away without an
    IGNORE; before Linux 6.6 an IGNORE too many takes away another program's
    subscription. So only the process that sent the LISTEN sends the IGNORE.

    Where other programs sent too many, the count is below zero, and the kernel
    answers nobody before it is positive. As it answers while the request is being
    sent, a LISTEN without an answer is repeated, to make up for theirs.

    Args:
        timeout: how long to wait for the kernel's answer, in seconds.

    Raises:
        UnsupportedError: no answer came; says why.
        PermissionError: the kernel wants a capability.
        OSError: it refuses for another reason.
    """

    def __init__(self, timeout: float) -> None:
        self._listener: int | None = None  # the process that sent the LISTEN
        self._owed = 0  # how many IGNOREs take back what was sent
        self._socket = open_socket()
        try:
            self._listen(timeout)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Send the IGNORE, if this process sent the LISTEN."""
        if self._listener == os.getpid():
            with contextlib.suppress(OSError):
                for _ in range(self._owed):
                    self._request(_IGNORE, 0)
                # From 6.6 on a close frees the bookkeeping of group members only.
                self._socket.setsockopt(SOL_NETLINK, _ADD_MEMBERSHIP, GROUP)
        self.forget()

    @property
    def forgotten(self) -> bool:
        """Whether it is known to have ended."""
        return self._listener is None

    def forget(self) -> None:
        """Close without an IGNORE: the kernel has forgotten the LISTEN already."""
        self._listener = None
        self._socket.close()

    def _listen(self, timeout: float) -> None:
        socketfilter.attach(self._socket, socketfilter.NOTHING, answers=True)
        join_group(self._socket)
        self._listener = os.getpid()
        answer = None
        while answer is None and self._owed < _MOST_LISTENS:
            self._owed += 1
            answer = self._ask(timeout / _MOST_LISTENS)
        if answer is None:
            raise UnsupportedError(errno.ENOTSUP, why_silent())
        self._owed = 1
        if answer in (errno.EPERM, errno.EACCES):
            raise PermissionError(answer, why_refused())
        if answer != 0:
            raise OSError(answer, os.strerror(answer))
        self._socket.setsockopt(SOL_NETLINK, _DROP_MEMBERSHIP, GROUP)

    def _ask(self, timeout: float) -> int | None:
        """Send a LISTEN; return the kernel's answer, an errno, if one comes."""
        nonce = int.from_bytes(os.urandom(4))
        try:
            self._request(_LISTEN, nonce)
        except ConnectionRefusedError as error:
            raise UnsupportedError(error.errno, why_silent()) from error
        return self._wait_for_answer((nonce + 1) & 0xFFFFFFFF, timeout)

    def _request(self, operation: int, ack: int) -> None:
        body = struct.pack("=IIIIHHI", 1, 1, 0, ack, 4, 0, operation)
        header = struct.pack("=IHHII", 16 + len(body), _NLMSG_DONE, 0, 0, 0)
        self._socket.sendto(header + body, (0, 0))

    def _wait_for_answer(self, ack: int, timeout: float) -> int | None:
        """Receive answers, of which others may be other programs', until ours."""
        deadline = time.monotonic() + timeout
        left = timeout
        while left > 0:
            self._socket.settimeout(left)
            try:
                datagram, (sender, _) = self._socket.recvfrom(_LARGEST_ANSWER)
            except TimeoutError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # of the answers; ours may be next
                    raise
                datagram, sender = b"", 0
            left = deadline - time.monotonic()
            if sender == 0:
                buffer = ffi.from_buffer("uint8_t[]", datagram)
                answer = lib.procconn_find_answer(buffer, len(datagram), ack)
                if answer >= 0:
                    return answer
        return None
