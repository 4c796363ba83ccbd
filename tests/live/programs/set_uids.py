"""Set the real user ID to 1, 2, … COUNT at intervals, as root.

set_uids.py COUNT INTERVAL_NS
Unlike COMM events, UID events of other programs are rare.
"""

import os
import sys
import time

count, interval_ns = (int(argument) for argument in sys.argv[1:])

next_ns = time.monotonic_ns()
for serial in range(1, count + 1):
    os.setresuid(serial, -1, -1)
    next_ns += interval_ns
    while time.monotonic_ns() < next_ns:
        pass
