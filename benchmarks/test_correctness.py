"""The check of command lines is right: all shares depend on it."""

from collections import Counter

import pytest

from benchmarks.correctness import Shown, count_field_results, count_results
from benchmarks.printers import Reported

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
def test_a_command_is_reported_right_wrong_or_not_at_all(
    reported: Reported, result: str
) -> None:
    """Its name alone is not its command line, but no wrong one either."""
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
def test_each_program_of_a_chain_counts(
    texts: list[str | None], results: dict[str, int]
) -> None:
    """The later program in place of the earlier one is wrong."""
    reported = [(7, text) for text in texts]

    assert Counter(results) == count_results({7: [_SHELL, _PROGRAM]}, reported)


@pytest.mark.parametrize(
    ("shown", "result"),
    [
        ([(7, _PROGRAM, {"cwd": "/here", "name": "true"})], "right"),
        ([(7, _PROGRAM, {"cwd": "/there", "name": "sh"})], "wrong"),
        ([(7, _PROGRAM, {"cwd": None, "name": None})], "absent"),
        ([(7, None, {"cwd": "/here", "name": "true"})], "absent"),
        ([(8, _PROGRAM, {"cwd": "/here", "name": "true"})], "absent"),
        ([], "absent"),
    ],
)
def test_each_field_of_a_command_counts(shown: Shown, result: str) -> None:
    """If its command line is absent, all its fields count as absent."""
    results = count_field_results({7: [_PROGRAM]}, shown, {"cwd": "/here"})

    assert {"cwd": {result: 1}, "name": {result: 1}} == results
