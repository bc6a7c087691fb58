"""How near pictures are to the true ones: PSNR, SSIM (Wang et al. 2004) and, from the user's own weights, LPIPS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.core.errors import BadFile, BadInput
from engine.core.progress import SILENT, Reporter
from engine.train.avatar_loss import psnr, ssim
from engine.train.avatar_measure import GREY

Array = np.ndarray

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


def read_picture(path: Path) -> Array:
    """[h, w, 3] float32 display values in [0, 1]; what is transparent lies over grey. Raises BadFile."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            rgba = np.asarray(image.convert("RGBA"), np.float32) / 255
    except FileNotFoundError:
        raise BadFile(path, "no such picture") from None
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise BadFile(path, "is no readable picture") from None
    return rgba[..., :3] * rgba[..., 3:] + GREY * (1 - rgba[..., 3:])


def pairs(images: str | Path, truth: str | Path) -> list[tuple[Path, Path]]:
    """Two pictures, or those of two folders that have one name without its ending. Raises BadInput, BadFile."""
    images, truth = Path(images), Path(truth)
    for path in (images, truth):
        if not path.exists():
            raise BadFile(path, "no such picture or folder")
    if images.is_dir() != truth.is_dir():
        raise BadInput("give two pictures or two folders of pictures, not one of each")
    if not images.is_dir():
        return [(images, truth)]
    ours, theirs = ({p.stem: p for p in sorted(f.iterdir()) if p.suffix.lower() in SUFFIXES} for f in (images, truth))
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        raise BadInput(f"{images} and {truth} have no pictures of the same names")
    return [(ours[name], theirs[name]) for name in both]


def compare_images(
    images: str | Path, truth: str | Path, lpips: str | Path | None = None, report: Reporter = SILENT
) -> dict[str, Any]:
    """{"pictures", "psnr" dB, "ssim", "lpips"}: means over pairs; "lpips" is None without weights
    (engine/measure/lpips.py). Raises BadInput where two pictures are not of one size, BadFile."""
    net = None
    if lpips is not None:
        from engine.measure.lpips import read_lpips

        net = read_lpips(lpips)
    rows, found = [], pairs(images, truth)
    for i, (one, other) in enumerate(found):
        report.step("measure", i, len(found))
        x, y = read_picture(one), read_picture(other)
        if x.shape != y.shape:
            raise BadInput(f"{one} has {_size(x)} pixels, {other} {_size(y)}; make them of one size first")
        rows.append((psnr(x, y), ssim(x, y), np.nan if net is None else net.of(x, y)))
    means = np.mean(rows, 0)
    return {
        "pictures": len(rows), "psnr": round(float(means[0]), 2), "ssim": round(float(means[1]), 4),
        "lpips": None if net is None else round(float(means[2]), 4),
    }  # fmt: skip


def _size(picture: Array) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"
