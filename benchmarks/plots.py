"""Draw a figure as SVG: a bar for each server, with its spread and the goal, light and dark.

The drawing is as wide as a phone shows it, so its letters are as large there as elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from benchmarks.figures import MICROSECONDS, Figure, short, spread
from benchmarks.goals import GOALS

WIDTH, MARGIN, HEAD, ROW, BAR = 400, 14, 58, 38, 12
ROOM = 128
"""What is left free to the right of the longest bar, for its number."""

OURS = ("wshandler", "before", "sent", "room", "kept", "kernel", "guest")
"""What the keys of our own bars begin with."""

STYLE = """\
.paper { fill: #ffffff } text { fill: #1f2328; font: 13px system-ui, sans-serif }
.title { font-size: 15px; font-weight: 600 } .small { fill: #59636e; font-size: 12px }
.number { font-variant-numeric: tabular-nums } .ours { font-weight: 600 }
.bar { fill: #afb8c1 } .bar.our { fill: #0969da } .spread { stroke: #1f2328; stroke-width: 1.5 }
.goal { stroke: #bc4c00; stroke-width: 2.5 } .limit { fill: #bc4c00; font-size: 12px }
@media (prefers-color-scheme: dark) {
  .paper { fill: #0d1117 } text { fill: #e6edf3 } .small { fill: #9198a1 }
  .bar { fill: #565f6b } .bar.our { fill: #4493f8 } .spread { stroke: #e6edf3 }
  .goal { stroke: #f0883e } .limit { fill: #f0883e }
}"""


def draw(figure: Figure) -> str:
    """Return a figure as SVG.

    Args:
        figure: What was measured; bars without a value are left out.
    """
    bars = {key: spread(shown) for key in figure.bars if (shown := figure.shown(key))}
    limits = {key: limit for key in bars if (limit := goal(figure, key)) is not None}
    ends = [middle + half for middle, half in bars.values()]
    scale = (WIDTH - 2 * MARGIN - ROOM) / (max([*ends, *limits.values()], default=0) or 1)
    height = HEAD + ROW * len(bars) + MARGIN
    told = "; ".join(f"{figure.bars[key].name}: {_number(*bars[key])}" for key in bars)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label={quoteattr(figure.title)}>',
        f"<desc>{escape(told)}</desc>",
        f"<style>\n{STYLE}\n</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}" rx="8"/>',
        _text(MARGIN, 26, figure.title[:1].upper() + figure.title[1:], "title"),
        _text(MARGIN, 45, _subtitle(figure), "small"),
    ]
    for turn, (key, (middle, half)) in enumerate(bars.items()):
        top = HEAD + ROW * turn
        name = figure.bars[key].name
        parts += _bar(key, name, middle, half, limits.get(key), scale, top)
    return "\n".join([*parts, "</svg>", ""])


def goal(figure: Figure, key: str) -> float | None:
    """Return the goal of a bar as a value of the figure's scale, None where it has none.

    Args:
        figure: The figure.
        key: The key of the bar.
    """
    for one in GOALS:
        if (one.figure, one.bar) != (figure.key, key) or bool(one.of) != bool(figure.of):
            continue
        others = figure.shown(one.of) if one.of else [1.0]
        if others:
            return one.limit * spread(others)[0]
    return None


def _subtitle(figure: Figure) -> str:
    if not figure.of:
        better = "more" if figure.unit.endswith("/s") else "less"
        return f"{_unit(figure.unit) or 'a ratio'}; {better} is better"
    what = " of CPU" if figure.unit == MICROSECONDS else ""
    values = figure.values(figure.of)
    absolute = f" ({short(spread(values)[0])} {_unit(figure.unit)}{what})" if values else ""
    return f"less is better; {figure.bars[figure.of].name} = 1{absolute}"


def _unit(unit: str) -> str:
    return "µs" if unit == "us" else unit


def _number(middle: float, half: float) -> str:
    return f"{short(middle)} ± {short(half)}" if half >= 0.0005 else short(middle)


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}</text>'


def _bar(
    key: str, name: str, middle: float, half: float, limit: float | None, scale: float, top: int
) -> Sequence[str]:
    """Return one bar: its name above, its number and its goal behind, the spread at its end."""
    our = key.startswith(OURS)
    begin, length = MARGIN, max(1.5, middle * scale)
    y, middle_y = top + 18, top + 18 + BAR / 2
    parts = [
        _text(begin, top + 12, name, "ours" if our else "name"),
        f'<rect class="{"bar our" if our else "bar"}" x="{begin}" y="{y}" '
        f'width="{length:.1f}" height="{BAR}" rx="2"/>',
    ]
    end = length
    if half * scale >= 0.5:
        left, right = (middle - half) * scale, (middle + half) * scale
        parts.append(
            f'<path class="spread" fill="none" d="M{begin + left:.1f} {middle_y}'
            f"H{begin + right:.1f}M{begin + left:.1f} {middle_y - 3}v6"
            f'M{begin + right:.1f} {middle_y - 3}v6"/>'
        )
        end = max(end, right)
    if limit is not None:
        at = begin + limit * scale
        parts.append(f'<path class="goal" d="M{at:.1f} {y - 3}v{BAR + 6}"/>')
        end = max(end, limit * scale)
    number = _number(middle, half)
    parts.append(_text(begin + end + 7, y + BAR - 2, number, "number"))
    if limit is not None:
        x = begin + end + 14 + 7.2 * len(number)
        parts.append(_text(x, y + BAR - 2, f"goal {short(limit)}", "limit"))
    return parts
