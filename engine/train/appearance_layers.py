"""Two switches of the training of appearance nets, both EmoTalkingGaussian's: composition and the normals' residual.

Composition (S9, S10): what lies inside the mouth and all else are drawn apart and the face laid over the mouth, so that
no Gaussian of the lips can hide behind a tooth or the other way round. Normals (eq. 11, 14): the rendered normals are
those of the Gaussians' shortest axes with a learned residual, compared with the capture's; what they pull on is where
Gaussians are. Neither changes how an avatar is drawn afterwards.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.avatar.appearance import kernels as appearance_kernels
from engine.avatar.appearance.anchors import Anchors
from engine.avatar.attach import multiply, rotate
from engine.core.splats import Camera, Gaussians
from engine.render.gradient import Gradients, Tape, backward, forward
from engine.train.avatar_loss import SOLID

Array = np.ndarray
L1, SMOOTH, SMALL = 0.05, 0.005, 0.001  # beta 3 to 5 of S14
_OUTWARD = np.array([0.0, 1.0, 0.0])  # in a triangle's axes
_BACK = np.array([1, -1, -1, -1], np.float32)


def part_of(g: Gaussians, rows: Array) -> Gaussians:
    """The Gaussians `rows` (a mask or numbers)."""
    arrays = {name: np.asarray(getattr(g, name))[rows] for name in ("means", "quats", "scales", "opacity", "sh")}
    return replace(g, **arrays)


class Normals:
    """Unit normals of Gaussians on one pose, with a residual [q, 3] per anchor in the head's axes at rest.

    frames [n, 8]: of the Gaussians' triangles on the pose (bind_kernels.frames).
    """

    def __init__(self, g: Gaussians, anchors: Anchors, frames: Array, residual: Array):
        self.anchors, self.residual = anchors, np.ascontiguousarray(residual, np.float32)
        quats, scales = np.asarray(g.quats, np.float64), np.asarray(g.scales)
        short = rotate(quats / np.linalg.norm(quats, axis=1, keepdims=True), np.eye(3)[scales.argmin(1)])
        outward = rotate(frames[:, 4:8].astype(np.float64), np.tile(_OUTWARD, (len(quats), 1)))
        raw = short * np.where((short * outward).sum(1, keepdims=True) < 0, -1, 1)
        self._turn = multiply(frames[anchors.rows, 4:8], anchors.frames[:, 4:8] * _BACK)
        found = np.empty((len(anchors.rows), 3), np.float32)
        appearance_kernels.gather(anchors.corners, anchors.shares, self.residual, found)
        raw[anchors.rows] += rotate(self._turn, found)
        self._length = np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-6)
        self.unit = (raw / self._length).astype(np.float32)

    def back(self, slope: Array) -> Array:
        """Gradient [3, n] of the unit normals -> of the residual [q, 3]."""
        d = slope.T.astype(np.float64)
        along = (d * self.unit).sum(1, keepdims=True) * self.unit
        raw = ((d - along) / self._length)[self.anchors.rows]
        here = np.ascontiguousarray(rotate(self._turn * _BACK, raw), np.float32)
        out = np.zeros((len(self.anchors), 3), np.float32)
        appearance_kernels.scatter(self.anchors.corners, self.anchors.shares, here, out)
        return out


class Shot:
    """A picture of Gaussians and its way back. inside [n] bool: draw these apart and lay the others over them. normals:
    draw these too, of the face alone where pictures are composed.

    rgba [h, w, 4] as `forward` gives it.
    """

    def __init__(
        self, g: Gaussians, camera: Camera, inside: Array | None = None, normals: Normals | None = None
    ):  # fmt: skip
        self._n, self._inside, self._normals = len(g), inside, normals
        self._under: Array | None = None
        self._tape_under: Tape | None = None
        unit = None if normals is None else normals.unit
        if inside is not None:
            self._under, _, self._tape_under = forward(part_of(g, inside), camera)
            g, unit = part_of(g, ~inside), None if unit is None else unit[~inside]
        self._over, self._sums, self._tape = forward(g, camera, unit is not None, unit)
        self.rgba = self._over
        if self._under is not None:
            self.rgba = self._over + (1 - self._over[..., 3:]) * self._under

    def gradients(
        self, v: Array, depth: Array | None = None, normal: Array | None = None
    ) -> tuple[Gradients, Array | None]:  # fmt: skip
        """(gradients of all Gaussians from v of rgba, of the normals' residual [q, 3] or None), the latter against the
        capture's normals [h, w, 3] where its depth [h, w] is known."""
        if self._normals is None or self._sums is None or depth is None or normal is None:
            return self.back(v), None
        _, u = normal_loss(self._over, self._sums, depth, normal)
        d = self.back(v, u)
        return d, self._normals.back(d.normals) + small(self._normals.residual)

    def back(self, v: Array, u: Array | None = None) -> Gradients:
        """Gradients of all Gaussians, from v of rgba and u of the geometry's sums [h, w, 4] (or None)."""
        if self._under is None or self._tape_under is None or self._inside is None:
            return backward(self._tape, v, u)
        over = v.copy()
        over[..., 3] -= (self._under * v).sum(-1)
        upper = backward(self._tape, over, u)
        lower = backward(self._tape_under, np.ascontiguousarray((1 - self._over[..., 3:]) * v, np.float32))
        return Gradients(*(self._joined(a, b) for a, b in zip(upper, lower, strict=True)))

    def _joined(self, upper: Array, lower: Array) -> Array:
        """Gradients [.., face] and [.., inside] in the order of all Gaussians; zeros where a part has none."""
        assert self._inside is not None
        if not upper.shape[-1] and not lower.shape[-1]:
            return upper
        whole = np.zeros((*upper.shape[:-1], self._n), np.float32)
        for mask, part in ((~self._inside, upper), (self._inside, lower)):
            if part.shape[-1]:
                whole[..., mask] = part
        return whole


def normal_loss(rgba: Array, sums: Array, depth: Array, normal: Array) -> tuple[float, Array]:
    """(L1 + total variation of the rendered normals, gradient [h, w, 4] of sums) against normal [h, w, 3] in the world,
    where one surface is seen (depth > 0, alpha of a solid). S14 without the residual's own size."""
    known = (rgba[..., 3] > SOLID) & (depth > 0) & (np.square(normal).sum(-1) > 0.25)
    gradient = np.zeros_like(sums, dtype=np.float64)
    if not known.any():
        return 0.0, gradient.astype(np.float32)
    s = sums[..., 1:].astype(np.float64)
    length = np.maximum(np.linalg.norm(s, axis=-1, keepdims=True), 1e-4)
    unit = s / length
    gap = np.where(known[..., None], unit - normal, 0.0)
    count = 3.0 * known.sum()
    loss, slope = L1 * float(np.abs(gap).sum()) / count, L1 * np.sign(gap) / count
    for axis in (0, 1):
        both = np.logical_and(*(np.take(known, range(i, known.shape[axis] - 1 + i), axis) for i in (0, 1)))
        pairs = 3.0 * max(int(both.sum()), 1)
        change = np.where(both[..., None], np.diff(unit, axis=axis), 0.0)
        loss += SMOOTH * float(np.abs(change).sum()) / pairs
        step = SMOOTH * np.sign(change) / pairs
        first, last = [slice(None)] * 3, [slice(None)] * 3
        first[axis], last[axis] = slice(None, -1), slice(1, None)
        slope[tuple(last)] += step
        slope[tuple(first)] -= step
    gradient[..., 1:] = (slope - (slope * unit).sum(-1, keepdims=True) * unit) / length
    return loss, gradient.astype(np.float32)


def small(residual: Array) -> Array:
    """Gradient of beta 5 times the residual's mean square. [q, 3]."""
    return (2 * SMALL / max(len(residual), 1) * residual).astype(np.float32)
