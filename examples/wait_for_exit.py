"""Wait for any process and print its exit status: wait_for_exit.py PID."""

import sys

from procconn.processes import wait


def main(pid: int) -> None:
    """Print the exit status, or the negated number of the signal that killed it."""
    try:
        status = wait([pid])[pid].returncode
    except OSError as error:  # no such process, or hidden by hidepid=
        sys.exit(str(error))
    print("unknown" if status is None else status)


if __name__ == "__main__":
    match sys.argv[1:]:
        case [pid]:
            main(int(pid))
        case _:
            sys.exit(__doc__)
