"""Count the MemoryErrors of a function if each of its allocations fails once.

The arguments are the function and a buffer in hexadecimal. Prints the count, the lowest
count of ten more rounds, and the number of memory blocks that those leaked.
"""

import gc
import sys
from collections.abc import Callable
from importlib import import_module
from itertools import islice

from procconn import NetlinkMessageIter, decode, parse_netlink_message

testcapi = import_module("_testcapi")  # has no type stubs

# With enough memory none of these raises an exception: if CPython cannot allocate the
# frame object of a traceback, it drops the exception.
functions: dict[str, Callable[[bytes], object]] = {
    "decode": decode,
    "parse_netlink_message": parse_netlink_message,
    "NetlinkMessageIter": lambda buffer: list(islice(NetlinkMessageIter(buffer), 11)),
}
function = functions[sys.argv[1]]
buffer = bytes.fromhex(sys.argv[2])


def fails_at(allocation: int) -> bool:
    """Return whether the function raises MemoryError if that allocation fails."""
    # Empties CPython's free lists, so that the function allocates its tuples.
    tuples = [(None,) * size for size in range(1, 10) for _ in range(20)]
    testcapi.set_nomemory(allocation, allocation + 1)
    try:
        function(buffer)
    except MemoryError:
        return True
    finally:
        testcapi.remove_mem_hooks()
        del tuples
    return False


def failures() -> int:
    """Return how many allocations make the function fail, of the first thousand."""
    return sum(map(fails_at, range(1000)))


expected = repr(function(buffer))
gc.disable()
count = failures()
blocks = sys.getallocatedblocks()
later_count = min(failures() for _ in range(10))
leaked = sys.getallocatedblocks() - blocks
assert repr(function(buffer)) == expected
print(count, later_count, leaked)
