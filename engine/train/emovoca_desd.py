"""Trains DE-SD on the two unpaired sets, and measures it as EmoVOCA's table 1 does.

Frames are drawn one by one: which talking frame meets which expression never matters (EmoVOCA, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.core.anatomy import Head
from engine.core.names import ARKIT, EXTRA_INDEX
from engine.core.progress import SILENT, Reporter
from engine.motion.nets.basis import CHANNELS, shape_rows
from engine.motion.nets.desd import DESD, landmark_weights, reconstruction_loss
from engine.motion.nets.spiral import Levels, levels_of
from engine.studio.performances import unpaired_store
from engine.train.motion_loop import Plan, train

BATCH = 16
SCALE_MM = 5.0  # displacements are given to the network in units of this
_UNSEEN_MM = 0.05  # a channel that moves no point of the surface further is not the network's to say (tongue, gaze)
_BITE = len(ARKIT) + EXTRA_INDEX["lowerLipToTeeth"]
SHOWN = 0.01  # a weight above this is seen
_ROUNDS = 80  # of projected gradient: four times as many move no point by more than 0.1 mm, 0.03 mm on average


@dataclass(frozen=True)
class Frames:
    """Weights [n, 59] of talking and of expressive frames."""

    talk: np.ndarray
    feel: np.ndarray

    @property
    def used(self) -> np.ndarray:
        """Which channels any of these faces shows. [59] bool."""
        return np.maximum(self.talk.max(0), self.feel.max(0)) > SHOWN


def frames(folder: Path, split: str) -> Frames:
    """Every second talking frame and every fourth expressive one of the sets in `folder`. Raises BadFile."""
    talk = np.concatenate([clip.weights[::2] for clip in unpaired_store.talks(folder, split)])
    feel = np.concatenate([clip.weights[::4] for clip in unpaired_store.feels(folder, split)])
    return Frames(talk, feel)


class Surface:
    """Displacements of the finest level's points from weights, and back.

    used [59] bool: channels that faces are made of (all, if not said). A gaze channel moves lids too and would take
    part of a squint that no expression made by looking down.
    """

    def __init__(self, head: Head, levels: Levels, used: np.ndarray | None = None):
        rows = shape_rows(head).reshape(CHANNELS, -1, 3)[:, levels.vertices]
        self.seen = np.linalg.norm(rows, axis=2).max(1) > _UNSEEN_MM
        self.most = torch.ones(CHANNELS) if used is None else torch.from_numpy(used.astype(np.float32))
        flat = rows.reshape(CHANNELS, -1) / SCALE_MM
        self.rows = torch.from_numpy(flat.astype(np.float32))
        self.vertices, self.points = levels.vertices, len(levels.vertices)
        gram = flat @ flat.T
        self.gram = torch.from_numpy((gram + 1e-4 * np.trace(gram) / CHANNELS * np.eye(CHANNELS)).astype(np.float32))
        self.step = 1.0 / float(np.linalg.eigvalsh(self.gram.numpy().astype(np.float64)).max())
        self.back = torch.from_numpy(np.linalg.solve(self.gram.numpy().astype(np.float64), flat).astype(np.float32))

    def displace(self, weights: np.ndarray) -> torch.Tensor:
        """[b, 59] -> [b, n, 3] in units of SCALE_MM."""
        return (torch.from_numpy(weights.astype(np.float32)) @ self.rows).reshape(len(weights), -1, 3)

    def weights(self, displacement: torch.Tensor, spoken: np.ndarray | None = None) -> np.ndarray:
        """The nearest weights in [0, 1] to displacements [b, n, 3]: ridge least squares with bounds, by projected
        gradient with Nesterov's momentum. [b, 59]; zero for channels that the surface does not show.

        spoken [b, 59]: weights of the talk; its lip on the teeth stays as it is, for a contact that other shapes make
        up for is none.
        """
        least, most = torch.zeros(len(displacement), CHANNELS), self.most.expand(len(displacement), CHANNELS).clone()
        if spoken is not None:
            least[:, _BITE] = most[:, _BITE] = torch.from_numpy(spoken[:, _BITE].astype(np.float32))
        goal = displacement.flatten(1) @ self.rows.T
        now = (displacement.flatten(1) @ self.back.T).clamp(least, most)
        ahead, pace = now, 1.0
        for _ in range(_ROUNDS):
            after = (ahead - self.step * (ahead @ self.gram - goal)).clamp(least, most)
            faster = 0.5 * (1 + (1 + 4 * pace * pace) ** 0.5)
            ahead, now, pace = after + (pace - 1) / faster * (after - now), after, faster
        out = now.numpy()
        out[:, ~self.seen] = 0.0
        return out


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
    surface, net = Surface(head, levels, data.used), DESD(levels, join, single)
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
