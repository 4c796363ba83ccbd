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
PLACE = ("6.12.1-cloud-amd64", "x86_64", "glibc 2.36", "3.11.2", "root")


def noted(*runs: Mapping[str, object]) -> str:
    return "".join(json.dumps({**RUN, **run}) + "\n" for run in runs)


def test_of_runs_in_one_place_that_with_most_tests_counts() -> None:
    results = noted({"passed": 5}, {"passed": 9}, {"passed": 7})

    assert [(*PLACE, "9", "1")] == rows(results)


def test_runs_with_failures_are_left_out() -> None:
    assert [] == rows(noted({"failed": 1}, {"error": 1}))


def test_the_oldest_kernel_comes_first() -> None:
    releases = ["7.3.4-cloud", "6.12.1-cloud", "5.10.0-40-cloud", "6.6.0", "6.1.0"]
    results = noted(*({"kernel": it} for it in releases))

    assert ["5.10.0-40-cloud", "6.1.0", "6.6.0", "6.12.1-cloud", "7.3.4-cloud"] == [
        row[0] for row in rows(results)
    ]
