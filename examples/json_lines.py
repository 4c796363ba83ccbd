"""Write who runs what as JSON lines, until Ctrl-C: json_lines.py.

`procconn watch --json` does more: it goes on reading while its output is blocked.
"""

import json
import os
import pwd
import sys
import time

from procconn.processes import Executed, ProcessMonitor


def user(uid: int | None) -> str | None:
    """Tell the name of a user, or the number if there is no name."""
    try:
        return None if uid is None else pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def text(value: str | None) -> str | None:
    """Return text that every reader of JSON takes; U+FFFD for what is not UTF-8."""
    return value and os.fsencode(value).decode(errors="replace")


def record(change: Executed) -> dict[str, object]:
    """Make a JSON object; what is not known is null, and `missing` says why."""
    process, program = change.process, change.program
    parent = process.parent.name if process.parent else None
    return {
        "time": time.time() - (time.monotonic_ns() - change.timestamp_ns) / 1e9,
        "pid": process.pid,
        "command": text((program and program.command) or None),
        "executable": text(program and program.exe),
        "user": program and user(program.euid),
        "parent": text(parent),
        "container": program and program.container,
        "missing": program and program.missing,
    }


def main() -> None:
    """Take one change at a time: it shows the process as it was then."""
    try:
        with ProcessMonitor(queue=64 << 20, max_latency=0.01) as monitor:
            for change in monitor:
                if isinstance(change, Executed):
                    print(json.dumps(record(change)), flush=True)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:  # the reader has seen enough; say nothing at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
