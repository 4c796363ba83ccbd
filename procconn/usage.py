"""What a task has used."""

from __future__ import annotations

from typing import NamedTuple


class Usage(NamedTuple):
    """What a task used until its end; None where the kernel does not account it.

    Attributes:
        cpu_ns: time on a processor, by the scheduler's count, in nanoseconds; up to a
            tick (1 to 10 ms) short for a task that slept.
        user_ns, system_ns: the same, in user and in kernel mode.
        peak_rss: the most memory it had resident, in bytes.
        read_bytes, write_bytes: to and from storage.
        read_chars, write_chars: bytes by read(2), write(2) and the like.
        minor_faults, major_faults: page faults without and with reading from storage.
        switches, involuntary_switches: how often it gave its processor up, and how
            often that was taken away.
        elapsed_ns: from its beginning to its end, in nanoseconds.
    """

    cpu_ns: int | None
    user_ns: int | None
    system_ns: int | None
    peak_rss: int | None
    read_bytes: int | None
    write_bytes: int | None
    read_chars: int | None
    write_chars: int | None
    minor_faults: int | None
    major_faults: int | None
    switches: int | None
    involuntary_switches: int | None
    elapsed_ns: int | None
