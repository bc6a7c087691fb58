"""What a voice becomes: `Audio` (samples) and `Speech` (articulation and features)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.core.errors import BadInput
from engine.core.names import ARTICULATION, ARTICULATION_RATE_HZ

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class Audio:
    """A mono voice at 16 kHz.

    samples: [n] float32, about [-1, 1], finite.
    sha256: of the file's bytes (of the samples where no file was read).
    """

    samples: np.ndarray
    sha256: str
    path: str = ""

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.samples.dtype != np.float32 or not len(self.samples):
            raise BadInput("audio must be a non-empty float32 vector")

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True)
class Features:
    """A speech encoder's output.

    values: [t, d] float16; row i belongs to second `t0_s + i / rate_hz`.
    norm: "none" or the name of the normalisation that was applied.
    """

    encoder_id: str
    layer: str
    rate_hz: float
    t0_s: float
    values: np.ndarray
    norm: str = "none"

    @property
    def dim(self) -> int:
        return int(self.values.shape[1])


@dataclass(frozen=True)
class Cue:
    """One phone: IPA symbol, start and end in seconds."""

    phone: str
    start: float
    end: float


@dataclass(frozen=True)
class Speech:
    """Interface v1 for every motion system: articulation and 64-d features of a voice.

    articulation: [t, 11] float32 in [0, 1], columns `names.ARTICULATION`, row i at second i / 50.
    prosody: name -> [t] float32 on the same rows ("energy" in [0, 1]; "f0_hz", 0 where unvoiced).
    duration: seconds of the voice; t = ceil(50 duration).
    """

    articulation: np.ndarray
    features: Features
    duration: float
    prosody: dict[str, np.ndarray] = field(default_factory=dict)
    cues: tuple[Cue, ...] = ()

    def __post_init__(self) -> None:
        a = self.articulation
        if a.ndim != 2 or a.shape[1] != len(ARTICULATION) or not np.isfinite(a).all():
            raise BadInput(f"articulation must be finite [t, {len(ARTICULATION)}], got {a.shape}")

    @property
    def times(self) -> np.ndarray:
        """Seconds of the rows. [t] float64."""
        return np.arange(len(self.articulation)) / ARTICULATION_RATE_HZ
