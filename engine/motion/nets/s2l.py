"""EmoVOCA's E-S2L+S2D (its section 4.2, after Nocentini et al. 2023): voice to 68 landmarks, landmarks to the face.

E-S2L: a bidirectional LSTM over interface v1 with label and intensity (64 each, joined to the audio as E-FaceFormer
does) gives the landmarks' motion; S2D: the spiral decoder of DE-SD densifies it. Both directions are heard, so the
whole voice must be there: the offline baseline beside E-FaceFormer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.core.names import EMOTIONS
from engine.motion.nets.desd import Decoder
from engine.motion.nets.faceformer import AHEAD, INPUT, STEPS
from engine.motion.nets.spiral import Levels

MARKS = 68


class ES2L(nn.Module):
    """speech [b, 2 t + 2 AHEAD, 75] at 50 Hz, emotion [b, t, 14], intensity [b, t, 3] -> landmarks' displacements
    [b, t, 204] at 25 Hz, in the units that it was trained in."""

    def __init__(self, width: int = 96):
        super().__init__()
        self.hear = nn.Sequential(nn.Conv1d(INPUT, width, 2 * AHEAD + 2, stride=2), nn.GELU())
        self.feel, self.strong = nn.Linear(len(EMOTIONS), 64), nn.Linear(len(STEPS), 64)
        self.run = nn.LSTM(width + 128, width, batch_first=True, bidirectional=True, num_layers=2)
        self.leave = nn.Linear(2 * width, 3 * MARKS)

    def forward(self, speech: Tensor, emotion: Tensor, intensity: Tensor) -> Tensor:
        audio = self.hear(speech.transpose(1, 2)).transpose(1, 2)[:, : emotion.shape[1]]
        out, _ = self.run(torch.cat([audio, self.feel(emotion), self.strong(intensity)], -1))
        return self.leave(out)


class S2D(nn.Module):
    """Landmarks' displacements [b, 204] -> displacements of the finest level's points [b, n, 3]."""

    def __init__(self, levels: Levels):
        super().__init__()
        self.decode = Decoder(levels, 3 * MARKS)

    def forward(self, marks: Tensor) -> Tensor:
        return self.decode(marks)
