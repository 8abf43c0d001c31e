"""Charts as SVG: horizontal bars, legible on light and dark pages, without scripts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import Optional

WIDTH = 800
LABELS = 290
RIGHT = 90
BAR = 14
GAP = 3
ROW_GAP = 12
TOP = 62
LETTER = 6.6

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 15px; font-weight: 600; }
.small { font-size: 11px; fill: #59636e; }
.page { fill: #ffffff; } .grid { stroke: #d1d9e0; } .target { stroke: #cf222e; stroke-width: 2; }
.s0 { fill: #0969da; } .s1 { fill: #bc4c00; } .s2 { fill: #d9a066; } .s3 { fill: #818b98; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc; } .small { fill: #9198a1; }
.page { fill: #0d1117; } .grid { stroke: #3d444d; } .target { stroke: #ff7b72; }
.s0 { fill: #4493f8; } .s1 { fill: #f0883e; } .s2 { fill: #8a5a2b; } .s3 { fill: #656c76; }
}
"""


@dataclass(frozen=True)
class Row:
    """A group of bars: one value for each series; none leaves its bar out."""

    label: str
    values: tuple[Optional[float], ...]
    #: A value to reach, drawn as a line across the bars.
    target: Optional[float] = None
    #: What stands in the place of a missing bar.
    notes: tuple[str, ...] = ()


def ticks(most: float) -> list[float]:
    """Round values from 0 to at least `most`, four to eight of them."""
    if most <= 0:
        return [0.0, 1.0]
    step = 10.0 ** math.floor(math.log10(most))
    for factor in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0):
        if most / (step * factor) <= 6:
            step *= factor
            break
    return [index * step for index in range(math.ceil(most / step - 1e-9) + 1)]


def short(value: float) -> str:
    """A number with three digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 999_500:
        return f"{value / 1e6:.3g} M"
    if abs(value) >= 999.5:
        return f"{value:,.0f}" if abs(value) < 1e4 else f"{value / 1000:.3g} k"
    return f"{value:.3g}"


def bars(title: str, axis: str, series: tuple[str, ...], rows: list[Row], unit: str = "") -> str:
    """A chart with a row for each group and a bar for each series in it."""
    most = max((value for row in rows for value in (*row.values, row.target) if value is not None), default=0.0)
    marks = ticks(most)
    room = WIDTH - LABELS - RIGHT
    row_height = len(series) * (BAR + GAP) + ROW_GAP
    bottom = TOP + len(rows) * row_height
    height = bottom + 44

    def x(value: float) -> float:
        return LABELS + value / marks[-1] * room

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(title)}"><style>{STYLE}</style>',
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="16" y="26">{escape(title)}</text>',
        legend(series, any(row.target is not None for row in rows)),
    ]
    for mark in marks:
        parts.append(f'<line class="grid" x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="{TOP - 6}" y2="{bottom}"/>')
        parts.append(small(x(mark), bottom + 15, short(mark), ' text-anchor="middle"'))
    parts.append(small(LABELS + room / 2, bottom + 34, axis, ' text-anchor="middle"'))
    for index, row in enumerate(rows):
        top = TOP + index * row_height
        middle = top + (row_height - ROW_GAP) / 2 + 3
        parts.append(f'<text x="{LABELS - 10}" y="{middle:.1f}" text-anchor="end">{escape(row.label)}</text>')
        for number, value in enumerate(row.values):
            y = top + number * (BAR + GAP)
            note = row.notes[number] if number < len(row.notes) else ""
            if value is None:
                if note:
                    parts.append(small(LABELS + 5, y + 11, note))
                continue
            width = max(x(value) - LABELS, 1)
            parts.append(f'<rect class="s{number}" x="{LABELS}" y="{y}" width="{width:.1f}" height="{BAR}"/>')
            end = x(value)
            if row.target is not None and end - 4 <= x(row.target) <= end + 60:
                # The line must not go through the number.
                end = x(row.target)
            parts.append(small(end + 5, y + 11, short(value) + unit))
        if row.target is not None:
            at, end = x(row.target), top + row_height - ROW_GAP
            parts.append(f'<line class="target" x1="{at:.1f}" x2="{at:.1f}" y1="{top - 3}" y2="{end}"/>')
    parts.append("</svg>\n")
    return "\n".join(parts)


def small(x: float, y: float, text: str, more: str = "") -> str:
    """A short text in small letters."""
    return f'<text class="small" x="{x:.1f}" y="{y:.1f}"{more}>{escape(text)}</text>'


def legend(series: tuple[str, ...], target: bool) -> str:
    """Which colour is which, in one line below the title."""
    parts, x = [], 16.0
    for number, name in enumerate(series):
        if len(series) == 1:
            break
        parts.append(f'<rect class="s{number}" x="{x:.0f}" y="36" width="11" height="11"/>')
        parts.append(small(x + 16, 46, name))
        x += 34 + len(name) * LETTER
    if target:
        parts.append(f'<line class="target" x1="{x + 5:.0f}" x2="{x + 5:.0f}" y1="35" y2="48"/>')
        parts.append(small(x + 13, 46, "target"))
    return "\n".join(parts)
