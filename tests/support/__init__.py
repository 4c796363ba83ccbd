"""Helpers for the tests, the fuzzers' seeds and the benchmarks.

Messages, files and buffers:

- `builders`: builds netlink messages field by field.
- `messages`: a message of each kind, and the event that it decodes to.
- `pcaps`: builds pcap recordings packet by packet.
- `taskstats`: builds taskstats messages.
- `guard_page`: memory that ends at an inaccessible page.

Reference implementations, independent of the C module:

- `reference_decoder`: decodes a buffer.
- `reference_packets`: parses the packets of a recording.
- `reference_filter`: decides whether a mask selects an event.
- `bpf`: interprets a classic BPF program.

Processes:

- `process_events`: builds process events and snapshot entries.
- `process_histories`: a model of processes, with random histories.
- `timelines`: processes to draw as a timeline.

Documents and output:

- `documents`: finds and runs the code blocks of the documents.
- `json_schema`: validates values against docs/*.schema.json.
- `line_counter`: counts the lines of Python that a call runs.
- `platforms`: prints the platforms where the test suite has run.

Live tests:

- `live`: causes events in this process, receives them, waits for conditions.
- `read_modes`: every way to read a stream, up to the last command of a load.
- `single_reads`: read modes that call the connector once.
- `exec_programs`: receives programs, and controls the threads that read them.
- `usage`: receives the resource usage of tasks that exit.
- `blocking`: detects that a thread is blocked in a system call.
- `injection`: injects exceptions and calls at every point of the library's code.
- `signals`: installs signal handlers and alarms for the duration of a block.
- `sockets`: the connector's sockets, and sockets opened without the library.
- `machine`: kernel version, privileges and limits of this machine.

Processes that tests start:

- `command`: runs the command, also on a terminal.
- `subprocesses`: runs Python code and the programs of tests/live/programs.
- `c_programs`: compiles the C programs of tests/live/programs.
- `sandbox`: runs a process in which a system call fails.
- `strace`: traces the LISTEN and IGNORE requests that a process sends.
"""
