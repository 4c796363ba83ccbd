"""Read modes that call the connector once: polling and blocking calls."""

from procconn import Event, EventMask, ProcConnector, decode
from support.live import DEADLINE
from support.read_modes import ReadMode


def by_recv(connector: ProcConnector) -> list[Event]:
    return [event for event in [connector.recv(timeout=0)] if event]


def by_recv_many(connector: ProcConnector) -> list[Event]:
    return connector.recv_many(timeout=0)


def by_for(connector: ProcConnector) -> list[Event]:
    return [next(iter(connector))]


def by_recv_raw(connector: ProcConnector) -> list[Event]:
    return decode(connector.recv_raw(timeout=0))


def by_recv_into(connector: ProcConnector) -> list[Event]:
    buffer = bytearray(1000)
    return decode(buffer[: connector.recv_into(buffer, timeout=0)])


def by_subscribe(connector: ProcConnector) -> list[Event]:
    connector.subscribe(EventMask.COMM | EventMask.PTRACE)
    return []


DECODING: list[ReadMode] = [by_recv, by_recv_many, by_for]
RAW: list[ReadMode] = [by_recv_raw, by_recv_into]
READ_MODES = [*DECODING, *RAW, by_subscribe]


def one_by_for(connector: ProcConnector) -> list[Event]:
    for event in connector:
        return [event]
    raise AssertionError("the connector is closed")


BLOCKING: dict[str, ReadMode] = {
    "recv": lambda connector: [e for e in [connector.recv(DEADLINE)] if e],
    "recv_many": lambda connector: connector.recv_many(DEADLINE),
    "recv_raw": lambda connector: decode(connector.recv_raw(DEADLINE)),
    "for": one_by_for,
}
