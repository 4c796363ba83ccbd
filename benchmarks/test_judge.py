"""Who judges command lines is right, or no share of them would mean anything."""

from collections import Counter

import pytest

from benchmarks.judging import Shown, judge, judge_fields
from benchmarks.printers import Told

_SHELL, _PROGRAM = "sh -c exec true m1", "true m1"


@pytest.mark.parametrize(
    ("told", "verdict"),
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
def test_a_command_is_told_right_wrong_or_not_at_all(told: Told, verdict: str) -> None:
    """Its name alone is not its command line, but nobody else's either."""
    assert Counter({verdict: 1}) == judge({7: [_PROGRAM]}, told)


@pytest.mark.parametrize(
    ("texts", "verdicts"),
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
    texts: list[str | None], verdicts: dict[str, int]
) -> None:
    """The later program told for the earlier one is wrong."""
    told = [(7, text) for text in texts]

    assert Counter(verdicts) == judge({7: [_SHELL, _PROGRAM]}, told)


@pytest.mark.parametrize(
    ("shown", "verdict"),
    [
        ([(7, _PROGRAM, {"cwd": "/here", "name": "true"})], "right"),
        ([(7, _PROGRAM, {"cwd": "/there", "name": "sh"})], "wrong"),
        ([(7, _PROGRAM, {"cwd": None, "name": None})], "absent"),
        ([(7, None, {"cwd": "/here", "name": "true"})], "absent"),
        ([(8, _PROGRAM, {"cwd": "/here", "name": "true"})], "absent"),
        ([], "absent"),
    ],
)
def test_each_field_of_a_command_counts(shown: Shown, verdict: str) -> None:
    """If its command line is not told, nothing of it counts as shown."""
    verdicts = judge_fields({7: [_PROGRAM]}, shown, {"cwd": "/here"})

    assert {"cwd": {verdict: 1}, "name": {verdict: 1}} == verdicts
