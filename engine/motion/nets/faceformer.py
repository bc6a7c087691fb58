"""EmoVOCA's E-FaceFormer (its section 4.2, after Fan et al. 2022): an autoregressive decoder told emotion and
intensity.

Audio through interface v1, label and intensity as one-hot vectors through a linear layer of 64 each, joined to the
audio; a transformer decoder with a biased causal mask and periodic positions predicts each frame from those before it.
One frame at a time with cached keys and values, so a long voice costs the same per second; the attention reaches MEMORY
frames back.

Between the paper's three intensities the one-hot vector is a mix of the two nearest, and below the weakest it fades, as
the label's does: no feeling is no vector (its section 4.4 tests neutral speech with both at zero).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from engine.core.names import ARTICULATION, EMOTION_INDEX, EMOTIONS

INPUT = len(ARTICULATION) + 64
PERIOD = 25  # frames of the periodic positions and of the mask's steps (one second at the native rate)
MEMORY = 50  # frames that attention reaches back
AHEAD = 8  # rows of interface v1 that the audio's convolution looks to either side
STEPS = (1 / 3, 2 / 3, 1.0)  # the intensities that have a place in the one-hot vector


def conditions(emotion: np.ndarray, strength: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the network is told of a feeling. emotion [t, 14]: shares of the labels; strength [t] in [0, 1] ->
    (labels [t, 14], rows sum to 1 or, below the first of STEPS, to less; intensity [t, 3], one-hot at STEPS)."""
    knots = np.array((0.0, *STEPS))
    level = np.stack([np.interp(strength, knots, np.eye(len(knots))[i + 1]) for i in range(len(STEPS))], 1)
    label = emotion.copy()
    label[:, EMOTION_INDEX["neutral"]] = 0.0
    label /= np.maximum(label.sum(1, keepdims=True), 1e-6)
    return (label * level.sum(1, keepdims=True)).astype(np.float32), level.astype(np.float32)


@dataclass
class Memory:
    """Keys and values of the last MEMORY frames of each layer, the last frame, and how many frames came before."""

    keys: list[Tensor | None]
    values: list[Tensor | None]
    last: Tensor | None = None
    count: int = 0

    @classmethod
    def empty(cls, layers: int, count: int = 0) -> Memory:
        """Nothing remembered, about to make frame number `count`."""
        return cls([None] * layers, [None] * layers, None, count)

    def copy(self) -> Memory:
        """A memory of its own: `roll` replaces tensors and never writes into them."""
        return Memory(list(self.keys), list(self.values), self.last, self.count)


class Layer(nn.Module):
    """Causal self-attention with FaceFormer's biased mask, then an MLP."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.slopes: Tensor
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.leave = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        slopes = torch.tensor([2.0 ** (-8.0 * (h + 1) / heads) for h in range(heads)])
        self.register_buffer("slopes", slopes, persistent=False)

    def bias(self, rows: int, columns: int) -> Tensor:
        """[heads, rows, columns]: rows are the last of the columns; farther periods weigh less, the future nothing."""
        column = torch.arange(columns, device=self.slopes.device)
        distance = column[columns - rows :, None] - column[None]
        steps = torch.div(distance, PERIOD, rounding_mode="floor").clamp_min(0)
        bias = -self.slopes[:, None, None] * steps
        return bias.masked_fill((distance < 0) | (distance >= MEMORY), -math.inf)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        b, t, _ = x.shape
        q, k, v = self.qkv(self.before(x)).reshape(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return q, k, v

    def _finish(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=self.bias(q.shape[2], k.shape[2]))
        x = x + self.leave(out.transpose(1, 2).flatten(2))
        return x + self.mlp(self.between(x))

    def forward(self, x: Tensor) -> Tensor:
        """All frames at once (training)."""
        return self._finish(x, *self._split(x))

    def step(self, x: Tensor, keys: Tensor | None, values: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """One frame [b, 1, c] with what is remembered; the new memory."""
        q, k, v = self._split(x)
        if keys is not None and values is not None:
            k, v = torch.cat([keys, k], 2)[:, :, -MEMORY:], torch.cat([values, v], 2)[:, :, -MEMORY:]
        return self._finish(x, q, k, v), k, v


class EFaceFormer(nn.Module):
    """Native 25 frames a second: two rows of interface v1 make one frame.

    speech [b, 2 t + 2 AHEAD, 75], emotion [b, t, 14] and intensity [b, t, 3] (see `conditions`) -> [b, t, size].
    """

    def __init__(self, size: int, width: int = 128, heads: int = 4, layers: int = 2):
        super().__init__()
        self.place: Tensor
        self.size = size
        self.hear = nn.Sequential(
            nn.Conv1d(INPUT, width, 2 * AHEAD + 2, stride=2), nn.GELU(), nn.Conv1d(width, width, 1)
        )
        self.feel, self.strong = nn.Linear(len(EMOTIONS), 64), nn.Linear(len(STEPS), 64)
        self.tell = nn.Linear(width + 128, width)
        self.enter = nn.Linear(size, width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.leave = nn.Linear(2 * width, size)
        place = torch.arange(PERIOD)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(1e4) / width))
        self.register_buffer("place", torch.stack([place.sin(), place.cos()], -1).flatten(1), persistent=False)

    def told(self, speech: Tensor, emotion: Tensor, intensity: Tensor) -> Tensor:
        """What each frame is told: audio, label and intensity. [b, t, width]."""
        audio = self.hear(speech.transpose(1, 2)).transpose(1, 2)[:, : emotion.shape[1]]
        return self.tell(torch.cat([audio, self.feel(emotion), self.strong(intensity)], -1))

    def forward(self, before: Tensor, speech: Tensor, emotion: Tensor, intensity: Tensor) -> Tensor:
        """Teacher forcing: before [b, t, size] is the frame before each frame (zeros first)."""
        return self.decode(before, self.told(speech, emotion, intensity))

    def decode(self, before: Tensor, told: Tensor) -> Tensor:
        """All frames at once, from the frame before each and what each is told."""
        position = self.place[torch.arange(before.shape[1]) % PERIOD]
        x = self.enter(before) + told + position
        for layer in self.layers:
            x = layer(x)
        return self.leave(torch.cat([x, told], -1))

    @torch.no_grad()
    def roll(
        self, speech: Tensor, emotion: Tensor, intensity: Tensor, memory: Memory | None = None
    ) -> tuple[Tensor, Memory]:
        """Free running, frame by frame; the memory to go on with."""
        told = self.told(speech, emotion, intensity)
        memory = memory or Memory.empty(len(self.layers))
        last = memory.last if memory.last is not None else told.new_zeros(len(told), 1, self.size)
        out = []
        for i in range(told.shape[1]):
            x = self.enter(last) + told[:, i : i + 1] + self.place[memory.count % PERIOD]
            for j, layer in enumerate(self.layers):
                assert isinstance(layer, Layer)
                x, memory.keys[j], memory.values[j] = layer.step(x, memory.keys[j], memory.values[j])
            last = self.leave(torch.cat([x, told[:, i : i + 1]], -1))
            out.append(last)
            memory.count += 1
        memory.last = last
        return torch.cat(out, 1), memory
