"""Trains `emotalk3d` (S2GNet) on a set of performances.

soliloquy train emotalk3d OUT.safetensors --work SET [--option steps=N] [--option ablate=emotion]
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.core.anatomy import Head
from engine.core.names import ARTICULATION
from engine.core.progress import SILENT, Reporter
from engine.motion.emotalk3d import NAME, EmoTalk3D
from engine.motion.nets.basis import Basis
from engine.motion.nets.s2g import EDGE, S2GNet
from engine.train.motion_data import Pool
from engine.train.motion_loop import Plan, VertexLoss, draws, place, train
from engine.train.motion_recipe import Data, ablated, finish, gather, of_data, plan_of

BATCH, ROWS = 24, 100
SPEED, UNREST = 4.0, 4.0  # weights of velocity and acceleration in the loss: held vowels must stand still
DEAF = 0.25  # share of clips heard by articulation alone: features of people sound unlike those of synthesised voices
KINDS = ("label", "change", "mix", "plain")  # what the network is told about; the rest is applied after it
CONFIG: dict[str, Any] = {"width": 160, "layers": 2}
ABLATIONS: dict[str, dict[str, Any]] = {"emotion": {"use_emotion": False}}  # the paper's table 4, what concerns motion


def fit(
    pool: Pool,
    held: Pool | None,
    head: Head,
    basis: Basis,
    plan: Plan,
    config: dict[str, Any] | None = None,
    report: Reporter = SILENT,
) -> tuple[S2GNet, list[dict[str, Any]]]:
    """The network and the log. held: clips of which the first 16's lip error (root mean square, mm) is logged."""
    torch.manual_seed(plan.seed)
    device = place()
    net = S2GNet(basis.size, **(CONFIG if config is None else config)).to(device)
    loss = VertexLoss(head, basis, SPEED, UNREST).to(device)

    def tensor(column: np.ndarray, rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(column[rows].astype(np.float32)).to(device)

    def step_loss(step: int) -> torch.Tensor:
        rng = draws(plan, step)
        _, rows = pool.draw(BATCH, ROWS, EDGE, rng)
        inner = rows[:, EDGE:-EDGE]
        speech = tensor(pool.speech, rows)
        speech[torch.from_numpy(rng.random(BATCH) < DEAF).to(device), :, len(ARTICULATION) :] = 0.0
        net.train()
        seen, _ = net(speech, tensor(pool.emotion, inner))
        return loss(seen, tensor(pool.goal, inner))

    def check() -> dict[str, float]:
        if held is None:
            return {}
        net.eval()
        errors = []
        with torch.inference_mode():
            for clip in range(min(16, len(held))):
                rows = held.wide(clip, EDGE)
                inner = rows[EDGE:-EDGE]
                seen, _ = net(tensor(held.speech, rows)[None], tensor(held.emotion, inner)[None])
                missed = (seen[0] - tensor(held.goal, inner)) @ loss.lips
                errors.append(float(missed.square().sum(-1).mean().sqrt()))
        return {"held_lips_mm": round(float(np.mean(errors)), 3)}

    return net, train(net, step_loss, plan, check, report)


def recipe(
    out: Path, work: Path, *, seed: int = 0, report: Reporter = SILENT, steps: str = "5000", ablate: str = ""
) -> dict[str, Any]:
    """`train emotalk3d OUT --work SET`: train, write the checkpoint, its log and its curves."""
    ablated(CONFIG, ABLATIONS, ablate), plan_of(out, steps, seed)  # what is wrong with them is said before reading
    return one(ready(work, seed, report), out, seed, report, steps, ablate)


def ready(work: Path, seed: int = 0, report: Reporter = SILENT) -> Data:
    """What every training of this recipe begins with; nothing of it hangs on the seed."""
    return gather(work, KINDS, report)


def one(
    data: Data, out: Path, seed: int = 0, report: Reporter = SILENT, steps: str | int = 5000, ablate: str = ""
) -> dict[str, Any]:  # fmt: skip
    """One training on `data`, of the whole network or without a part."""
    config = ablated(CONFIG, ABLATIONS, ablate)
    plan = of_data(plan_of(out, steps, seed), NAME, config, data.train, ablate)
    net, log = fit(data.train, data.held, data.head, data.basis, plan, config, report)
    return save(out, net, config, data.basis, data.head, log, ablate, (plan,))


def save(
    out: Path, net: S2GNet, config: dict[str, Any], basis: Basis, head: Head, log: list[dict[str, Any]],
    ablate: str = "", plans: Iterable[Plan] = (),
) -> dict[str, Any]:  # fmt: skip
    """Write the checkpoint, its log and its curves (engine.train.motion_recipe.finish)."""
    return finish(
        out, net, config, basis, log, system=NAME, supports=EmoTalk3D.supports, native_fps=EmoTalk3D.native_fps,
        head=head, curves=("loss", "held_lips_mm"), ablate=ablate, plans=plans,
    )  # fmt: skip
