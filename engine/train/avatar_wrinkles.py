"""Whether an avatar's skin folds as the captured one does.

In the zone of an active muscle: correlation of the gradient of (expression - neutral face) between our pictures and
the true ones, from the same unseen camera. Skin that moves and is lit otherwise gives a static avatar a part of it,
most of it where pixels are larger than folds. `beyond` leaves that out: both pictures minus the same avatar without its
dynamic colour, so that a static one has 0 by definition.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.avatar import channels
from engine.avatar.layout import as_planes
from engine.core.splats import Avatar
from engine.render.gradient import forward
from engine.train.avatar_data import Capture, Picture, View
from engine.train.avatar_measure import drawn, over_grey, placed
from engine.train.avatar_start import SH0

Array = np.ndarray

ACTIVE = 0.3  # of a muscle's value: from here its fold counts
SEEN = 0.35  # of a zone's strength at a pixel
FEWEST = 60  # pixels of a zone
FOLDS = ("forehead inner", "forehead outer", "glabella", "crow", "under eye", "nasolabial", "nose", "chin")
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def correlation(ours: Array, truth: Array, mask: Array) -> float:
    """Pearson's, of the two gradients' components where mask [h, w] is set; 0 where either is flat."""
    p, q = (np.concatenate([g[mask] for g in np.gradient(a)]) for a in (ours, truth))
    p, q = p - p.mean(), q - q.mean()
    size = np.linalg.norm(p) * np.linalg.norm(q)
    return float((p * q).sum() / size) if size > 1e-12 else 0.0


def wrinkles(avatar: Avatar, capture: Capture, shrink: int = 1, dynamic: bool = True) -> dict[str, float]:
    """{fold: mean correlation over test pictures in which its muscle is active, "mean", "beyond", "pictures"}; {} where
    the capture has no neutral faces from test views (split "rest")."""
    rest = {tuple(np.round(v.camera.world_to_camera.ravel(), 5)): v for v in capture.views["rest"]}
    found: dict[str, list[tuple[float, float]]] = {}
    used = 0
    for view in capture.views["test"]:
        neutral = rest.get(tuple(np.round(view.camera.world_to_camera.ravel(), 5)))
        if neutral is None:
            continue
        used += 1
        for fold, value in _of_view(avatar, capture, view, neutral, shrink, dynamic).items():
            found.setdefault(fold, []).append(value)
    if not found:
        return {}
    means = {fold: round(float(np.mean([v[0] for v in values])), 3) for fold, values in found.items()}
    mean, beyond = np.mean([value for values in found.values() for value in values], axis=0)
    return {**means, "mean": round(float(mean), 3), "beyond": round(float(beyond), 3), "pictures": used}


def _of_view(
    avatar: Avatar, capture: Capture, view: View, neutral: View, shrink: int, dynamic: bool
) -> dict[str, tuple[float, float]]:  # fmt: skip
    """{fold: (correlation, beyond)}."""
    picture, still = capture.picture(view, shrink), capture.picture(neutral, shrink)
    weights = capture.poses[view.pose].weights
    truth = _grey(picture.values) - _laid(still.values, still, picture)
    ours = _grey(drawn(placed(avatar, capture, view, dynamic), picture))
    ours_beyond = ours - (moved := _grey(drawn(placed(avatar, capture, view, False), picture)))
    truth_beyond = _grey(picture.values) - moved
    ours = ours - _grey(drawn(placed(avatar, capture, neutral, dynamic), picture))
    out = {}
    for zone in channels.empty(capture.head, avatar.triangle, FOLDS):
        on = channels.values(zone, weights)
        if not (on > ACTIVE * zone.mask).any():
            continue
        mask = _shown(avatar, capture, view, picture, zone.rows, np.where(on > ACTIVE * zone.mask, zone.mask, 0))
        if mask.sum() >= FEWEST:
            out[zone.name] = correlation(ours, truth, mask), correlation(ours_beyond, truth_beyond, mask)
    return out


def _grey(rgba: Array) -> Array:
    return np.asarray(over_grey(rgba) @ _LUMINANCE)


def _laid(rgba: Array, source: Picture, target: Picture) -> Array:
    """Luminance of a picture in the cut-out of another one by the same camera."""
    out = np.zeros((*target.rgba.shape[:2], 4), np.float32)
    dx, dy = (round(a - b) for a, b in ((target.camera.cx, source.camera.cx), (target.camera.cy, source.camera.cy)))
    h, w = out.shape[:2]
    y0, x0 = max(dy, 0), max(dx, 0)
    y1, x1 = min(dy + rgba.shape[0], h), min(dx + rgba.shape[1], w)
    if y1 > y0 and x1 > x0:
        out[y0:y1, x0:x1] = rgba[y0 - dy : y1 - dy, x0 - dx : x1 - dx]
    return _grey(out)


def _shown(avatar: Avatar, capture: Capture, view: View, picture: Picture, rows: Array, strength: Array) -> Array:
    """[h, w] bool: where the picture shows a zone, as the avatar itself is seen."""
    gaussians = placed(avatar, capture, view, False)
    sh = np.full((len(avatar), 1, 3), -0.5 / SH0, np.float32)
    sh[rows, 0] += (strength / SH0)[:, None].astype(np.float32)
    return forward(replace(gaussians, sh=as_planes(sh)), picture.camera)[0][..., 0] > SEEN
