"""The documents: their code runs, their unit files are valid, no link is broken."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support import documents
from support.documents import DOCUMENTS, ROOT, Block, blocks, code, needs_events

_KINDS = {"python", "sh", "ini", "text", ""}
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_OURS = re.compile(re.escape(_PROJECT["urls"]["Homepage"]) + "/(blob|tree|raw)/main/")
_WITHOUT_EVENTS = [it for it in DOCUMENTS if code(it) and not needs_events(it)]
_NATS = "/usr/sbin/nats-server"
_UNITS = [
    pytest.param(block, id=f"{document}:{block.line}")
    for document in DOCUMENTS
    for block in blocks(document)
    if block.language == "ini"
]


def prose(path: Path) -> str:
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose(path), flags=re.M)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


@pytest.mark.parametrize("document", DOCUMENTS)
def test_blocks_are_of_kinds_that_are_checked(document: str) -> None:
    """Whatever else a block might be marked as, no test would look at it."""
    assert {block.language for block in blocks(document)} <= _KINDS


@pytest.mark.parametrize("document", _WITHOUT_EVENTS)
def test_code_without_events_runs(document: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", documents.__file__, document]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_within_the_project_lead_somewhere(document: str) -> None:
    broken = []
    for link in _LINK.findall(prose(ROOT / document)):
        folder = ROOT if _OURS.match(link) else (ROOT / document).parent
        path, _, anchor = _OURS.sub("", link).partition("#")
        if "://" in path:
            continue
        target = folder / path if path else ROOT / document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("unit", _UNITS)
def test_systemd_accepts_the_unit(unit: Block, tmp_path: Path) -> None:
    """The first line names the file; the program is taken from this environment."""
    if not (analyze := shutil.which("systemd-analyze")):
        pytest.skip("systemd-analyze is not installed")
    name = Path(unit.text.splitlines()[0].removeprefix("#").strip()).name
    installed = unit.text.replace("/opt/procconn/bin", str(Path(sys.executable).parent))
    if not Path(_NATS).exists():
        installed = installed.replace(_NATS, sys.executable)
    (tmp_path / name).write_text(installed)
    done = subprocess.run(
        [analyze, "verify", "--man=no", name],
        check=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert done.stderr == ""


@pytest.mark.parametrize("unit", [it for it in _UNITS if "fleet" in str(it.id)])
def test_systemd_finds_the_unit_little_exposed(unit: Block, tmp_path: Path) -> None:
    """Its scale goes from 0 to 100; up to 20 is what it calls safe and 40 okay."""
    if not (analyze := shutil.which("systemd-analyze")):
        pytest.skip("systemd-analyze is not installed")
    (tmp_path / "one.service").write_text(unit.text)
    done = subprocess.run(
        [analyze, "security", "--offline=yes", "--threshold=25", "one.service"],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
