"""An avatar as what training moves: flat arrays of one memory, placed on a pose and differentiated by hand.

Gaussians follow their triangles (EmoTaG eq. 2-7, GaussianAvatars); channels add colour where the face moves
(engine/avatar/channels.py). The frames of a pose's triangles do not depend on what is learned: those of the last poses
are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np

from engine.avatar import bind_kernels, channels, free
from engine.avatar.layout import as_planes, planes
from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.splats import Avatar, Gaussians
from engine.train import avatar_kernels as kernels
from engine.train.avatar_data import Posed

Array = np.ndarray

OPACITY_MIN, OPACITY_MAX = 0.01, 0.97  # where training starts: at 1 nothing could be learned
FRAMES_KEPT = 64  # poses whose frames are held, 0.3 to 0.6 MB each: a long capture has thousands


class Model:
    """Parameters of n Gaussians as planes: means [3, n], quats [4, n], log_scales [3, n] in the triangles' units,
    logits [n], sh0 [3, n], sh_rest [3 (terms - 1), n], and the channels' colours [3, m] one after another."""

    def __init__(self, avatar: Avatar, head: Head, degree: int = 1):
        terms, n = (degree + 1) ** 2, len(avatar)
        if degree not in (0, 1, 2, 3):
            raise BadInput(f"spherical harmonics have degree 0 to 3, not {degree}")
        self.avatar, self.head, self.terms = avatar, head, terms
        # Free Gaussians have frames of their own behind those of the triangles (engine/avatar/free.py).
        self.triangle = np.array(avatar.triangle, np.int32)
        if avatar.free is not None:
            self.triangle[avatar.free.rows] = len(head.triangles) + np.arange(len(avatar.free.rows), dtype=np.int32)
        sh = np.zeros((n, terms, 3), np.float32)
        shared = min(terms, avatar.sh.shape[1])
        sh[:, :shared] = avatar.sh[:, :shared]
        flat = planes(as_planes(sh))
        opacity = np.clip(avatar.opacity.astype(np.float64), OPACITY_MIN, OPACITY_MAX)
        colours = [c.colour.T.ravel() for c in avatar.channels]
        self.values: dict[str, Array] = {
            "means": np.array(planes(avatar.local_means)), "quats": np.array(planes(avatar.local_quats)),
            "log_scales": np.array(planes(avatar.log_scales)), "logits": np.log(opacity / (1 - opacity)),
            "sh0": np.array(flat[:3]), "sh_rest": np.array(flat[3:]),
            "channels": np.concatenate(colours) if colours else np.zeros(0),
        }  # fmt: skip
        self.values = {name: np.ascontiguousarray(a, np.float32) for name, a in self.values.items()}
        kernels.normalise(self.values["quats"])
        self.start = self.values["means"].copy()
        self._frames: OrderedDict[int, Array] = OrderedDict()
        self._limits = np.zeros(0, np.float32)
        self._triangles = np.ascontiguousarray(head.triangles, np.int32)

    def __len__(self) -> int:
        return len(self.triangle)

    def frames(self, pose: int, posed: Posed) -> Array:
        """[m + f, 8] of a pose's triangles (bind_kernels.frames) and free Gaussians."""
        if pose in self._frames:
            self._frames.move_to_end(pose)
        else:
            out = np.empty((len(self._triangles), bind_kernels.FRAME), np.float32)
            vertices = np.ascontiguousarray(posed.vertices, np.float32)
            bind_kernels.frames(self._triangles, vertices, out)
            self._frames[pose] = free.extended(self.avatar, out, vertices)[1]
            while len(self._frames) > FRAMES_KEPT:
                self._frames.popitem(last=False)
        return self._frames[pose]

    def place(self, pose: int, posed: Posed, dynamic: bool = True) -> Gaussians:
        """The Gaussians on a pose, as bind() would place the avatar."""
        n, v = len(self), self.values
        means, quats, scales = (np.empty((k, n), np.float32) for k in (3, 4, 3))
        frames = self.frames(pose, posed)
        bind_kernels.place(self.triangle, frames, v["means"], v["quats"], v["log_scales"], means, quats, scales)
        sh = np.concatenate([v["sh0"], v["sh_rest"]])
        if dynamic:
            for channel, colour in zip(self.avatar.channels, self._channel_parts(v["channels"]), strict=True):
                on = channels.values(channel, posed.weights)
                if on.any():
                    sh[:3, channel.rows] += on * colour
        opacity = 1 / (1 + np.exp(-v["logits"]))
        shaped = sh.reshape(self.terms, 3, n).transpose(2, 0, 1)
        return Gaussians(means.T, quats.T, scales.T, opacity, shaped)

    def _channel_parts(self, flat: Array) -> list[Array]:
        """Views [3, m] of the channels' colours."""
        edges = np.cumsum([0, *(3 * len(c.rows) for c in self.avatar.channels)])
        return [flat[a:b].reshape(3, -1) for a, b in pairwise(edges)]

    def gradients(
        self, pose: int, posed: Posed, placed: Gaussians, d_means: Array, d_quats: Array, d_scales: Array,
        d_opacity: Array, d_sh: Array, dynamic: bool = True,
    ) -> dict[str, Array]:  # fmt: skip
        """By the parameters, from gradients in space: [3, n], [4, n], [3, n] (linear scales), [n], [3 terms, n]."""
        out = {name: np.zeros_like(a) for name, a in self.values.items()}
        scales = planes(placed.scales)
        kernels.to_local(
            self.triangle, self.frames(pose, posed), scales, d_means, d_quats, d_scales, out["means"], out["quats"],
            out["log_scales"],
        )  # fmt: skip
        out["logits"] = (d_opacity * placed.opacity * (1 - placed.opacity)).astype(np.float32)
        out["sh0"], out["sh_rest"] = d_sh[:3], d_sh[3:]
        if dynamic:
            for channel, to in zip(self.avatar.channels, self._channel_parts(out["channels"]), strict=True):
                on = channels.values(channel, posed.weights)
                if on.any():
                    to[:] = on * d_sh[:3, channel.rows]
        return out

    def limit(self, largest_m: Array) -> None:
        """Keep scales in space below largest_m [n] metres (on the neutral face), quaternions at length 1."""
        if not len(self._limits):
            self._limits = np.log(largest_m / np.maximum(self.sizes(), 1e-9)).astype(np.float32)
        np.minimum(self.values["log_scales"], self._limits, out=self.values["log_scales"])
        kernels.normalise(self.values["quats"])

    def sizes(self) -> Array:
        """[n] metres: sizes of the Gaussians' triangles on the neutral face."""
        return self.frames(-1, Posed("rest", self.head.template, np.zeros(0)))[self.triangle, 3]

    def to_avatar(self, meta: Mapping[str, object]) -> Avatar:
        """The avatar as it is now; `meta` is added to what the first one said of itself."""
        v, n = self.values, len(self)
        parts = self._channel_parts(v["channels"])
        made = tuple(
            replace(c, colour=np.ascontiguousarray(p.T, np.float32))
            for c, p in zip(self.avatar.channels, parts, strict=True)
        )
        sh = np.concatenate([v["sh0"], v["sh_rest"]]).reshape(self.terms, 3, n).transpose(2, 0, 1)
        return replace(
            self.avatar, local_means=as_planes(v["means"].T), local_quats=as_planes(v["quats"].T),
            log_scales=as_planes(v["log_scales"].T), opacity=(1 / (1 + np.exp(-v["logits"]))).astype(np.float32),
            sh=as_planes(sh), channels=made, meta={**self.avatar.meta, **meta},
        )  # fmt: skip
