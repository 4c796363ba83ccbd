"""Print the programs of all EXEC events as JSON once a given process has ended.

Prints "ready", then reads the PID of that process from stdin.
"""

import json
import select
import sys
import warnings

from procconn import EventMask, Exec, Exit, ProcConnector

MASK = EventMask.EXEC | EventMask.EXIT

warnings.simplefilter("ignore")
found, ended, last = [], set(), None
with ProcConnector(MASK, programs=True) as connector:
    print("ready", flush=True)
    while last not in ended:
        ready, _, _ = select.select([connector, *[sys.stdin] * (not last)], [], [])
        if sys.stdin in ready:
            last = int(sys.stdin.readline())
        for event in connector.recv_many(0):
            if isinstance(event, Exec) and event.program:
                found.append([event.pid, event.program._asdict()])
            elif isinstance(event, Exit):
                ended.add(event.pid)
print(json.dumps(found), flush=True)
