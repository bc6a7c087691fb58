"""How near an avatar's pictures are to truth that it was not trained on: in boxes, by azimuth, and to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from engine.avatar.bind import bind
from engine.avatar.channels import coloured
from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.files import replacing
from engine.core.progress import SILENT, Reporter
from engine.core.splats import Avatar, Camera, Gaussians
from engine.render.gradient import forward
from engine.train.avatar_data import Capture, Picture, View
from engine.train.avatar_loss import psnr, ssim

Array = np.ndarray
Worn = Callable[[int], Avatar]  # a pose's number -> the avatar with an appearance net's changes

GREY = 0.5  # display value that both pictures are laid on
FACE_SEEN = 75.0  # degrees of azimuth within which a face has a box
SECTORS = {"front": (0.0, 45.0), "side": (45.0, 110.0), "back": (110.0, 180.1)}
STRIP_GAIN = 4.0
_HAIR, _SIDE = 0.14, 0.05  # of the box's height: room for hair above and beside the head's skin


def project(camera: Camera, points: Array) -> Array:
    """[n, 2] pixels of points [n, 3] in front of a perspective camera."""
    local = points @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
    return local[:, :2] / local[:, 2:] * [camera.fx, camera.fy] + [camera.cx, camera.cy]


def _box(pixels: Array, camera: Camera, above: float, beside: float) -> tuple[slice, slice] | None:
    """Rows and columns about pixels [n, 2], wider by parts of the height; None if that is outside the picture."""
    (x0, y0), (x1, y1) = pixels.min(0), pixels.max(0)
    high = y1 - y0
    left, right = (int(np.clip(round(v), 0, camera.width)) for v in (x0 - beside * high, x1 + beside * high))
    top, bottom = (int(np.clip(round(v), 0, camera.height)) for v in (y0 - above * high, y1 + beside * high))
    return (slice(top, bottom), slice(left, right)) if bottom - top > 12 and right - left > 12 else None


def head_box(head: Head, vertices: Array, camera: Camera) -> tuple[slice, slice] | None:
    """The head with its hair, without neck and shoulders."""
    chin = head.template[int(head.landmarks["face68"][8])][1] if "face68" in head.landmarks else None
    low = head.template[:, 1].min() if chin is None else chin - 0.004
    return _box(project(camera, vertices[head.template[:, 1] > low]), camera, _HAIR, _SIDE)


def face_box(head: Head, vertices: Array, view: View, camera: Camera) -> tuple[slice, slice] | None:
    """Brows to chin, ear to ear, in views that show a face."""
    if "face68" not in head.landmarks or abs(view.azimuth) > FACE_SEEN:
        return None
    return _box(project(camera, vertices[head.landmarks["face68"]]), camera, 0.10, 0.02)


def drawn(gaussians: Gaussians, picture: Picture) -> Array:
    """[h, w, 4] premultiplied display values of what the picture's camera sees."""
    return forward(gaussians, picture.camera)[0]


def over_grey(rgba: Array) -> Array:
    """[h, w, 3] in [0, 1]."""
    return np.clip(rgba[..., :3] + (1 - rgba[..., 3:]) * GREY, 0, 1)


def placed(
    avatar: Avatar, capture: Capture, view: View, dynamic: bool = True, worn: Worn | None = None
) -> Gaussians:  # fmt: skip
    """The avatar on a view's pose; worn: as an appearance net has it there."""
    posed = capture.poses[view.pose]
    avatar = avatar if worn is None else worn(view.pose)
    gaussians = bind(avatar, capture.head.triangles, posed.vertices)
    return coloured(avatar, gaussians, posed.weights) if dynamic else gaussians


def compare(capture: Capture, view: View, picture: Picture, rgba: Array) -> dict[str, float]:
    """{"head_psnr", "head_ssim", "face_psnr", "face_ssim"} in display values over grey; the face only where seen."""
    vertices = capture.poses[view.pose].vertices
    truth, ours = over_grey(picture.values), over_grey(rgba)
    out = {}
    boxes = {
        "head": head_box(capture.head, vertices, picture.camera),
        "face": face_box(capture.head, vertices, view, picture.camera),
    }
    for name, box in boxes.items():
        if box is not None:
            out[f"{name}_psnr"], out[f"{name}_ssim"] = psnr(truth[box], ours[box]), ssim(truth[box], ours[box])
    return out


def evenly(views: list[View], most: int) -> list[View]:
    """No more than `most` of the views, evenly (0: all)."""
    if not 0 < most < len(views):
        return views
    return [views[int(i)] for i in np.linspace(0, len(views) - 1, most)]


def require_heads(capture: Capture, views: list[View], shrink: int = 1) -> None:
    """Raise BadInput where no view shows a head that can be measured: asked before hours of work."""
    for view in views:
        if head_box(capture.head, capture.poses[view.pose].vertices, capture.picture(view, shrink).camera) is not None:
            return
    raise BadInput(
        "the held-out pictures are too small: no head in them is wider than 12 pixels; use a smaller --shrink"
    )


def measure(
    avatar: Avatar, capture: Capture, split: str = "test", shrink: int = 1, dynamic: bool = True,
    report: Reporter = SILENT, most: int = 0, worn: Worn | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Means over a split's pictures, and by sector of azimuth: {"pictures", "head_psnr", ..., "sectors": {...}}.

    most: look at no more than so many, evenly (0: all). worn: with an appearance net.
    """
    rows = []
    views = evenly(capture.views[split], most)
    for i, view in enumerate(views):
        report.step("measure", i, len(views))
        picture = capture.picture(view, shrink)
        rows.append(
            (view, compare(capture, view, picture, drawn(placed(avatar, capture, view, dynamic, worn), picture)))
        )
    out: dict[str, Any] = {"split": split, **_means([r for _, r in rows]), "sectors": {}}
    for name, (low, high) in SECTORS.items():
        inside = [row for view, row in rows if low <= abs(view.azimuth) < high]
        if inside:
            out["sectors"][name] = _means(inside)
    return out


def _means(rows: list[dict[str, float]]) -> dict[str, Any]:
    names = ("head_psnr", "head_ssim", "face_psnr", "face_ssim")
    found = {name: [row[name] for row in rows if name in row] for name in names}
    digits = {name: 2 if name.endswith("psnr") else 4 for name in names}
    means = {name: round(float(np.mean(v)), digits[name]) for name, v in found.items() if v}
    return {"pictures": len(rows), **means}


def strip(
    path: Path, avatar: Avatar, capture: Capture, views: list[View], shrink: int = 1, dynamic: bool = True
) -> None:  # fmt: skip
    """Write a picture: a row a view, truth | avatar | difference (four times, about grey)."""
    from PIL import Image

    rows = []
    for view in views:
        picture = capture.picture(view, shrink)
        truth, ours = (
            over_grey(rgba) for rgba in (picture.values, drawn(placed(avatar, capture, view, dynamic), picture))
        )
        rows.append(np.concatenate([truth, ours, np.clip(GREY + STRIP_GAIN * (ours - truth), 0, 1)], 1))
    wide = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 4), (0, wide - row.shape[1]), (0, 0)), constant_values=GREY) for row in rows]
    with replacing(path) as part:
        Image.fromarray(np.round(np.concatenate(padded) * 255).astype(np.uint8)).save(part, format="PNG")
