"""Trains `emotalk3d` (S2GNet) on a set of performances.

python -m engine.train.emotalk3d_recipe SET OUT.safetensors [--steps N] [--keep STATE.pt]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.core.anatomy import Head
from engine.core.progress import SILENT, Reporter
from engine.motion.emotalk3d import NAME, EmoTalk3D
from engine.motion.nets import file
from engine.motion.nets.basis import Basis
from engine.motion.nets.s2g import EDGE, S2GNet
from engine.train.motion_data import Example, basis_of, crops, examples
from engine.train.motion_loop import Plan, VertexLoss, train

BATCH, ROWS = 16, 150
KINDS = ("label", "change", "mix", "plain")  # what the network is told about; the rest is applied after it
CONFIG: dict[str, Any] = {"width": 160, "layers": 2}


def fit(
    clips: list[Example],
    held: list[Example],
    head: Head,
    plan: Plan,
    config: dict[str, Any] | None = None,
    report: Reporter = SILENT,
) -> tuple[S2GNet, Basis, list[dict[str, Any]]]:
    """The network, its basis and the log. held: clips whose lip error (root mean square, mm) is logged."""
    torch.manual_seed(plan.seed)
    basis = basis_of(head, clips)
    net, loss = S2GNet(basis.size, **(config or CONFIG)), VertexLoss(head, basis)
    goal = {id(clip): basis.coefficients(clip.weights) for clip in (*clips, *held)}

    def step_loss(step: int) -> torch.Tensor:
        rng = np.random.default_rng([plan.seed, step])
        chosen, _, rows = next(crops(clips, BATCH, ROWS, EDGE, rng))
        inner = rows[:, EDGE:-EDGE]
        speech = np.stack([c.speech[r] for c, r in zip(chosen, rows, strict=True)])
        emotion = np.stack([c.emotion[r] for c, r in zip(chosen, inner, strict=True)])
        truth = np.stack([goal[id(c)][r] for c, r in zip(chosen, inner, strict=True)])
        net.train()
        seen, _ = net(torch.from_numpy(speech), torch.from_numpy(emotion))
        return loss(seen, torch.from_numpy(truth))

    def check() -> dict[str, float]:
        net.eval()
        errors = []
        with torch.inference_mode():
            for clip in held:
                rows = np.clip(np.arange(-EDGE, len(clip) + EDGE), 0, len(clip) - 1)
                seen, _ = net(torch.from_numpy(clip.speech[rows])[None], torch.from_numpy(clip.emotion)[None])
                missed = (seen[0] - torch.from_numpy(goal[id(clip)])) @ loss.lips
                errors.append(float(missed.square().sum(-1).mean().sqrt()))
        return {"held_lips_mm": round(float(np.mean(errors)), 3)} if errors else {}

    return net, basis, train(net, step_loss, plan, check, report)


def save(path: Path, net: S2GNet, basis: Basis, head: Head, config: dict[str, Any] | None = None) -> None:
    """Write the checkpoint (engine.motion.nets.file)."""
    tensors = {name: value.detach().numpy() for name, value in net.state_dict().items()}
    header = {
        "system": NAME, "config": config or CONFIG, "supports": sorted(EmoTalk3D.supports), "interface": "v1",
        "native_fps": EmoTalk3D.native_fps, "topology_sha256": head.topology_sha256,
    }  # fmt: skip
    file.write(path, file.Checkpoint(tensors, basis, header))


def main() -> None:
    """The command at the module's head."""
    from engine.console import reporting
    from engine.head.library import load_head
    from engine.train.curves import draw_log

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--curves", type=Path)
    wish = parser.parse_args()
    head = load_head()
    with reporting() as report:
        clips, held = examples(wish.set, "train", KINDS), examples(wish.set, "valid", KINDS)[:16]
        net, basis, log = fit(clips, held, head, Plan(wish.steps, keep=wish.keep), report=report)
    save(wish.out, net, basis, head)
    if wish.curves:
        draw_log(wish.curves, log, ("loss", "held_lips_mm"), f"{NAME}: {len(clips)} clips")
    print(log[-1], basis.size, "components")


if __name__ == "__main__":
    main()
