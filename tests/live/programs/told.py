"""Tell the programs of all execs, as JSON, until a process ends.

Says "ready" first; a line of stdin names the process.
"""

import json
import select
import sys
import warnings

from procconn import EventMask, Exec, Exit, ProcConnector

MASK = EventMask.EXEC | EventMask.EXIT

warnings.simplefilter("ignore")
told, ended, last = [], set(), None
with ProcConnector(MASK, programs=True) as connector:
    print("ready", flush=True)
    while last not in ended:
        ready, _, _ = select.select([connector, *[sys.stdin] * (not last)], [], [])
        if sys.stdin in ready:
            last = int(sys.stdin.readline())
        for event in connector.recv_many(0):
            if isinstance(event, Exec) and event.program:
                told.append([event.pid, event.program._asdict()])
            elif isinstance(event, Exit):
                ended.add(event.pid)
print(json.dumps(told), flush=True)
