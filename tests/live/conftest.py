"""Fixtures of the live tests, which run against the kernel of this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.c_programs import compiled
from support.machine import EXPECTED_WARNINGS

from procconn import ProcConnector


def pytest_configure(config: pytest.Config) -> None:
    for expected in EXPECTED_WARNINGS:
        config.addinivalue_line("filterwarnings", expected)


def _unavailable() -> str | None:
    """Return why this machine has no process events, if so."""
    try:
        ProcConnector().close()
    except OSError as error:
        return f"process events are not available: {error}"
    return None


@pytest.fixture(scope="session", autouse=True)
def live_kernel(pytestconfig: pytest.Config) -> None:
    if reason := _unavailable():
        if pytestconfig.getoption("require_live"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture
def connector() -> Iterator[ProcConnector]:
    with ProcConnector() as connector:
        yield connector


@pytest.fixture(scope="session")
def lifetimes() -> Path:
    return compiled("lifetimes")
