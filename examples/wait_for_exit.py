"""Wait for a process that is not a child, and tell its exit: wait_for_exit.py PID."""

import sys

from procconn.processes import wait

if __name__ == "__main__":
    pid = int(sys.argv[1])
    status = wait([pid])[pid].returncode
    print("unknown" if status is None else status)
