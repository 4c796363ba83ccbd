"""Opening output files: mode, owner, and symbolic-link attacks."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from procconn.files import open_private
from procconn.recording import Recorder

FLAGS = os.O_WRONLY | os.O_CREAT
IS_ROOT = os.geteuid() == 0
requires_root = pytest.mark.skipif(not IS_ROOT, reason="requires root")
NOBODY = 65_534


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write(path: Path | str, flags: int = FLAGS | os.O_TRUNC) -> None:
    """Open the file with open_private() and write four bytes."""
    fd = open_private(str(path), flags)
    try:
        os.write(fd, b"text")
    finally:
        os.close(fd)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """World-writable directory without the sticky bit (fs.protected_symlinks)."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def test_new_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write(tmp_path / "written")
        Recorder(tmp_path / "recorded").close()
    finally:
        os.umask(before)

    assert 0o600 == mode_of(tmp_path / "written") == mode_of(tmp_path / "recorded")


def test_existing_file_keeps_its_mode_and_is_truncated(tmp_path: Path) -> None:
    for name in ("written", "recorded"):
        (tmp_path / name).write_bytes(b"x" * 100)
        (tmp_path / name).chmod(0o644)
    write(tmp_path / "written")
    Recorder(tmp_path / "recorded").close()

    assert 0o644 == mode_of(tmp_path / "written") == mode_of(tmp_path / "recorded")
    assert b"text" == (tmp_path / "written").read_bytes()
    assert 24 == (tmp_path / "recorded").stat().st_size


@pytest.mark.parametrize(
    "path",
    ["plain", "./plain", "folder/plain", "folder//../plain", "folder/link", "chain"],
)
def test_symlinks_in_directories_of_the_user_are_followed(
    path: str, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").touch()
    (tmp_path / "folder/plain").touch()
    (tmp_path / "folder/link").symlink_to("../plain")
    (tmp_path / "folder/absolute").symlink_to(tmp_path / "plain")
    (tmp_path / "chain").symlink_to("folder/absolute")
    write(f"{tmp_path}/{path}")

    assert b"text" == Path(f"{tmp_path}/{path}").read_bytes()


def test_dangling_symlink_creates_its_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("made")
    write(tmp_path / "link")

    assert 0o600 == mode_of(tmp_path / "made")


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o775, 0o757], ids=oct)
@pytest.mark.parametrize("is_relative", [False, True], ids=["absolute", "relative"])
def test_symlink_in_a_directory_writable_by_others_is_refused(
    mode: int, is_relative: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, target = tmp_path / "shared", tmp_path / "target"
    folder.mkdir()
    folder.chmod(mode)
    target.write_bytes(b"kept")
    (folder / "link").symlink_to(target)
    monkeypatch.chdir(folder)
    path = Path("link") if is_relative else folder / "link"

    for call in (write, Recorder):
        with pytest.raises(OSError, match="give the path of its target") as caught:
            call(path)
        assert errno.ELOOP == caught.value.errno
        assert str(path) == caught.value.filename
    assert b"kept" == target.read_bytes()


@pytest.mark.parametrize(
    "path",
    ["shared/folder/plain", "outer/plain"],
    ids=["in the path", "through another link"],
)
def test_directory_symlink_in_a_directory_writable_by_others_is_refused(
    path: str, shared: Path, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    (private / "plain").write_bytes(b"kept")
    (shared / "folder").symlink_to(private)
    (tmp_path / "outer").symlink_to("shared/folder")

    with pytest.raises(
        OSError, match="'folder' is a symbolic link in a directory that"
    ):
        write(tmp_path / path)
    assert b"kept" == (private / "plain").read_bytes()


def test_regular_path_in_a_directory_writable_by_others_is_written(
    shared: Path,
) -> None:
    (shared / "folder").mkdir()
    write(shared / "new")
    write(shared / "folder/new")

    assert b"text" == (shared / "new").read_bytes()
    assert 0o600 == mode_of(shared / "folder/new")


@requires_root
@pytest.mark.parametrize("owner", [0, NOBODY])
def test_symlink_in_another_users_directory_is_refused(
    owner: int, tmp_path: Path
) -> None:
    folder, target = tmp_path / "home", tmp_path / "target"
    folder.mkdir()
    target.write_bytes(b"kept")
    (folder / "link").symlink_to(target)
    os.chown(folder, owner, owner)

    if owner == 0:
        write(folder / "link")
        assert b"text" == target.read_bytes()
    else:
        with pytest.raises(
            OSError, match="is a symbolic link in a directory that other users"
        ):
            write(folder / "link")
        assert b"kept" == target.read_bytes()


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("", errno.ENOENT),
        ("absent/file", errno.ENOENT),
        ("plain/file", errno.ENOTDIR),
        ("folder", errno.EISDIR),
        ("folder/", errno.EISDIR),
        ("new/", errno.ENOENT),
        ("loop", errno.ELOOP),
        ("/", errno.EISDIR),
        ("x" * 300, errno.ENAMETOOLONG),
    ],
)
def test_open_error_has_the_full_path(
    path: str, error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plain").touch()
    Path("folder").mkdir()
    Path("loop").symlink_to("loop")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError) as caught:  # noqa: PT011 - compared below
        open_private(path, FLAGS)

    assert (error, path) == (caught.value.errno, caught.value.filename)
    assert before == len(os.listdir("/proc/self/fd"))


def test_no_descriptor_leaks_or_is_inherited(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    before = len(os.listdir("/proc/self/fd"))
    fd = open_private(f"{tmp_path}/link/../link/file", FLAGS)

    assert not os.get_inheritable(fd)
    assert before + 1 == len(os.listdir("/proc/self/fd"))
    os.close(fd)


@pytest.mark.parametrize("path", ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"])
@pytest.mark.parametrize("is_file", [False, True], ids=["pipe", "file"])
def test_standard_output_can_be_opened_by_its_usual_paths(
    path: str, is_file: bool, shared: Path
) -> None:
    code = (
        "import os, sys; from procconn.files import open_private\n"
        f"os.write(open_private({path!r}, os.O_WRONLY | os.O_CREAT), b'text')"
    )
    with (shared / "out").open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=file if is_file else subprocess.PIPE,
            check=True,
        )

    assert b"text" == ((shared / "out").read_bytes() if is_file else done.stdout)


def test_device_and_fifo_are_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write("/dev/null")
    write(tmp_path / "pipe")

    assert b"text" == os.read(reading, 10)
    os.close(reading)
