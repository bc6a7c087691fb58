"""Trains EmoTalk3D's emotion extractor on a set of performances (engine/motion/voice_emotion.py says what it is for).

soliloquy train emotalk3d_extractor OUT.safetensors --work SET [--option steps=N]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.core.names import EMOTIONS
from engine.core.progress import SILENT, Reporter
from engine.motion.nets.s2g import EmotionExtractor
from engine.motion.voice_emotion import NAME
from engine.train.motion_data import Pool
from engine.train.motion_loop import Plan, draws, place, train
from engine.train.motion_recipe import finish, gather, of_data, plan_of

BATCH, ROWS = 16, 250
KINDS = ("label", "change")
CONFIG: dict[str, Any] = {"width": 64}


def fit(
    pool: Pool, held: Pool, plan: Plan, config: dict[str, Any] | None = None, report: Reporter = SILENT
) -> tuple[EmotionExtractor, list[dict[str, Any]]]:
    """The extractor and its log. held: clips of which is logged how often the strongest label is heard (`held_right`),
    beside always naming the commonest (`held_commonest`)."""
    torch.manual_seed(plan.seed)
    device = place()
    net = EmotionExtractor(**(CONFIG if config is None else config)).to(device)

    def tensor(column: np.ndarray, rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(column[rows].astype(np.float32)).to(device)

    def step_loss(step: int) -> torch.Tensor:
        _, rows = pool.draw(BATCH, ROWS, 0, draws(plan, step))
        net.train()
        seen = net(tensor(pool.speech, rows)).clamp_min(1e-6).log()
        return -(tensor(pool.emotion, rows) * seen).sum(-1).mean()

    def check() -> dict[str, float]:
        net.eval()
        truth, named = [], []
        with torch.inference_mode():
            for clip in range(len(held)):
                rows = held.wide(clip, 0)
                truth.append(int(held.emotion[rows].astype(np.float32).sum(0).argmax()))
                named.append(int(net(tensor(held.speech, rows)[None])[0].sum(0).argmax()))
        commonest = np.bincount(truth, minlength=len(EMOTIONS)).max() / len(truth)
        right = float(np.mean(np.array(truth) == np.array(named)))
        return {"held_right": round(right, 3), "held_commonest": round(float(commonest), 3)}

    return net, train(net, step_loss, plan, check, report)


def recipe(
    out: Path, work: Path, *, seed: int = 0, report: Reporter = SILENT, steps: str = "1500"
) -> dict[str, Any]:  # fmt: skip
    """`train emotalk3d_extractor OUT --work SET`: train, write the checkpoint, its log and its curves."""
    plan = plan_of(out, steps, seed, rate=1e-3)
    data = gather(work, KINDS, report)
    plan = of_data(plan, NAME, CONFIG, data.train)
    net, log = fit(data.train, data.held, plan, None, report)
    return finish(
        out, net, CONFIG, data.basis, log, system=NAME, supports=(), native_fps=50.0, head=data.head,
        curves=("loss", "held_right"), plans=(plan,),
    )  # fmt: skip
