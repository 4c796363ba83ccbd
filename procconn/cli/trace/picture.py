"""Draw a timeline as SVG: bars in lanes below a time axis, one colour per program."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from procconn.clock import NS_PER_S
from procconn.pipeline.formats import cut, format_duration, visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from procconn.cli.trace.lanes import Bar

# Pixels.
_MARGIN = 16
_MIN_WIDTH, _MAX_WIDTH = 1200, 6000
_WIDTH_PER_BAR = 14  # average in the lane with the most bars
_LANE, _MIN_LANE = 22, 4
_MAX_HEIGHT = 2400  # of all lanes, which become lower, unless they are at the minimum
_MIN_LANE_WITH_TEXT = 14
_LETTER = 6.7  # width, in the font below
_MIN_LETTERS = 3
_MIN_BAR = 1.0
_MARK = 3.0  # of a failure, at the end of its bar
_BETWEEN_TICKS = 90
_ROW = 20  # of the legend
_SWATCH = 12
_TITLE = 24

_COLOURS = 9  # more are not distinguishable; other programs are grey
_GOLDEN_RATIO = 0.618034  # spreads the hues of successive programs
_FIRST_HUE, _HUES = 30, 285  # excludes red, which marks failures

_STEPS = [1, 2, 5]
_UNITS = [("µs", 1000), ("ms", 1_000_000), ("s", NS_PER_S)]
_LONGER_TICKS = [it * NS_PER_S for it in (1, 2, 5, 10, 20, 30)] + [
    it * 60 * NS_PER_S for it in (1, 2, 5, 10, 20, 30, 60, 120, 240, 480, 720, 1440)
]

_STYLE = """
svg { background: #fff; font: 11px ui-monospace, Menlo, "DejaVu Sans Mono", monospace }
text { fill: #1b1b1f }
.title { font-weight: bold; font-size: 13px }
.axis { fill: #55555f } .grid { stroke: #e4e4ea }
.other { fill: #d3d3da }
.failed rect { stroke: #c00018; stroke-width: 1.2 } .mark { fill: #c00018 }
.open rect { stroke: #77777f; stroke-dasharray: 4 3 }
.bar text { pointer-events: none } .bar:hover rect { stroke: #000; stroke-width: 2 }
"""
_DARK_STYLE = """
svg { background: #17171b }
text { fill: #f2f2f5 }
.axis { fill: #a9a9b4 } .grid { stroke: #33333b }
.other { fill: #4a4a54 }
.failed rect { stroke: #ff5a62 } .mark { fill: #ff5a62 }
.open rect { stroke: #a9a9b4 } .bar:hover rect { stroke: #fff }
"""


def draw(bars: Sequence[Bar], title: str) -> Iterator[str]:
    """Yield the lines of the SVG. Its size grows with the bars, within limits."""
    return (f"{element}\n" for element in _Picture(bars, title).elements())


def ticks(span_ns: int, most: int) -> list[tuple[int, str]]:
    """Return at most `most + 1` round times from 0 to a span, with their labels."""
    step = _step(-(-span_ns // max(most, 1)))
    return [(at, _tick_label(at, step)) for at in range(0, span_ns + 1, step)]


def _step(least_ns: int) -> int:
    for _, unit in _UNITS[:-1]:
        for power in (1, 10, 100):
            for factor in _STEPS:
                if factor * power * unit >= least_ns:
                    return factor * power * unit
    for step in _LONGER_TICKS:
        if step >= least_ns:
            return step
    return -(-least_ns // _LONGER_TICKS[-1]) * _LONGER_TICKS[-1]


def _tick_label(at_ns: int, step: int) -> str:
    """Return the time at a tick, as short as an axis needs it."""
    if at_ns == 0:
        return "0"
    minutes, seconds = divmod(at_ns // NS_PER_S, 60)
    if minutes and step >= NS_PER_S:
        hours, minutes = divmod(minutes, 60)
        return (
            f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
        )
    name, unit = next(
        it for it in reversed(_UNITS) if at_ns >= it[1] or it == _UNITS[0]
    )
    return f"{at_ns / unit:.10g} {name}"


class _Picture:
    def __init__(self, bars: Sequence[Bar], title: str) -> None:
        self._bars = bars
        self._title = visible(title)
        self._span = max((bar.end_ns for bar in bars), default=0) or 1
        lanes = Counter(bar.lane for bar in bars)
        count = max(lanes, default=-1) + 1
        self._width = min(
            max(_MIN_WIDTH, max(lanes.values(), default=0) * _WIDTH_PER_BAR),
            _MAX_WIDTH,
        )
        self._lane = max(_MIN_LANE, min(_LANE, _MAX_HEIGHT / max(count, 1)))
        self._classes = self._choose_classes()
        self._legend = [*self._legend_elements()]
        self._top = 2 * _MARGIN + _TITLE + self._legend_height + _ROW
        self._bottom = self._top + count * self._lane
        self._height = self._bottom + _ROW + _MARGIN

    def elements(self) -> Iterator[str]:
        width, height = self._width + 2 * _MARGIN, round(self._height)
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}"'
            f' height="{height}" viewBox="0 0 {width} {height}">'
        )
        yield f"<title>{escape(self._title)}</title>"
        yield f"<style>{self._style()}</style>"
        yield (
            f'<text class="title" x="{_MARGIN}" y="{_MARGIN + _SWATCH}">'
            f"{escape(self._heading())}</text>"
        )
        yield from self._legend
        yield from self._axis()
        for bar in self._bars:
            yield self._element(bar)
        yield "</svg>"

    def _heading(self) -> str:
        failed = sum(bar.is_failure for bar in self._bars)
        count = len(self._bars)
        heading = f"{count:,} process{'es' if count != 1 else ''}"
        heading += f" in {format_duration(self._span / NS_PER_S)}" if count else ""
        heading += f", {failed:,} failed" if failed else ""
        space_left = int(self._width / (_LETTER * 1.25)) - len(heading) - 2
        return f"{cut(self._title, space_left)}: {heading}" if self._title else heading

    def _style(self) -> str:
        light, dark = _STYLE, _DARK_STYLE
        for index in range(min(len(self._classes), _COLOURS)):
            hue = _FIRST_HUE + round((index + 1) * _GOLDEN_RATIO % 1 * _HUES)
            light += f".p{index} {{ fill: hsl({hue} 62% 78%) }}\n"
            dark += f".p{index} {{ fill: hsl({hue} 38% 34%) }}\n"
        return f"{light}@media (prefers-color-scheme: dark) {{{dark}}}\n"

    def _choose_classes(self) -> dict[str, str]:
        """Assign colours to the programs with the longest total duration."""
        taken: Counter[str] = Counter()
        for bar in self._bars:
            taken[bar.program] += bar.end_ns - bar.start_ns
        names = [name for name, _ in taken.most_common()]
        return {
            name: f"p{index}" if index < _COLOURS else "other"
            for index, name in enumerate(names)
        }

    def _legend_elements(self) -> Iterator[str]:
        counts = Counter(bar.program for bar in self._bars)
        entries = [(cls, f"{it} ×{counts[it]:,}") for it, cls in self._classes.items()]
        others = entries[_COLOURS:]
        if len(others) > 1:
            entries[_COLOURS:] = [("other", f"{len(others)} other programs")]
        entries += (
            [("mark", "failed")] if any(it.is_failure for it in self._bars) else []
        )
        x, y = float(_MARGIN), float(_MARGIN + _TITLE)
        for cls, text in entries:
            shown = cut(text, 40)
            wide = _SWATCH + 6 + len(shown) * _LETTER + 18
            if x + wide > _MIN_WIDTH and x > _MARGIN:
                x, y = float(_MARGIN), y + _ROW
            yield (
                f'<rect class="{cls}" x="{x:.1f}" y="{y:g}" width="{_SWATCH}"'
                f' height="{_SWATCH}" rx="2"/><text x="{x + _SWATCH + 6:.1f}"'
                f' y="{y + _SWATCH - 2:g}">{escape(shown)}</text>'
            )
            x += wide
        self._legend_height = y - _MARGIN - _TITLE + _ROW

    def _axis(self) -> Iterator[str]:
        for at_ns, label in ticks(self._span, self._width // _BETWEEN_TICKS):
            x = self._x(at_ns)
            yield (
                f'<path class="grid" d="M{x:.1f} {self._top - 4:g}V'
                f'{self._bottom + 4:.1f}"/>'
            )
            if x + len(label) * _LETTER > self._width + 2 * _MARGIN:
                continue
            for y in (self._top - 8, self._bottom + 16):
                yield f'<text class="axis" x="{x:.1f}" y="{y:.1f}">{label}</text>'

    def _x(self, at_ns: int) -> float:
        return _MARGIN + self._width * at_ns / self._span

    def _element(self, bar: Bar) -> str:
        x, y = self._x(bar.start_ns), self._top + bar.lane * self._lane
        width = max(self._x(bar.end_ns) - x, _MIN_BAR)
        height = self._lane - min(2, self._lane / 4)
        classes = ["bar", self._classes[bar.program]]
        classes += ["failed"] if bar.is_failure else []
        classes += ["open"] if bar.is_cut_before or bar.is_cut_after else []
        radius = min(2, width / 4)
        element = (
            f'<g class="{" ".join(classes)}"><title>{escape(_tooltip(bar))}</title>'
            f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"'
            f' rx="{radius:.2g}"/>'
        )
        space_left = width - 8
        if bar.is_failure:
            mark = min(_MARK, max(width, _MIN_BAR))
            element += (
                f'<path class="mark" d="M{x + width - mark:.2f} {y:.2f}h{mark:.2f}'
                f'v{height:.2f}h-{mark:.2f}z"/>'
            )
            space_left -= mark
        letters = int(space_left / _LETTER)
        if self._lane >= _MIN_LANE_WITH_TEXT and letters >= _MIN_LETTERS:
            text = _label(bar, letters)
            element += (
                f'<text x="{x + 4:.2f}" y="{y + height / 2 + 4:.2f}">'
                f"{escape(text)}</text>"
            )
        return element + "</g>"


def _label(bar: Bar, letters: int) -> str:
    """Return the command without its program's directory, cut to fit the bar."""
    first, space, rest = bar.command.partition(" ")
    name = first.rpartition("/")[2]
    if len(name) <= letters < len(name) + _MIN_LETTERS + 1:
        return name
    return cut(name + space + rest, letters)


def _tooltip(bar: Bar) -> str:
    start = format_duration(bar.start_ns / NS_PER_S)
    since = "started before" if bar.is_cut_before else f"at {start}"
    took = format_duration((bar.end_ns - bar.start_ns) / NS_PER_S)
    parent = "" if bar.ppid is None else f", parent {bar.ppid}"
    return (
        f"{bar.command}\n{bar.program}, pid {bar.pid}{parent}\n"
        f"{since}, for {took}\n{bar.ending}"
    )
