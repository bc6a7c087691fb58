"""A generated performance.

One of the forms (`authority`) is the truth; the others are derived from it with a stated residual.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from engine.core.clock import FrameClock
from engine.core.errors import BadInput
from engine.core.names import ARKIT, AUS, EXTRA

AUTHORITIES = ("arkit", "flame", "vertices")


@dataclass(frozen=True)
class FlameTrack:
    """FLAME-layout parameters. version: "default-head-1", "2020", "2023", "2023-open".

    shape [s]; expression [t, e]; pose [t, 15] axis-angle radians (root, neck, jaw, eye left, eye right);
    translation [t, 3] metres; eyelids [t, 2] in [0, 1] (left, right).
    """

    version: str
    shape: np.ndarray
    expression: np.ndarray
    pose: np.ndarray
    translation: np.ndarray
    eyelids: np.ndarray


@dataclass(frozen=True)
class Take:
    """A performance at one frame rate; frame i is at i / fps seconds after the voice begins.

    au [t, 18, 2]; arkit [t, 52]; extra [t, k] with `extra_names`; all float32, nominally [0, 1].
    drive: what appearance nets need: "emotion" [t, 14], "intensity" [t], "va" [t, 2], "au_final" [t, 18, 2],
    "audio" [t, d]; and what other characters need: "contact" [t, 3] in [0, 1]: lips together, lip on teeth, voice.
    offsets [t, v, 3] metres: what authority "vertices" adds to the posed shapes; residual_shapes [k, v, 3] metres with
    residual_weights [t, k]: the same before the joints turn, as few shapes. Either, both or neither.
    residual_mm: largest distance of each derived form from the authority, by name.
    meta: head, topology_sha256, audio_sha256, controls_digest, system, checkpoint_sha256, seed, obeyed,
    applied_after, versions, native_fps.
    """

    fps: Fraction
    first_frame: int
    au: np.ndarray
    arkit: np.ndarray
    extra: np.ndarray
    flame: FlameTrack
    extra_names: tuple[str, ...] = EXTRA
    authority: str = "arkit"
    drive: dict[str, np.ndarray] = field(default_factory=dict)
    offsets: np.ndarray | None = None
    residual_shapes: np.ndarray | None = None
    residual_weights: np.ndarray | None = None
    gaussians: dict[str, np.ndarray] | None = None
    residual_mm: dict[str, float] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        t = len(self.arkit)
        want = {
            "au": (t, len(AUS), 2), "arkit": (t, len(ARKIT)), "extra": (t, len(self.extra_names)),
        }  # fmt: skip
        for name, shape in want.items():
            value = getattr(self, name)
            if value.shape != shape or not np.isfinite(value).all():
                raise BadInput(f"take.{name} must be finite {list(shape)}, got {list(value.shape)}")
        if self.flame.pose.shape != (t, 15):
            raise BadInput(f"take.flame.pose must be [{t}, 15], got {list(self.flame.pose.shape)}")
        if self.authority not in AUTHORITIES:
            raise BadInput(f"take.authority must be one of {AUTHORITIES}, got {self.authority!r}")
        self._check_residual(t)

    def _check_residual(self, t: int) -> None:
        if self.offsets is not None and (self.offsets.ndim != 3 or self.offsets.shape[::2] != (t, 3)):
            raise BadInput(f"take.offsets must be [{t}, v, 3], got {list(self.offsets.shape)}")
        shapes, weights = self.residual_shapes, self.residual_weights
        if shapes is None and weights is None:
            return
        if shapes is None or weights is None:
            raise BadInput("take.residual_shapes and take.residual_weights go together")
        if shapes.ndim != 3 or shapes.shape[2] != 3 or weights.shape != (t, len(shapes)):
            raise BadInput(
                f"residual weights {list(weights.shape)} do not fit shapes {list(shapes.shape)} of {t} frames"
            )
        if not (np.isfinite(shapes).all() and np.isfinite(weights).all()):
            raise BadInput("the take's residual shapes hold values that are not finite")

    def __len__(self) -> int:
        return len(self.arkit)

    @property
    def clock(self) -> FrameClock:
        return FrameClock(self.fps, self.first_frame)

    @property
    def times(self) -> np.ndarray:
        """Seconds of the frames. [t] float64."""
        return self.clock.times(len(self))
