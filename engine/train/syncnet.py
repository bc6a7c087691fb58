"""Our SyncNet-form network (Chung & Zisserman 2016): does this mouth go with this sound? And the loss that it gives.

A window of the voice (interface v1) and one of the lips (their motion in the shared basis), 0.2 s each as SyncNet's
five frames, become unit vectors; trained on performances to tell the right time from shifted ones of the same clip and
from other clips. EmoTalkingGaussian eq. 9 is then the squared distance of the two. A second one, of another seed and
half of the people, judges what was trained with the first: a net does not mark its own work.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from engine.core.names import ARTICULATION
from engine.core.progress import SILENT, Reporter
from engine.motion.nets.basis import Basis
from engine.train.motion_codes import worn
from engine.train.motion_data import Pool
from engine.train.motion_loop import Plan, draws, place, train

WINDOW = 10  # rows at 50 Hz
SHIFTS = (3, 25)  # rows by which a negative is early or late: nearer ones sound alike
NEGATIVES, BATCH = 8, 48
WARMTH = 0.1  # of the contrast's softmax
SPEAKING = 0.7  # least share of voiced rows in a training window: silence goes with silence at any time
OFFSETS = 15  # rows to either side in `scores`
LIP_SIZE = 16  # of the lips' axes, the strongest


class SyncNet(nn.Module):
    """hear: speech [n, WINDOW, 75] -> unit vectors [n, 64]; see: coefficients [n, WINDOW, k] -> the same.

    lips [k, r]: region_metric of the lips; spread [r]: of the axes in the performances.
    """

    def __init__(self, lips: np.ndarray, spread: np.ndarray, width: int = 64):
        super().__init__()
        self.lips: Tensor
        self.spread: Tensor
        self.register_buffer("lips", torch.from_numpy(np.asarray(lips, np.float32)))
        self.register_buffer("spread", torch.from_numpy(np.asarray(spread, np.float32)))
        self.audio = _encoder(len(ARTICULATION) + 64, width)
        self.mouth = _encoder(lips.shape[1], width)

    def hear(self, speech: Tensor) -> Tensor:
        return nn.functional.normalize(self.audio(speech.transpose(1, 2)), dim=-1)

    def see(self, coefficients: Tensor) -> Tensor:
        moved = (coefficients @ self.lips) / self.spread
        return nn.functional.normalize(self.mouth(moved.transpose(1, 2)), dim=-1)


def _encoder(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(inputs, width, 3), nn.GELU(), nn.Conv1d(width, width, 3, stride=2), nn.GELU(), nn.Flatten(),
        nn.Linear(width * ((WINDOW - 5) // 2 + 1), width), nn.GELU(), nn.Linear(width, 64),
    )  # fmt: skip


def axes_of(lips: np.ndarray) -> np.ndarray:
    """The strongest LIP_SIZE axes of region_metric's [k, r]."""
    return lips[:, np.argsort(-np.square(lips).sum(0), kind="stable")[:LIP_SIZE]]


@dataclass(frozen=True)
class Pairs:
    """speech [n, WINDOW, 75]; goal [n, 1 + NEGATIVES, WINDOW, k]: the right time first."""

    speech: np.ndarray
    goal: np.ndarray


def pairs(pool: Pool, count: int, rng: np.random.Generator) -> Pairs:
    """Windows of speech with the mouth of that moment and of NEGATIVES others of the same clip."""
    margin = SHIFTS[1]
    _, rows = pool.draw(4 * count, WINDOW, margin, rng)
    inner = rows[:, margin:-margin]
    # Held ends repeat rows: a shifted window there would be the same one.
    whole = (np.diff(rows, axis=1) > 0).all(1) & (pool.contact[inner][..., 2].mean(1) > SPEAKING)
    rows = rows[np.argsort(~whole, kind="stable")[:count]]
    shifts = rng.integers(SHIFTS[0], SHIFTS[1] + 1, (count, NEGATIVES)) * rng.choice([-1, 1], (count, NEGATIVES))
    start = margin + np.concatenate([np.zeros((count, 1), np.int64), shifts], 1)
    at = start[..., None] + np.arange(WINDOW)
    goal = pool.goal[np.take_along_axis(rows[:, None], at, 2)]
    return Pairs(pool.speech[rows[:, margin:-margin]], goal.astype(np.float32))


def contrast(net: SyncNet, speech: Tensor, goal: Tensor) -> Tensor:
    """Cross entropy of the right mouth among the shifted ones and those of the other clips of the batch."""
    n, m = goal.shape[:2]
    heard, seen = net.hear(speech), net.see(goal.flatten(0, 1)).reshape(n, m, -1)
    shifted = torch.einsum("nd,nmd->nm", heard, seen[:, 1:])
    others = heard @ seen[:, 0].T  # the diagonal is the right one
    right = others.diagonal()[:, None]
    others = others.masked_fill(torch.eye(n, dtype=torch.bool, device=others.device), -1e4)
    logits = torch.cat([right, shifted, others], 1) / WARMTH
    return nn.functional.cross_entropy(logits, torch.zeros(n, dtype=torch.long, device=logits.device))


def fit(
    pool: Pool, basis: Basis, lips: np.ndarray, plan: Plan, report: Reporter = SILENT
) -> SyncNet:  # fmt: skip
    """Train one on a pool; lips: region_metric of the lips [k, r]. In evaluation mode, its parameters frozen."""
    torch.manual_seed(plan.seed)
    device, axes = place(), axes_of(lips)
    spread = (pool.goal[::7].astype(np.float32) @ axes).std(0) + 0.05
    net = SyncNet(axes, spread).to(device)

    def step_loss(step: int) -> Tensor:
        rng = draws(plan, step)
        made = pairs(pool, BATCH, rng)
        return contrast(
            net, torch.from_numpy(worn(made.speech, rng)).to(device), torch.from_numpy(made.goal).to(device)
        )

    train(net, step_loss, plan, None, report)
    return net.eval().requires_grad_(False)


def sync_loss(net: SyncNet, speech: Tensor, coefficients: Tensor) -> Tensor:
    """Eq. 9: mean squared distance of the unit vectors of voice and mouth, over windows that overlap by half.

    speech [b, t, 75] and coefficients [b, t, k] of the same rows; t >= WINDOW.
    """
    starts = sorted({*range(0, coefficients.shape[1] - WINDOW + 1, WINDOW // 2), coefficients.shape[1] - WINDOW})
    heard = torch.cat([speech[:, s : s + WINDOW] for s in starts])
    seen = torch.cat([coefficients[:, s : s + WINDOW] for s in starts])
    return (net.see(seen) - net.hear(heard)).square().sum(-1).mean()


@torch.inference_mode()
def scores(net: SyncNet, speech: np.ndarray, coefficients: np.ndarray, voiced: np.ndarray) -> dict[str, float]:
    """Of one clip: "error" (SyncNet's Sync-E: the least mean distance over offsets), "confidence" (Sync-C: the median
    less the least), "offset" in rows (how late the mouth is). speech [t, 75], coefficients [t, k], voiced [t]."""
    device = net.lips.device
    count = len(speech) - WINDOW + 1
    at = np.arange(max(count, 0))[:, None] + np.arange(WINDOW)
    heard = net.hear(torch.from_numpy(np.asarray(speech, np.float32)[at]).to(device))
    seen = net.see(torch.from_numpy(np.asarray(coefficients, np.float32)[at]).to(device))
    used = np.flatnonzero(np.asarray(voiced)[at].mean(1) > SPEAKING)
    used = used[(used >= OFFSETS) & (used < count - OFFSETS)]
    if not len(used):
        return {}
    curve = [float((seen[used + d] - heard[used]).norm(dim=-1).mean()) for d in range(-OFFSETS, OFFSETS + 1)]
    least = int(np.argmin(curve))
    return {"error": curve[least], "confidence": float(np.median(curve)) - curve[least], "offset": least - OFFSETS}
