"""Documentation: code blocks run, systemd units are valid, links resolve."""

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
_WITHOUT_EVENTS = [doc for doc in DOCUMENTS if code(doc) and not needs_events(doc)]
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
def test_code_blocks_have_languages_that_tests_check(document: str) -> None:
    """No test would check a block in another language."""
    assert {block.language for block in blocks(document)} <= _KINDS


@pytest.mark.parametrize("document", _WITHOUT_EVENTS)
def test_code_without_events_runs(document: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", documents.__file__, document]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("document", DOCUMENTS)
def test_internal_links_resolve(document: str) -> None:
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
    """The first line names the file; programs come from this environment."""
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


@pytest.mark.parametrize("unit", [unit for unit in _UNITS if "fleet" in str(unit.id)])
def test_systemd_rates_the_exposure_of_the_unit_as_low(
    unit: Block, tmp_path: Path
) -> None:
    """The scale is 0 to 100; systemd rates less than 50 as OK."""
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
