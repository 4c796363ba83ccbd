"""Code that the subcommands share, including `procconn ship`.

`source` yields events, live or from a recording. `selection` filters them. `tracking`
and `batches` add the context of their processes. `lines`, `json_lines` and `tally`
convert them to text and counts. Nothing here reads a terminal or installs a
signal handler.
"""
