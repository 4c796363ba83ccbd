"""The sockets of a connector, sockets opened without it, and a network namespace."""

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from procconn import ProcConnector
from support.live import DEADLINE

DROPS_COLUMN, INODE_COLUMN = 8, 9  # of /proc/net/netlink
CONNECTOR = 11  # NETLINK_CONNECTOR of linux/netlink.h


def event_socket(connector: ProcConnector) -> int:
    """Return the descriptor of the connector's event socket.

    The size of the receive buffer identifies it, so no other connector of this process
    may have the same size.
    """
    found = []
    for path in Path("/proc/self/fd").iterdir():
        if path.is_symlink() and os.readlink(path).startswith("socket:"):
            with socket.socket(fileno=os.dup(int(path.name))) as same:
                size = same.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            kind = (same.family, same.proto, size)
            if kind == (socket.AF_NETLINK, CONNECTOR, 2 * connector.receive_buffer):
                found.append(int(path.name))
    (fd,) = found
    return fd


def kernel_drops(connector: ProcConnector) -> int:
    """Return the drop count of the event socket from /proc/net/netlink."""
    inode = str(os.fstat(event_socket(connector)).st_ino)
    for line in Path("/proc/net/netlink").read_text().splitlines():
        columns = line.split()
        if columns[INODE_COLUMN] == inode:
            return int(columns[DROPS_COLUMN])
    raise AssertionError(f"no socket {inode}")


def request(operation: int, ack: int = 7) -> bytes:
    """Build a request; operation 1 is LISTEN, 2 is IGNORE."""
    body = struct.pack("=IIIIHHI", 1, 1, 0, ack, 4, 0, operation)
    return struct.pack("=IHHII", 16 + len(body), 3, 0, 0, 0) + body


RTM_GETLINK, REQUEST = 18, 1  # linux/rtnetlink.h, linux/netlink.h


@contextmanager
def replaced_by_rtnetlink(connector: ProcConnector) -> Iterator[socket.socket]:
    """Replace the event socket with a NETLINK_ROUTE socket, which gets no events."""
    fd = event_socket(connector)
    original = os.dup(fd)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.bind((0, 0))
        os.dup2(sock.fileno(), fd)
        try:
            yield sock
        finally:
            os.dup2(original, fd)
            os.close(original)


def rtnetlink_request(kind: int) -> bytes:
    return struct.pack("=IHHIIBxHiII", 32, kind, REQUEST, 1, 0, 0, 0, 1, 0, 0)


TOO_LARGE = rtnetlink_request(RTM_GETLINK)  # reply: an interface, larger than an event
NO_EVENT = rtnetlink_request(0x7FF0)  # reply: an NLMSG_ERROR


CLONE_NEWNET = 0x40000000  # linux/sched.h


@contextmanager
def empty_network_namespace() -> Iterator[None]:
    """Run in a new network namespace, where the Proc Connector is not available."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as home:
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            yield
        finally:
            assert libc.setns(home.fileno(), CLONE_NEWNET) == 0


def plain_socket(groups: int = 0) -> socket.socket:
    """Open a NETLINK_CONNECTOR socket without the library."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, CONNECTOR)
    sock.bind((0, groups))
    sock.settimeout(DEADLINE)
    return sock
