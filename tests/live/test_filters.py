"""The kernel delivers the selected events and no others."""

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

# One of each kind but uid, gid and ptrace, which differ from these by number only.
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
def _own_name() -> Iterator[None]:
    with preserve_name():
        yield


def act(tmp_path: object) -> int:
    """Make events of many kinds, of processes and threads; return the last's pid."""
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
def test_the_kernel_lets_through_what_the_mask_asks_for(
    mask: EventMask, threads: bool, tmp_path: object
) -> None:
    """An unfiltered witness sees what there is; nothing passes that is not wanted."""
    with ProcConnector() as witness, ProcConnector(mask, threads=threads) as filtered:
        last = act(tmp_path)
        all_events = events_until(
            witness, lambda e: isinstance(e, Exit) and e.pid == last
        )
        events = drain(filtered)

    assert [] == [e for e in events if not is_selected(e, mask, threads=threads)]
    # What happened before both had subscribed, or after the last, only one may know.
    first = max(all_events[0].timestamp_ns, events[0].timestamp_ns if events else 0)
    end = max(e.timestamp_ns for e in all_events if getattr(e, "pid", 0) == last)
    between = {e for e in all_events if first <= e.timestamp_ns <= end}
    expected = {e for e in between if is_selected(e, mask, threads=threads)}
    assert {event for event in events if first <= event.timestamp_ns <= end} == expected


def test_nonzero_exit_alone_brings_the_failing_exits_only(tmp_path: object) -> None:
    with ProcConnector(EventMask.NONZERO_EXIT) as connector:
        last = act(tmp_path)
        events = events_until(
            connector, lambda e: isinstance(e, Exit) and e.pid == last
        )

    assert len(events) >= 2
    assert {Exit} == {type(event) for event in events}
    assert [] == [e for e in events if isinstance(e, Exit) and e.exit_code == 0]


def test_without_threads_no_thread_is_seen(tmp_path: object) -> None:
    with ProcConnector(threads=False) as connector:
        last = act(tmp_path)
        events = events_until(
            connector, lambda e: isinstance(e, Exit) and e.pid == last
        )

    assert {Fork, Exit, Comm, Sid} <= {type(event) for event in events}
    assert [] == [e for e in events if getattr(e, "is_thread", False)]


def test_a_mask_changed_on_the_open_socket_holds_for_what_is_queued() -> None:
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


@pytest.mark.parametrize("read", ["nothing", "a part"])
def test_a_mask_changed_on_the_open_socket_loses_nothing_wanted(read: str) -> None:
    with ProcConnector(EventMask.COMM | EventMask.EXIT) as connector:
        set_serials(range(100))
        events: list[Event] = []
        if read == "a part":
            events += [event for event in [connector.recv(timeout=0)] if event]
        connector.subscribe(EventMask.COMM | EventMask.FORK)
        set_serials(range(100, 200))
        connector.subscribe(EventMask.COMM)
        set_serials(range(200, 300))
        events += drain(connector)

    assert list(range(300)) == serials_of(events)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("way", "count", "interval_ns"),
    [("recv", 5_000, 50_000), ("recv_many", 10_000, 20_000), ("for", 5_000, 50_000)],
)
@requires_capacity(20_000)
def test_a_mask_changed_in_a_storm_holds_from_the_next_event_on(
    way: str, count: int, interval_ns: int
) -> None:
    def next_events(connector: ProcConnector) -> list[Event]:
        if way == "for":
            return [next(iter(connector))]
        if way == "recv":
            return [event for event in [connector.recv(DEADLINE)] if event]
        return connector.recv_many(DEADLINE)

    masks = [EventMask.COMM | EventMask.FORK, EventMask.COMM | EventMask.EXIT]
    with (
        ProcConnector(EventMask.ALL) as connector,
        program("rename", count, interval_ns) as producer,
    ):
        found: list[int] = []
        for round_ in range(count):
            mask = masks[round_ % 2]
            connector.subscribe(mask)
            events = next_events(connector)
            if producer.poll() is not None:
                events += drain(connector)

            assert [] == [e for e in events if not is_selected(e, mask, threads=True)]
            found += serials_of(events, producer.pid)
            if producer.poll() is not None:
                break
        found += serials_of(drain(connector), producer.pid)
        lost = connector.lost

    assert 0 == lost
    assert list(range(count)) == found


@pytest.mark.heavy
@requires_capacity(40_000)
def test_unwanted_events_cost_less_than_a_hundredth_of_wanted_ones() -> None:
    count = 200_000

    def cost(mask: EventMask) -> float:
        """Read while a process names itself; return seconds of CPU.

        It begins a session at its end, as hardly any other program does meanwhile.
        """
        with (
            ProcConnector(mask) as connector,
            program("rename", count, 0, "setsid") as producer,
        ):
            before = time.process_time()
            seen = 0
            ended = False
            while not ended:
                events = connector.recv_many(DEADLINE)
                assert events
                for event in events:
                    assert not isinstance(event, Lost)
                    if getattr(event, "pid", 0) == producer.pid:
                        seen += 1
                        ended = isinstance(event, Sid)
            assert (count + 1 if mask & EventMask.COMM else 1) == seen
            return time.process_time() - before

    all_names = cost(EventMask.COMM | EventMask.SID)
    no_names = min(cost(EventMask.SID) for _ in range(3))

    assert no_names < all_names / 100
