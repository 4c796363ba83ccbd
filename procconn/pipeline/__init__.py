"""What every sink of events needs: the command, and what sends events on.

`source` yields events, live or of a recording; `selection` says which are wanted;
`tracking` and `batches` put each in context; `lines`, `json_lines` and `tally` make
text and counts of them. Nothing here knows of terminals or signals.
"""
