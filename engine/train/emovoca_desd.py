"""Trains DE-SD on the two unpaired sets, and measures it as EmoVOCA's table 1 does.

Frames are drawn one by one: which talking frame meets which expression never matters (EmoVOCA, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from engine.core.anatomy import Head
from engine.core.names import EMOTIONS
from engine.core.progress import SILENT, Reporter
from engine.motion.nets.basis import shape_rows
from engine.motion.nets.desd import DESD, landmark_weights, reconstruction_loss
from engine.motion.nets.spiral import Levels, levels_of
from engine.studio.performances import unpaired
from engine.studio.performances.people import PEOPLE, person
from engine.train.motion_loop import Plan, train

BATCH = 32
SCALE_MM = 5.0  # displacements are given to the network in units of this


@dataclass(frozen=True)
class Frames:
    """Weights [n, 59] of talking and of expressive frames."""

    talk: np.ndarray
    feel: np.ndarray


def frames(head: Head, split: str, clips: int, report: Reporter = SILENT) -> Frames:
    """Both sets of a split: `clips` talking clips, and as many silent expressions of every label."""
    talk, feel = [], []
    for i in range(clips):
        report.step("unpaired sets", i, clips)
        who = person(split, i % PEOPLE[split])
        said = unpaired.talking(who, 900 + i, head)
        talk.append(np.concatenate([said.arkit, said.extra], 1)[::2])
        for label in EMOTIONS[1:]:
            shown = unpaired.expression(who, label, float(np.random.default_rng(i).choice([1 / 3, 2 / 3, 1.0])), i)
            feel.append(np.concatenate([shown.arkit, shown.extra], 1)[::4])
    return Frames(np.concatenate(talk), np.concatenate(feel))


class Surface:
    """Displacements of the finest level's points from weights, and back."""

    def __init__(self, head: Head, levels: Levels):
        rows = shape_rows(head).reshape(59, -1, 3)[:, levels.vertices].reshape(59, -1) / SCALE_MM
        self.rows = torch.from_numpy(rows.astype(np.float32))
        self.points = len(levels.vertices)
        gram = rows @ rows.T
        self.back = torch.from_numpy(
            np.linalg.solve(gram + 1e-4 * np.trace(gram) / 59 * np.eye(59), rows).astype(np.float32)
        )

    def displace(self, weights: np.ndarray) -> torch.Tensor:
        """[b, 59] -> [b, n, 3] in units of SCALE_MM."""
        return (torch.from_numpy(weights.astype(np.float32)) @ self.rows).reshape(len(weights), -1, 3)

    def weights(self, displacement: torch.Tensor) -> np.ndarray:
        """The nearest weights in [0, 1] to displacements [b, n, 3] (ridge least squares). [b, 59]."""
        return (displacement.flatten(1) @ self.back.T).clamp(0, 1).numpy()


def fit(
    head: Head,
    data: Frames,
    plan: Plan,
    join: str = "concat",
    single: bool = False,
    weighted: bool = True,
    counts: tuple[int, ...] | None = None,
    report: Reporter = SILENT,
) -> tuple[DESD, Surface, list[dict[str, Any]]]:
    """A DE-SD after `plan`; the encoders take turns, step by step."""
    torch.manual_seed(plan.seed)
    levels = levels_of(head, counts) if counts else levels_of(head)
    surface, net = Surface(head, levels), DESD(levels, join, single)
    template = torch.from_numpy(head.template[levels.vertices])
    marks = torch.from_numpy(head.template[np.asarray(head.landmarks["face68"])])
    weight = landmark_weights(template, marks) if weighted else torch.ones(surface.points)

    def step_loss(step: int) -> torch.Tensor:
        rng = np.random.default_rng([plan.seed, step])
        kind = ("talk", "feel")[step % 2]
        pool = getattr(data, kind)
        x = surface.displace(pool[rng.integers(len(pool), size=BATCH)])
        net.train()
        return reconstruction_loss(net.rebuild(x, kind), x, weight)

    return net, surface, train(net, step_loss, plan, report=report)


def max_vertex_error(net: DESD, surface: Surface, data: Frames) -> dict[str, float]:
    """MVE of reconstruction in mm on each set: largest error of a frame over its points, mean over frames."""
    net.eval()
    out = {}
    with torch.inference_mode():
        for kind in ("talk", "feel"):
            pool = getattr(data, kind)
            x = surface.displace(pool[:: max(1, len(pool) // 400)])
            missed = (net.rebuild(x, kind) - x).square().sum(-1).sqrt().max(1).values.mean()
            out[kind] = round(float(missed) * SCALE_MM, 3)
    return out
