"""The filter: a connector receives the selected events and no others."""

import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
from support.live import (
    DEADLINE,
    drain,
    events_until,
    preserve_name,
    serials_of,
    set_serials,
)
from support.machine import requires_capacity
from support.reference_filter import is_selected
from support.subprocesses import program

from procconn import Comm, Event, EventMask, Exit, Fork, Lost, ProcConnector, Sid

KINDS = [kind for kind in EventMask if kind is not EventMask.NONZERO_EXIT]

# Causes each kind of event except uid, gid and ptrace, which are filtered like others.
SCRIPT = """
/bin/true
/bin/false
( exit 7 )
echo named > /proc/$$/comm
setsid true
( ulimit -c unlimited; kill -ABRT $$ ) &
sh -c 'kill -KILL $$'
wait
exit 0
"""


@pytest.fixture(autouse=True)
def _restore_name() -> Iterator[None]:
    with preserve_name():
        yield


def cause_events(tmp_path: object) -> int:
    """Cause events of many kinds; return the PID of the last process to exit."""
    with preserve_name():
        set_serials(range(5))
    thread = threading.Thread(target=set_serials, args=(range(5),))
    thread.start()
    thread.join()
    shell = subprocess.Popen(
        ["/bin/sh", "-c", SCRIPT],
        cwd=str(tmp_path),
        stderr=subprocess.DEVNULL,
    )
    shell.wait()
    with subprocess.Popen(["/bin/sh", "-c", "exit 1"]) as last:
        pass
    return last.pid


@pytest.mark.parametrize("threads", [True, False], ids=["threads", "no-threads"])
@pytest.mark.parametrize(
    "mask",
    [
        *KINDS,
        EventMask.NONZERO_EXIT,
        EventMask.NONZERO_EXIT | EventMask.EXIT,
        EventMask.NONZERO_EXIT | EventMask.FORK,
        EventMask.EXEC | EventMask.COMM,
        EventMask.ALL,
    ],
    ids=str,
)
def test_kernel_filter_passes_exactly_the_selected_events(
    mask: EventMask, threads: bool, tmp_path: object
) -> None:
    """An unfiltered witness receives all events, for comparison."""
    with ProcConnector() as witness, ProcConnector(mask, threads=threads) as filtered:
        last = cause_events(tmp_path)
        all_events = events_until(
            witness, lambda e: isinstance(e, Exit) and e.pid == last
        )
        events = drain(filtered)

    assert [] == [e for e in events if not is_selected(e, mask, threads=threads)]
    # Compare the period during which both were subscribed.
    first = max(all_events[0].timestamp_ns, events[0].timestamp_ns if events else 0)
    end = max(e.timestamp_ns for e in all_events if getattr(e, "pid", 0) == last)
    between = {e for e in all_events if first <= e.timestamp_ns <= end}
    expected = {e for e in between if is_selected(e, mask, threads=threads)}
    assert {event for event in events if first <= event.timestamp_ns <= end} == expected


def test_nonzero_exit_alone_selects_failed_exits(tmp_path: object) -> None:
    with ProcConnector(EventMask.NONZERO_EXIT) as connector:
        last = cause_events(tmp_path)
        events = events_until(
            connector, lambda e: isinstance(e, Exit) and e.pid == last
        )

    assert len(events) >= 2
    assert {Exit} == {type(event) for event in events}
    assert [] == [e for e in events if isinstance(e, Exit) and e.exit_code == 0]


def test_threads_false_hides_events_of_threads(tmp_path: object) -> None:
    with ProcConnector(threads=False) as connector:
        last = cause_events(tmp_path)
        events = events_until(
            connector, lambda e: isinstance(e, Exit) and e.pid == last
        )

    assert {Fork, Exit, Comm, Sid} <= {type(event) for event in events}
    assert [] == [e for e in events if getattr(e, "is_thread", False)]


def test_new_mask_applies_to_queued_events() -> None:
    with ProcConnector(EventMask.COMM | EventMask.EXIT) as connector:
        with subprocess.Popen("/bin/true") as process:
            pass
        set_serials(range(100))
        connector.subscribe(EventMask.EXIT)
        set_serials(range(100, 200))
        events = events_until(
            connector, lambda e: isinstance(e, Exit) and e.pid == process.pid
        )
        events += drain(connector)

    assert {Exit} == {type(event) for event in events}


@pytest.mark.parametrize("read", ["nothing", "one event"])
def test_new_mask_loses_no_selected_event(read: str) -> None:
    with ProcConnector(EventMask.COMM | EventMask.EXIT) as connector:
        set_serials(range(100))
        events: list[Event] = []
        if read == "one event":
            events += [event for event in [connector.recv(timeout=0)] if event]
        connector.subscribe(EventMask.COMM | EventMask.FORK)
        set_serials(range(100, 200))
        connector.subscribe(EventMask.COMM)
        set_serials(range(200, 300))
        events += drain(connector)

    assert list(range(300)) == serials_of(events)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("mode", "count", "interval_ns"),
    [("recv", 5_000, 50_000), ("recv_many", 10_000, 20_000), ("for", 5_000, 50_000)],
)
@requires_capacity(20_000)
def test_new_mask_during_a_burst_applies_to_the_next_event(
    mode: str, count: int, interval_ns: int
) -> None:
    def next_events(connector: ProcConnector) -> list[Event]:
        if mode == "for":
            return [next(iter(connector))]
        if mode == "recv":
            return [event for event in [connector.recv(DEADLINE)] if event]
        return connector.recv_many(DEADLINE)

    masks = [EventMask.COMM | EventMask.FORK, EventMask.COMM | EventMask.EXIT]
    with (
        ProcConnector(EventMask.ALL) as connector,
        program("rename", count, interval_ns) as producer,
    ):
        serials: list[int] = []
        for number in range(count):
            mask = masks[number % 2]
            connector.subscribe(mask)
            events = next_events(connector)
            if producer.poll() is not None:
                events += drain(connector)

            assert [] == [e for e in events if not is_selected(e, mask, threads=True)]
            serials += serials_of(events, producer.pid)
            if producer.poll() is not None:
                break
        serials += serials_of(drain(connector), producer.pid)
        lost = connector.lost

    assert 0 == lost
    assert list(range(count)) == serials


@pytest.mark.heavy
@requires_capacity(40_000)
def test_filtered_events_cost_less_than_a_hundredth_of_received_ones() -> None:
    count = 200_000

    def cpu_time(mask: EventMask) -> float:
        """Read while a process sets names; return the CPU time in seconds.

        The process calls setsid() last, which marks the end under both masks.
        """
        with (
            ProcConnector(mask) as connector,
            program("rename", count, 0, "setsid") as producer,
        ):
            before = time.process_time()
            received = 0
            ended = False
            while not ended:
                events = connector.recv_many(DEADLINE)
                assert events
                for event in events:
                    assert not isinstance(event, Lost)
                    if getattr(event, "pid", 0) == producer.pid:
                        received += 1
                        ended = isinstance(event, Sid)
            assert (count + 1 if mask & EventMask.COMM else 1) == received
            return time.process_time() - before

    with_names = cpu_time(EventMask.COMM | EventMask.SID)
    without_names = min(cpu_time(EventMask.SID) for _ in range(3))

    assert without_names < with_names / 100
