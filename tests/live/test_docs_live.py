"""The documents' code, on the running kernel."""

import subprocess
import sys
from pathlib import Path

import documents
import pytest
from documents import DOCUMENTS, code, needs_events

from live.staging import AS_ORDINARY_USER, IS_ROOT, KERNEL, PYTHON, run

# Namespaces, and a buffer that doctor finds large enough.
_TAKES_ROOT = ("unshare ", "procconn doctor")


@pytest.mark.parametrize("document", [it for it in DOCUMENTS if needs_events(it)])
def test_code_runs_and_prints_what_is_shown(document: str, tmp_path: Path) -> None:
    if any("numpy" in block.text for block in code(document)):
        pytest.importorskip("numpy")
    shell = "".join(it.text for it in code(document) if it.language == "sh")
    if not IS_ROOT and any(command in shell for command in _TAKES_ROOT):
        pytest.skip(f"takes root, as it has one of {', '.join(_TAKES_ROOT)}")
    command = [*PYTHON, documents.__file__, document]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(KERNEL < (6, 6), reason="takes Linux 6.6")
def test_the_guide_for_the_unprivileged_runs_for_an_ordinary_user() -> None:
    python = [*AS_ORDINARY_USER, sys.executable, "-W", "error"]
    if run(*python, "-c", "import procconn").returncode:
        pytest.skip("takes a Python that everyone may run")
    done = subprocess.run(
        [*python, documents.__file__, "docs/guides/unprivileged.md"],
        check=False,
        cwd="/",
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
