"""`procconn watch`: print events as they happen."""

import argparse

from procconn.cli.output import Output, open_output, report_unwritten
from procconn.cli.shutdown import Shutdown
from procconn.pipeline.batches import count_lost, first, selected
from procconn.pipeline.json_lines import JsonLines
from procconn.pipeline.lines import TextLines
from procconn.pipeline.messages import report_lost, report_usage_lost
from procconn.pipeline.selection import Selection
from procconn.pipeline.source import Source, open_source


def run(options: argparse.Namespace, shutdown: Shutdown) -> int:
    """Print events until the duration or count is reached, or a signal arrives."""
    selection = Selection.of(options)
    source = open_source(
        selection, latency=options.latency, usage=options.usage, stop=shutdown
    )
    lost = 0
    if source.is_live:
        shutdown.defer_exit(lambda: report_unwritten(source))
    try:
        batches = first(selection.count, selected(selection, source))
        output = open_output(options, shutdown)
        for batch in batches:
            if options.json:
                lines = map(JsonLines(source.wall_ns), batch)
            else:
                lines = map(_text(source, output), batch)
            output.write("".join(lines))
            lost += count_lost(batch)
    except BrokenPipeError:
        lost = source.lost() or lost  # includes drops that were not read yet
        raise
    finally:
        source.close()
        if source.is_live:
            report_lost(lost)
        report_usage_lost(source.usage_lost())
    return 0


def _text(source: Source, output: Output) -> TextLines:
    return TextLines(source.time_of, width=output.width, coloured=output.coloured)
