"""Kernel threads: mounting an ext4 file system starts some, unmounting ends them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.command import events_until, wait_until_printing, watching

from procconn import EventMask, Fork, ProcConnector
from procconn.processes import Ended, ProcessMonitor

KTHREADD = 2

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting requires root"),
    pytest.mark.skipif(not shutil.which("mkfs.ext4"), reason="requires mkfs.ext4"),
]


@contextmanager
def mounted(folder: Path) -> Iterator[int]:
    """Mount a file system; yield the PID of its journal thread."""
    image, mount_point = folder / "image", folder / "mounted"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    mount_point.mkdir()
    with ProcConnector(EventMask.FORK) as connector:
        mount: list[str | Path] = ["mount", "-o", "loop", image, mount_point]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("a loop device cannot be mounted here")
        forked = [
            event.child_pid
            for event in connector.recv_many(0)
            if isinstance(event, Fork) and event.parent_tgid == KTHREADD
        ]
    names = {pid: Path(f"/proc/{pid}/comm") for pid in forked}
    journals = [
        pid
        for pid, name in names.items()
        if name.exists() and name.read_text().startswith("jbd2/")
    ]
    try:
        yield journals[0]
    finally:
        subprocess.run(["umount", "--quiet", mount_point], check=False)


def unmount(folder: Path) -> None:
    """Unmount the file system, which ends its kernel threads."""
    subprocess.run(["umount", folder / "mounted"], check=True)


def test_new_kernel_thread_has_no_name_and_no_program(tmp_path: Path) -> None:
    with ProcessMonitor(programs=False) as monitor:
        with mounted(tmp_path) as pid:
            unmount(tmp_path)
        ended = next(
            change.process
            for change in monitor
            if isinstance(change, Ended) and change.process.pid == pid
        )

    assert ended.is_kernel_thread
    assert (None, None, 0) == (ended.name, ended.program, ended.returncode)
    assert ended.ppid == KTHREADD


def test_command_prints_the_name_of_a_preexisting_kernel_thread(tmp_path: Path) -> None:
    """The command reads names from /proc once, at its start."""
    with watching("-e", "exit") as early, watching("-e", "exit", "--json") as as_json:
        wait_until_printing(early)
        wait_until_printing(as_json)
        with mounted(tmp_path) as pid, watching("-e", "exit") as late:
            wait_until_printing(late)
            unmount(tmp_path)
            lines = [line_of(early, pid), line_of(late, pid)]
        record = events_until(as_json, pid, "exit")[-1]

    assert f"exit {pid} [kernel thread] status 0 after " in lines[0]
    assert f"exit {pid} [jbd2/loop" in lines[1]
    assert (None, None, "root") == (record["name"], record["argv"], record["user"])


def line_of(watch: subprocess.Popen[bytes], pid: int) -> str:
    assert watch.stdout is not None
    return next(
        line
        for line in (" ".join(raw.decode().split()) for raw in watch.stdout)
        if f" exit {pid} " in line
    )
