"""Values of options: event kinds, PIDs, users, times, sizes."""

import argparse
import pwd
import re

from procconn.events import EventMask

EVENTS = {
    str(member.name).lower().replace("_", "-"): member
    for member in EventMask  # yields the members of one bit
} | {"all": EventMask.ALL}
_MAX_ID = 0xFFFFFFFE
_MAX_PID = 4_194_303  # on any kernel: one less than PID_MAX_LIMIT
_MAX_BYTES = (1 << 63) - 1  # JetStream stores sizes as int64
_MAX_AGE = _MAX_BYTES // 10**9  # seconds; JetStream stores nanoseconds as int64


def to_mask(text: str) -> EventMask:
    """Return the event kinds of a comma-separated list."""
    kinds = EventMask.NONE
    for part in text.split(","):
        name = part.strip().lower().replace("_", "-")
        if name not in EVENTS:
            raise argparse.ArgumentTypeError(
                f"unknown event {part.strip()!r}; choose from {', '.join(EVENTS)}"
            )
        kinds |= EVENTS[name]
    return kinds


def to_count(text: str) -> int:
    """Return a positive integer."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def to_pid(text: str) -> int:
    """Return a process ID."""
    if not text.isdecimal() or not 0 < int(text) <= _MAX_ID:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a process ID: give a number from 1 to {_MAX_ID}"
        )
    return int(text)


def to_possible_pid(text: str) -> int:
    """Return a process ID that is within the limit of every kernel."""
    if (pid := to_pid(text)) > _MAX_PID:
        message = (
            f"{text!r} is not a process ID: the highest possible one is {_MAX_PID}"
        )
        raise argparse.ArgumentTypeError(message)
    return pid


def to_user(text: str) -> int:
    """Return the user ID of a name or a number."""
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        if text.isdecimal() and int(text) <= _MAX_ID:
            return int(text)
    raise argparse.ArgumentTypeError(
        f"unknown user {text!r}; use a user name or a numeric user ID"
    )


def to_pattern(text: str) -> re.Pattern[str]:
    """Return a regular expression."""
    try:
        return re.compile(text)
    except re.error as error:
        message = f"{text!r} is not a valid regular expression: {error}"
        raise argparse.ArgumentTypeError(message) from None


def to_seconds(text: str) -> float:
    """Return a time in seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def to_age(text: str) -> float:
    """Return a time in seconds, within JetStream's limit."""
    if (seconds := to_seconds(text)) > _MAX_AGE:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {_MAX_AGE} seconds")
    return seconds


def to_size(text: str) -> int:
    """Return a size in bytes, within JetStream's limit."""
    if (size := to_count(text)) > _MAX_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {_MAX_BYTES} bytes")
    return size


def to_host(text: str) -> str:
    """Return a host name."""
    if not text or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} is not a printable host name")
    return text


def to_stream(text: str) -> str:
    """Return a stream name."""
    if not text.isprintable() or not re.fullmatch(r"[^\s.*>/\\]+", text):
        message = (
            f"{text!r} is not a valid stream name: spaces and .*>/\\ are not allowed"
        )
        raise argparse.ArgumentTypeError(message)
    return text
