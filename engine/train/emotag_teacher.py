"""The teacher of EmoTaG's Semantic Emotion Guidance, in place of DeepFace: reads labels from the truth's faces.

A small network of faces (coefficients of the basis) to 14 labels, fitted to the training people and calibrated by one
temperature on people that it has not seen (Guo et al. 2017): its answers stay soft where faces are alike. It never sees
a network's output, and it is not the reader that measures legibility.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from engine.core.names import EMOTIONS
from engine.train.motion_data import Pool

KINDS = ("label", "change", "mix", "plain")  # clips whose rows are labelled
STEPS, BATCH, RATE, WIDTH = 1500, 512, 3e-3, 64
ROWS = 60_000


class Teacher:
    """coefficients [t, k] -> probabilities [t, 14]."""

    def __init__(self, net: nn.Module, scale: Tensor, temperature: float):
        self.net, self.scale, self.temperature = net.eval(), scale, temperature

    @torch.inference_mode()
    def __call__(self, coefficients: np.ndarray) -> np.ndarray:
        out = self.net(torch.from_numpy(coefficients.astype(np.float32)) / self.scale)
        return (out / self.temperature).softmax(-1).numpy()


def _rows(pool: Pool, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """(coefficients [n, k], label shares [n, 14]) of rows of labelled clips."""
    labelled = np.repeat(np.isin(pool.kinds, KINDS), pool.length)
    pick = rng.permutation(np.flatnonzero(labelled))[:count]
    return torch.from_numpy(pool.goal[pick].astype(np.float32)), torch.from_numpy(pool.emotion[pick].astype(np.float32))


def _missed(logits: Tensor, share: Tensor) -> Tensor:
    return -(share * logits.log_softmax(-1)).sum(-1).mean()


def fit(pool: Pool, held: Pool, seed: int = 0, steps: int = STEPS) -> Teacher:
    """The teacher of training clips, calibrated on the held ones."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 31])
    face, share = _rows(pool, ROWS, rng)
    scale = face.std() + 1e-6
    net = nn.Sequential(
        nn.Linear(face.shape[1], WIDTH), nn.GELU(), nn.Dropout(0.1), nn.Linear(WIDTH, WIDTH), nn.GELU(),
        nn.Linear(WIDTH, len(EMOTIONS)),
    )  # fmt: skip
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        pick = torch.from_numpy(rng.integers(len(face), size=BATCH))
        loss = _missed(net(face[pick] / scale), share[pick])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return Teacher(net, scale, calibrated(net.eval(), *_rows(held, ROWS, rng), scale))


@torch.inference_mode()
def calibrated(net: nn.Module, face: Tensor, share: Tensor, scale: Tensor) -> float:
    """The temperature in [0.5, 4] at which held-out faces are told with the least surprise."""
    logits = net(face / scale)
    choices = np.geomspace(0.5, 4.0, 37)
    return float(choices[int(np.argmin([_missed(logits / float(t), share) for t in choices]))])
