"""Measure everything, and print one table. `make bench` runs this."""

import argparse
import time

from benchmarks import measures, report
from benchmarks.processes import prepare

_MEASURES = (
    measures.decoding,
    measures.backlog,
    measures.live,
    measures.producer,
    measures.latency,
    measures.filtering,
    measures.storms,
    measures.scaling,
    measures.memory,
    measures.importing,
)


def main() -> None:
    """Run everything, or what the arguments name."""
    by_name = {measure.__name__: measure for measure in _MEASURES}
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "--readme", action="store_true", help="put the table into README.md, too"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=by_name,
        help="this measurement; may be given several times",
    )
    options = parser.parse_args()

    facts = report.machine()
    prepare()
    rows = []
    for name in options.only or by_name:
        start = time.monotonic()
        rows += by_name[name]()
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    text = f"{report.table(rows)}\n\n{report.described(facts)}"
    print(f"\n{text}")
    report.write_json(rows, facts)
    if options.readme:
        report.put_into(report.README, "bench", text)


if __name__ == "__main__":
    main()
