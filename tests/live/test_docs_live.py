"""Code of the documents, run on the live kernel."""

import functools
import re
import shutil
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
from support import documents
from support.documents import DOCUMENTS, code, needs_events
from support.machine import AS_ORDINARY_USER, IS_ROOT, KERNEL, PYTHON
from support.subprocesses import any_user_can_run_python

from procconn import ProcConnector

# Commands that create namespaces, or expect a large enough receive buffer.
_REQUIRES_ROOT = ("unshare ", "procconn doctor")

_READS_PROGRAMS = re.compile(r"programs=True|ProcessMonitor\((?!.*programs=False)")


@functools.cache
def _has_realtime_priority() -> bool:
    """Return whether programs are read at real-time priority."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        ProcConnector(programs=True).close()
    return not any("at normal priority" in str(warning.message) for warning in warned)


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if needs_events(path)])
def test_code_runs_and_prints_the_documented_output(
    document: str, tmp_path: Path
) -> None:
    if any("numpy" in block.text for block in code(document)):
        pytest.importorskip("numpy")
    shell = "".join(block.text for block in code(document) if block.language == "sh")
    if not IS_ROOT and any(command in shell for command in _REQUIRES_ROOT):
        pytest.skip(f"requires root for one of: {', '.join(_REQUIRES_ROOT)}")
    has_nats = find_spec("nats") and shutil.which("nats-server")
    if "nats-server" in shell and not has_nats:
        pytest.skip("requires nats-server and procconn[nats]")
    reads_programs = any(_READS_PROGRAMS.search(block.text) for block in code(document))
    if reads_programs and not _has_realtime_priority():
        pytest.skip("requires real-time priority to show programs of short commands")
    command = [*PYTHON, documents.__file__, document]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(
    KERNEL < (6, 6) or not any_user_can_run_python(),
    reason="requires a Python that every user may run, and Linux 6.6",
)
def test_unprivileged_guide_runs_as_an_ordinary_user() -> None:
    python = [*AS_ORDINARY_USER, sys.executable, "-W", "error"]
    done = subprocess.run(
        [*python, documents.__file__, "docs/guides/unprivileged.md"],
        check=False,
        cwd="/",
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
