"""Wait for a process that is not a child, and tell its exit: wait_for_exit.py PID."""

import sys

from procconn.processes import wait


def main(pid: int) -> None:
    """Wait, then print its status, or minus the signal that killed it."""
    try:
        status = wait([pid])[pid].returncode
    except OSError as error:  # it is not there, or not to be seen
        sys.exit(str(error))
    print("unknown" if status is None else status)


if __name__ == "__main__":
    match sys.argv[1:]:
        case [pid]:
            main(int(pid))
        case _:
            sys.exit(__doc__)
