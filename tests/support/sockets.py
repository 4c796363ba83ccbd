"""The sockets of a connector, sockets without the library, and an empty network."""

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

    The socket is recognized by the size of its receive buffer, which no other connector
    of this process may share.
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
    """Return the drops of the event socket, as /proc/net/netlink shows them."""
    inode = str(os.fstat(event_socket(connector)).st_ino)
    for line in Path("/proc/net/netlink").read_text().splitlines():
        columns = line.split()
        if columns[INODE_COLUMN] == inode:
            return int(columns[DROPS_COLUMN])
    raise AssertionError(f"no socket {inode}")


def request(operation: int, ack: int = 7) -> bytes:
    """Build a request as programs send it: operation 1 is LISTEN, 2 is IGNORE."""
    body = struct.pack("=IIIIHHI", 1, 1, 0, ack, 4, 0, operation)
    return struct.pack("=IHHII", 16 + len(body), 3, 0, 0, 0) + body


RTM_GETLINK, REQUEST = 18, 1  # linux/rtnetlink.h, linux/netlink.h


@contextmanager
def replaced_by_rtnetlink(connector: ProcConnector) -> Iterator[socket.socket]:
    """Replace the event socket by a route netlink socket, which receives no events."""
    fd = event_socket(connector)
    own = os.dup(fd)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.bind((0, 0))
        os.dup2(sock.fileno(), fd)
        try:
            yield sock
        finally:
            os.dup2(own, fd)
            os.close(own)


def rtnetlink_request(kind: int) -> bytes:
    return struct.pack("=IHHIIBxHiII", 32, kind, REQUEST, 1, 0, 0, 0, 1, 0, 0)


TOO_LARGE = rtnetlink_request(RTM_GETLINK)  # the reply describes a network interface
NO_EVENT = rtnetlink_request(0x7FF0)  # the reply is an error


CLONE_NEWNET = 0x40000000  # linux/sched.h


@contextmanager
def empty_network_namespace() -> Iterator[None]:
    """Move the calling thread to a network namespace without the Proc Connector."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as home:
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            yield
        finally:
            assert libc.setns(home.fileno(), CLONE_NEWNET) == 0


def plain_socket(groups: int = 0) -> socket.socket:
    """Open a connector socket without the library."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, CONNECTOR)
    sock.bind((0, groups))
    sock.settimeout(DEADLINE)
    return sock
