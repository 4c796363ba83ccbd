"""Argument errors name the parameter and the values that it accepts."""

import math
import os
from typing import Any

import pytest

from procconn import EventMask, EventType, Exec, ProcConnector
from procconn.diagnosis import default_receive_buffer
from procconn.processes import ProcessMonitor, wait

WRONG_TYPES: list[tuple[str, Any]] = [
    ("mask", "exec"),
    ("mask", [EventMask.EXEC]),
    ("mask", Exec),
    ("mask", EventType.EXEC),
    ("mask", 3),
    ("mask", None),
    ("threads", "no"),
    ("threads", 1),
    ("threads", None),
    ("programs", "yes"),
    ("usage", 1),
    ("receive_buffer", "1M"),
    ("receive_buffer", 1e6),
    ("receive_buffer", True),
    ("receive_buffer", "None"),
    ("queue", "64M"),
    ("queue", 1e6),
    ("queue", None),
    ("max_latency", "1"),
    ("max_latency", None),
    ("max_latency", True),
    ("timeout", None),
    ("timeout", "1"),
    ("timeout", True),
    ("heartbeat", "1"),
    ("heartbeat", False),
]

OUT_OF_RANGE: list[tuple[str, Any]] = [
    ("receive_buffer", 0),
    ("receive_buffer", -1),
    ("receive_buffer", 1 << 30),
    ("queue", -1),
    ("queue", 1000),
    ("queue", 1 << 63),
    ("max_latency", -0.001),
    ("max_latency", math.inf),
    ("max_latency", math.nan),
    ("timeout", 0),
    ("timeout", -1),
    ("timeout", math.inf),
    ("timeout", math.nan),
    ("heartbeat", 0),
    ("heartbeat", -1),
    ("heartbeat", math.nan),
]


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES, ids=str)
def test_wrong_type_error_names_the_parameter(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{name} must be .+, not "):
        ProcConnector(**{name: value})


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE, ids=str)
def test_out_of_range_error_names_the_parameter(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be "):
        ProcConnector(**{name: value})


@pytest.mark.parametrize(
    ("memory", "capacity"),
    [(512 << 20, 32 << 20), (4 << 30, 64 << 20), (1 << 40, 128 << 20), (-1, 32 << 20)],
)
def test_default_receive_buffer_is_a_64th_of_memory_within_bounds(
    memory: int, capacity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lower bound applies if the amount of memory is unknown."""
    values = {"SC_PHYS_PAGES": memory // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", values.__getitem__)

    assert capacity == default_receive_buffer()


def test_wrong_mask_type_error_shows_a_valid_mask() -> None:
    with pytest.raises(TypeError, match=r"EventMask\.EXEC"):
        ProcConnector("exec")  # type: ignore[arg-type]


@pytest.mark.parametrize("pids", [5, "5", [True], ["5"], [5.0], None], ids=str)
def test_wait_rejects_pids_of_a_wrong_type(pids: Any) -> None:
    with pytest.raises(TypeError, match=r"^pids must be .+, not "):
        wait(pids)


@pytest.mark.parametrize("timeout", ["1", True], ids=str)
def test_wait_rejects_a_timeout_of_a_wrong_type(timeout: Any) -> None:
    with pytest.raises(TypeError, match=r"^timeout must be .+, or None, not "):
        wait([1], timeout)


@pytest.mark.parametrize("timeout", [-1, math.inf, math.nan], ids=str)
def test_wait_rejects_a_timeout_out_of_range(timeout: float) -> None:
    with pytest.raises(ValueError, match=r"^timeout must be "):
        wait([1], timeout)


@pytest.mark.parametrize("tree", ["1", 1.5, True], ids=str)
def test_tree_must_be_a_process_id(tree: Any) -> None:
    with pytest.raises(TypeError, match=r"^tree must be .+, not "):
        ProcessMonitor(tree=tree)


def test_heartbeat_below_a_nanosecond_is_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"^heartbeat must be "):
        ProcConnector(heartbeat=1e-10)
