"""Refuse recvfrom(2) to the threads that read programs; read while Python warns.

warned_reader.py
Prints how many warnings came, and whether the read from within the warning, or the one
that warned, returned any messages.
"""

import errno
import subprocess
import warnings
from typing import Any

from sandbox import refuse  # type: ignore[import-not-found]

from procconn import EventMask, ProcConnector

read: list[bytes] = []


def show(message: Warning | str, *_: Any, **__: Any) -> None:
    if "programs are not read" in str(message):
        read.append(connector.recv_raw(0))


warnings.simplefilter("always")
warnings.showwarning = show
with ProcConnector(EventMask.EXEC, programs=True, queue=0) as connector:
    refuse("recvfrom", errno.EPERM)
    while not read:
        subprocess.run(["true"], check=True)
        last = connector.recv_raw(1)
    subprocess.run(["true"], check=True)
    last = last or connector.recv_raw(5)
print(len(read), any((*read, last)))
