"""Tests of results.py, on which all shares of `make bench-commands` depend."""

from collections import Counter

import pytest

from benchmarks.processes import CommandLines
from benchmarks.results import Programs, count_field_results, count_results

_SHELL, _PROGRAM = "sh -c exec true m1", "true m1"


@pytest.mark.parametrize(
    ("reported", "result"),
    [
        ([(7, "true m1")], "right"),
        ([(8, "true m1")], "absent"),
        ([(7, None)], "absent"),
        ([(7, "true")], "absent"),
        ([(7, "/bin/true")], "absent"),
        ([(7, "true m2")], "wrong"),
        ([(7, "commands short 6000")], "wrong"),
    ],
)
def test_command_line_is_right_wrong_or_absent(
    reported: CommandLines, result: str
) -> None:
    """The program's name alone counts as an absent command line."""
    assert Counter({result: 1}) == count_results({7: [_PROGRAM]}, reported)


@pytest.mark.parametrize(
    ("texts", "results"),
    [
        ([_SHELL, _PROGRAM], {"right": 2}),
        ([_PROGRAM, _PROGRAM], {"wrong": 1, "right": 1}),
        ([_SHELL, _SHELL], {"right": 1, "wrong": 1}),
        ([None, _PROGRAM], {"absent": 1, "right": 1}),
        ([_SHELL, None], {"absent": 1, "right": 1}),
        ([_PROGRAM, None], {"wrong": 1, "absent": 1}),
        ([_PROGRAM], {"right": 1, "absent": 1}),
        ([_SHELL], {"right": 1, "absent": 1}),
        ([], {"absent": 2}),
    ],
)
def test_each_program_of_a_process_counts(
    texts: list[str | None], results: dict[str, int]
) -> None:
    """The later program in place of the earlier one is wrong."""
    reported = [(7, text) for text in texts]

    assert Counter(results) == count_results({7: [_SHELL, _PROGRAM]}, reported)


@pytest.mark.parametrize(
    ("programs", "result"),
    [
        ([(7, _PROGRAM, {"cwd": "/here", "name": "true"})], "right"),
        ([(7, _PROGRAM, {"cwd": "/there", "name": "sh"})], "wrong"),
        ([(7, _PROGRAM, {"cwd": None, "name": None})], "absent"),
        ([(7, None, {"cwd": "/here", "name": "true"})], "absent"),
        ([(8, _PROGRAM, {"cwd": "/here", "name": "true"})], "absent"),
        ([], "absent"),
    ],
)
def test_each_field_of_a_program_counts(programs: Programs, result: str) -> None:
    """If its command line is absent, all its fields count as absent."""
    results = count_field_results({7: [_PROGRAM]}, programs, {"cwd": "/here"})

    assert {"cwd": {result: 1}, "name": {result: 1}} == results
