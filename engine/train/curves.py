"""Loss curves of a training log as a PNG (Pillow only)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from engine.core.errors import BadInput
from engine.core.files import replacing

SIZE = (900, 480)
_LEFT, _TOP, _RIGHT, _BOTTOM = 60, 40, 20, 50
_COLOURS = ("#1f5fbf", "#c0392b", "#27803a", "#8e44ad", "#b9770e")


def draw_log(
    path: str | os.PathLike[str], log: Sequence[Mapping[str, float]], keys: Sequence[str], title: str, x: str = "step"
) -> None:
    """One line per key of `log` (rows of numbers), each scaled to its own range, which the legend states."""
    from PIL import Image, ImageDraw

    if len(log) < 2:
        raise BadInput("a curve needs at least two rows of a training log")
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    right, bottom = SIZE[0] - _RIGHT, SIZE[1] - _BOTTOM
    draw.rectangle([_LEFT, _TOP, right, bottom], outline="#999999")
    draw.text((_LEFT, 8), title, fill="black")
    xs = [float(row[x]) for row in log]
    across = max(xs[-1] - xs[0], 1e-9)
    for i in range(5):
        at = _LEFT + (right - _LEFT) * i / 4
        draw.line([at, bottom, at, bottom + 4], fill="#999999")
        draw.text((at - 12, bottom + 6), f"{xs[0] + across * i / 4:.0f}", fill="black")
    draw.text(((_LEFT + right) / 2, bottom + 24), x, fill="black")
    for k, key in enumerate(keys):
        rows = [(a, float(row[key])) for a, row in zip(xs, log, strict=True) if key in row]
        values = [v for _, v in rows]
        low, high = min(values), max(values)
        points = [
            (
                _LEFT + (right - _LEFT) * (a - xs[0]) / across,
                bottom - (bottom - _TOP) * (v - low) / max(high - low, 1e-12),
            )
            for a, v in rows
        ]
        colour = _COLOURS[k % len(_COLOURS)]
        draw.line(points, fill=colour, width=2)
        legend = f"{key}: {values[0]:.4g} to {values[-1]:.4g} (axis {low:.4g} to {high:.4g})"
        draw.text((right - 330, _TOP + 8 + 16 * k), legend, fill=colour)
    with replacing(path) as part:
        image.save(part, format="PNG")
