"""The documents' code, on the running kernel."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import documents
import pytest
from documents import DOCUMENTS, code, needs_events


@pytest.mark.parametrize("document", [it for it in DOCUMENTS if needs_events(it)])
def test_code_runs_and_prints_what_is_shown(document: str, tmp_path: Path) -> None:
    if any("numpy" in block.text for block in code(document)):
        pytest.importorskip("numpy")
    command = [sys.executable, "-W", "error", documents.__file__, document]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_guide_for_the_unprivileged_runs_as_nobody() -> None:
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    if version and tuple(map(int, version.groups())) < (6, 6):
        pytest.skip("it takes Linux 6.6")
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    python = [*as_nobody, sys.executable, "-W", "error"]
    if os.geteuid() != 0 or subprocess.call(
        [*python, "-c", "import procconn"], cwd="/"
    ):
        pytest.skip("cannot become nobody, or nobody may not read this environment")
    done = subprocess.run(
        [*python, documents.__file__, "docs/guides/unprivileged.md"],
        check=False,
        cwd="/",
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
