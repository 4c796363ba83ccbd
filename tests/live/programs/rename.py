"""Set its own name (comm) to 0, 1, … COUNT - 1 at intervals; optionally call setsid().

rename.py COUNT INTERVAL_NS [setsid]
"""

import ctypes
import os
import sys
import time

prctl = ctypes.CDLL(None).prctl
count, interval_ns = map(int, sys.argv[1:3])

next_ns = time.monotonic_ns()
for serial in range(count):
    prctl(15, b"%d" % serial, 0, 0, 0)
    if interval_ns:
        next_ns += interval_ns
        while time.monotonic_ns() < next_ns:
            pass
if "setsid" in sys.argv:
    os.setsid()
