"""Run a command and record its process tree: record_command.py FILE COMMAND [ARG]."""

import struct
import subprocess
import sys
from collections.abc import Iterator

from procconn import Exit, Fork, Lost, ProcConnector, parse_netlink_message
from procconn.recording import Recorder


def messages(buffer: bytes) -> Iterator[bytes]:
    """Split the result of `recv_raw`; messages are padded to 4 bytes."""
    at = 0
    while at < len(buffer):
        (length,) = struct.unpack_from("=I", buffer, at)
        yield buffer[at : at + length]
        at += length + -length % 4


def main(file: str, *command: str) -> int:
    """Record the tree until the command ends; return its exit status."""
    with ProcConnector(programs=True, queue=1 << 24) as events, Recorder(file) as out:
        process = subprocess.Popen(command)
        tree = {process.pid}
        while True:
            for message in messages(events.recv_raw()):
                event = parse_netlink_message(message)
                if isinstance(event, Fork) and event.parent_tgid in tree:
                    tree.add(event.child_tgid)
                pid = (
                    event.child_tgid
                    if isinstance(event, Fork)
                    else getattr(event, "tgid", 0)
                )
                if pid in tree or isinstance(event, Lost):
                    out.write(message)
                if isinstance(event, Exit) and event.pid == process.pid:
                    return process.wait()


if __name__ == "__main__":
    match sys.argv[1:]:
        case [file, *command] if command:
            sys.exit(main(file, *command))
        case _:
            sys.exit(__doc__)
