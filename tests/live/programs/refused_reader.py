"""Refuse a system call to the threads that read programs, and print the effect.

refused_reader.py CALL
Prints how many warnings say so, why a program is missing then, and whether the
processor is left to others.
"""

import contextlib
import errno
import subprocess
import sys
import time
import warnings

from sandbox import refuse  # type: ignore[import-not-found]

from procconn import EventMask, Exec, ProcConnector, Program


def warned() -> int:
    return sum("programs are not read" in str(it.message) for it in caught)


warnings.simplefilter("always")
with (
    warnings.catch_warnings(record=True) as caught,
    ProcConnector(EventMask.EXEC, programs=True, queue=0) as connector,
):
    refuse(sys.argv[1], errno.EPERM)
    while not warned():
        subprocess.run(["true"], check=True)
        # Some processors have one call for both to wait by.
        with contextlib.suppress(PermissionError):
            connector.recv_many(1)
    subprocess.run(["true"], check=True)
    programs: list[Program | None] = []
    until = time.monotonic() + 5
    while (
        not programs and time.monotonic() < until
    ):  # which polls, and waits by no call
        programs = [it.program for it in connector.recv_many(0) if isinstance(it, Exec)]
    before = time.process_time()
    time.sleep(0.5)
    spent = time.process_time() - before
print(warned(), *{it.missing for it in programs if it}, spent < 0.25)
