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

    def __len__(self) -> int:
        return len(self.arkit)

    @property
    def clock(self) -> FrameClock:
        return FrameClock(self.fps, self.first_frame)

    @property
    def times(self) -> np.ndarray:
        """Seconds of the frames. [t] float64."""
        return self.clock.times(len(self))
