"""Refuse a system call to the threads that read programs, and print what comes of it.

refused_reader.py CALL
Prints how many warnings say so, and whether the processor is left to others.
"""

import errno
import subprocess
import sys
import time
import warnings

from sandbox import refuse  # type: ignore[import-not-found]

from procconn import EventMask, Exec, ProcConnector

warnings.simplefilter("always")
with (
    warnings.catch_warnings(record=True) as caught,
    ProcConnector(EventMask.EXEC, programs=True, queue=0) as connector,
):
    refuse(sys.argv[1], errno.EPERM)
    reasons: list[str] = []
    while "busy" not in reasons:
        subprocess.run(["true"], check=True)
        execs = [it for it in connector.recv_many(1) if isinstance(it, Exec)]
        reasons += [it.program.missing for it in execs if it.program]
    subprocess.run(["true"], check=True)
    assert connector.recv_many(5)
    before = time.process_time()
    time.sleep(0.5)
    spent = time.process_time() - before
warned = [it for it in caught if "programs are not read" in str(it.message)]
print(len(warned), spent < 0.25)
