"""The README's bar chart of the CPU time of an event, by reader."""

from html import escape

_WIDTH, _MARGIN = 760, 20
_BARS_AT, _BARS_END = 310, 680
_TOP, _STEP, _THICK = 58, 28, 18
_BREAK = 2  # times the next bar: a longer one is cut, or the others get too short

_STYLE = """\
    text { font: 14px system-ui, "DejaVu Sans", sans-serif; fill: #1f2328 }
    .page { fill: #ffffff; stroke: #d1d9e0 }
    .title { font-weight: 600; font-size: 15px }
    .name { text-anchor: end }
    .small { font-size: 12px; fill: #59636e }
    .ours { fill: #1f6feb }
    .theirs { fill: #8c959f }
    .gap { stroke: #ffffff; stroke-width: 4 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .page { fill: #0d1117; stroke: #3d444d }
      .small { fill: #9198a1 }
      .ours { fill: #58a6ff }
      .theirs { fill: #7d8590 }
      .gap { stroke: #0d1117 }
    }"""


def draw(
    title: str, note: str, ours: dict[str, float], theirs: dict[str, float]
) -> str:
    """Return an SVG document with a bar for each reader, the shortest first.

    Args:
        title: what the numbers mean, and their unit.
        note: the line below the bars.
        ours: the numbers of this library, by its settings.
        theirs: the numbers of the other readers.
    """
    bars = sorted({**ours, **theirs}.items(), key=lambda bar: bar[1])
    *_, (_, next_to_last), (_, last) = bars
    full = next_to_last if last > _BREAK * next_to_last else last
    height = _TOP + _STEP * len(bars) + 36
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
        f' width="{_WIDTH}" height="{height}" role="img">',
        f"  <title>{escape(title)}</title>",
        f"  <style>\n{_STYLE}\n  </style>",
        f'  <rect class="page" x="0.5" y="0.5" width="{_WIDTH - 1}"'
        f' height="{height - 1}" rx="6"/>',
        _text("title", _MARGIN, 34, title),
        _text("small", _MARGIN, height - 16, note),
    ]
    for index, (name, number) in enumerate(bars):
        y = _TOP + index * _STEP
        length = min(number / full, 1) * (_BARS_END - _BARS_AT)
        lines += [
            _text("name", _BARS_AT - 10, y + 14, name),
            f'  <rect class="{"ours" if name in ours else "theirs"}" x="{_BARS_AT}"'
            f' y="{y}" width="{length:.1f}" height="{_THICK}"/>',
            _text("number", int(_BARS_AT + length) + 8, y + 14, f"{number:,.0f}"),
        ]
        if number > full:
            x = _BARS_END - 30
            lines.append(f'  <path class="gap" d="M{x} {y + 22}l8 -26"/>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _text(kind: str, x: int, y: int, text: str) -> str:
    return f'  <text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'
