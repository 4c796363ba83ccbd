"""Lines in the words of the Elastic Common Schema, by one table."""

import json
from typing import Any

_VERSION = "8.17"

# Their names for our fields; a field that is not here goes below `procconn`.
_NAMES = {
    "@timestamp": "time",
    "agent.version": "version",
    "event.action": "event",
    "host.boot.id": "boot_id",
    "process.args": "argv",
    "process.executable": "exe",
    "process.exit_code": "returncode",
    "process.group.id": "egid",
    "process.name": "name",
    "process.parent.pid": "parent_tgid ppid",
    "process.parent.thread.id": "parent_pid",
    "process.pid": "tgid child_tgid",
    "process.real_group.id": "gid rgid",
    "process.real_user.id": "uid ruid",
    "process.thread.id": "pid child_pid",
    "process.user.id": "euid",
    "process.user.name": "user",
    "process.working_directory": "cwd",
}
_TYPES = {"fork": "start", "exec": "start", "exit": "end"}
_TYPES |= dict.fromkeys(("uid", "gid", "sid", "ptrace", "comm"), "change")
_TEXTS = {"uid", "ruid", "euid", "gid", "rgid", "egid"}  # ids are keywords there
_PATHS = {it: name.split(".") for name in _NAMES for it in _NAMES[name].split()}


def as_ecs(line: str, host: str) -> str:
    """Turn a line of ours into one of theirs, without what is null."""
    record: dict[str, Any] = json.loads(line)
    document: dict[str, Any] = {
        "ecs": {"version": _VERSION},
        "event": {
            "kind": "pipeline_error" if record["event"] == "lost" else "event",
            "category": ["process"],
            "type": [_TYPES.get(record["event"], "info")],
        },
        "host": {"name": host},
    }
    for field, value in record.items():
        *folders, name = _PATHS.get(field, ("procconn", field))
        place = document
        for folder in folders:
            place = place.setdefault(folder, {})
        if value is not None:
            place[name] = str(value) if field in _TEXTS else value
    return json.dumps(document, separators=(",", ":")) + "\n"
