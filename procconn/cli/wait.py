"""`procconn wait`: wait for any processes to end, and print how each ended."""

import argparse
import time

from procconn.cli.output import Output
from procconn.cli.shutdown import Shutdown, shell_status
from procconn.pipeline.formats import (
    format_command,
    format_exit,
    signal_name,
    user_name,
)
from procconn.pipeline.json_text import line
from procconn.pipeline.messages import report
from procconn.processes import Process
from procconn.processes.waiting import Waiter, iter_ended
from procconn.programs import Program, read_program

VERSION = 1  # of docs/wait.schema.json
_UNKNOWN, _TIMED_OUT, _NO_PROCESS = 2, 124, 127  # exit status


def run(options: argparse.Namespace, shutdown: Shutdown) -> int:
    """Wait for the processes; return the exit status of the last one to end."""
    deadline = None
    if options.timeout is not None:
        deadline = time.monotonic() + options.timeout
    programs = {pid: read_program(pid) for pid in options.pids}
    try:
        awaited = Waiter(options.pids)
    except ProcessLookupError as error:
        report(str(error))
        return _NO_PROCESS
    output = Output(options.output)
    output.reopen_on_hangup(shutdown)
    last = None
    for process in iter_ended(awaited, deadline, programs=True):
        last = process
        program = process.program or programs[process.pid]
        make_line = _json if options.json else _text
        output.write(make_line(process, program))
        if options.any:
            break
    if awaited.pids and not (options.any and last):
        return _TIMED_OUT
    if last is None or last.returncode is None:
        report("only its user or root may read the exit status of the last process")
        return _UNKNOWN
    return shell_status(last.returncode)


def _text(process: Process, program: Program | None) -> str:
    how = format_exit(process.returncode, process.dumped_core, process.duration)
    return f"exit {process.pid} {format_command(program, with_reason=False)} {how}\n"


def _json(process: Process, program: Program | None) -> str:
    uid = program.euid if program else None
    code = process.returncode
    record = {
        "version": VERSION,
        "pid": process.pid,
        "returncode": code,
        "signal": signal_name(-code) if code is not None and code < 0 else None,
        "dumped_core": process.dumped_core,
        "duration": process.duration,
        "argv": program.argv if program else None,
        "user": user_name(uid) if uid is not None else None,
    }
    return line(record)
