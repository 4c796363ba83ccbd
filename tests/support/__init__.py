"""Helpers of the tests, of the fuzzers' seeds and of the benchmarks.

Messages, files and buffers:

- `builders`: builds netlink messages field by field.
- `messages`: one message of each kind, and the event it decodes to.
- `pcaps`: builds recordings packet by packet.
- `taskstats`: builds taskstats messages.
- `guard_page`: memory before an unmapped page.

Reference implementations, which share nothing with the C module:

- `reference_decoder`: decodes a buffer.
- `reference_packets`: walks over a recording's packets.
- `reference_filter`: decides whether a mask selects an event.
- `bpf`: interprets a classic BPF program.

Processes:

- `process_events`: builds events of processes, and entries of snapshots.
- `process_histories`: a model of processes, and random histories of it.
- `timelines`: processes to draw as a timeline.

Documents and output:

- `documents`: finds the code blocks of the documents, and runs them.
- `json_schema`: validates values against docs/*.schema.json.
- `line_counter`: counts the lines of Python that a call runs.
- `platforms`: prints where the test suite has run.

Live tests:

- `live`: causes events in this process, and waits until a deadline.
- `read_modes`: every mode of reading a stream, up to the end of a load.
- `single_reads`: read modes that call the connector once.
- `exec_programs`: the programs that EXEC events carry, and the threads that read them.
- `usage`: receives the usage of tasks that exit.
- `blocking`: in which call a thread is blocked.
- `injection`: injects exceptions and calls at every point of the library's code.
- `signals`: handlers and alarms for the length of a block.
- `sockets`: the connector's sockets, and sockets without the library.
- `machine`: what this machine and its user allow.

Processes that tests start:

- `command`: the command, also on a terminal.
- `subprocesses`: Python programs, those of tests/live/programs among them.
- `c_programs`: compiles the C programs of tests/live/programs.
- `sandbox`: refuses system calls to a process.
- `strace`: the LISTEN and IGNORE requests that a process sends.
"""
