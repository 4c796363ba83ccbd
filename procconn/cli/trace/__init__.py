"""`procconn trace`: run a command, and print the processes it started.

`child` runs the command, `trace` tracks its processes, `summary` prints them, and
`timeline` draws them: `lanes` computes the layout, `picture` the SVG.
"""

from procconn.cli.trace.trace import run

__all__ = ["run"]
