"""`procconn trace`: run a command, and tell what it ran.

`child` runs the command, `trace` follows it, `summary` prints what it ran. `timeline`
draws that: `lanes` lays the processes out, `picture` makes SVG of them.
"""

from procconn.cli.trace.trace import run

__all__ = ["run"]
