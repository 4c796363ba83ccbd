"""End the thread-group leader first; another thread keeps running, then exits."""

import ctypes
import os
import threading
import time
from pathlib import Path


def is_zombie() -> bool:
    """Return whether the thread-group leader has ended."""
    stat = Path("/proc/self/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "Z"


def outlive_leader() -> None:
    """Use memory and CPU time after the leader has ended."""
    while not is_zombie():
        pass
    while time.thread_time() < 0.3:  # much more than freeing the memory takes
        pass
    memory = bytearray(64 << 20)
    for offset in range(0, len(memory), 4096):
        memory[offset] = 1
    os._exit(3)


threading.Thread(target=outlive_leader).start()
ctypes.CDLL(None).pthread_exit(None)
