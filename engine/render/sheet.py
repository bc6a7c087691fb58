"""Contact sheets: a grid of small pictures with a label under each."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from engine.core.errors import BadInput
from engine.core.files import replacing

GAP, STRIP = 6, 22  # pixels between pictures, and of the label under each
_PAPER, _INK = (18, 19, 22), (222, 224, 228)


def write_sheet(
    path: str | os.PathLike[str], rows: Sequence[Sequence[tuple[np.ndarray, str]]], title: str = ""
) -> tuple[int, int]:
    """Write rows of (picture [h, w, 3] uint8 display values, label) as one PNG; its (width, height) in pixels.

    Pictures may differ in size; each column is as wide and each row as high as its largest picture.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not rows or not any(len(row) for row in rows):
        raise BadInput("a contact sheet needs at least one picture")
    if not str(path):
        raise BadInput("a contact sheet needs a file name such as sheet.png")
    columns = max(len(row) for row in rows)
    widths = [max((row[c][0].shape[1] for row in rows if c < len(row)), default=0) for c in range(columns)]
    heights = [max((picture.shape[0] for picture, _ in row), default=0) for row in rows]
    top = STRIP + GAP if title else GAP
    size = sum(widths) + GAP * (columns + 1), top + sum(heights) + len(rows) * (STRIP + GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    if title:
        draw.text((GAP, GAP), title, _INK, font)
    y = top
    for row, height in zip(rows, heights, strict=True):
        x = GAP
        for (picture, label), width in zip(row, widths, strict=False):
            sheet.paste(Image.fromarray(picture), (x, y))
            draw.text((x + 2, y + height + 3), _fitting(label, width - 4, draw, font), _INK, font)
            x += width + GAP
        y += height + STRIP + GAP
    with replacing(path) as part:
        sheet.save(part, "PNG")
    return size


def _fitting(label: str, width: int, draw: object, font: object) -> str:
    """The label, shortened with an ellipsis to `width` pixels."""
    if draw.textlength(label, font) <= width:  # type: ignore[attr-defined]
        return label
    while label and draw.textlength(label + "…", font) > width:  # type: ignore[attr-defined]
        label = label[:-1]
    return label + "…"
