"""Trains EmoVOCA's two generators on its synthesised set: E-FaceFormer, and E-S2L+S2D beside it (its section 4.2).

E-FaceFormer is to run freely, so it must learn from its own frames. One frame after the other that costs a frame's time
for each frame; instead the network sees its own answers of up to PASSES earlier passes over the whole clip at once
(Duckworth et al. 2019, parallel scheduled sampling): a pass over its own answers is what free running converges to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.core.anatomy import Head
from engine.core.names import ARTICULATION
from engine.core.progress import SILENT, Reporter
from engine.motion.nets.basis import CHANNELS, Basis, shape_rows
from engine.motion.nets.desd import landmark_weights, reconstruction_loss
from engine.motion.nets.faceformer import EFaceFormer
from engine.motion.nets.s2l import ES2L, MARKS, S2D
from engine.motion.nets.spiral import Levels, levels_of
from engine.train.emovoca_desd import SCALE_MM, SHOWN, Surface
from engine.train.emovoca_set import Batch, Mixed, Pool
from engine.train.motion_loop import Plan, VertexLoss, draws, place, train

BATCH, FRAMES = 8, 75  # crops longer than the decoder's memory
PASSES = 3
DEAF = 0.25  # share of clips heard by articulation alone: features of people sound unlike those of synthesised voices
SPEED, UNREST = 4.0, 4.0  # weights of the first and second difference: held vowels must stand still
CONFIG: dict[str, Any] = {"width": 128, "heads": 4, "layers": 2}
DENSE_BATCH = 16
LOOKED_AT = 16  # held-out clips whose beginnings the log looks at


def _tensors(batch: Batch, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    fields = (batch.speech, batch.label, batch.level, batch.goal, batch.before)
    return tuple(torch.from_numpy(np.asarray(x, np.float32)).to(device) for x in fields)  # type: ignore[return-value]


def fit_faceformer(
    pool: Pool, held: Pool, head: Head, basis: Basis, plan: Plan, config: dict[str, Any] | None = None,
    passes: int = PASSES, report: Reporter = SILENT,
) -> tuple[EFaceFormer, list[dict[str, Any]]]:  # fmt: skip
    """The network and its log; "held_lips_mm": root mean square lip error of free running on held-out mixtures.

    passes: most passes over its own answers (0: teacher forcing alone).
    """
    torch.manual_seed(plan.seed)
    device = place()
    net = EFaceFormer(pool.size, **(CONFIG if config is None else config)).to(device)
    loss = VertexLoss(head, basis, SPEED, UNREST).to(device)

    def step_loss(step: int) -> Tensor:
        rng = draws(plan, step)
        speech, label, level, goal, before = _tensors(pool.draw(BATCH, FRAMES, rng), device)
        speech[torch.from_numpy(rng.random(BATCH) < DEAF).to(device), :, len(ARTICULATION) :] = 0.0
        net.train()
        told = net.told(speech, label, level)
        given = torch.cat([before, goal[:, :-1]], 1)
        with torch.no_grad():
            for _ in range(int(rng.integers(passes + 1))):
                given = torch.cat([before, net.decode(given, told)[:, :-1]], 1)
        return loss(net.decode(given, told), goal)

    looked = _tensors(held.starts(LOOKED_AT, FRAMES), device)

    def check() -> dict[str, float]:
        net.eval()
        seen, _ = net.roll(*looked[:3])
        missed = ((seen - looked[3]) @ loss.lips).square().sum(-1).mean(1).sqrt()
        return {"held_lips_mm": round(float(missed.mean()), 3)}

    return net, train(net, step_loss, plan, check, report)


def run_free(net: EFaceFormer, batch: Batch, basis: Basis) -> np.ndarray:
    """Weights [t, 59] that free running gives for a whole clip (a batch of one)."""
    speech, label, level, _, _ = _tensors(batch)
    return basis.weights(net.eval().cpu().roll(speech, label, level)[0][0].numpy())


@dataclass(frozen=True)
class TwoSteps:
    """A trained E-S2L+S2D: voice -> landmarks -> the surface's points -> weights."""

    s2l: ES2L
    s2d: S2D
    surface: Surface

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> np.ndarray:
        """Weights [t, 59] of a whole clip (a batch of one)."""
        speech, label, level, _, _ = _tensors(batch)
        self.s2l.eval(), self.s2d.eval()
        return self.surface.weights(self.s2d(self.s2l(speech, label, level)[0]))


def mark_rows(head: Head) -> np.ndarray:
    """What each weight moves of the 68 landmarks, in units of SCALE_MM. [59, 204]."""
    marks = np.asarray(head.landmarks["face68"])
    rows = shape_rows(head).reshape(CHANNELS, -1, 3)[:, marks] / SCALE_MM
    return rows.reshape(CHANNELS, 3 * MARKS).astype(np.float32)


def fit_s2d(
    clips: Sequence[Mixed], head: Head, plan: Plan, levels: Levels | None = None, report: Reporter = SILENT
) -> tuple[S2D, Surface, list[dict[str, Any]]]:
    """Landmarks to the surface, by the weighted L2 of eq. 3, on single frames of the mixtures."""
    torch.manual_seed(plan.seed)
    levels = levels or levels_of(head)
    faces = np.concatenate([c.weights[::4] for c in clips]).astype(np.float32)
    net, surface, rows = S2D(levels), Surface(head, levels, faces.max(0) > SHOWN), mark_rows(head)
    template = torch.from_numpy(head.template[levels.vertices])
    weight = landmark_weights(template, torch.from_numpy(head.template[np.asarray(head.landmarks["face68"])]))

    def step_loss(step: int) -> Tensor:
        one = faces[draws(plan, step).integers(len(faces), size=DENSE_BATCH)]
        net.train()
        return reconstruction_loss(net(torch.from_numpy(one @ rows)), surface.displace(one), weight)

    return net, surface, train(net, step_loss, plan, report=report)


def fit_s2l(
    clips: Sequence[Mixed], head: Head, plan: Plan, report: Reporter = SILENT
) -> tuple[ES2L, list[dict[str, Any]]]:  # fmt: skip
    """Voice to landmarks by the mean L2 of their errors."""
    torch.manual_seed(plan.seed)
    net, rows = ES2L(), mark_rows(head)
    pool = Pool(clips, lambda weights: weights @ rows)

    def step_loss(step: int) -> Tensor:
        speech, label, level, goal, _ = _tensors(pool.draw(BATCH, FRAMES, draws(plan, step)))
        net.train()
        missed = (net(speech, label, level) - goal).reshape(*goal.shape[:2], MARKS, 3)
        return missed.square().sum(-1).add(1e-12).sqrt().mean()

    return net, train(net, step_loss, plan, report=report)
