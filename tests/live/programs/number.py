"""Take the real user ids 1, 2, 3, … up to a count, so many ns apart, as root.

Other programs cause such events rarely, unlike COMM events.
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
