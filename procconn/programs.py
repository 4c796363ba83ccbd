"""`Program` and `Usage`: data from /proc and taskstats about a process."""

from __future__ import annotations

import errno
import os
import re
import shlex
from typing import NamedTuple

from procconn import _arguments
from procconn._core import ffi, lib
from procconn.diagnosis import check_proc

# docker-ID.scope, cri-containerd-ID.scope, crio-ID.scope, libpod-ID.scope; docker/ID,
# kubepods/…/ID, …:cri-containerd:ID. Not crio-conmon-ID.scope, the monitor's cgroup.
_CONTAINER = re.compile(
    r"(?:^|[/:]|(?<!conmon)-)([0-9a-f]{64})(?:\.scope)?(?=/|$)", re.ASCII
)


class Program(NamedTuple):
    """The program that an exec started, read from /proc when the exec is reported.

    If procconn cannot prove that a value belongs to this exec, the field is None and
    `missing` says why. docs/events.md has the proof for each field.

    Attributes:
        argv: the arguments in /proc/PID/cmdline, decoded by `os.fsdecode`.
        name: the name (comm) after the exec; of a script, the script's name, not the
            interpreter's.
        exe: the path of the executable.
        cwd: the working directory.
        ppid: the process that forked this one; the parent, if the fork is not known.
        uid, euid, gid, egid: the real and the effective IDs.
        cgroup: the path of the cgroup at the time of reading, in the v2 hierarchy or
            systemd's; if both say "/", the longest path in any other hierarchy.
        cut: whether `argv` is truncated: it is longer than 49,152 bytes, or the process
            prevented the rest from being read.
        missing: "" if nothing is absent, else the first reason that applies: "later"
            (the process had executed, or was about to execute, another program), "gone"
            (it had exited), "denied" (no permission), "busy" (the reading thread could
            not keep up), "held" (a tracer has stopped it since its exec), "changed"
            (IDs, name or parent changed before they were read), "late" (`cwd` was read
            too late to be certain), or "limit" (this process is out of descriptors or
            memory).
    """

    argv: tuple[str, ...] | None
    name: str | None
    exe: str | None
    cwd: str | None
    ppid: int | None
    uid: int | None
    euid: int | None
    gid: int | None
    egid: int | None
    cgroup: str | None
    cut: bool
    missing: str

    @property
    def command(self) -> str:
        """The arguments as a shell-quoted command line; "" if `argv` is None."""
        return "" if self.argv is None else shlex.join(self.argv)

    @property
    def container(self) -> str | None:
        """The 64-digit ID of the innermost container in `cgroup`, or None.

        Recognizes Docker, containerd, CRI-O and Podman.
        """
        found = _CONTAINER.findall(self.cgroup or "")
        return found[-1] if found else None


class Usage(NamedTuple):
    """Resources that a task used; a field is None if the kernel does not account it.

    Attributes:
        cpu_ns: CPU time, by the scheduler's accounting, in nanoseconds; up to a tick
            (1 to 10 ms) too low for a task that slept.
        user_ns, system_ns: CPU time in user and in kernel mode, in nanoseconds.
        peak_rss: peak resident set size, in bytes.
        read_bytes, write_bytes: bytes read from and written to storage.
        read_chars, write_chars: bytes of read(2), write(2) and similar calls.
        minor_faults, major_faults: page faults without and with I/O.
        switches, involuntary_switches: voluntary and involuntary context switches.
        elapsed_ns: time from its start to its end, in nanoseconds.
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


def read_program(pid: int) -> Program | None:
    """Read the program that a running process executes.

    The process may have overwritten its arguments since its exec.

    Args:
        pid: a process ID, in the PID namespace of this process.

    Returns:
        The program; None if there is no such process.

    Raises:
        TypeError: `pid` is not an int.
        ValueError: `pid` is out of range.
        UnsupportedError: /proc does not show this PID namespace.
        OSError: out of file descriptors (EMFILE, ENFILE) or memory (ENOMEM).
    """
    _arguments.check_pid("pid", pid)
    check_proc()
    programs: list[Program] = []
    status = lib.procconn_read_program(
        pid, ffi.cast("void *", id(Program)), ffi.cast("void *", id(programs))
    )
    if status == -errno.ESRCH:
        return None
    if status < 0:
        raise OSError(-status, os.strerror(-status), f"/proc/{pid}")
    return programs[0]
