"""Decoding one buffer in every way; pytest-benchmark takes the time."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.contestants import NS_PER_EVENT, PYROUTE2, ROUNDS
from benchmarks.processes import ROOT
from benchmarks.report import Row


def decoding() -> list[Row]:
    """Run test_decode.py as often as all else."""
    ns: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        with tempfile.NamedTemporaryFile() as file:
            subprocess.run(
                [
                    *(
                        sys.executable,
                        "-m",
                        "pytest",
                        "benchmarks/test_decode.py",
                        "-q",
                    ),
                    "--benchmark-timer=time.process_time",
                    "--benchmark-max-time=0.2",
                    "--benchmark-min-rounds=3",
                    f"--benchmark-json={file.name}",
                ],
                cwd=ROOT,
                check=True,
                capture_output=True,
            )
            result = json.loads(Path(file.name).read_text())
        for benchmark in result["benchmarks"]:
            seconds = benchmark["stats"]["median"] / benchmark["extra_info"]["events"]
            ns.setdefault(benchmark["params"]["name"], []).append(seconds * 1e9)

    def row(figure: str, ours: str, theirs: str) -> Row:
        against = {"reference": "plain Python"}.get(theirs, theirs)
        return Row(figure, against, NS_PER_EVENT, ns[ours], ns[theirs], faster=True)

    events, columns = "decode a buffer into events", "view a buffer as columns"
    return [
        row(events, "decode", "reference").must(10, 12, decides=True),
        row(events, "decode", PYROUTE2).must(100, 125),
        row(columns, "columns", "reference").must(300, 400),
    ]
