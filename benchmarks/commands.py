"""Count right, wrong and absent command lines; measure subcommands.

Each command has a mark of its own, so it is known what every process ran.
"""

import argparse

from benchmarks import report
from benchmarks.processes import ROOT, compile_c, listeners
from benchmarks.scenarios import fields
from benchmarks.scenarios.command_lines import (
    PROCCONN,
    READERS,
    TRIAL_HEADINGS,
    comparison_table,
    other_events,
    side_by_side,
    try_readers,
)
from benchmarks.scenarios.subcommands import subcommands, watched_build

_COMPARISON = ROOT / "docs" / "comparison.md"


def main() -> None:
    """Try all readers, or those that the arguments name."""
    parser = argparse.ArgumentParser(prog="benchmarks.commands", description=__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--write", action="store_true", help="write the tables into docs"
    )
    choice.add_argument(
        "--only",
        action="append",
        choices=READERS,
        help="try only this reader; may be given several times",
    )
    options = parser.parse_args()
    readers = options.only or READERS

    facts = report.machine()
    if options.write:
        report.require_no_listeners(listeners())
    compile_c("floor")
    compile_c("commands")
    compile_c("overwriter", "-static", "-nostartfiles")
    trials = try_readers(readers)
    rows = [row for trial in trials for row in trial.limits()]
    tables = [[TRIAL_HEADINGS, *(trial.cells() for trial in trials)]]
    tried = []
    if PROCCONN in readers:
        tried = [
            fields.try_fields(busy=busy, nobody=nobody)
            for busy in (False, True)
            for nobody in (False, True)
        ]
        tables.append([fields.HEADINGS, *(row for it in tried for row in it.cells())])
        rows += [row for it in tried for row in it.limits()]
        rows += [fields.overwritten(nobody=nobody) for nobody in (False, True)]
        rows += [*other_events(), watched_build()]
    sides = [] if options.only else side_by_side()
    traced = [] if options.only else side_by_side(traced=True)
    rows += [side.limit() for side in (*sides, *traced)]
    costs = [] if options.only else subcommands()
    facts["listeners"] = max(facts["listeners"], listeners())

    texts = [report.markdown_table(lines) for lines in tables]
    texts += [report.table_with_limits(part) for part in (rows, costs) if part]
    print("\n\n".join([*texts, report.measured_on(facts)]))
    if options.write:
        report.require_no_listeners(facts["listeners"])
        text = (
            f"{comparison_table(trials, sides, traced)}\n\n{report.measured_on(facts)}"
        )
        report.put_into(_COMPARISON, "commands", text)
        text = f"{report.table(costs)}\n\n{report.measured_on(facts)}"
        report.put_into(report.PERFORMANCE, "subcommands", text)
    report.write_json(
        "bench-commands",
        facts,
        trials=[trial._asdict() for trial in trials],
        fields=[it._asdict() for it in tried],
        sides=[side._asdict() for side in (*sides, *traced)],
        rows=[row.record() for row in (*rows, *costs)],
    )


if __name__ == "__main__":
    main()
