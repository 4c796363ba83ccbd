"""Execute /bin/true from a thread that is not the thread-group leader."""

import os
import threading
import time


def burn_and_exec() -> None:
    """Use 0.2 s of CPU time, then execute."""
    while time.thread_time() < 0.2:
        pass
    os.execv("/bin/true", ["true"])


threading.Thread(target=burn_and_exec).start()
while time.thread_time() < 0.1:
    pass
time.sleep(60)
