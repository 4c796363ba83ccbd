"""Benchmarks: procconn beside other readers, in one run on one machine.

Programs, each run by `python -m`:

- `benchmarks`: receiving, decoding and their overhead (`make bench`).
- `benchmarks.commands`: command lines and subcommands (`make bench-commands`).
- `benchmarks.fleet`: shipping to NATS (`make bench-fleet`).
- `benchmarks.profiling`: a reader's CPU time by purpose, with perf.

`pytest benchmarks` decodes only, and needs neither a live stream nor privileges.
"""
