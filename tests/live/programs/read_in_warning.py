"""Refuse recvfrom(2) to the threads that read programs; read in a warning hook.

Prints the number of warnings, and whether the read in warnings.showwarning(), or the
read that caused the warning, returned any messages.
"""

import errno
import subprocess
import warnings
from typing import Any

from sandbox import refuse  # type: ignore[import-not-found]

from procconn import EventMask, ProcConnector

raw_reads: list[bytes] = []


def show(message: Warning | str, *_: Any, **__: Any) -> None:
    if "programs are no longer read" in str(message):
        raw_reads.append(connector.recv_raw(0))


warnings.simplefilter("always")
warnings.showwarning = show
with ProcConnector(EventMask.EXEC, programs=True, queue=0) as connector:
    refuse("recvfrom", errno.EPERM)
    while not raw_reads:
        subprocess.run(["true"], check=True)
        last = connector.recv_raw(1)
    subprocess.run(["true"], check=True)
    last = last or connector.recv_raw(5)
print(len(raw_reads), any((*raw_reads, last)))
