"""Recordings: the event stream in a file, to be read on any machine, without privilege.

A recording is a pcap file of netlink packets with nanosecond times, so that other tools
open it too: one packet for each message that `recv_raw` returns, with the wall-clock
time of its event.
"""

from procconn.recording.file import File
from procconn.recording.reader import Recording
from procconn.recording.writer import Recorder

__all__ = ["File", "Recorder", "Recording", "open"]


def open(file: File) -> Recording:  # noqa: A001 - as gzip.open is called
    """Open a recording for reading.

    Args:
        file: a path, or a binary file open for reading, which may be a pipe, such as
            `sys.stdin.buffer`, and is not closed in the end.

    Raises:
        ValueError: it is no recording; the text says what to do.
        OSError: the file cannot be read.
    """
    return Recording(file)
