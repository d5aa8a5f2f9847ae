"""The plots of a report's page: SVG in the page's own colours. Each says in words what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape

from dagster_hpc.usage.report import Step

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 720, 200, 46, 24, 10
_DAY_S = 86400.0
_ROUND = (1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10)


def columns(steps: Sequence[Step], step_s: float) -> str:
    """Node hours over time: what ended well, or still runs, below what was lost."""
    top = max((step.well + step.badly for step in steps), default=0.0)
    if not top:
        return ""
    scale = _nice(top)
    inner_w, inner_h = _WIDTH - _LEFT - 6, _HEIGHT - _BOTTOM - _TOP
    pitch = inner_w / len(steps)
    bar = max(1.0, pitch - min(3.0, pitch / 4))
    parts = [_grid(scale, inner_h)]
    for place, step in enumerate(steps):
        x = _LEFT + place * pitch
        when = _label(step.begins_at, step_s)
        base = float(_TOP + inner_h)
        for kind, value in (("well", step.well), ("badly", step.badly)):
            height = value / scale * inner_h
            if height > 0:
                base -= height
                words = f"{when}: {value:.3g} node hours {'ended badly' if kind == 'badly' else 'used'}"
                parts.append(
                    f'<rect class="{kind}" x="{x:.1f}" y="{base:.1f}" width="{bar:.1f}" height="{height:.1f}" rx="1">'
                    f"<title>{escape(words)}</title></rect>"
                )
    every = max(1, -(-len(steps) // 8))
    for place in range(0, len(steps), every):
        x = _LEFT + place * pitch + bar / 2
        label = escape(_label(steps[place].begins_at, step_s))
        parts.append(f'<text class="axis" x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{label}</text>')
    used, lost = sum(step.well for step in steps), sum(step.badly for step in steps)
    said = f"Node hours over time: {used:.4g} used well or still running, {lost:.4g} ended badly"
    return _svg(said, _WIDTH, _HEIGHT, parts)


def bars(figures: Mapping[str, float], said: str, kind: str = "badly") -> str:
    """A bar for each, its name before it and its figure behind it."""
    top = max(figures.values(), default=0.0)
    if not top:
        return ""
    line, left, right, width = 26, 180, 40, 420
    parts = []
    for place, (name, value) in enumerate(figures.items()):
        y, length = place * line, value / top * (width - left - right)
        parts.append(f'<text x="{left - 10}" y="{y + 17}" text-anchor="end">{escape(_short(name))}</text>')
        parts.append(f'<rect class="{kind}" x="{left}" y="{y + 5}" width="{max(2.0, length):.1f}" height="16" rx="3"/>')
        parts.append(f'<text class="figure" x="{left + length + 8:.1f}" y="{y + 17}">{value:g}</text>')
    return _svg(said, width, len(figures) * line, parts)


def _svg(said: str, width: int, height: int, parts: Sequence[str]) -> str:
    inside = "".join(parts)
    return f'<svg role="img" aria-label="{escape(said)}" viewBox="0 0 {width} {height}">{inside}</svg>'


def _grid(scale: float, inner_h: float) -> str:
    lines = []
    for part in (0.0, 0.5, 1.0):
        y = _TOP + inner_h * (1 - part)
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text class="axis" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{scale * part:g}</text>')
    return "".join(lines)


def _nice(top: float) -> float:
    """The next round number."""
    size = 1.0
    while size < top:
        size *= 10
    while size >= top * 10:
        size /= 10
    return next(step * size / 10 for step in _ROUND if step * size / 10 >= top)


def _label(at: float, step_s: float) -> str:
    return f"{datetime.fromtimestamp(at):%d %b}" if step_s >= _DAY_S else f"{datetime.fromtimestamp(at):%d %b %H:%M}"


def _short(name: str, most: int = 25) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
