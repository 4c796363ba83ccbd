"""Decode one event while an allocation fails, then the others without failures.

The argument is a buffer in hexadecimal. For each allocation, prints whether all events
were decoded.
"""

import sys
from importlib import import_module

from procconn import NetlinkMessageIter

testcapi = import_module("_testcapi")  # has no type stubs

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
