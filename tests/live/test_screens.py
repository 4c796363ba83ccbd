"""The screens in the guide are what the command shows."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from live.staging import IS_ROOT

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs/guides/command.md"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.heavy,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="takes tmux"),
    pytest.mark.skipif(not IS_ROOT, reason="others are warned on the screen"),
]


def shapes(guide: Path) -> dict[str, set[str]]:
    """Reduce the screens' lines to their first words, all numbers the same."""
    screens = re.findall(
        r"<!-- screen (\w+) -->\n(.*?)<!-- /screen -->", guide.read_text(), re.DOTALL
    )
    return {
        name: {
            " ".join(re.sub(r"[\d.]+", "0", line.lstrip("│├└─ ")).split()[:4])
            for line in text.splitlines()
        }
        for name, text in screens
    }


def test_screens_taken_now_look_alike(tmp_path: Path) -> None:
    copy = Path(shutil.copy(GUIDE, tmp_path))
    subprocess.run(
        [sys.executable, ROOT / "docs/screens.py", copy], check=True, timeout=300
    )

    assert 5 == len(shapes(GUIDE))
    assert shapes(GUIDE) == shapes(copy)
