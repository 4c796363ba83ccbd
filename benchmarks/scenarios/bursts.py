"""Bursts: how many of a million events at full speed the kernel drops."""

from functools import partial

from benchmarks.processes import Command, in_c, in_python, run_events
from benchmarks.report import Row
from benchmarks.scenarios import ROUNDS, UNLIMITED, Start, Theirs, reading, take_turns

_BURST = 1_000_000
_QUEUE = 67_108_864


def bursts() -> list[Row]:
    """Make bursts for the library, the command and other readers."""
    ours = {
        "defaults": partial(_reported, partial(in_python, "batches", _BURST)),
        "`watch --json`": partial(_reported_by_command),
        "64 MiB queue, the program asleep for a second": partial(
            _reported, partial(in_python, "batches", _BURST, sleep=1, queue=_QUEUE)
        ),
    }
    others: dict[str, partial[int]] = {
        Theirs.BLOCKING: partial(_dropped, partial(in_c, "recv", UNLIMITED)),
        Theirs.COALESCING: partial(_dropped, partial(in_c, "coalesce", UNLIMITED)),
        Theirs.NAIVE: partial(_dropped, partial(in_python, "naive", UNLIMITED)),
    }
    results = take_turns(lambda count: count(), {**ours, **others})
    lost = {name: sum(counts) for name, counts in results.items()}
    figure = f"{ROUNDS} times {_BURST:,} events at full speed, "
    against = "; ".join(f"{name}: {lost[name]:,} lost" for name in others)
    rows = [Row(figure + it, against, "lost", [lost[it]]).expect(0) for it in ours]
    rows[0].in_readme = True
    return rows


def _reported(start: Start) -> int:
    """Return the loss that a reader with a limit reports."""
    with reading(start) as reader:
        run_events(_BURST)
        return int(reader.result()["lost"])


def _reported_by_command() -> int:
    command = Command("watch", "--json", "--events", "comm")
    run_events(_BURST)
    return command.lost()


def _dropped(start: Start) -> int:
    """Return the kernel's count of drops, for a reader that does not count them."""
    with reading(start) as reader:
        run_events(_BURST)
        reader.wait_until_idle()
        return reader.drops()
