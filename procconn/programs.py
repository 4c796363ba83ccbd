"""What the library reads of processes: `Program` and `Usage`."""

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
# kubepods/…/ID, …:cri-containerd:ID. Not crio-conmon-ID.scope, which watches over it.
_CONTAINER = re.compile(
    r"(?:^|[/:]|(?<!conmon)-)([0-9a-f]{64})(?:\.scope)?(?=/|$)", re.ASCII
)


class Program(NamedTuple):
    """The program that an exec started, read from /proc as soon as it was reported.

    A field is None unless procconn can show that the value is of this exec; `missing`
    says why. docs/events.md says of each field how that is known.

    Attributes:
        argv: the arguments that the process shows, decoded by `os.fsdecode`.
        name: the task's name (comm) after the exec; of a script its own name.
        exe: the path of the executable.
        cwd: the working directory.
        ppid: the process that forked this one; if that fork is not known, the parent.
        uid, euid, gid, egid: the real and the effective IDs.
        cgroup: the path of the cgroup at the time of reading, in the hierarchy of
            version 2 or systemd; where both say "/", the longest path of any other.
        cut: whether `argv` is truncated: longer than 49,152 bytes, or the process
            kept the rest from being read.
        missing: "" if nothing is absent, else the first reason that applies: "later"
            (the process ran, or was about to run, another program), "gone" (it ended
            first), "denied" (no permission), "busy" (the reading thread could not keep
            up), "held" (a tracer has stopped it since its exec), "changed" (ids, name
            or parent changed before they were read), "late" (`cwd` was read too late to
            be certain), or "limit" (this process is out of descriptors or memory).
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
        """The arguments, quoted for a shell; "" if they are not known."""
        return "" if self.argv is None else shlex.join(self.argv)

    @property
    def container(self) -> str | None:
        """The 64-digit ID of the innermost container by its cgroup, or None.

        Recognizes Docker, containerd, CRI-O and Podman.
        """
        found = _CONTAINER.findall(self.cgroup or "")
        return found[-1] if found else None


class Usage(NamedTuple):
    """Resources that a task used until its end; None if the kernel does not count one.

    Attributes:
        cpu_ns: time on a CPU, as counted by the scheduler, in nanoseconds; up to a tick
            (1 to 10 ms) short for a task that slept.
        user_ns, system_ns: the same, in user and in kernel mode.
        peak_rss: its peak resident set size, in bytes.
        read_bytes, write_bytes: to and from storage.
        read_chars, write_chars: bytes by read(2), write(2) and the like.
        minor_faults, major_faults: page faults without and with reading from storage.
        switches, involuntary_switches: voluntary and involuntary context switches.
        elapsed_ns: from its start to its end, in nanoseconds.
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
    """Read what program a process runs now.

    A process can write what it likes over its arguments, also long before.

    Args:
        pid: a process ID, as this process's /proc shows it.

    Returns:
        The program, or None if there is no such process.

    Raises:
        TypeError: `pid` is not an int.
        ValueError: no process can have it.
        UnsupportedError: /proc does not show this PID namespace.
        OSError: this process has no descriptor or memory left (EMFILE, ENFILE, ENOMEM).
    """
    _arguments.pid("pid", pid)
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
