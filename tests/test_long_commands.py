"""Long command lines of untrusted processes: bounded memory, shortened output."""

import gc
import os
import shlex
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import process_events
from support.builders import event_message, program_trailer, with_trailer, words

from procconn import Exec, Exit, Fork, decode
from procconn.clock import wall_ns
from procconn.pipeline.formats import format_command, visible
from procconn.pipeline.json_lines import JsonLines
from procconn.pipeline.tally import Tally
from procconn.processes import Executed, ProcessTable, packed
from procconn.processes.tracker import EventInContext
from procconn.recording import Recorder
from procconn.ship.messages import Messages

MAX_COMMAND = 4096  # characters
ONE_BYTE_EACH = b"\x80\0" * 24_500
DISTINCT = b"".join(
    b"%c%c\xff\0" % (33 + low, 33 + high) for high in range(90) for low in range(90)
)


def executed(pid: int, arguments: bytes = DISTINCT) -> bytes:
    """Build an exec with about 48 KiB of arguments, the first of which is the PID."""
    trailer = program_trailer(
        b"%d\0" % pid + (2 * arguments)[:49_000], b"big", *[b"/x"] * 3
    )
    union = words(pid, pid).ljust(24, b"\0")
    message = with_trailer(event_message(2, union, timestamp_ns=10**9 + pid), trailer)
    return message + bytes(-len(message) % 4)


def exec_of(*argv: str) -> Exec:
    return Exec(8, 8, 0, 0, process_events.PROGRAM._replace(argv=argv))


def memory_of(work: Callable[[], object]) -> tuple[int, int]:
    """Return how many bytes a call leaves allocated, and its peak."""
    gc.collect()
    tracemalloc.start()
    work()
    gc.collect()
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held, peak


def test_equal_short_arguments_share_one_object() -> None:
    ((event,),) = [decode(executed(7, ONE_BYTE_EACH))]
    assert isinstance(event, Exec)
    assert event.program is not None
    assert event.program.argv is not None

    assert 24_500 < len(event.program.argv)
    assert 2 == len({id(argument) for argument in event.program.argv})


texts = st.binary(max_size=9).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))


@given(st.lists(texts, min_size=1, max_size=99), st.integers(1, 200))
def test_quoted_command_is_the_beginning_of_the_full_command(
    argv: list[str], limit: int
) -> None:
    program = process_events.PROGRAM._replace(argv=tuple(argv))
    full = visible(program.command)

    expected = full if len(full) <= limit else full[:limit] + "…"
    assert expected == format_command(program, limit=limit)


@pytest.mark.parametrize(
    "argv", [("a" * 49_000,), ("a",) * 24_500, ("\udc80",) * 24_500]
)
def test_only_the_shown_part_of_a_command_is_quoted(
    argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    quote, quoted = shlex.quote, []

    def counting(argument: str) -> str:
        quoted.append(argument)
        return quote(argument)

    monkeypatch.setattr(shlex, "quote", counting)
    program = process_events.PROGRAM._replace(argv=argv)
    text = format_command(program)

    assert MAX_COMMAND + 1 == len(text)
    assert text.endswith("…")
    assert len(quoted) <= MAX_COMMAND
    monkeypatch.undo()
    _, peak = memory_of(lambda: format_command(program))
    assert peak < 64 * MAX_COMMAND


def test_json_lines_keep_no_memory() -> None:
    line_of = JsonLines(wall_ns)
    messages = [executed(pid) for pid in range(1, 11)]

    def work() -> None:
        for message in messages:
            line_of(EventInContext.without_process(*decode(message)))

    work()
    held, peak = memory_of(work)
    assert held < 1 << 20
    assert peak < 16 << 20


def test_shipper_holds_at_most_one_message_of_each_kind() -> None:
    messages = Messages("host", "origin", "schema", JsonLines(wall_ns))
    encoded = [executed(pid) for pid in range(1, 11)]
    sent = 0

    def work() -> None:
        nonlocal sent
        for message in encoded:
            events = map(EventInContext.without_process, decode(message))
            sent += sum(complete.events for complete in messages.add(events))

    held, peak = memory_of(work)
    assert 5 < sent
    assert sent + messages.pending == len(encoded)
    assert held < 1 << 20
    assert peak < 16 << 20


# Programs of running processes

argv_of = st.lists(texts, min_size=1, max_size=60).map(tuple)


@given(argv_of)
def test_packed_program_equals_the_executed_one(argv: tuple[str, ...]) -> None:
    table = ProcessTable()
    table.feed(Fork(1, 1, 8, 8, 0, 0))
    (change,) = table.feed(event := exec_of(*argv))

    assert isinstance(change, Executed)
    assert event.program == table.processes[8].program == change.program


def test_running_processes_take_little_more_than_their_encoded_size() -> None:
    table = ProcessTable()
    encoded = [executed(pid) for pid in range(10, 25)]

    def work() -> None:
        for pid, message in enumerate(encoded, 10):
            table.feed(Fork(1, 1, pid, pid, 10**9, 0))
            table.feed(*decode(message))

    held, _ = memory_of(work)
    assert held < 1.5 * sum(map(len, encoded))


def test_programs_beyond_the_limit_are_truncated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packed, "_MAX_TOTAL", packed.Packed.total + 100_000)
    table = ProcessTable()
    for pid in range(10, 20):
        table.feed(Fork(1, 1, pid, pid, 0, 0))
        table.feed(*decode(executed(pid)))
    programs = [table.processes[pid].program for pid in range(10, 20)]
    truncated = [program for program in programs if program and program.cut]

    assert 10 == len(programs)
    assert 7 <= len(truncated) < 10
    for program in truncated:
        assert program.argv is not None
        assert 4_000 < len("\0".join(program.argv)) <= 4096


def test_ended_processes_do_not_count_towards_the_limit() -> None:
    gc.collect()
    before = packed.Packed.total
    table = ProcessTable()
    table.feed(Fork(1, 1, 8, 8, 0, 0))
    table.feed(*decode(executed(8)))
    assert before < packed.Packed.total
    table.feed(Exit(8, 8, 0, 17, 1, 1, 5 * 10**9, 0))
    table.feed(Fork(1, 1, 9, 9, 6 * 10**9, 0))
    gc.collect()

    assert before == packed.Packed.total


def test_stat_counts_rare_names_as_other() -> None:
    tally = Tally(0)
    named = [*["often"] * 5, *map(str, range(30_000))]
    for name in named:
        program = process_events.PROGRAM._replace(name=name)
        tally.count(EventInContext.without_process(Exec(8, 8, 0, 0, program)))
        tally.fold()

    assert len(tally.started) <= 20_001
    assert (30_005, 5) == (tally.started.total(), tally.started["often"])
    assert 0 < tally.started["(other)"]


# Reading a recording in a separate process

MIB = 1 << 20
PEAK = """
import re, runpy, sys
sys.argv[0] = "procconn"
try:
    runpy.run_module("procconn", run_name="__main__")
finally:
    with open("/proc/self/status") as file:  # ru_maxrss survives exec
        sys.stderr.write(re.search(r"VmHWM:\\s+(\\d+)", file.read())[1])
"""


def peak_of(count: int, path: Path, *options: str) -> int:
    """Return the peak memory of reading `count` execs of processes that never end."""
    if not path.exists():
        with Recorder(path) as recorder:
            for pid in range(10, 10 + count):
                recorder.write(executed(pid))
    command = [sys.executable, "-c", PEAK, *options, "-i", str(path)]
    done = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True
    )
    return int(done.stderr) * 1024  # VmHWM is in KiB


@pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer keeps memory"
)
@pytest.mark.parametrize("options", [("watch",), ("watch", "--json"), ("stat",)])
def test_recording_is_read_in_bounded_memory(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    assert peak_of(150, tmp_path / "long.pcap", *options) < 80 * MIB


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.parametrize("options", [("watch",), ("watch", "--json"), ("stat",)])
def test_recording_of_100_mb_is_read_in_bounded_memory(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    assert peak_of(2_000, tmp_path / "long.pcap", *options) < 150 * MIB
