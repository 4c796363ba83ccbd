"""Receive the events of a burst of renames, and print how many were received and lost.

Run in a sandbox that refuses SO_MEMINFO, which kernels before 4.12 do not have.
"""

import json
import subprocess
import sys
import time
import warnings
from pathlib import Path

from procconn import Comm, EventMask, Exit, Lost, ProcConnector

count, mask, receive_buffer = (int(argument) for argument in sys.argv[1:])
rename = Path(__file__).with_name("rename.py")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    connector = ProcConnector(EventMask(mask), receive_buffer=receive_buffer)

command = [sys.executable, "-I", str(rename), str(count), "0"]
with connector, subprocess.Popen(command) as burst:
    markers: set[int] = set()
    reported = overruns = received = 0
    ended = False
    while not ended:
        events = connector.recv_many(timeout=60)
        assert events
        time.sleep(0.002)  # lets the socket fill
        for event in events:
            reported += event.count if isinstance(event, Lost) else 0
            overruns += isinstance(event, Lost)
            received += isinstance(event, Comm) and event.pid == burst.pid
            ended = ended or (isinstance(event, Exit) and event.pid in markers)
        if not ended and burst.poll() is not None:
            # The exit of `burst` may be lost; later exits of quiet processes are not.
            markers.add(subprocess.Popen("/bin/true").pid)
            time.sleep(0.01)
    lost = connector.lost

print(
    json.dumps(
        {
            "warnings": [str(warning.message) for warning in caught],
            "received": received,
            "reported": reported,
            "overruns": overruns,
            "lost": lost,
        }
    )
)
