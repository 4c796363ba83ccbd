"""The screenshots in the guide match the command."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.machine import IS_ROOT

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "docs/tutorial.md", ROOT / "docs/guides/command.md"]
_NUMBER = r"[\d.]+|(?<=other listeners       ok       )none"
SCREENS = {"watch", "trace", "stat", "wait", "record", "doctor"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.heavy,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="requires tmux"),
    pytest.mark.skipif(not IS_ROOT, reason="ordinary users get warnings on the screen"),
]


def shapes(guide: Path) -> dict[str, set[str]]:
    """Reduce the lines of each screen to their first words, with all numbers as 0.

    The number of other listeners may also be "none".
    """
    screens = re.findall(
        r"<!-- screen (\w+) -->\n(.*?)<!-- /screen -->", guide.read_text(), re.DOTALL
    )
    return {
        name: {
            " ".join(re.sub(_NUMBER, "0", line.lstrip("│├└─ ")).split()[:4])
            for line in text.splitlines()
        }
        for name, text in screens
    }


def test_screens_match_the_command(tmp_path: Path) -> None:
    copies = [Path(shutil.copy(document, tmp_path)) for document in DOCUMENTS]
    subprocess.run(
        [sys.executable, ROOT / "docs/screens.py", *copies], check=True, timeout=300
    )
    documented = [shapes(document) for document in DOCUMENTS]

    assert documented == [shapes(document) for document in copies]
    assert {name for document in documented for name in document} == SCREENS
