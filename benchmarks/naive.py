"""The reader that comes to mind first: the standard library, and one call an event."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

_CONNECTOR, _GROUP, _LISTEN, _IGNORE = 11, 1, 1, 2
SO_RCVBUFFORCE, RECEIVE_BUFFER = 33, 134_217_728  # as ours from 8 GiB on
_SOL_NETLINK, _NO_ENOBUFS = 270, 5  # else an overflow ends it
_EVENT = struct.Struct("=IIQII")


class Event(NamedTuple):
    """What every event but COMM is about, and when it was."""

    what: int
    cpu: int
    timestamp_ns: int
    pid: int
    tgid: int


@contextmanager
def subscribed() -> Iterator[Iterator[Event]]:
    """Subscribe, and end the subscription in the end."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _CONNECTOR) as netlink:
        netlink.bind((0, _GROUP))
        try:
            netlink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:
            netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        netlink.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)
        netlink.send(_request(_LISTEN))
        try:
            yield _events(netlink)
        finally:
            netlink.send(_request(_IGNORE))


def _events(netlink: socket.socket) -> Iterator[Event]:
    while True:
        data, _sender = netlink.recvfrom(1024)
        yield Event(*_EVENT.unpack_from(data, 36))


def _request(operation: int) -> bytes:
    return struct.pack("=IHHIIIIIIHHI", 40, 3, 0, 0, 0, 1, 1, 0, 0, 4, 0, operation)
