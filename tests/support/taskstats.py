"""Builds taskstats messages in the layouts of TASKSTATS_VERSION 13 to 16."""

import struct
from itertools import accumulate

from support.builders import netlink_message

FAMILY = 0x1B
COMMAND_GET = 1
COMMAND_NEW = 2
PID, TGID, STATS, AGGR_PID, AGGR_TGID, NULL = range(1, 7)
ABSENT = 2**64 - 1

# Fields of struct taskstats, version 13 (Linux 6.1), with their sizes in order.
_FIELDS = {
    "version": 2,
    "pad_version": 2,
    "ac_exitcode": 4,
    "ac_flag": 1,
    "ac_nice": 1,
    "pad_nice": 6,
    "cpu_count": 8,
    "cpu_delay_total": 8,
    "blkio_count": 8,
    "blkio_delay_total": 8,
    "swapin_count": 8,
    "swapin_delay_total": 8,
    "cpu_run_real_total": 8,
    "cpu_run_virtual_total": 8,
    "ac_comm": 32,
    "ac_sched": 8,
    "ac_uid": 4,
    "ac_gid": 4,
    "ac_pid": 4,
    "ac_ppid": 4,
    "ac_btime": 8,
    "ac_etime": 8,
    "ac_utime": 8,
    "ac_stime": 8,
    "ac_minflt": 8,
    "ac_majflt": 8,
    "coremem": 8,
    "virtmem": 8,
    "hiwater_rss": 8,
    "hiwater_vm": 8,
    "read_char": 8,
    "write_char": 8,
    "read_syscalls": 8,
    "write_syscalls": 8,
    "read_bytes": 8,
    "write_bytes": 8,
    "cancelled_write_bytes": 8,
    "nvcsw": 8,
    "nivcsw": 8,
    "ac_utimescaled": 8,
    "ac_stimescaled": 8,
    "cpu_scaled_run_real_total": 8,
    "freepages": 16,
    "thrashing": 16,
    "ac_btime64": 8,
    "compact": 16,
    "ac_tgid": 4,
    "pad_tgid": 4,
    "ac_tgetime": 8,
    "ac_exe_dev": 8,
    "ac_exe_inode": 8,
    "wpcopy": 16,
}
_SIZES = {13: 416, 14: 432, 15: 560, 16: 560}

# Version 15 has two more fields after each of these.
_WIDENED = ("cpu_delay_total", "blkio_delay_total", "swapin_delay_total")
_WIDENED_LATER = ("freepages", "thrashing", "compact", "wpcopy")


def stats(layout: int = 16, **fields: int) -> bytes:
    """Build a struct taskstats in the layout of one version."""
    sizes = dict(_FIELDS)
    if layout == 15:
        for name in _WIDENED + _WIDENED_LATER:
            sizes[name] += 16
    starts = dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))
    data = bytearray(_SIZES[layout])
    for name, value in {"version": layout, "cpu_count": 1, **fields}.items():
        form = {1: "=B", 2: "=H", 4: "=I", 8: "=Q"}[_FIELDS[name]]
        struct.pack_into(form, data, starts[name], value)
    return bytes(data)


def attribute(kind: int, payload: bytes) -> bytes:
    """Prepend an attribute header to the payload, and append padding."""
    header = struct.pack("=HH", 4 + len(payload), kind)
    return header + payload + bytes(-len(payload) % 4)


def task_message(pid: int, data: bytes, *, after: bytes = b"") -> bytes:
    """Build the message of one task; `after` holds further attributes."""
    task = attribute(PID, struct.pack("=I", pid)) + attribute(STATS, data)
    return generic_message(attribute(AGGR_PID, task) + after)


def generic_message(
    attributes: bytes, *, command: int = COMMAND_NEW, family: int = FAMILY
) -> bytes:
    """Prepend the netlink and generic netlink headers to the attributes."""
    return netlink_message(family, struct.pack("=BBH", command, 1, 0) + attributes)
