"""The C programs beside the Python ones."""

import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from live.staging import PROGRAMS

BUILT = PROGRAMS / "built"  # elsewhere, for a machine without a compiler
FLAGS = ("-O1", "-Wall", "-Werror", "-pthread")
MORE_FLAGS = {"early": ("-static",)}


@cache
def _folder() -> Path:
    folder = Path(mkdtemp(prefix="procconn-tests-"))
    folder.chmod(0o755)
    return folder


@cache
def compiled(name: str) -> Path:
    """Compile one of the programs."""
    if BUILT.is_dir():
        return BUILT / name
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    target = _folder() / name
    flags = (*FLAGS, *MORE_FLAGS.get(name, ()))
    command = [compiler, *flags, f"{PROGRAMS / name}.c", "-o", str(target)]
    subprocess.run(command, check=True)
    return target
