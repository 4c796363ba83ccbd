"""Measure receiving, decoding and their overhead, and print one table."""

import argparse
import time

from benchmarks import chart, report
from benchmarks.processes import ROOT, listeners, prepare
from benchmarks.scenarios import Ours, Theirs
from benchmarks.scenarios.bursts import bursts
from benchmarks.scenarios.decoding import decoding
from benchmarks.scenarios.footprint import importing, memory, scaling
from benchmarks.scenarios.overhead import slowdown, usage
from benchmarks.scenarios.receiving import (
    backlog,
    filtering,
    latency,
    live,
    live_costs,
)
from benchmarks.scenarios.recordings import recordings
from benchmarks.scenarios.wakeups import system_calls, wakeups

_CHART = ROOT / "docs" / "live.svg"
# An absolute URL, as package indexes do not resolve relative ones.
_CHART_URL = f"https://github.com/procconn/procconn/raw/main/docs/{_CHART.name}"
_TITLE = "CPU time per event at 50,000 events per second, in nanoseconds"

_MEASUREMENTS = (
    *(decoding, backlog, live, latency, system_calls, wakeups, slowdown, usage),
    *(filtering, recordings, bursts, scaling, memory, importing),
)


def main() -> None:
    """Run all measurements, or those selected by `--only`."""
    by_name = {measure.__name__: measure for measure in _MEASUREMENTS}
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--write",
        action="store_true",
        help="write the tables and the chart into README.md and docs",
    )
    choice.add_argument(
        "--only",
        action="append",
        choices=by_name,
        help="run only this measurement; repeat the option to run several",
    )
    options = parser.parse_args()

    facts = report.machine()
    if options.write:
        report.require_no_listeners(listeners())
    prepare()
    rows, others = [], [listeners()]
    for name in options.only or by_name:
        start = time.monotonic()
        rows += by_name[name]()
        others.append(listeners())
        seconds = time.monotonic() - start
        print(f"{name}: {seconds:.0f} s, other listeners: {others[-1]}", flush=True)
    facts["listeners"] = max(others)
    print(f"\n{report.table_with_limits(rows)}\n\n{report.measured_on(facts)}")
    report.write_json("bench", facts, rows=[row.record() for row in rows])
    if options.write:
        report.require_no_listeners(max(others))
        _write(rows, facts)


def _write(rows: list[report.Row], facts: dict[str, object]) -> None:
    """Write the chart and the tables of the documents."""
    ns = live_costs(rows)
    ours = {f"procconn, {name}": ns.pop(name) for name in Ours}
    ns.pop(Theirs.FORKSTAT, None)  # its figure includes printing
    _CHART.write_text(chart.draw(_TITLE, report.platform_of(facts), ours, ns))
    short = report.table(row for row in rows if row.in_readme)
    caption = f"Measured on {report.platform_of(facts)}."
    image = f"![{_TITLE}, by reader]({_CHART_URL})"
    report.put_into(report.README, "bench", f"{image}\n\n{short}\n\n{caption}")
    text = f"{report.table(rows)}\n\n{report.measured_on(facts)}"
    report.put_into(report.PERFORMANCE, "bench", text)


if __name__ == "__main__":
    main()
