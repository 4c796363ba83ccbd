"""Timelines: contents, layout and arbitrary process names."""

import json
import re
import xml.etree.ElementTree as ET
from collections import deque
from itertools import pairwise
from signal import SIGRTMIN

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.line_counter import lines_run
from support.timelines import MS, S, SampleProcess, build

from procconn.cli.trace.lanes import bars
from procconn.cli.trace.picture import ticks
from procconn.cli.trace.timeline import FORMATS

SVG = "{http://www.w3.org/2000/svg}"
LETTER_WIDTH = 6.7  # pixels, in the font of the picture


def svg(processes: list[SampleProcess], title: str) -> str:
    return "".join(FORMATS[".svg"](processes, title))


def trace_events(processes: list[SampleProcess], title: str) -> str:
    return "".join(FORMATS[".json"](processes, title))


def tooltips(picture: str) -> dict[str, str]:
    """Map the tooltip of each bar to its class."""
    root = ET.fromstring(picture)
    groups = [g for g in root.iter(f"{SVG}g") if "bar" in g.attrib["class"].split()]
    return {g.findtext(f"{SVG}title", ""): g.attrib["class"] for g in groups}


def test_each_process_has_a_bar_with_a_tooltip() -> None:
    assert {
        "make\nmake, pid 10, parent 1\nat 0.0 ms, for 1.00 s\nstatus 0": "bar p0",
        "/usr/bin/cc -c 'a b.c'\ncc, pid 11, parent 10\nat 100 ms, for 400 ms\n"
        "status 2": "bar p1 failed",
        "sleep 9\nsleep, pid 12, parent 10\nat 600 ms, for 300 ms\n"
        "killed by SIGKILL": "bar p2 failed",
    } == tooltips(svg(build(), "make -j2"))


def test_heading_legend_axis_and_labels_are_text() -> None:
    root = ET.fromstring(svg(build(), "make -j2"))
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]

    assert "make -j2: 3 processes in 1.00 s, 2 failed" in texts
    assert {"make ×1", "cc ×1", "sleep ×1", "failed"} <= set(texts)
    # The label at the edge may be omitted.
    assert {"0", "100 ms", "900 ms", "1 s"} - set(texts) <= {"1 s"}
    assert {"make", "cc -c 'a b.c'", "sleep 9"} <= set(texts)


def test_trace_has_a_slice_for_each_process() -> None:
    trace = json.loads(trace_events(build(), "make -j2"))
    slices = [event for event in trace["traceEvents"] if event["ph"] == "X"]

    assert [
        ("make", "process", 10, 1, 0, 1e6, 10, "status 0"),
        ("cc", "failed", 10, 2, 1e5, 4e5, 11, "status 2"),
        ("sleep", "failed", 10, 2, 6e5, 3e5, 12, "killed by SIGKILL"),
    ] == [
        (
            *(event[key] for key in ("name", "cat", "pid", "tid", "ts", "dur")),
            *(event["args"][key] for key in ("pid", "end")),
        )
        for event in slices
    ]
    assert slices[1]["args"]["command"] == "/usr/bin/cc -c 'a b.c'"


def test_trace_counts_running_processes() -> None:
    trace = json.loads(trace_events(build(), "make -j2"))

    assert [(0, 1), (1e5, 2), (5e5, 1), (6e5, 2), (9e5, 1), (1e6, 0)] == [
        (event["ts"], event["args"]["processes"])
        for event in trace["traceEvents"]
        if event["ph"] == "C"
    ]


def test_trace_names_its_tracks() -> None:
    trace = json.loads(trace_events(build(), "make -j2"))

    metadata = [event for event in trace["traceEvents"] if event["ph"] == "M"]
    names = [event["args"].get("name") for event in metadata]
    assert ["make -j2", "lane", "lane"] == [name for name in names if name]


def test_child_is_below_its_parent_and_nothing_overlaps() -> None:
    lanes = {bar.pid: bar.lane for bar in bars(build())}

    assert {10: 0, 11: 1, 12: 1} == lanes


def test_bar_of_a_process_beyond_the_trace_is_cut_at_the_edges() -> None:
    processes = [
        SampleProcess(1, 0, "init", None, None, None),
        SampleProcess(2, 1, "sh", 5 * S, 8 * S),
    ]
    init, sh = bars(processes)

    assert (0, 3 * S, "still running") == (init.start_ns, init.end_ns, init.ending)
    assert init.is_cut_before
    assert init.is_cut_after
    assert not sh.is_cut_before
    text = next(iter(tooltips(svg(processes, ""))))
    assert "started before, for 3.00 s\nstill running" in text


def test_unobserved_exit_is_not_a_failure() -> None:
    (bar,) = bars([SampleProcess(2, 1, "sh", 0, S, None)])

    assert ("exit not observed", False) == (bar.ending, bar.is_failure)


def test_real_time_signal_has_its_number() -> None:
    (bar,) = bars([SampleProcess(2, 1, "sh", 0, S, -SIGRTMIN - 3)])

    assert bar.ending == "killed by SIGRTMIN+3"


@pytest.mark.parametrize("ending", FORMATS)
def test_timeline_without_processes(ending: str) -> None:
    text = "".join(FORMATS[ending]([], "true"))

    assert "true" in text
    if ending == ".svg":
        assert not tooltips(text)


def test_unknown_names_are_question_marks() -> None:
    processes = [SampleProcess(1, 0, "odd", 0, S), SampleProcess(2, None, None, 1, S)]

    assert [("odd", "odd"), ("?", "?")] == [
        (bar.program, bar.command) for bar in bars(processes)
    ]


def test_programs_beyond_the_palette_share_a_colour() -> None:
    processes = [SampleProcess(n, 0, f"program{n}", 0, (99 - n) * S) for n in range(40)]
    picture = svg(processes, "many")

    assert "31 other programs" in picture
    assert 31 == sum("other" in names.split() for names in tooltips(picture).values())


def test_picture_has_a_dark_colour_scheme() -> None:
    assert "@media (prefers-color-scheme: dark)" in svg(build(), "make")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("is_chain", [False, True], ids=["side by side", "chain"])
def test_time_grows_linearly_with_the_processes(kind: str, is_chain: bool) -> None:
    def steps(count: int) -> int:
        processes = [SampleProcess(1, 0, "make", 0, 2 * count)]
        processes += [
            SampleProcess(n, n - 1 if is_chain else 1, "cc", n, n + count)
            for n in range(2, count)
        ]
        return lines_run(lambda: deque(FORMATS[kind](processes, "make"), maxlen=0))

    assert steps(2000) < 2.3 * steps(1000)


def test_size_of_a_picture_of_2000_processes_is_limited() -> None:
    """The processes run at once, or one after the other."""
    for step in (MS, S):
        processes = [
            SampleProcess(n, 0, "cc", n * step, (n + 1) * S) for n in range(1, 2001)
        ]
        root = ET.fromstring(svg(processes, "make"))

        assert int(root.attrib["width"]) <= 6032
        assert int(root.attrib["height"]) <= 8200
        assert 2000 == len(tooltips(ET.tostring(root, encoding="unicode")))


TIMES = st.none() | st.integers(0, 10 * S)
TEXTS = st.text(max_size=30) | st.sampled_from(
    ["]]>", "<script>alert(1)</script>", "\x1b[31m", "\udcff", "&amp;", '"', "\x00"]
)
PROCESSES = st.lists(
    st.builds(
        SampleProcess,
        st.integers(1, 9),
        st.none() | st.integers(0, 9),
        st.none() | TEXTS,
        TIMES,
        TIMES,
        st.none() | st.integers(-64, 255),
        st.none(),
        st.none() | TEXTS,
    ),
    max_size=20,
)


@given(PROCESSES, TEXTS)
def test_any_text_is_escaped(processes: list[SampleProcess], title: str) -> None:
    root = ET.fromstring(svg(processes, title).encode())
    json.loads(trace_events(processes, title).encode())

    kinds = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert kinds <= {"svg", "title", "style", "text", "rect", "path", "g"}
    assert len(processes) == sum(element.tag == f"{SVG}g" for element in root.iter())
    assert not any(key.startswith("on") for e in root.iter() for key in e.attrib)


@given(PROCESSES)
def test_bars_of_a_lane_never_overlap(processes: list[SampleProcess]) -> None:
    laid_out = bars(processes)

    assert len(processes) == len(laid_out)
    for lane in {bar.lane for bar in laid_out}:
        row = [bar for bar in laid_out if bar.lane == lane]
        assert all(a.end_ns <= b.start_ns for a, b in pairwise(row))
    lanes = {bar.lane for bar in laid_out}
    assert all(0 <= bar.start_ns <= bar.end_ns for bar in laid_out)
    assert lanes <= set(range(max(lanes, default=0) + 1))


@given(PROCESSES)
def test_labels_are_no_wider_than_their_bars(processes: list[SampleProcess]) -> None:
    for group in ET.fromstring(svg(processes, "")).iter(f"{SVG}g"):
        label = group.findtext(f"{SVG}text", "")
        box = group.find(f"{SVG}rect")

        assert box is not None
        assert not label or len(label) * LETTER_WIDTH <= float(box.attrib["width"])


@given(st.integers(1, 10**18), st.integers(1, 70))
def test_ticks_are_evenly_spaced_with_distinct_labels(span: int, limit: int) -> None:
    marks = ticks(span, limit)
    times, labels = zip(*marks, strict=True)

    assert times[0] == 0
    assert times[-1] <= span
    assert len(times) <= limit + 1
    assert len({b - a for a, b in pairwise(times)}) <= 1
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("span", "limit", "labels"),
    [
        (S, 5, ["0", "200 ms", "400 ms", "600 ms", "800 ms", "1 s"]),
        (2500 * MS, 5, ["0", "500 ms", "1 s", "1.5 s", "2 s", "2.5 s"]),
        (150 * S, 5, ["0", "30 s", "1:00", "1:30", "2:00", "2:30"]),
        (7200 * S, 2, ["0", "1:00:00", "2:00:00"]),
        (7_000, 4, ["0", "2 µs", "4 µs", "6 µs"]),
    ],
)
def test_tick_labels(span: int, limit: int, labels: list[str]) -> None:
    assert labels == [label for _, label in ticks(span, limit)]


def test_long_commands_are_shortened() -> None:
    processes = [SampleProcess(1, 0, "echo", 0, S, command="x" * 49_000)]

    assert max(map(len, re.split(r"[\n<>]", svg(processes, "")))) < 1000
