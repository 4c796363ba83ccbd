"""Process events from the Linux kernel's Proc Connector.

`ProcConnector` receives them live; `decode` returns those in a buffer.
"""

from procconn.clock import event_time
from procconn.columns import as_array
from procconn.connector import ProcConnector
from procconn.decoder import NetlinkMessageIter, decode, parse_netlink_message
from procconn.errors import (
    BufferTooSmallError,
    ConnectionClosedError,
    OverrunError,
    ProcConnError,
    TruncatedError,
    UnsupportedError,
)
from procconn.events import (
    Comm,
    Coredump,
    Event,
    EventMask,
    EventType,
    Exec,
    Exit,
    Fork,
    Gid,
    Lost,
    Ptrace,
    Sid,
    Uid,
    Unknown,
)
from procconn.programs import Program, Usage, read_program

__version__ = "0.1.0"

__all__ = [
    "BufferTooSmallError",
    "Comm",
    "ConnectionClosedError",
    "Coredump",
    "Event",
    "EventMask",
    "EventType",
    "Exec",
    "Exit",
    "Fork",
    "Gid",
    "Lost",
    "NetlinkMessageIter",
    "OverrunError",
    "ProcConnError",
    "ProcConnector",
    "Program",
    "Ptrace",
    "Sid",
    "TruncatedError",
    "Uid",
    "Unknown",
    "UnsupportedError",
    "Usage",
    "as_array",
    "decode",
    "event_time",
    "parse_netlink_message",
    "read_program",
]
