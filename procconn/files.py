"""Open output files, which contain command lines and so may contain secrets."""

from __future__ import annotations

import errno
import os
import stat

_MODE = 0o600
_MAX_LINKS = 40  # MAXSYMLINKS of linux/namei.h
_PROC_ROOT = 1  # PROC_ROOT_INO of linux/proc_ns.h
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def open_private(path: str | bytes, flags: int) -> int:
    """Open a file like open(2), and return its descriptor.

    A new file has mode 0600, less the umask; an existing file keeps its mode. Refuses
    to follow a symbolic link in a directory that other users may write to:
    fs.protected_symlinks covers only sticky world-writable directories. O_TRUNC
    truncates regular files only.

    Raises:
        OSError: the file cannot be opened, or its path contains such a link.
    """
    try:
        fd = _open(os.fsdecode(path), flags & ~os.O_TRUNC)
    except OSError as error:  # it names only one component of the path
        raise OSError(error.errno, error.strerror, path) from None
    try:
        if flags & os.O_TRUNC and stat.S_ISREG(os.fstat(fd).st_mode):
            os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open(path: str, flags: int) -> int:
    """Open each component of a path in turn, so that no checked one can be swapped."""
    remaining = _components(path)
    links = 0
    directory = _open_start(path)
    try:
        while True:
            part = remaining.pop()
            part_flags = os.O_PATH | os.O_DIRECTORY if remaining else flags
            target = _link_target(part, directory)
            if target is None:
                part_flags |= os.O_NOFOLLOW
            elif not _is_trusted(directory):
                raise OSError(
                    errno.ELOOP,
                    f"{part!r} is a symbolic link in a directory that other users may"
                    " write to; give the path of its target",
                )
            elif not _is_in_proc(directory):  # only the kernel can follow magic links
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                remaining += _components(target)
                if target.startswith("/"):
                    os.close(directory)
                    directory = _open_start(target)
                continue
            fd = os.open(part, part_flags, _MODE, dir_fd=directory)
            if not remaining:
                return fd
            os.close(directory)
            directory = fd
    finally:
        os.close(directory)


def _open_start(path: str) -> int:
    return os.open("/" if path.startswith("/") else ".", os.O_PATH | os.O_DIRECTORY)


def _components(path: str) -> list[str]:
    """Split a path, in reverse order; a trailing slash requires a directory."""
    if not path:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    parts = [part for part in path.split("/") if part]
    if path.endswith("/"):
        parts.append(".")
    return parts[::-1]


def _link_target(part: str, directory: int) -> str | None:
    """Return the target of a symbolic link; None if it is not a link."""
    try:
        return os.readlink(part, dir_fd=directory)
    except OSError:
        return None


def _is_trusted(directory: int) -> bool:
    """Return whether only this user and root may write to a directory."""
    status = os.fstat(directory)
    # In a user namespace, files of the host's root have the overflow UID, as / has.
    owners = (0, os.geteuid(), os.stat("/").st_uid)
    return status.st_uid in owners and not status.st_mode & _OTHERS_MAY_WRITE


def _is_in_proc(directory: int) -> bool:
    """Return whether a directory is in /proc."""
    try:
        proc = os.stat("/proc")
    except OSError:
        return False
    is_mounted = proc.st_ino == _PROC_ROOT
    return is_mounted and os.fstat(directory).st_dev == proc.st_dev
