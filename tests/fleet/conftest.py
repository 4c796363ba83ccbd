"""Fixtures: NATS servers. Tests skip if nats-server is not installed."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from fleet.servers import NATS_SERVER, Network, Server, loopback_server

# The tests import nats-py, which `make slow` installs.
collect_ignore_glob = [] if find_spec("nats") else ["test_*.py"]


@pytest.fixture(autouse=True)
def _needs_server() -> None:
    if NATS_SERVER is None:
        pytest.skip("nats-server is not installed")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with JetStream on the loopback interface."""
    server = loopback_server(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    yield network
    network.close()
