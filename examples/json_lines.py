"""Print each executed program as a JSON line, until Ctrl-C: json_lines.py.

`procconn watch --json` does more: it keeps receiving while its output is blocked.
"""

import json
import os
import pwd
import sys
import time

from procconn.processes import Executed, ProcessMonitor


def user(uid: int | None) -> str | None:
    """Return the name of a user; the user ID if there is none."""
    try:
        return None if uid is None else pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def text(value: str | None) -> str | None:
    """Return valid Unicode text, with U+FFFD for bytes that are not UTF-8."""
    return value and os.fsencode(value).decode(errors="replace")


def record(change: Executed) -> dict[str, object]:
    """Return a JSON object; unknown values are null, and `missing` says why."""
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
    """Iterate over the changes, as each then shows the process at that time."""
    try:
        with ProcessMonitor(queue=64 << 20, max_latency=0.01) as monitor:
            for change in monitor:
                if isinstance(change, Executed):
                    print(json.dumps(record(change)), flush=True)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:  # such as `| head`; do not fail on the flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
