"""Program fields that change without an exec: from the time of the exec, or None."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.c_programs import compiled
from support.exec_programs import is_renaming, requires_ordinary_user, spinning
from support.live import DEADLINE, wait_for
from support.machine import NOBODY, has_realtime_priority
from support.subprocesses import PROGRAMS, program

requires_root = pytest.mark.skipif(os.geteuid() != 0, reason="requires root")

ROOT, USER = (), NOBODY
SPINNERS = 3
ID_NAMES = ("uid", "euid", "gid", "egid")

Reported = list[tuple[int, dict[str, Any]]]


class Reader:
    """A process that reads programs.

    Attributes:
        realtime: whether one of its threads has real-time priority.
    """

    def __init__(self, as_user: tuple[str, ...]) -> None:
        command = [*as_user, sys.executable, "-I", str(PROGRAMS / "report_programs.py")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        self.realtime = any(map(has_realtime_priority, tasks))

    def reported(self) -> Reported:
        """Return the programs of all processes so far, and end the process."""
        with subprocess.Popen(["true"]) as last:
            pass
        output, _ = self._process.communicate(f"{last.pid}\n", DEADLINE)
        reported = json.loads(output)
        return [
            (pid, fields | {"argv": fields["argv"] and tuple(fields["argv"])})
            for pid, fields in reported
        ]

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def reading(as_user: tuple[str, ...]) -> Iterator[Reader]:
    reader = Reader(as_user)
    try:
        yield reader
    finally:
        reader.close()


@pytest.fixture
def directory() -> Iterator[Path]:
    """Create a directory with a subdirectory, both accessible to any user."""
    with tempfile.TemporaryDirectory(prefix="procconn-tests-") as name:
        directory = Path(name).resolve()
        directory.chmod(0o755)
        (directory / "sub").mkdir()
        (directory / "sub" / "Makefile").write_text("all: ; @:\n")
        yield directory


class Load:
    """Programs that change one of their fields as early as possible.

    Attributes:
        expected: the fields at exec by argv, for each kind of program.
    """

    def __init__(self, directory: Path, as_user: tuple[str, ...]) -> None:
        self.expected: dict[str, dict[tuple[str, ...], dict[str, object]]] = {}
        self._directory = directory
        self._as_user = as_user

    def run(self, rounds: int) -> None:
        """Run each kind of program `rounds` times."""
        early = str(compiled("early_change"))
        for number in range(rounds):
            serial = str(number)
            here = {"cwd": str(self._directory)}
            self._run("sh", here, "/bin/sh", "-c", "cd sub; sleep 0.003", serial)
            self._run("make", here, "make", "-sC", "sub", f"SERIAL={serial}")
            self._run("name", {"name": "early_change"}, early, "name", serial)
            ids = dict.fromkeys(ID_NAMES, 0)
            self._run("ids", ids, early, "ids", serial, as_root=True)
            sleep = ("/bin/sleep", f"0.02{number:05}")
            line = ("/bin/sh", "-c", f"{' '.join(sleep)} & :")
            parent = self._run("shell", {}, *line)
            self.expected.setdefault("parent", {})[sleep] = {"ppid": parent}

    def _run(
        self, kind: str, fields: dict[str, Any], *command: str, as_root: bool = False
    ) -> int:
        """Run a program and store its expected fields; return its PID."""
        as_user = () if as_root else self._as_user
        process = subprocess.Popen([*as_user, *command], cwd=self._directory)
        process.wait()
        self.expected.setdefault(kind, {})[command] = fields
        return process.pid

    def compare(self, reported: Reported) -> tuple[list[object], Counter[str]]:
        """Return the wrong fields, and the number of right programs by kind."""
        wrong: list[object] = []
        right: Counter[str] = Counter()
        for _, found in reported:
            for kind, expected in self.expected.items():
                fields = expected.get(found["argv"])
                if not fields:
                    continue
                actual = {name: found[name] for name in fields}
                wrong += [
                    (kind, name, value, found)
                    for name, value in actual.items()
                    if value not in (fields[name], None)
                    or (value is None and not found["missing"])
                ]
                right[kind] += actual == fields
        return wrong, right


@requires_ordinary_user
@pytest.mark.heavy
@pytest.mark.parametrize("rounds", [30, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("spinners", [0, SPINNERS])
@pytest.mark.parametrize("as_user", [ROOT, USER], ids=["root", "nobody"])
def test_no_field_changed_after_the_exec(
    directory: Path, as_user: tuple[str, ...], spinners: int, rounds: int
) -> None:
    load = Load(directory, as_user)
    with reading(as_user) as reader, spinning(spinners):
        load.run(rounds)
        reported = reader.reported()

    wrong, right = load.compare(reported)
    assert [] == wrong
    assert right["parent"] > 0
    if reader.realtime:
        assert right["parent"] > rounds / 2
        assert right["sh"] > rounds / 2
        assert right["make"] > rounds / 2


@requires_root
def test_set_user_id_program_has_its_new_ids(directory: Path) -> None:
    """The kernel reports the UID event before the EXEC."""
    path = directory / "set-user-id"
    shutil.copy(compiled("early_change"), path)
    os.chown(path, 1, 1)
    path.chmod(0o6755)
    lines = {(str(path), "nothing", str(number)) for number in range(20)}
    with reading(ROOT) as reader:
        for line in lines:
            subprocess.run([*NOBODY, *line], check=True)
        reported = reader.reported()

    ids = [
        [fields[name] for name in ID_NAMES]
        for _, fields in reported
        if fields["argv"] in lines
    ]
    changed = ids.count([65534, 1, 65534, 1])
    if os.statvfs(path).f_flag & os.ST_NOSUID:
        pytest.skip("the file system is mounted with nosuid")
    assert ids.count([None] * 4) == len(ids) - changed
    assert changed > len(lines) / 2 or not reader.realtime


@requires_root
@pytest.mark.heavy
def test_burst_of_comm_events_affects_only_names() -> None:
    lines = {("true", str(number)) for number in range(50)}
    with reading(ROOT) as reader, program("rename", 300_000, 0) as renamer:
        wait_for(lambda: is_renaming(renamer.pid))
        for line in lines:
            subprocess.run(line, check=True)
        reported = reader.reported()

    programs = [fields for _, fields in reported if fields["argv"] in lines]
    assert {fields["name"] for fields in programs} <= {"true", None}
    if reader.realtime:
        assert len(programs) > len(lines) / 2
        assert [
            fields
            for fields in programs
            if fields["uid"] is None or fields["ppid"] is None
        ] == []
