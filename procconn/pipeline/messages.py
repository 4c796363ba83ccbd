"""Messages on standard error."""

import contextlib
import sys

from procconn.pipeline.standard_streams import STDERR, write_all


def report(message: str) -> None:
    """Report something on standard error, unless that is closed or gone."""
    if sys.stderr is None:
        return
    # Not by print(), which a signal handler may have interrupted.
    data = f"procconn: {message}\n".encode(sys.stderr.encoding, "backslashreplace")
    with contextlib.suppress(OSError):  # such as a terminal that was closed
        write_all(STDERR, data)


def report_lost(count: int, helps: str = "a faster reader of the output") -> None:
    """Report how many events were lost, if any were, and what helps."""
    if count:
        report(
            f"{count} events were lost: the kernel's buffer was full. What helps: fewer"
            f" --events, a larger net.core.rmem_max or CAP_NET_ADMIN, and {helps}"
        )


def report_usage_lost(count: int) -> None:
    """Report of how many tasks the usage was lost, if any was, and what helps."""
    if count:
        report(
            f"what {count} tasks used was lost: the kernel's buffer for that was full,"
            " as this process had no processor for too long. What helps: fewer others"
            " that keep the machine busy, or a better priority, as with nice -n -5"
        )
