"""Faults of a leaf, the hub and the network during a burst of events.

Servers and the shipper of a recording run in separate network namespaces. The shipper
of live events runs in the initial one, which alone has the Proc Connector.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fleet.servers import FLEET, PATIENCE, Network, Server
from fleet.shippers import BURST, KIND, Burst, shipping, stop
from fleet.streams import count, stored, wait_for_events, wait_for_messages

pytestmark = [
    pytest.mark.slow,
    pytest.mark.heavy,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces require root"),
]

BUILD = FLEET.parent / "build.pcap"
BUILD_EVENTS = 228
CUT = 20.0  # seconds


class Fleet:
    """A hub with two leaves: for this machine, and for a recording."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self.hub = self._server(folder, "hub", {})
        up = self.hub.url.removeprefix("nats://").removesuffix(":4222")
        self.leaves = [
            self._server(folder, name, {"HUB": f"nats-leaf://{up}:7422"})
            for name in ("leaf1", "leaf2")
        ]
        for server in (self.hub, *self.leaves):
            server.start()
        gather = [sys.executable, str(FLEET / "gather.py"), self.hub.url]
        subprocess.run([*gather, "leaf1", "leaf2"], check=True)

    def _server(self, folder: Path, name: str, environ: dict[str, str]) -> Server:
        address, within = self.network.add(name)
        store = folder / name
        store.mkdir()
        environ = {"DOMAIN": name, "STORE": str(store), **environ}
        config = FLEET / ("hub.conf" if name == "hub" else "leaf.conf")
        return Server(store, config, (address, 4222), environ, within)

    def close(self) -> None:
        """Kill all servers."""
        for server in (self.hub, *self.leaves):
            server.kill()


@pytest.fixture
def fleet(network: Network, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(network, tmp_path)
    yield fleet
    fleet.close()


def kill_hub(fleet: Fleet) -> None:
    fleet.hub.kill()
    time.sleep(2)
    fleet.hub.start()


def kill_leaf(fleet: Fleet) -> None:
    fleet.leaves[0].kill()
    time.sleep(2)
    fleet.leaves[0].start()


def cut_hub(fleet: Fleet) -> None:
    fleet.network.cut("hub")
    time.sleep(CUT)
    fleet.network.restore("hub")


def cut_leaf(fleet: Fleet) -> None:
    fleet.network.cut("leaf1")
    time.sleep(CUT)
    fleet.network.restore("leaf1")


@pytest.mark.parametrize("fail", [kill_hub, kill_leaf, cut_hub, cut_leaf])
def test_events_are_stored_once_or_reported_as_lost(
    fleet: Fleet, fail: Callable[[Fleet], None]
) -> None:
    burst = Burst(seconds=10)
    options = [*burst.options, "--host", "web1.example"]
    recorded = [fleet.leaves[1].url, "--host", "web2", "--input", str(BUILD)]
    _, within = fleet.network.add("web2")
    with ExitStack() as stack:
        shipper = stack.enter_context(shipping(fleet.leaves[0].url, *options))
        wait_for_messages(fleet.leaves[0].url)
        burst.start()
        other = stack.enter_context(shipping(*recorded, within=within))
        time.sleep(2)
        fail(fleet)
        burst.wait()
        assert other.wait(PATIENCE) == 0
        wait_for_events(fleet.leaves[0].url, KIND, BURST)
        errors = stop(shipper)

    assert shipper.returncode == 0, errors
    total = sum(count(leaf.url) for leaf in fleet.leaves)
    wait_for_messages(fleet.hub.url, total)
    found = stored(fleet.hub.url)
    ours = [it["timestamp_ns"] for it in found.of(KIND, "web1_example")]
    print(
        f"{fail.__name__}: sent {BURST}, stored {len(ours)}, lost {found.lost},"
        f" stored twice {found.duplicates}; {errors!r}"
    )
    assert 0 == found.duplicates
    assert len(ours) == len(set(ours))
    assert BURST <= len(ours) + found.lost
    assert found.lost or len(ours) == BURST
    others = sum(len(found.of(it, "web2")) for it in ("fork", "exec", "exit"))
    assert BUILD_EVENTS == others
    ends = ["started", "stopped"]
    for host in ("web1_example", "web2"):
        assert ends == [it["event"] for it in found.of("shipper", host)]
