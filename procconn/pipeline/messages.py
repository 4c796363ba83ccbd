"""Messages on standard error."""

import contextlib
import sys

from procconn.pipeline.standard_streams import STDERR, write_all


def report(message: str) -> None:
    """Print a message on standard error, unless standard error is closed."""
    if sys.stderr is None:
        return
    # Not print(), which is not reentrant: signal handlers call this function, too.
    data = f"procconn: {message}\n".encode(sys.stderr.encoding, "backslashreplace")
    with contextlib.suppress(OSError):  # such as a terminal that was closed
        write_all(STDERR, data)


def report_lost(
    count: int, remedy: str = "read the output of this command faster"
) -> None:
    """Report how many events were lost and how to avoid losses; no-op if none were."""
    if count:
        report(
            f"{count} events were lost: the kernel's receive buffer was full. To avoid"
            " this, select fewer --events, raise net.core.rmem_max or grant"
            f" CAP_NET_ADMIN, and {remedy}"
        )


def report_usage_lost(count: int) -> None:
    """Report how many usage records were lost, as `report_lost` does for events."""
    if count:
        report(
            f"the usage of {count} tasks was lost: the kernel's receive buffer was full"
            " because this process got too little CPU time. To avoid this, reduce the"
            " load of the machine or raise this command's priority, for example with"
            " nice -n -5"
        )
