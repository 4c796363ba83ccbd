"""What program a process runs."""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

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
        uid, euid, gid, egid: the real and the effective ids.
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
        """The 64-digit id of the innermost container by its cgroup, or None.

        Of Docker, containerd, CRI-O and Podman.
        """
        found = _CONTAINER.findall(self.cgroup or "")
        return found[-1] if found else None
