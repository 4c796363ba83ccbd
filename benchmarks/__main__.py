"""Measure everything, and print one table. `make bench` runs this."""

import argparse
import time

from benchmarks import measures, report
from benchmarks.processes import compile_floor

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
    """Run what the arguments name, or everything."""
    by_name = {measure.__name__: measure for measure in _MEASURES}
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "--readme", action="store_true", help="put the table into README.md, too"
    )
    parser.add_argument(
        "names",
        nargs="*",
        default=list(by_name),
        choices=by_name,
        metavar="MEASURE",
        help=f"only these: {', '.join(by_name)}",
    )
    options = parser.parse_args()

    facts = report.machine()
    compile_floor()
    rows = []
    for name in options.names:
        start = time.monotonic()
        rows += by_name[name]()
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    text = f"{report.table(rows)}\n\n{report.described(facts)}"
    print(f"\n{text}")
    report.write_json(rows, facts)
    if options.readme:
        report.write_readme(text)


if __name__ == "__main__":
    main()
