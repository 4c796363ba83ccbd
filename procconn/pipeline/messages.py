"""Messages on standard error."""

import contextlib
import sys

from procconn.pipeline.standard_streams import STDERR, write_all


def report(message: str) -> None:
    """Print a message on standard error, unless that is closed."""
    if sys.stderr is None:
        return
    # print() is not reentrant, and a signal handler may report, too.
    data = f"procconn: {message}\n".encode(sys.stderr.encoding, "backslashreplace")
    with contextlib.suppress(OSError):  # such as a terminal that was closed
        write_all(STDERR, data)


def report_lost(count: int, helps: str = "a faster reader of the output") -> None:
    """Report the number of lost events, unless it is 0, and what helps."""
    if count:
        report(
            f"{count} events were lost: the kernel's buffer was full. What helps: fewer"
            f" --events, a larger net.core.rmem_max or CAP_NET_ADMIN, and {helps}"
        )


def report_usage_lost(count: int) -> None:
    """Report the number of lost usage records, unless it is 0, and what helps."""
    if count:
        report(
            f"what {count} tasks used was lost: the kernel's buffer for that was full,"
            " as this process had no processor for too long. What helps: fewer others"
            " that keep the machine busy, or a better priority, as with nice -n -5"
        )
