"""JSON of arbitrary bytes: strict parsers accept it and no byte is lost."""

import contextlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import event_message, program_trailer, with_trailer, words
from support.json_schema import schema, violations

from procconn import TruncatedError, decode
from procconn.clock import wall_ns
from procconn.pipeline.formats import REASONS
from procconn.pipeline.json_lines import SCHEMA, JsonLines
from procconn.pipeline.json_text import line
from procconn.processes import ProcessTable
from procconn.processes.tracker import EventInContext, Tracker
from procconn.recording import Recorder
from procconn.ship.ecs import as_ecs

orjson = pytest.importorskip("orjson")

WATCH = schema("watch")
TEXTS = ("name", "exe", "cwd", "cgroup")

any_bytes = st.binary(max_size=40) | st.text(max_size=20).map(
    lambda text: text.encode("utf-8", "surrogatepass")
)
argument = any_bytes.map(lambda data: data.replace(b"\0", b"\xff"))


def exec_message(argv: list[bytes], *texts: bytes) -> bytes:
    """Build an exec message with a program trailer."""
    joined = b"".join(argument + b"\0" for argument in argv)
    trailer = program_trailer(joined, *texts, ids=(1, 0, 0, 0, 0))
    executed = event_message(2, words(7, 7).ljust(24, b"\0"), timestamp_ns=10**9)
    message = with_trailer(executed, trailer)
    return message + bytes(-len(message) % 4)


EXIT = event_message(0x80000000, words(7, 7, 0, 17, 1, 1), timestamp_ns=2 * 10**9)


def lines_of(*messages: bytes) -> list[bytes]:
    """Return the JSON lines of events that went through a tracker."""
    tracker = Tracker(ProcessTable())
    format_line = JsonLines(wall_ns)
    return [
        format_line(in_context).encode()
        for event in decode(b"".join(messages))
        for in_context in tracker.feed(event)
    ]


def parse_strictly(encoded: bytes) -> dict[str, Any]:
    """Parse a line with orjson, which rejects lone surrogates."""
    record: dict[str, Any] = orjson.loads(encoded)
    assert record == json.loads(encoded.decode("ascii"))
    return record


def check(record: dict[str, Any], field: str, data: bytes) -> None:
    """Compare a text field, and its `_hex` field if any, with the bytes."""
    assert data.decode(errors="replace") == record[field]
    try:
        data.decode()
    except UnicodeDecodeError:
        assert data == bytes.fromhex(record[f"{field}_hex"])
    else:
        assert f"{field}_hex" not in record


def check_argv(record: dict[str, Any], argv: list[bytes]) -> None:
    assert [argument.decode(errors="replace") for argument in argv] == record["argv"]
    texts = b"\0".join(argv).decode(errors="replace").split("\0") if argv else []
    if texts and "\0".join(texts).encode() != b"\0".join(argv):
        assert argv == list(map(bytes.fromhex, record["argv_hex"]))
    else:
        assert "argv_hex" not in record


@given(st.lists(argument, max_size=5), st.tuples(*[any_bytes] * 4))
def test_exec_line_keeps_all_bytes(argv: list[bytes], texts: tuple[bytes, ...]) -> None:
    (encoded,) = lines_of(exec_message(argv, *texts))
    record = parse_strictly(encoded)

    assert [] == violations(WATCH, record)
    check_argv(record, argv)
    for field, data in zip(TEXTS, texts, strict=True):
        check(record, field, data)


@given(st.lists(argument, max_size=5), any_bytes)
def test_exit_line_keeps_all_bytes(argv: list[bytes], name: bytes) -> None:
    executed = exec_message(argv, name, b"", b"", b"")
    record = parse_strictly(lines_of(executed, EXIT)[-1])

    assert [] == violations(WATCH, record)
    check_argv(record, argv)
    check(record, "name", name)


@given(st.binary(min_size=16, max_size=16))
def test_comm_line_keeps_all_bytes(comm: bytes) -> None:
    message = event_message(0x200, words(7, 7) + comm)
    (encoded,) = lines_of(message)
    record = parse_strictly(encoded)

    assert [] == violations(WATCH, record)
    check(record, "name", comm.partition(b"\0")[0])
    assert comm.partition(b"\0")[0].hex() == record["comm"]


@given(st.lists(argument, min_size=1, max_size=5), st.tuples(*[any_bytes] * 4))
def test_ecs_document_keeps_all_bytes(
    argv: list[bytes], texts: tuple[bytes, ...]
) -> None:
    (encoded,) = lines_of(exec_message(argv, *texts))
    document = parse_strictly(as_ecs(encoded.decode(), "web1").encode())
    process, ours = document["process"], document["procconn"]
    theirs = {
        "argv": process["args"],
        "name": process["name"],
        "exe": process["executable"],
        "cwd": process["working_directory"],
    }
    record = ours | theirs

    check_argv(record, argv)
    for field, data in zip(TEXTS, texts, strict=True):
        check(record, field, data)


def test_each_reason_for_missing_fields_has_a_text() -> None:
    reasons = []
    with contextlib.suppress(TruncatedError):
        for number in range(1, 64):
            trailer = program_trailer(*[None] * 5, flags=number << 8, version=2)
            (event,) = decode(
                with_trailer(event_message(2, words(7, 7) + bytes(16)), trailer)
            )
            record = json.loads(
                JsonLines(wall_ns)(EventInContext.without_process(event))
            )
            assert [] == violations(WATCH, record)
            reasons.append(record["missing"])

    assert sorted(reasons) == sorted(REASONS)


# Readers may store numbers in 64 bits; no reported number needs more.
numbers = st.integers(-(2**63), 2**64 - 1)
values = st.recursive(
    st.none() | st.booleans() | numbers | any_bytes.map(os.fsdecode),
    lambda children: (
        st.lists(st.dictionaries(st.sampled_from("abc"), children))
        | st.dictionaries(st.sampled_from("abc"), children)
    ),
    max_leaves=9,
)


@given(st.dictionaries(st.sampled_from("abc"), values))
def test_any_object_is_one_line_that_strict_parsers_read(
    record: dict[str, Any],
) -> None:
    encoded = line(record)

    assert encoded.endswith("}\n")
    assert 1 == encoded.count("\n")
    assert [] == differences(record, parse_strictly(encoded.encode()))


def differences(written: Any, read: Any) -> list[str]:
    """List the fields that differ between the written and the parsed object."""
    if isinstance(written, list):
        pairs = zip(written, read, strict=True)
        return [found for pair in pairs for found in differences(*pair)]
    if not isinstance(written, dict):
        return [] if written == read else [f"{written!r}: {read!r}"]
    found = []
    for name, value in written.items():
        if isinstance(value, str):
            data = os.fsencode(value)
            wrong = data != bytes.fromhex(read.get(f"{name}_hex", data.hex()))
            found += [name] * (wrong or data.decode(errors="replace") != read[name])
        else:
            found += differences(value, read[name])
    return found


# Locales

HOSTILE = (b"caf\xe9", "ä€😀".encode(), b"\xed\xa0\x80", b"a\nb\x1b", b"")
LATIN = "en_US.ISO-8859-1"


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Return the environment variables of each available locale."""
    found = {name: {"LC_ALL": name} for name in ("C.UTF-8", "C", "POSIX")}
    folder = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef"):
        definition = [
            "localedef",
            "-i",
            "en_US",
            "-f",
            "ISO-8859-1",
            str(folder / LATIN),
        ]
        if not subprocess.run(definition, check=False, capture_output=True).returncode:
            found[LATIN] = {"LC_ALL": LATIN, "LOCPATH": str(folder)}
    return found


@pytest.mark.parametrize("subcommand", ["watch", "stat"])
@pytest.mark.parametrize("locale", ["C", "POSIX", LATIN])
def test_lines_do_not_depend_on_the_locale(
    subcommand: str,
    locale: str,
    locales: dict[str, dict[str, str]],
    tmp_path: Path,
) -> None:
    if locale not in locales:
        pytest.skip("localedef cannot compile this locale here")
    path = tmp_path / "hostile.pcap"
    with Recorder(path) as recorder:
        for data in HOSTILE:
            path_bytes = b"/" + data
            recorder.write(
                exec_message([b"true", data], data, path_bytes, path_bytes, data)
            )
            comm = words(7, 7) + data[:15].ljust(16, b"\0")
            recorder.write(event_message(0x200, comm, timestamp_ns=10**9))
        recorder.write(EXIT)
    command = [sys.executable, "-m", "procconn", subcommand, "--json", "-i", str(path)]
    environ = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environ.pop("PYTHONIOENCODING", None)

    usual = subprocess.check_output(command, env=environ | locales["C.UTF-8"])
    other = subprocess.check_output(command, env=environ | locales[locale])
    assert usual == other
    assert re.search(rb'"name_hex":"636166e9"', usual)
    for encoded in usual.splitlines():
        parse_strictly(encoded)


@pytest.mark.parametrize("name", ["wait", "stat", "doctor"])
def test_schema_has_the_version_that_the_command_writes(name: str) -> None:
    version = importlib.import_module(f"procconn.cli.{name}").VERSION
    document = schema(name)

    assert {"const": version} == document["properties"]["version"]
    assert f"urn:procconn:{name}:{version}" == document["$id"]


def test_watch_lines_name_the_id_of_their_schema() -> None:
    assert SCHEMA == schema("watch")["$id"]


@pytest.mark.slow
@pytest.mark.heavy
def test_duckdb_reads_lines_with_arbitrary_bytes(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    hostile = [exec_message([data, data], *[data] * 4) for data in HOSTILE]
    path = tmp_path / "lines.json"
    path.write_bytes(b"".join(lines_of(*hostile, EXIT)))
    rows = duckdb.sql(
        "SELECT coalesce(argv_hex[1], hex(argv[1].encode())), name, cwd_hex"
        f" FROM read_json('{path}') WHERE event = 'exec'"
    ).fetchall()

    assert list(HOSTILE) == [bytes.fromhex(argument) for argument, *_ in rows]
    names = [data.decode(errors="replace") for data in HOSTILE]
    assert names == [row[1] for row in rows]
    assert {data.hex() for data in HOSTILE if is_not_utf8(data)} | {None} == {
        row[2] for row in rows
    }


def is_not_utf8(data: bytes) -> bool:
    return data.decode(errors="replace").encode() != data


def test_event_without_a_tracker_keeps_all_bytes() -> None:
    (event,) = decode(exec_message([b"\xff"], b"\xff", b"\xff", b"\xff", b"\xff"))
    record = parse_strictly(
        JsonLines(wall_ns)(EventInContext.without_process(event)).encode()
    )

    assert ["ff"] == record["argv_hex"]
