"""What the command and `procconn ship` have in common.

`source` yields events, live or from a recording. `selection` filters them. `tracking`
and `batches` put each in the context of its process. `lines`, `json_lines` and `tally`
turn them into text and counts. Nothing here uses a terminal or a signal.
"""
