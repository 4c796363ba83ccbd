"""Helpers of the tests, of the fuzzers' seeds and of the benchmarks.

Messages and files:

- `builders`: builds netlink messages field by field.
- `messages`: one message of each kind, and the event it means.
- `pcaps`: builds recordings packet by packet.
- `taskstats`: builds taskstats messages.
"""
