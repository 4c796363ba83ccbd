"""Live tests run on the kernel of this machine, or skip and say why."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.c_programs import compiled
from support.machine import EXPECTED_WARNINGS

from procconn import ProcConnector


def pytest_configure(config: pytest.Config) -> None:
    for expected in EXPECTED_WARNINGS:
        config.addinivalue_line("filterwarnings", expected)


def _obstacle() -> str | None:
    try:
        ProcConnector().close()
    except OSError as error:
        return f"no process events here: {error}"
    return None


@pytest.fixture(scope="session", autouse=True)
def live_kernel(pytestconfig: pytest.Config) -> None:
    if obstacle := _obstacle():
        if pytestconfig.getoption("require_live"):
            pytest.fail(obstacle)
        pytest.skip(obstacle)


@pytest.fixture
def connector() -> Iterator[ProcConnector]:
    with ProcConnector() as connector:
        yield connector


@pytest.fixture(scope="session")
def lifetimes() -> Path:
    return compiled("lifetimes")
