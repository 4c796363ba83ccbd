"""End the thread-group leader; another thread goes on, and ends the process."""

import ctypes
import os
import threading
import time
from pathlib import Path


def is_zombie() -> bool:
    """Return whether the thread-group leader has ended."""
    stat = Path("/proc/self/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "Z"


def live_on() -> None:
    """Use memory and CPU time after the end of the leader."""
    while not is_zombie():
        pass
    while time.thread_time() < 0.3:  # much more than giving up the memory takes
        pass
    memory = bytearray(64 << 20)
    for at in range(0, len(memory), 4096):
        memory[at] = 1
    os._exit(3)


threading.Thread(target=live_on).start()
ctypes.CDLL(None).pthread_exit(None)
