"""Use 200 MiB of memory and two CPUs, and write 10 MiB to the file in argv[1]."""

import hashlib
import os
import sys
import threading
import time

memory = bytearray(200 << 20)
for offset in range(0, len(memory), 4096):
    memory[offset] = 1


def burn() -> None:
    """Use half a second of CPU time."""
    data = bytes(1 << 20)
    while time.thread_time() < 0.5:
        hashlib.sha256(data).digest()


threads = [threading.Thread(target=burn) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
with open(sys.argv[1], "wb") as file:
    file.write(os.urandom(10 << 20))
    file.flush()
    os.fsync(file.fileno())
