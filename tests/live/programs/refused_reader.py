"""Refuse a system call to the threads that read programs, and print the effect.

refused_reader.py CALL
Prints the number of warnings about it, why later programs are missing, and whether the
process then leaves the CPU idle.
"""

import contextlib
import errno
import subprocess
import sys
import time
import warnings

from sandbox import refuse  # type: ignore[import-not-found]

from procconn import EventMask, Exec, ProcConnector, Program


def warning_count() -> int:
    return sum(
        "programs are no longer read" in str(warning.message) for warning in caught
    )


warnings.simplefilter("always")
with (
    warnings.catch_warnings(record=True) as caught,
    ProcConnector(EventMask.EXEC, programs=True, queue=0) as connector,
):
    refuse(sys.argv[1], errno.EPERM)
    while not warning_count():
        subprocess.run(["true"], check=True)
        # On some architectures this thread waits with the refused call, too.
        with contextlib.suppress(PermissionError):
            connector.recv_many(1)
    subprocess.run(["true"], check=True)
    programs: list[Program | None] = []
    deadline = time.monotonic() + 5
    while not programs and time.monotonic() < deadline:  # a poll needs no refused call
        programs = [e.program for e in connector.recv_many(0) if isinstance(e, Exec)]
    before = time.process_time()
    time.sleep(0.5)
    cpu_time = time.process_time() - before
print(warning_count(), *{p.missing for p in programs if p}, cpu_time < 0.25)
