"""What shipping events costs, and what a fleet takes. `make bench-fleet` runs this.

A leaf and a hub run on this machine, as examples/fleet has them, and a shipper that
ships all of its events. `--write` puts the tables into the guide.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import report
from benchmarks.processes import FLOOR, ROOT, Process, prepare, run_storm

_GUIDE = ROOT / "docs" / "guides" / "fleet.md"
_FLEET = ROOT / "examples" / "fleet"
_SECONDS = 20.0
_RATES = (500, 5000)  # events a second
_HOSTS = (10, 1000, 10_000)
_PORTS = {"leaf": 14_322, "hub": 14_323}
_PART = 100  # commands that one call of the load runs
_EVENTS_OF_ONE = 3  # fork, exec, exit
_DAY = 86_400  # seconds
_RT_PRIORITY = 37  # the field of /proc/PID/stat, after the name
_ALONE = 1.2  # times the events that were asked for, at the most


@dataclass(frozen=True)
class Cost:
    """What was measured at a rate.

    Attributes:
        load: what made the events.
        asked, rate: events a second that the load made, and that were shipped: the
            machine has others.
        ship, leaf, hub: CPU time of each process, in µs for each event.
        programs: what of the shipper's is spent in reading programs.
        size: bytes that the stream stores for each event.
        messages: messages a second.
        grown: bytes by which the shipper's memory grew in the second half.
    """

    load: str
    asked: int
    rate: float
    ship: float
    programs: float
    leaf: float
    hub: float
    size: float
    messages: float
    grown: int


def measure(load: str, rate: int) -> Cost:
    """Ship what a load makes for some seconds."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hub = _server(stack, "hub", folder)
        leaf = _server(stack, "leaf", folder)
        url, hub_url = (f"nats://127.0.0.1:{_PORTS[it]}" for it in ("leaf", "hub"))
        gather = [sys.executable, str(_FLEET / "gather.py"), hub_url, "leaf"]
        subprocess.run(gather, check=True)
        command = [sys.executable, "-m", "procconn", "ship", url]
        ship = Process([*command, "--events", _EVENTS[load]])
        stack.callback(ship.close)
        while not _state(url)[1]:
            time.sleep(0.5)
        _LOADS[load](rate, 2.0)  # so that all is warm
        read_ns = _reading_ns(ship)
        before = [it.cpu_ns() for it in (ship, leaf, hub)], _state(url)
        began = time.monotonic()
        _LOADS[load](rate, _SECONDS / 2)
        half = _resident(ship)
        _LOADS[load](rate, _SECONDS / 2)
        seconds = time.monotonic() - began
        grown = _resident(ship) - half
        time.sleep(2)  # what is under way
        read_ns = _reading_ns(ship) - read_ns
        after = [it.cpu_ns() for it in (ship, leaf, hub)], _state(url)
        used = [(b - a) / 1000 for a, b in zip(before[0], after[0], strict=True)]
        events, messages, size = (
            b - a for a, b in zip(before[1], after[1], strict=True)
        )
    shipper, of_leaf, of_hub = (it / events for it in used)
    return Cost(
        load=load,
        asked=rate,
        rate=events / seconds,
        ship=shipper,
        programs=read_ns / 1000 / events,
        leaf=of_leaf,
        hub=of_hub,
        size=size / events,
        messages=messages / seconds,
        grown=grown,
    )


def _server(stack: ExitStack, name: str, folder: Path) -> Process:
    environ = {"STORE": folder / name, "DOMAIN": name}
    environ["HUB"] = "nats-leaf://127.0.0.1:7422"
    variables = [f"{key}={value}" for key, value in environ.items()]
    config = ["--config", _FLEET / f"{name}.conf", "--addr", "127.0.0.1"]
    program = ["/usr/sbin/nats-server", *config, "--port", _PORTS[name]]
    log = stack.enter_context((folder / f"{name}.log").open("w"))
    server = Process(["env", *variables, *program], stderr=log)
    stack.callback(server.close)
    time.sleep(1)
    return server


def _state(url: str) -> tuple[int, int, int]:
    """Tell how many events, messages and bytes the stream has."""
    import nats
    from nats.js.errors import NotFoundError

    async def ask() -> tuple[int, int, int]:
        client = await nats.connect(url)
        stream = client.jetstream()
        try:
            state = (await stream.stream_info("procconn")).state
        except NotFoundError:
            await client.close()
            return 0, 0, 0
        events = 0
        for number in range(max(1, state.first_seq), state.last_seq + 1):
            message = await stream.get_msg("procconn", number)
            events += int((message.headers or {})["Procconn-Events"])
        await client.close()
        return events, state.messages, state.bytes

    return asyncio.run(ask())


def _resident(process: Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def _reading_ns(process: Process) -> int:
    """Tell the CPU time of the thread that has real-time priority."""
    total = 0
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        if fields[_RT_PRIORITY] != "0":
            total += int((task / "schedstat").read_text().split()[0])
    return total


def _names(rate: int, seconds: float) -> None:
    """Let a process name itself again and again."""
    run_storm(int(rate * seconds) // 100 * 100, 1_000_000_000 // rate)


def _commands(rate: int, seconds: float) -> None:
    """Run commands, each of which is a fork, an exec and an exit."""
    began = time.monotonic()
    total = int(rate * seconds / _EVENTS_OF_ONE)
    for done in range(0, total, _PART):
        due = began + done * _EVENTS_OF_ONE / rate
        time.sleep(max(0.0, due - time.monotonic()))
        command = [str(FLOOR), "execs", str(_PART)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


_LOADS = {"commands": _commands, "names": _names}
_EVENTS = {"commands": "fork,exec,exit", "names": "comm"}


def measured(costs: list[Cost]) -> str:
    """Write what was measured."""
    head = (
        *("load", "events a second", "shipper", "reading programs in it"),
        *("leaf", "hub", "stored", "messages"),
    )
    lines = [
        (
            cost.load,
            f"{cost.rate:,.0f}",
            f"{cost.ship:.1f} µs",
            f"{cost.programs:.1f} µs",
            f"{cost.leaf:.1f} µs",
            f"{cost.hub:.1f} µs",
            f"{cost.size:.0f} bytes",
            f"{cost.messages:.1f} a second",
        )
        for cost in costs
    ]
    return report.aligned([head, *lines])


def sized(costs: list[Cost]) -> str:
    """Multiply it: the rates are those asked for, the costs those of commands."""
    head = (
        *("hosts", "events a second of each", "CPU of a host", "CPU of the hub"),
        *("network into the hub", "disk of the hub for a day"),
    )
    lines = []
    for rate in _RATES:
        cost = next(it for it in costs if (it.load, it.asked) == ("commands", rate))
        host = rate * (cost.ship + cost.leaf) / 1e6
        for hosts in _HOSTS:
            network = hosts * rate * cost.size
            lines.append(
                (
                    f"{hosts:,}",
                    f"{rate:,}",
                    _cores(host),
                    _cores(hosts * rate * cost.hub / 1e6),
                    f"{network / 1e6:,.1f} MB/s",
                    f"{network * _DAY / 1e9:,.0f} GB",
                )
            )
    return report.aligned([head, *lines])


def _cores(cores: float) -> str:
    return f"{cores:.1f} cores" if cores >= 1 else f"{100 * cores:.1f} % of a core"


def main() -> None:
    """Measure, print, and return whether the threshold is met."""
    parser = argparse.ArgumentParser(prog="benchmarks.fleet", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put it into the guide")
    parser.add_argument("--json", type=Path, help="keep what was measured there")
    options = parser.parse_args()
    prepare()
    costs = [measure(load, rate) for load in _LOADS for rate in _RATES]
    text = measured(costs)
    print(f"{text}\n\n{sized(costs)}\n")
    for cost in costs:
        print(f"{cost.load} {cost.rate:,.0f}/s: memory grew by {cost.grown:,} bytes")
    if options.json:
        options.json.write_text(json.dumps([vars(it) for it in costs], indent=1))
    if options.write:
        if not all(1 / _ALONE < it.rate / it.asked < _ALONE for it in costs):
            sys.exit("others keep the machine busy or make events: nothing is written")
        report.put_into(_GUIDE, "measured", text)
        report.put_into(_GUIDE, "sized", sized(costs))


if __name__ == "__main__":
    main()
