"""An error about an argument has the parameter's name and what it takes."""

import math
import os
from typing import Any

import pytest

from procconn import EventMask, EventType, Exec, ProcConnector
from procconn.diagnosis import usual_room
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
def test_an_argument_of_a_wrong_type_is_named(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"^{name} must be .+, not "):
        ProcConnector(**{name: value})


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE, ids=str)
def test_an_argument_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be "):
        ProcConnector(**{name: value})


@pytest.mark.parametrize(
    ("memory", "capacity"),
    [(512 << 20, 32 << 20), (4 << 30, 64 << 20), (1 << 40, 128 << 20), (-1, 32 << 20)],
)
def test_the_usual_receive_buffer_is_a_64th_of_the_memory(
    memory: int, capacity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within bounds; the lower one also where the memory is not known."""
    values = {"SC_PHYS_PAGES": memory // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", values.__getitem__)

    assert capacity == usual_room()


def test_a_mask_of_a_wrong_type_is_shown_one_that_is_right() -> None:
    with pytest.raises(TypeError, match=r"EventMask\.EXEC"):
        ProcConnector("exec")  # type: ignore[arg-type]


@pytest.mark.parametrize("pids", [5, "5", [True], ["5"], [5.0], None], ids=str)
def test_what_are_no_process_ids_are_not_waited_for(pids: Any) -> None:
    with pytest.raises(TypeError, match=r"^pids must be .+, not "):
        wait(pids)


@pytest.mark.parametrize("timeout", ["1", True], ids=str)
def test_a_timeout_of_a_wrong_type_is_named_at_once(timeout: Any) -> None:
    with pytest.raises(TypeError, match=r"^timeout must be .+, or None, not "):
        wait([1], timeout)


@pytest.mark.parametrize("timeout", [-1, math.inf, math.nan], ids=str)
def test_a_timeout_out_of_range_is_named_at_once(timeout: float) -> None:
    with pytest.raises(ValueError, match=r"^timeout must be "):
        wait([1], timeout)


@pytest.mark.parametrize("tree", ["1", 1.5, True], ids=str)
def test_a_tree_begins_with_a_process_id(tree: Any) -> None:
    with pytest.raises(TypeError, match=r"^tree must be .+, not "):
        ProcessMonitor(tree=tree)


def test_a_heartbeat_of_less_than_a_nanosecond_is_none() -> None:
    with pytest.raises(ValueError, match=r"^heartbeat must be "):
        ProcConnector(heartbeat=1e-10)
