"""Whether an avatar's skin folds as the captured one does.

In the zone of an active muscle: correlation of the gradient of (image - the true face without its folds) between our
picture and the true one, both of an unseen expression from an unseen camera. The face without folds is rendered from
the same mesh, camera and noise (split "smooth"), so nothing but the folds is left of the truth, and everything that an
avatar gets wrong there counts against it.

`moved` takes the neutral face instead (split "rest"). It is high for any avatar: skin that moves and is lit otherwise
is most of that difference, whether it folds or not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.avatar import channels
from engine.avatar.layout import as_planes
from engine.core.splats import Avatar
from engine.render.gradient import forward
from engine.train.avatar_data import Capture, Picture, View
from engine.train.avatar_measure import Worn, drawn, over_grey, placed
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


def wrinkles(
    avatar: Avatar, capture: Capture, shrink: int = 1, dynamic: bool = True, worn: Worn | None = None
) -> dict[str, float]:  # fmt: skip
    """{fold: mean correlation over test pictures in which its muscle is active, "mean", "pictures"} against faces
    without folds, and "moved" against neutral ones; each where the capture has such pictures."""
    neutral = {_place(v): v for v in capture.views["rest"]}
    smooth = {(_place(v), v.pose): v for v in capture.views["smooth"]}
    folds: dict[str, list[float]] = {}
    moved: list[float] = []
    used = 0
    for view in capture.views["test"]:
        twins = smooth.get((_place(view), view.pose)), neutral.get(_place(view))
        if twins == (None, None):
            continue
        used += 1
        found = _of_view(avatar, capture, view, twins, shrink, dynamic, worn)
        for fold, (clean, with_motion) in found.items():
            folds.setdefault(fold, []).extend([] if clean is None else [clean])
            moved += [] if with_motion is None else [with_motion]
    out = {fold: round(float(np.mean(values)), 3) for fold, values in folds.items() if values}
    if out:
        out |= {"mean": round(float(np.mean([value for values in folds.values() for value in values])), 3)}
    if moved:
        out |= {"moved": round(float(np.mean(moved)), 3)}
    return {**out, "pictures": used} if out else {}


def _place(view: View) -> tuple[float, ...]:
    return tuple(np.round(view.camera.world_to_camera.ravel(), 5))


def _of_view(
    avatar: Avatar, capture: Capture, view: View, twins: tuple[View | None, View | None], shrink: int, dynamic: bool,
    worn: Worn | None,
) -> dict[str, tuple[float | None, float | None]]:  # fmt: skip
    """{fold: (against the face without folds, against the neutral one)}, None where that picture is missing."""
    picture, (smooth, neutral) = capture.picture(view, shrink), twins
    weights = capture.poses[view.pose].weights
    truth, ours = _grey(picture.values), _grey(drawn(placed(avatar, capture, view, dynamic, worn), picture))
    without = None if smooth is None else _laid(capture.picture(smooth, shrink), picture)
    still = None if neutral is None else _laid(capture.picture(neutral, shrink), picture)
    ours_still = None if neutral is None else _grey(drawn(placed(avatar, capture, neutral, dynamic, worn), picture))
    out = {}
    for zone in channels.empty(capture.head, avatar.triangle, FOLDS):
        on = channels.values(zone, weights)
        if not (on > ACTIVE * zone.mask).any():
            continue
        mask = _shown(avatar, capture, view, picture, zone.rows, np.where(on > ACTIVE * zone.mask, zone.mask, 0))
        if mask.sum() >= FEWEST:
            clean = None if without is None else correlation(ours - without, truth - without, mask)
            with_motion = None if still is None else correlation(ours - ours_still, truth - still, mask)
            out[zone.name] = clean, with_motion
    return out


def _grey(rgba: Array) -> Array:
    return np.asarray(over_grey(rgba) @ _LUMINANCE)


def _laid(source: Picture, target: Picture) -> Array:
    """Luminance of a picture in the cut-out of another one by the same camera."""
    rgba = source.values
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
