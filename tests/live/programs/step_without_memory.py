"""Take one event while an allocation fails, then the rest; print if all events come.

The argument is a buffer in hexadecimal. Prints a line for each allocation.
"""

import sys
from importlib import import_module

from procconn import NetlinkMessageIter

testcapi = import_module("_testcapi")  # which has no types

buffer = bytes.fromhex(sys.argv[1])
expected = list(NetlinkMessageIter(buffer))
for allocation in range(100):
    messages = NetlinkMessageIter(buffer)
    event = None
    testcapi.set_nomemory(allocation, allocation + 1)
    try:
        event = next(messages)
    except MemoryError:
        pass
    finally:
        testcapi.remove_mem_hooks()
    events = [event] if event else []
    print(expected == [*events, *messages])
