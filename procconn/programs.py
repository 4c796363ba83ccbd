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
    """The program that an exec started, as far as it could be read in time.

    What is not known is None, never that of another program; `missing` says why.

    Attributes:
        argv: the arguments, decoded by `os.fsdecode`.
        name: the task's name (comm) after the exec; of a script its own.
        exe: the path of the executable.
        cwd: the working directory.
        ppid: the parent process.
        uid, euid, gid, egid: the real and the effective ids.
        cgroup: the path of the control group, in version 2's or systemd's hierarchy.
        cut: whether `argv` is not whole: longer than 49,152 bytes, or kept from being
            read further.
        missing: why something is None: "later" (the process ran another program before
            it was read), "gone" (it ended first), "denied" (it takes a privilege), or
            "busy" (too many came at once); "" if all is there.
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
        """The arguments as one would type them in a shell; "" if they are not known."""
        return "" if self.argv is None else shlex.join(self.argv)

    @property
    def container(self) -> str | None:
        """The 64-digit id of the innermost container by its control group, or None.

        Of Docker, containerd, CRI-O and Podman.
        """
        found = _CONTAINER.findall(self.cgroup or "")
        return found[-1] if found else None
