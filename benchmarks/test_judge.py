"""Who judges command lines is right, or no share of them would mean anything."""

from collections import Counter

import pytest

from benchmarks.judging import judge
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
