"""A leaf, a hub and shippers, of which something fails while a storm is on its way.

Servers and the shipper of a recording are in network namespaces of their own. The one
that ships this machine's events is not: the Proc Connector is in the first one only.
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
from fleet.shippers import KIND, STORM, Storm, shipping, stop
from fleet.streams import count, stored, wait_for_events, wait_for_messages

pytestmark = [
    pytest.mark.slow,
    pytest.mark.heavy,
    pytest.mark.skipif(os.geteuid() != 0, reason="takes root, for namespaces"),
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
        place = folder / name
        place.mkdir()
        environ = {"DOMAIN": name, "STORE": str(place), **environ}
        config = FLEET / ("hub.conf" if name == "hub" else "leaf.conf")
        return Server(place, config, (address, 4222), environ, within)

    def close(self) -> None:
        """End it."""
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
    fleet.network.mend("hub")


def cut_leaf(fleet: Fleet) -> None:
    fleet.network.cut("leaf1")
    time.sleep(CUT)
    fleet.network.mend("leaf1")


@pytest.mark.parametrize("fail", [kill_hub, kill_leaf, cut_hub, cut_leaf])
def test_what_is_sent_is_stored_once_or_told_as_lost(
    fleet: Fleet, fail: Callable[[Fleet], None]
) -> None:
    storm = Storm(seconds=10)
    options = [*storm.options, "--host", "web1.example"]
    recorded = [fleet.leaves[1].url, "--host", "web2", "--input", str(BUILD)]
    _, within = fleet.network.add("web2")
    with ExitStack() as stack:
        shipper = stack.enter_context(shipping(fleet.leaves[0].url, *options))
        wait_for_messages(fleet.leaves[0].url)
        storm.begin()
        other = stack.enter_context(shipping(*recorded, within=within))
        time.sleep(2)
        fail(fleet)
        storm.end()
        assert other.wait(PATIENCE) == 0
        wait_for_events(fleet.leaves[0].url, KIND, STORM)
        errors = stop(shipper)

    assert shipper.returncode == 0, errors
    total = sum(count(leaf.url) for leaf in fleet.leaves)
    wait_for_messages(fleet.hub.url, total)
    found = stored(fleet.hub.url)
    ours = [it["timestamp_ns"] for it in found.of(KIND, "web1_example")]
    print(
        f"{fail.__name__}: sent {STORM}, stored {len(ours)}, lost {found.lost},"
        f" stored twice {found.twice}; {errors!r}"
    )
    assert 0 == found.twice
    assert len(ours) == len(set(ours))
    assert STORM <= len(ours) + found.lost
    assert found.lost or len(ours) == STORM
    others = sum(len(found.of(it, "web2")) for it in ("fork", "exec", "exit"))
    assert BUILD_EVENTS == others
    ends = ["started", "stopped"]
    for host in ("web1_example", "web2"):
        assert ends == [it["event"] for it in found.of("shipper", host)]
