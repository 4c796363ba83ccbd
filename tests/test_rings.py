"""The ring of programs between the /proc reader and the receiving thread."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_programs_arrive_complete_or_are_busy(tmp_path: Path) -> None:
    """One thread fills the rings faster than the other empties them."""
    compiler = shutil.which("cc")
    sources = HERE.parent / "csrc"
    if compiler is None or not sources.is_dir():
        pytest.skip("requires a C compiler and the C sources")
    command = [compiler, "-std=gnu11", "-O1", "-pthread", f"-I{sources}"]
    command += ["-o", str(tmp_path / "rings")]
    command += [str(HERE / "rings.c"), str(sources / "programs/store.c")]
    subprocess.run(command, check=True)
    output = subprocess.check_output(tmp_path / "rings", text=True, timeout=240).split()

    assert ["complete", "busy", "malformed"] == output[::2]
    assert int(output[1]) > 0
    assert "0" == output[5]
