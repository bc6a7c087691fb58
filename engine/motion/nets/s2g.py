"""S2GNet of EmoTalk3D (its section 4.1, after FaceXHuBERT): speech features and an emotion -> face, by a GRU.

The paper gives HuBERT's features and an extracted emotion to a GRU that regresses vertex displacements of the mean
template. Here: interface v1 in place of HuBERT (its adapter brings HuBERT in), the keyed emotion in place of the
extracted one (`EmotionExtractor` below is that extractor; off unless asked for, because it learned synthesised voices),
and the basis as last layer. Two convolutions look 80 ms ahead, so that a mouth can prepare for what comes; the GRU runs
forward only, so a long voice is run in windows that pass its state on and leave no seam.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.core.names import ARTICULATION, EMOTIONS

FEATURES = 64
EDGE = 4  # rows that the convolutions look to either side


class S2GNet(nn.Module):
    """(speech [b, t + 2 EDGE, 75], emotion [b, t, 14], state) -> (coefficients [b, t, size], state)."""

    def __init__(self, size: int, width: int = 160, layers: int = 2, use_emotion: bool = True):
        super().__init__()
        self.use_emotion = use_emotion
        self.hear = nn.Sequential(
            nn.Conv1d(len(ARTICULATION) + FEATURES, width, 5), nn.GELU(), nn.Conv1d(width, width, 5), nn.GELU()
        )
        self.feel = nn.Linear(len(EMOTIONS), 64)
        self.gru = nn.GRU(width + 64, width, layers, batch_first=True, dropout=0.1 if layers > 1 else 0.0)
        self.show = nn.Sequential(nn.Linear(width + 64, width), nn.GELU(), nn.Linear(width, size))

    def forward(self, speech: Tensor, emotion: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        heard = self.hear(speech.transpose(1, 2)).transpose(1, 2)
        felt = self.feel(emotion if self.use_emotion else torch.zeros_like(emotion))
        out, state = self.gru(torch.cat([heard, felt], -1), state)
        return self.show(torch.cat([out, felt], -1)), state


class EmotionExtractor(nn.Module):
    """Emotion of a voice over time: features [b, t, 75] -> probabilities [b, t, 14] (EmoTalk3D's extractor, smaller).

    A transformer encoder of two layers in place of the fine-tuned context network.
    """

    def __init__(self, width: int = 64):
        super().__init__()
        self.enter = nn.Conv1d(len(ARTICULATION) + FEATURES, width, 9, stride=5, padding=4)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.1, batch_first=True)
        self.context = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.leave = nn.Linear(width, len(EMOTIONS))

    def forward(self, speech: Tensor) -> Tensor:
        short = self.context(self.enter(speech.transpose(1, 2)).transpose(1, 2))
        long = nn.functional.interpolate(self.leave(short).transpose(1, 2), size=speech.shape[1], mode="linear")
        return long.transpose(1, 2).softmax(-1)
