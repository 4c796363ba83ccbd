"""Run the test suite on an installed wheel.

    try_wheel.py [--user USER] WHEEL [PYTHON ...] [-- ARGS]

PYTHON defaults to every CPython of this machine that supports the wheel. The wheel is
installed without a compiler, and tested without the source tree. ARGS are arguments of
pytest. Root can run pytest as another USER, who needs permission to run PYTHON.
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
PROPERTIES = """if 1:
    import json, os, sys, sysconfig
    print(json.dumps({
        "python": os.path.realpath(sys.executable),
        "version": sys.version_info[:2],
        "cpython": sys.implementation.name == "cpython",
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    }))
"""
MODULE_PATH = """if 1:
    import procconn._core, sys, sysconfig
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert not sys._is_gil_enabled(), "importing procconn enables the GIL"
    print(sys.version.split()[0], procconn._core.__file__)
"""


def candidates() -> Iterator[Path]:
    """Yield paths of Python interpreters on PATH and in pyenv."""
    for directory in os.get_exec_path():
        for path in sorted(Path(directory).glob("python3.*")):
            if re.fullmatch(r"python3\.\d+t?", path.name):
                yield path
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob("versions/*/bin/python"))


def query(python: str | Path) -> dict[str, Any] | None:
    """Return the properties of a Python interpreter, or None if it does not run."""
    done = subprocess.run(
        [python, "-c", PROPERTIES], capture_output=True, text=True, check=False
    )
    return json.loads(done.stdout) if done.returncode == 0 else None


def pythons() -> list[str]:
    """Return each CPython that supports a cp311-abi3 wheel."""
    found = set()
    for path in candidates():
        properties = query(path)
        if properties is None:
            continue  # a pyenv shim of an inactive version
        if properties["cpython"] and properties["version"] >= OLDEST:
            if properties["free_threaded"]:
                print(f"{properties['python']}: free-threaded, needs another wheel")
            else:
                found.add(properties["python"])
    return sorted(found)


def install(python: str, wheel: Path, directory: Path) -> Path:
    """Create an environment with the wheel and the test requirements, all wheels."""
    venv = directory / "venv"
    subprocess.run([python, "-m", "venv", "--without-pip", venv], check=True)
    properties = query(python)
    is_free_threaded = properties and properties["free_threaded"]
    group = "test-without-orjson" if is_free_threaded else "test"
    requirements = f"{Path('pyproject.toml').resolve()}:{group}"
    pip = [sys.executable, "-m", "pip", "--python", f"{venv}/bin/python", "install"]
    wheels_only = ["--quiet", "--only-binary", ":all:"]
    subprocess.run(
        [*pip, *wheels_only, wheel, "--group", requirements],
        check=True,
        env=os.environ | {"PATH": f"{venv}/bin"},
    )
    return venv / "bin"


def copy_tests(target: Path) -> None:
    """Copy cibuildwheel's test sources: the test suite without the package."""
    settings = tomllib.loads(Path("pyproject.toml").read_text())
    for name in settings["tool"]["cibuildwheel"]["test-sources"]:
        source = Path(name)
        if source.is_dir():
            shutil.copytree(source, target / name)
        else:
            shutil.copy(source, target / name)


def suite_passes(
    python: str, wheel: Path, arguments: list[str], user: str | None
) -> bool:
    with TemporaryDirectory(prefix="procconn-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # tests run its programs as nobody
        programs = install(python, wheel, directory)
        copy_tests(directory)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "CC": "false", "CXX": "false"}
        environment.pop("PYTHONPATH", None)
        new_results = directory / "results.jsonl"  # writable by the user
        environment["PROCCONN_RESULTS"] = str(new_results)
        identity: dict[str, Any] = {}
        if user:
            shutil.chown(directory, user)  # for the caches of pytest
            group = pwd.getpwnam(user).pw_gid
            identity = {"user": user, "group": group, "extra_groups": []}
            environment["HOME"] = name
        module = subprocess.run(
            [programs / "python", "-W", "error", "-c", MODULE_PATH],
            stdout=subprocess.PIPE,
            text=True,
            cwd=directory,
            env=environment,
            check=False,
            **identity,
        )
        print(f"== {python}: {module.stdout.strip()}", flush=True)
        if str(programs.parent) not in module.stdout:
            return False
        suite = subprocess.run(
            [programs / "pytest", *arguments],
            cwd=directory,
            env=environment,
            check=False,
            **identity,
        )
        results = os.environ.get("PROCCONN_RESULTS")
        if results and new_results.exists():
            with Path(results).open("a") as file:
                file.write(new_results.read_text())
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
