"""Measure everything, and print one table. `make bench` runs this."""

import argparse
import time

from benchmarks import picture, report
from benchmarks.calls import calls
from benchmarks.contestants import BESIDE_A_THREAD, FORKSTAT, SETTINGS
from benchmarks.decoding import decoding
from benchmarks.footprint import importing, memory, scaling
from benchmarks.processes import ROOT, listeners, prepare
from benchmarks.recordings import recordings
from benchmarks.storms import storms
from benchmarks.taking import backlog, costs, filtering, latency, live
from benchmarks.waking import wakeups
from benchmarks.watched import producer, usage

README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "live.svg"

# Package indexes show the README, too.
_ADDRESS = f"https://github.com/procconn/procconn/raw/main/docs/{PICTURE.name}"

_MEASURES = (
    *(decoding, backlog, live, latency, calls, wakeups, producer, usage, filtering),
    *(recordings, storms, scaling, memory, importing),
)
_TITLE = "CPU time for each of 50,000 events a second, in nanoseconds"


def main() -> None:
    """Run everything, or what the arguments name."""
    by_name = {measure.__name__: measure for measure in _MEASURES}
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--readme",
        action="store_true",
        help="put the tables and the picture into README.md and docs, too",
    )
    choice.add_argument(
        "--only",
        action="append",
        choices=by_name,
        help="this measurement; may be given several times",
    )
    options = parser.parse_args()

    facts = report.machine()
    if options.readme:
        report.refuse_company(listeners())
    prepare()
    rows, others = [], [listeners()]
    for name in options.only or by_name:
        start = time.monotonic()
        rows += by_name[name]()
        others.append(listeners())
        print(
            f"{name}: {time.monotonic() - start:.0f} s, other listeners: {others[-1]}",
            flush=True,
        )
    facts["listeners"] = max(others)
    text = f"{report.table(rows)}\n\n{report.described(facts)}"
    print(f"\n{text}")
    report.write_json(rows, facts)
    if options.readme:
        report.refuse_company(max(others))
        _publish(rows, text, "Linux {kernel}, {processor}, {python}".format(**facts))


def _publish(rows: list[report.Row], text: str, note: str) -> None:
    """Write the documents and the picture."""
    ns = costs(rows)
    ours = {f"procconn, {name}": ns.pop(name) for name in (*SETTINGS, BESIDE_A_THREAD)}
    ns.pop(FORKSTAT, None)  # which prints, too
    PICTURE.write_text(picture.draw(_TITLE, note, ours, ns))
    short = f"![{_TITLE}, by reader]({_ADDRESS})\n\n{report.short_table(rows)}"
    report.put_into(README, "bench", short)
    report.put_into(report.DOCUMENT, "bench", text)


if __name__ == "__main__":
    main()
