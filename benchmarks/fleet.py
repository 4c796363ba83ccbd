"""Measure `procconn ship` with a leaf and a hub of NATS, and size a fleet.

The shipper and both servers run on this machine, configured as in examples/fleet.
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
from benchmarks.processes import (
    FLOOR,
    PROCCONN_COMMAND,
    ROOT,
    Process,
    prepare,
    run_events,
)

_GUIDE = ROOT / "docs" / "guides" / "fleet.md"
_FLEET = ROOT / "examples" / "fleet"
_SECONDS = 20.0
_RATES = (500, 5000)  # events a second
_HOSTS = (10, 1000, 10_000)
_PORTS = {"leaf": 14_322, "hub": 14_323}
_BATCH = 100  # commands of one call of the load
_EVENTS_PER_COMMAND = 3  # fork, exec, exit
_DAY = 86_400  # seconds
_MOST_DEVIATION = 1.2  # of the shipped rate from the load's, in either direction


@dataclass(frozen=True)
class Cost:
    """The cost at one rate.

    Attributes:
        load: the name of the load.
        load_rate: events a second that the load made.
        rate: events a second that were shipped, other processes' among them.
        ship, leaf, hub: CPU time of each process, in µs an event.
        programs: CPU time of the shipper's thread that reads programs, in `ship`.
        size: bytes that the stream stores for an event.
        messages: messages a second.
        growth: bytes by which the shipper's memory grew in the second half.
    """

    load: str
    load_rate: int
    rate: float
    ship: float
    programs: float
    leaf: float
    hub: float
    size: float
    messages: float
    growth: int


def measure(load: str, rate: int) -> Cost:
    """Ship the events of a load for some seconds."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hub = _server(stack, "hub", folder)
        leaf = _server(stack, "leaf", folder)
        url, hub_url = (f"nats://127.0.0.1:{_PORTS[it]}" for it in ("leaf", "hub"))
        gather = [sys.executable, str(_FLEET / "gather.py"), hub_url, "leaf"]
        subprocess.run(gather, check=True)
        ship = Process([*PROCCONN_COMMAND, "ship", url, "--events", _EVENTS[load]])
        stack.callback(ship.close)
        while not _state(url)[1]:
            time.sleep(0.5)
        _LOADS[load](rate, 2.0)  # fills the caches
        read_ns = _reading_ns(ship)
        before = [it.cpu_ns() for it in (ship, leaf, hub)], _state(url)
        began = time.monotonic()
        _LOADS[load](rate, _SECONDS / 2)
        half = ship.resident()
        _LOADS[load](rate, _SECONDS / 2)
        seconds = time.monotonic() - began
        growth = ship.resident() - half
        time.sleep(2)  # messages in flight
        read_ns = _reading_ns(ship) - read_ns
        after = [it.cpu_ns() for it in (ship, leaf, hub)], _state(url)
        used = [(b - a) / 1000 for a, b in zip(before[0], after[0], strict=True)]
        events, messages, size = (
            b - a for a, b in zip(before[1], after[1], strict=True)
        )
    ship_us, leaf_us, hub_us = (it / events for it in used)
    return Cost(
        load=load,
        load_rate=rate,
        rate=events / seconds,
        ship=ship_us,
        programs=read_ns / 1000 / events,
        leaf=leaf_us,
        hub=hub_us,
        size=size / events,
        messages=messages / seconds,
        growth=growth,
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
    """Return the number of events, messages and bytes in the stream."""
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


def _reading_ns(process: Process) -> int:
    """Return the CPU time of the threads with real-time priority."""
    return sum(process.schedstat(it)[0] for it in process.real_time_threads())


def _names(rate: int, seconds: float) -> None:
    """Have a process rename itself."""
    run_events(int(rate * seconds) // 100 * 100, 1_000_000_000 // rate)


def _commands(rate: int, seconds: float) -> None:
    """Run commands: a fork, an exec and an exit each."""
    began = time.monotonic()
    total = int(rate * seconds / _EVENTS_PER_COMMAND)
    for done in range(0, total, _BATCH):
        due = began + done * _EVENTS_PER_COMMAND / rate
        time.sleep(max(0.0, due - time.monotonic()))
        command = [str(FLOOR), "execs", str(_BATCH)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


_LOADS = {"commands": _commands, "names": _names}
_EVENTS = {"commands": "fork,exec,exit", "names": "comm"}


def cost_table(costs: list[Cost]) -> str:
    """Return the table of costs."""
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
    return report.markdown_table([head, *lines])


def size_table(costs: list[Cost]) -> str:
    """Return the table of fleets, computed from the costs of commands."""
    head = (
        *("hosts", "events a second of each", "CPU of a host", "CPU of the hub"),
        *("network into the hub", "disk of the hub for a day"),
    )
    lines = []
    for rate in _RATES:
        cost = next(it for it in costs if (it.load, it.load_rate) == ("commands", rate))
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
    return report.markdown_table([head, *lines])


def _cores(cores: float) -> str:
    return f"{cores:.1f} cores" if cores >= 1 else f"{100 * cores:.1f} % of a core"


def main() -> None:
    """Measure all loads at all rates, and print the tables."""
    parser = argparse.ArgumentParser(prog="benchmarks.fleet", description=__doc__)
    parser.add_argument(
        "--write", action="store_true", help="write the tables into the guide"
    )
    parser.add_argument("--json", type=Path, help="write the results there")
    options = parser.parse_args()
    facts = report.machine()
    prepare()
    costs = [measure(load, rate) for load in _LOADS for rate in _RATES]
    table, sizes = cost_table(costs), size_table(costs)
    place = f"Measured on {report.platform_of(facts)}."
    print(f"{table}\n\n{place}\n\n{sizes}\n")
    for cost in costs:
        print(f"{cost.load} {cost.rate:,.0f}/s: memory grew by {cost.growth:,} bytes")
    if options.json:
        options.json.write_text(json.dumps([vars(it) for it in costs], indent=1))
    if options.write:
        deviations = [it.rate / it.load_rate for it in costs]
        if not all(1 / _MOST_DEVIATION < it < _MOST_DEVIATION for it in deviations):
            sys.exit("other processes use the CPU or cause events: nothing is written")
        report.put_into(_GUIDE, "measured", f"{table}\n\n{place}")
        report.put_into(_GUIDE, "sized", sizes)


if __name__ == "__main__":
    main()
