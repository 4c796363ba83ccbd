"""The table of platforms where the test suite has run."""

import json
from collections.abc import Mapping

from support.platforms import rows

RUN: dict[str, object] = {
    "kernel": "6.12.1-cloud-amd64",
    "processor": "x86_64",
    "libc": "glibc 2.36",
    "python": "3.11.2",
    "user": "root",
    "passed": 7,
    "failed": 0,
    "error": 0,
    "skipped": 1,
}
PLATFORM = ("6.12.1-cloud-amd64", "x86_64", "glibc 2.36", "3.11.2", "root")


def results_of(*runs: Mapping[str, object]) -> str:
    return "".join(json.dumps({**RUN, **run}) + "\n" for run in runs)


def test_run_with_the_most_passed_tests_counts_per_platform() -> None:
    results = results_of({"passed": 5}, {"passed": 9}, {"passed": 7})

    assert [(*PLATFORM, "9", "1")] == rows(results)


def test_runs_with_failures_are_left_out() -> None:
    assert [] == rows(results_of({"failed": 1}, {"error": 1}))


def test_oldest_kernel_comes_first() -> None:
    releases = ["7.3.4-cloud", "6.12.1-cloud", "5.10.0-40-cloud", "6.6.0", "6.1.0"]
    results = results_of(*({"kernel": release} for release in releases))

    assert ["5.10.0-40-cloud", "6.1.0", "6.6.0", "6.12.1-cloud", "7.3.4-cloud"] == [
        row[0] for row in rows(results)
    ]
