"""Recordings of the event stream, which can be read on any machine without privilege.

A recording is a pcap file of netlink packets with nanosecond timestamps, which tools
such as Wireshark open too. It has one packet for each message that `recv_raw` returns,
with the wall-clock time of its event.
"""

from procconn.recording.file import File
from procconn.recording.reader import Recording
from procconn.recording.writer import Recorder

__all__ = ["File", "Recorder", "Recording", "open"]


def open(file: File) -> Recording:  # noqa: A001 - as gzip.open is called
    """Open a recording for reading.

    Args:
        file: a path, or a binary file open for reading, such as `sys.stdin.buffer`,
            which may be a pipe. Closing the recording does not close such a file.

    Raises:
        ValueError: the file is not a recording; the text says what to do.
        OSError: the file cannot be read.
    """
    return Recording(file)
