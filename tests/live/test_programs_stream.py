"""Programs in the stream, in every read mode, with overruns and under load."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.blocking import wait_until_blocked
from support.c_programs import compiled
from support.exec_programs import (
    LONG_LATENCY,
    MASK,
    assert_right_or_missing,
    is_lossless,
    is_realtime,
    is_renaming,
    programs_in,
    programs_of,
    spinning,
)
from support.live import DEADLINE, serials_of, set_serials, wait_for
from support.machine import AS_ORDINARY_USER, IS_EMULATED
from support.read_modes import LAST, READ_MODES, ReadMode, by_recv_many, is_last
from support.subprocesses import any_user_can_run_python, program, started

from procconn import (
    Comm,
    ConnectionClosedError,
    Event,
    EventMask,
    Exec,
    Exit,
    Fork,
    ProcConnector,
    decode,
)

CHAINS = 10


def chain(number: object) -> list[str]:
    return ["sh", "-c", f"exec true {number}"]


@contextmanager
def chains() -> Iterator[dict[int, int]]:
    """Run chains of two execs in the background; yield their numbers by PID."""
    numbers: dict[int, int] = {}

    def load() -> None:
        for number in range(CHAINS):
            with subprocess.Popen(chain(number)) as process:
                numbers[process.pid] = number
        subprocess.run(LAST, check=False)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        yield numbers
    finally:
        thread.join()


def life_of(pid: int, events: list[Event]) -> list[Event]:
    return [
        event
        for event in events
        if (isinstance(event, Exec | Exit) and event.pid == pid)
        or (isinstance(event, Fork) and event.child_pid == pid)
    ]


def check(
    events: list[Event],
    numbers: dict[int, int],
    *,
    realtime: bool,
    most_absent: int = CHAINS - 1,  # half, as some machines are slow
) -> None:
    """Assert that each exec is in order, with its own program or none."""
    assert len(numbers) == CHAINS
    assert is_lossless(events)
    absent = 0
    for pid, number in numbers.items():
        life = life_of(pid, events)
        kinds: list[type] = [type(event) for event in life]
        assert [Fork, Exec, Exec, Exit] == kinds
        programs = [found for _, found in programs_in(life)]
        assert_right_or_missing(programs, tuple(chain(number)), ("true", str(number)))
        absent += sum(program.argv is None for program in programs)
    if realtime:  # under emulation, two programs suffice
        assert absent <= (2 * CHAINS - 2 if IS_EMULATED else most_absent)


@pytest.mark.parametrize("queue", [0, 1 << 20])
@pytest.mark.parametrize("mode", READ_MODES)
def test_every_read_mode_delivers_programs(mode: ReadMode, queue: int) -> None:
    with ProcConnector(MASK, programs=True, queue=queue) as connector:
        with chains() as numbers:
            events = mode(connector)
        realtime = is_realtime(connector)

    check(events, numbers, realtime=realtime)


@pytest.mark.parametrize("max_latency", [0, 0.01])
def test_programs_are_delivered_at_any_max_latency(max_latency: float) -> None:
    with ProcConnector(MASK, programs=True, max_latency=max_latency) as connector:
        with chains() as numbers:
            events = by_recv_many(connector)
        realtime = is_realtime(connector)

    check(events, numbers, realtime=realtime)


@pytest.mark.heavy
def test_few_programs_are_missing_at_real_time_priority() -> None:
    with ProcConnector(MASK, programs=True) as connector:
        with chains() as numbers:
            events = by_recv_many(connector)
        realtime = is_realtime(connector)

    # Other threads may occupy the CPUs for a moment.
    check(events, numbers, realtime=realtime, most_absent=CHAINS // 3)


def test_recorded_stream_decodes_to_the_same_events_elsewhere(tmp_path: Path) -> None:
    """An ordinary user can decode what root recorded."""
    recording = tmp_path / "recording"
    recorded = b""
    with ProcConnector(MASK, programs=True, usage=True) as connector, chains():
        while not any(map(is_last, decode(recorded))):
            recorded += connector.recv_raw(timeout=DEADLINE)
    recording.write_bytes(recorded)
    code = "import sys, procconn; print(procconn.decode(sys.stdin.buffer.read()))"
    command = [sys.executable, "-c", code]
    if any_user_can_run_python():
        command = [*AS_ORDINARY_USER, *command]
    with recording.open("rb") as file:
        done = subprocess.run(
            command, stdin=file, stdout=subprocess.PIPE, check=True, text=True
        )

    assert programs_in(decode(recorded))
    assert f"{decode(recorded)}\n" == done.stdout


@pytest.mark.parametrize("mask", [EventMask.EXEC, EventMask.EXEC | EventMask.COMM])
def test_programs_do_not_need_fork_or_exit_in_the_mask(mask: EventMask) -> None:
    line = ("sh", "-c", "read line; exec cat - x")
    with (
        ProcConnector(mask, programs=True, max_latency=LONG_LATENCY) as connector,
        started(*line) as process,
    ):
        assert process.stdin is not None
        programs = programs_of(connector, process.pid, 1)
        process.stdin.write("\n")
        process.stdin.flush()
        programs += programs_of(connector, process.pid, 1)
        realtime = is_realtime(connector)

    assert_right_or_missing(programs, line, ("cat", "-", "x"))
    if realtime:
        assert [line, ("cat", "-", "x")] == [program.argv for program in programs]


def test_programs_survive_a_change_of_the_mask() -> None:
    with ProcConnector(
        EventMask.EXIT, programs=True, max_latency=LONG_LATENCY
    ) as connector:
        with started("cat", "-", "1"):
            connector.subscribe(EventMask.EXEC)
            with started("cat", "-", "2") as second:
                programs = programs_of(connector, second.pid, 1)
                connector.subscribe(EventMask.EXEC | EventMask.FORK)
                with started("cat", "-", "3") as third:
                    programs += programs_of(connector, third.pid, 1)
        realtime = is_realtime(connector)

    assert_right_or_missing(programs, ("cat", "-", "2"), ("cat", "-", "3"))
    if realtime:
        assert ("cat", "-", "3") == programs[1].argv


def close_while_exec_is_pending(queue: int) -> list[type[Exception]]:
    """Return the exception of the reader: ValueError if no recv() was running."""
    ends: list[type[Exception]] = []
    connector = ProcConnector(
        EventMask.EXEC, programs=True, max_latency=DEADLINE, queue=queue
    )

    def read() -> None:
        try:
            while True:
                connector.recv()
        except (ConnectionClosedError, ValueError) as error:
            ends.append(type(error))

    reader = threading.Thread(target=read)
    reader.start()
    wait_until_blocked(reader)
    subprocess.run(["true"], check=True)
    connector.close()
    reader.join(DEADLINE)
    assert not reader.is_alive()
    return ends


@pytest.mark.parametrize("queue", [0, 1 << 20])
def test_close_wakes_reader_that_waits_for_a_program(queue: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while (ends := close_while_exec_is_pending(queue)) == [ValueError]:
        assert time.monotonic() < deadline

    assert [ConnectionClosedError] == ends


@pytest.mark.parametrize("queue", [0, 1 << 20])
def test_first_exec_waits_only_for_its_program(queue: int) -> None:
    """An exec of any process is delivered long before max_latency."""
    latency = 20.0
    with ProcConnector(
        EventMask.EXEC, programs=True, max_latency=latency, queue=queue
    ) as connector:
        subprocess.run(["true"], check=True)
        began = time.monotonic()
        event = connector.recv(DEADLINE)
        waited = time.monotonic() - began

    assert isinstance(event, Exec)
    assert event.program
    assert waited < latency / 4


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_close_in_a_forked_child_does_not_stop_the_program_reader() -> None:
    with ProcConnector(MASK, programs=True) as connector:
        child = os.fork()
        if child == 0:
            connector.close()
            os._exit(0)
        os.waitpid(child, 0)
        with chains() as numbers:
            events = by_recv_many(connector)
        realtime = is_realtime(connector)

    check(events, numbers, realtime=realtime)


@pytest.mark.heavy
@pytest.mark.parametrize("queue", [0, 64 << 20])
def test_programs_are_delivered_during_a_burst(queue: int) -> None:
    """The socket is never empty, so the stream never catches up."""
    deadline = time.monotonic() + DEADLINE
    events: list[Event] = []
    with (
        ProcConnector(programs=True, queue=queue) as connector,
        program("rename", 500_000, 0) as renamer,
    ):
        wait_for(lambda: is_renaming(renamer.pid))
        with chains() as numbers:
            while not any(map(is_last, batch := connector.recv_many(1))):
                assert time.monotonic() < deadline
                events += [event for event in batch if not isinstance(event, Comm)]
                if not batch:  # the last event was lost
                    break
        realtime = is_realtime(connector)
        was_long_enough = renamer.poll() is None
    events += batch

    found = [(pid, result) for pid, result in programs_in(events) if pid in numbers]
    right = 0
    for pid, result in found:
        lines = {tuple(chain(numbers[pid])), ("true", str(numbers[pid]))}
        assert result.argv in lines if result.argv else result.missing
        right += result.argv is not None
    if realtime and was_long_enough and is_lossless(events):
        assert len(found) == 2 * CHAINS
        assert right > CHAINS


def test_programs_after_an_overrun_are_right() -> None:
    """The receive buffer holds some dozens of events."""
    events: list[Event] = []
    with (
        ProcConnector(programs=True, receive_buffer=65_536) as connector,
        chains() as numbers,
    ):
        for _ in range(3):
            set_serials(range(500))
            events += connector.recv_many(DEADLINE)
        while not any(map(is_last, events)):
            batch = connector.recv_many(1)
            events += batch
            if not batch:  # the last event was lost
                break
        lost = connector.lost

    assert lost > 0
    assert serials_of(events)
    assert not is_lossless(events)
    for pid, found in programs_in(events):
        if pid in numbers:
            right = {tuple(chain(numbers[pid])), ("true", str(numbers[pid]))}
            assert found.argv in right if found.argv else found.missing


@pytest.mark.heavy
def test_programs_of_chains_and_re_execs_are_right_under_load() -> None:
    """A program that re-executes itself has equal arguments, so it is ambiguous."""
    again = str(compiled("reexec"))
    expected: dict[int, list[tuple[str, ...]]] = {}

    def load() -> None:
        for number in range(150):
            with subprocess.Popen(chain(number)) as process:
                expected[process.pid] = [tuple(chain(number)), ("true", str(number))]
            command = [again, str(number)]
            with subprocess.Popen(
                command, env={"TIMES": "2"}, stdin=subprocess.DEVNULL
            ) as process:
                expected[process.pid] = [(again, str(number))] * 3
        subprocess.run(LAST, check=False)

    loading = threading.Thread(target=load)
    with ProcConnector(MASK, programs=True) as connector, spinning(4):
        loading.start()
        events = by_recv_many(connector)
        loading.join()

    found: dict[int, list[tuple[str, ...] | None]] = {}
    for pid, result in programs_in(events):
        assert result.argv or result.missing
        found.setdefault(pid, []).append(result.argv)
    for pid, lines in expected.items():
        for line, argv in zip(lines, found[pid], strict=True):
            assert argv in (line, None)
