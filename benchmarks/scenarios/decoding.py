"""Decoding one buffer: the tests that `pytest benchmarks` runs."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.processes import ROOT
from benchmarks.report import Row
from benchmarks.scenarios import NS_PER_EVENT, ROUNDS

_PYTEST = (
    *(sys.executable, "-m", "pytest", "benchmarks", "-c", "pyproject.toml"),
    "--benchmark-timer=time.process_time",
    "--benchmark-max-time=0.2",
    "--benchmark-min-rounds=3",
)


def decoding() -> list[Row]:
    """Decode a buffer into events, and view it as columns."""
    ns: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        with tempfile.NamedTemporaryFile() as file:
            subprocess.run(
                [*_PYTEST, f"--benchmark-json={file.name}"],
                cwd=ROOT,
                check=True,
                capture_output=True,
            )
            result = json.loads(Path(file.name).read_text())
        for test in result["benchmarks"]:
            seconds = test["stats"]["median"] / test["extra_info"]["events"]
            ns.setdefault(test["name"], []).append(seconds * 1e9)

    def row(figure: str, test: str, against: str) -> Row:
        ours, theirs = ns[f"{test}[procconn]"], ns[f"test_decode[{against}]"]
        return Row(figure, against, NS_PER_EVENT, ours, theirs, higher_is_better=True)

    events, columns = "decode a buffer into events", "view a buffer as columns"
    return [
        row(events, "test_decode", "plain Python").expect(10, 12, in_readme=True),
        row(events, "test_decode", "pyroute2").expect(100, 125),
        row(columns, "test_column", "plain Python").expect(300, 400),
    ]
