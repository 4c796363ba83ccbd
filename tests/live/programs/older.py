"""Read a burst of names to its end, and print what was reported.

Made to run in a sandbox that refuses SO_MEMINFO, as kernels before 4.12 do.
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
with connector, subprocess.Popen(command) as storm:
    last: set[int] = set()
    reported = occasions = received = 0
    ended = False
    while not ended:
        events = connector.recv_many(timeout=60)
        assert events
        time.sleep(0.002)  # so that the socket fills
        for event in events:
            reported += event.count if isinstance(event, Lost) else 0
            occasions += isinstance(event, Lost)
            received += isinstance(event, Comm) and event.pid == storm.pid
            ended = ended or (isinstance(event, Exit) and event.pid in last)
        if not ended and storm.poll() is not None:
            # Its own exit may be lost, but not one of a time when nothing else is.
            last.add(subprocess.Popen("/bin/true").pid)
            time.sleep(0.01)
    total = connector.lost

print(
    json.dumps(
        {
            "warnings": [str(warning.message) for warning in caught],
            "received": received,
            "reported": reported,
            "occasions": occasions,
            "lost": total,
        }
    )
)
