"""Checks the wheel and the sdist before a release: `check_wheel.py WHEELHOUSE REBUILT`.

Both directories contain one wheel. The wheel in REBUILT comes from a second build, and
must be identical.
"""

import re
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

SIZE_LIMIT = 250_000  # bytes
OLDEST_GLIBC = (2, 17)
SHARED = 3  # a manual page, and completions for two shells

NAME = re.compile(
    r"procconn-(?P<version>[\w.]+)-cp311-abi3-(?P<platforms>manylinux[\w.]+)\.whl"
)


def only_wheel(directory: Path) -> Path:
    wheels = list(directory.glob("*.whl"))
    assert len(wheels) == 1, wheels
    return wheels[0]


def oldest_glibc(platforms: str) -> tuple[int, int]:
    """Return the oldest glibc of the manylinux_X_Y tags in a wheel's name."""
    named = re.findall(r"manylinux_(\d+)_(\d+)", platforms)
    return min((int(major), int(minor)) for major, minor in named)


def check_name(wheel: Path) -> str:
    match = NAME.fullmatch(wheel.name)
    assert match, f"{wheel.name} is not an abi3 wheel for manylinux"
    assert oldest_glibc(match["platforms"]) <= OLDEST_GLIBC
    return match["version"]


def check_contents(wheel: Path, version: str, tracked: list[str]) -> None:
    """Assert that the wheel contains exactly the modules and the shared files.

    Shared files are the manual page and the shell completions.
    """
    modules = {name for name in tracked if name.startswith("procconn/")}
    assert {"procconn/py.typed", "procconn/_core.pyi"} < modules
    shared = {
        f"procconn-{version}.data/data/{name}"
        for name in tracked
        if name.startswith("share/") and not name.endswith(".py")
    }
    assert len(shared) == SHARED
    with ZipFile(wheel) as archive:
        members = {
            name
            for name in archive.namelist()
            if ".dist-info/" not in name and not name.endswith("/")
        }

    expected = modules | shared | {"procconn/_core.abi3.so"}
    assert expected == members, expected ^ members


def check_source(sdist: Path, tracked: list[str]) -> None:
    """Assert that the sdist contains every tracked file except CI settings."""
    needed = {name for name in tracked if not name.startswith((".git", ".ci/"))}
    with tarfile.open(sdist) as archive:
        members = {name.partition("/")[2] for name in archive.getnames()}

    assert set() == needed - members, needed - members


def main() -> None:
    wheel, rebuilt = (only_wheel(Path(directory)) for directory in sys.argv[1:])
    tracked = subprocess.check_output(["git", "ls-files"], text=True).splitlines()
    version = check_name(wheel)
    size = wheel.stat().st_size
    assert size < SIZE_LIMIT, f"{size} bytes"
    check_contents(wheel, version, tracked)
    check_source(Path("dist") / f"procconn-{version}.tar.gz", tracked)
    assert wheel.name == rebuilt.name
    assert wheel.read_bytes() == rebuilt.read_bytes(), "two builds differ"
    print(f"{wheel.name}: {size} bytes, two builds are identical")


if __name__ == "__main__":
    main()
