"""The simplest reader: the standard library alone, one system call per event."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

_CONNECTOR, _GROUP, _LISTEN, _IGNORE = 11, 1, 1, 2
_SO_RCVBUFFORCE, _RECEIVE_BUFFER = 33, 134_217_728  # ours, from 8 GiB of memory on
_SOL_NETLINK, _NETLINK_NO_ENOBUFS = 270, 5
_EVENT = struct.Struct("=IIQII")


class Event(NamedTuple):
    """The fields that all kinds of events have."""

    what: int
    cpu: int
    timestamp_ns: int
    pid: int
    tgid: int


@contextmanager
def subscribed() -> Iterator[Iterator[Event]]:
    """Subscribe for the length of the block; yield an iterator over the events."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _CONNECTOR) as netlink:
        netlink.bind((0, _GROUP))
        enlarge(netlink)
        netlink.send(_request(_LISTEN))
        try:
            yield _events(netlink)
        finally:
            netlink.send(_request(_IGNORE))


def enlarge(netlink: socket.socket) -> None:
    """Make the receive buffer as large as procconn's; ignore overruns."""
    try:
        netlink.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except PermissionError:
        netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    netlink.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)


def _events(netlink: socket.socket) -> Iterator[Event]:
    while True:
        data, _sender = netlink.recvfrom(1024)
        yield Event(*_EVENT.unpack_from(data, 36))


def _request(operation: int) -> bytes:
    return struct.pack("=IHHIIIIIIHHI", 40, 3, 0, 0, 0, 1, 1, 0, 0, 4, 0, operation)
