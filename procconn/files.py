"""Open the files that are written: they hold command lines, which may have secrets."""

from __future__ import annotations

import errno
import os
import stat

_MODE = 0o600
_MOST_LINKS = 40  # as the kernel follows
_PROC_ROOT = 1  # PROC_ROOT_INO of linux/proc_ns.h
_OF_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def open_private(path: str | bytes, flags: int) -> int:
    """Open a file as open(2) does, and return its descriptor.

    A file that is made has mode 0600, less the umask; one that exists keeps its own.
    Follows no symbolic link in a directory that other users may write to, whatever
    fs.protected_symlinks says: that covers world-writable folders that are sticky.
    Only a regular file is emptied by O_TRUNC.

    Raises:
        OSError: the file cannot be opened, or there is such a link on the way.
    """
    try:
        fd = _open(os.fsdecode(path), flags & ~os.O_TRUNC)
    except OSError as error:  # with the name of one part of the path only
        raise OSError(error.errno, error.strerror, path) from None
    try:
        if flags & os.O_TRUNC and stat.S_ISREG(os.fstat(fd).st_mode):
            os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open(path: str, flags: int) -> int:
    """Walk along the path, so that nobody can change a part that was looked at."""
    left = _parts(path)
    links = 0
    directory = _start(path)
    try:
        while True:
            part = left.pop()
            how = flags if not left else os.O_PATH | os.O_DIRECTORY
            target = _link(part, directory)
            if target is None:
                how |= os.O_NOFOLLOW
            elif not _is_ours(directory):
                raise OSError(
                    errno.ELOOP,
                    f"{part!r} is a symbolic link in a directory that other users may"
                    " write to; give the path of its target",
                )
            elif not _is_of_proc(directory):  # whose links are more than their text
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                left += _parts(target)
                if target.startswith("/"):
                    os.close(directory)
                    directory = _start(target)
                continue
            fd = os.open(part, how, _MODE, dir_fd=directory)
            if not left:
                return fd
            os.close(directory)
            directory = fd
    finally:
        os.close(directory)


def _start(path: str) -> int:
    return os.open("/" if path.startswith("/") else ".", os.O_PATH | os.O_DIRECTORY)


def _parts(path: str) -> list[str]:
    """Split a path, the first part last; what ends in a slash is a directory."""
    if not path:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    parts = [part for part in path.split("/") if part]
    if path.endswith("/"):
        parts.append(".")
    return parts[::-1]


def _link(part: str, directory: int) -> str | None:
    """Return what a symbolic link says; None if it is none, or not there."""
    try:
        return os.readlink(part, dir_fd=directory)
    except OSError:
        return None


def _is_ours(directory: int) -> bool:
    """Whether nobody else may write there but who may change everything anyway."""
    status = os.fstat(directory)
    # In a user namespace, root's files may be of an owner that it does not know.
    owners = (0, os.geteuid(), os.stat("/").st_uid)
    return status.st_uid in owners and not status.st_mode & _OF_OTHERS


def _is_of_proc(directory: int) -> bool:
    """Whether it is of /proc, if that is mounted."""
    try:
        proc = os.stat("/proc")
    except OSError:
        return False
    is_mounted = proc.st_ino == _PROC_ROOT
    return is_mounted and os.fstat(directory).st_dev == proc.st_dev
