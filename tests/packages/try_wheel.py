"""Run the suite on an installed wheel.

    try_wheel.py [--user USER] WHEEL [PYTHON ...] [-- ARGS]

Without PYTHON, on every CPython of this machine that the wheel is for. No compiler is
in reach of the installation, and the source tree is out of the way. ARGS go to pytest,
which root can have run as another USER; that one needs a PYTHON that everyone may run.
"""

import argparse
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

OLDEST = [3, 11]
ABOUT = """if 1:
    import json, os, sys, sysconfig
    print(json.dumps({
        "python": os.path.realpath(sys.executable),
        "version": sys.version_info[:2],
        "cpython": sys.implementation.name == "cpython",
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    }))
"""
HOME = """if 1:
    import procconn._core, sys, sysconfig
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert not sys._is_gil_enabled(), "importing procconn switches the GIL on"
    print(sys.version.split()[0], procconn._core.__file__)
"""


def candidates() -> Iterator[Path]:
    """Yield what looks like a Python, on PATH and among pyenv's."""
    for folder in os.get_exec_path():
        for path in sorted(Path(folder).glob("python3.*")):
            if re.fullmatch(r"python3\.\d+t?", path.name):
                yield path
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob("versions/*/bin/python"))


def look_at(python: str | Path) -> dict[str, Any] | None:
    """Ask what it is; None if it does not run."""
    answer = subprocess.run(
        [python, "-c", ABOUT], capture_output=True, text=True, check=False
    )
    return json.loads(answer.stdout) if answer.returncode == 0 else None


def pythons() -> list[str]:
    """Return the CPythons that a cp311-abi3 wheel is for, each once."""
    found = set()
    for path in candidates():
        about = look_at(path)
        if about is None:
            continue  # a shim of a version that is not in use
        if about["cpython"] and about["version"] >= OLDEST:
            if about["free_threaded"]:
                print(f"{about['python']}: free-threaded, needs its own wheel")
            else:
                found.add(about["python"])
    return sorted(found)


def install(python: str, wheel: Path, place: Path) -> Path:
    """Make an environment with the wheel and the tests' needs, all from wheels."""
    venv = place / "venv"
    subprocess.run([python, "-m", "venv", "--without-pip", venv], check=True)
    about = look_at(python)
    group = "test-without-orjson" if about and about["free_threaded"] else "test"
    tests_needs = f"{Path('pyproject.toml').resolve()}:{group}"
    pip = [sys.executable, "-m", "pip", "--python", f"{venv}/bin/python", "install"]
    wheels_only = ["--quiet", "--only-binary", ":all:"]
    subprocess.run(
        [*pip, *wheels_only, wheel, "--group", tests_needs],
        check=True,
        env=os.environ | {"PATH": f"{venv}/bin"},
    )
    return venv / "bin"


def copy_tests(place: Path) -> None:
    """Copy what cibuildwheel copies: the suite without the package."""
    settings = tomllib.loads(Path("pyproject.toml").read_text())
    for name in settings["tool"]["cibuildwheel"]["test-sources"]:
        source = Path(name)
        if source.is_dir():
            shutil.copytree(source, place / name)
        else:
            shutil.copy(source, place / name)


def suite_passes(
    python: str, wheel: Path, arguments: list[str], user: str | None
) -> bool:
    with TemporaryDirectory(prefix="procconn-") as folder:
        place = Path(folder)
        place.chmod(0o755)  # tests run programs of it as nobody
        programs = install(python, wheel, place)
        copy_tests(place)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "CC": "false", "CXX": "false"}
        environment.pop("PYTHONPATH", None)
        noted = place / "results.jsonl"  # where the user may write
        environment["PROCCONN_RESULTS"] = str(noted)
        identity: dict[str, Any] = {}
        if user:
            shutil.chown(place, user)  # pytest has caches there
            group = pwd.getpwnam(user).pw_gid
            identity = {"user": user, "group": group, "extra_groups": []}
            environment["HOME"] = folder
        home = subprocess.run(
            [programs / "python", "-W", "error", "-c", HOME],
            stdout=subprocess.PIPE,
            text=True,
            cwd=place,
            env=environment,
            check=False,
            **identity,
        )
        print(f"== {python}: {home.stdout.strip()}", flush=True)
        if str(programs.parent) not in home.stdout:
            return False
        suite = subprocess.run(
            [programs / "pytest", *arguments],
            cwd=place,
            env=environment,
            check=False,
            **identity,
        )
        results = os.environ.get("PROCCONN_RESULTS")
        if results and noted.exists():
            with Path(results).open("a") as file:
                file.write(noted.read_text())
        return suite.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--user")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("python", nargs="*")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options = parser.parse_args(sys.argv[1:split])
    tried = options.python or pythons()
    assert tried, "no CPython found"
    failed = [
        python
        for python in tried
        if not suite_passes(
            python, options.wheel.resolve(), sys.argv[split + 1 :], options.user
        )
    ]
    sys.exit(f"failed on {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
