"""The documents' code, on the running kernel."""

import subprocess
import sys
from pathlib import Path

import documents
import pytest
from documents import DOCUMENTS, needs_events


@pytest.mark.parametrize("document", [it for it in DOCUMENTS if needs_events(it)])
def test_code_runs_and_prints_what_is_shown(document: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", documents.__file__, document]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr
