"""Trains the net that reads expressions (measure only), on silent faces.

    soliloquy train legibility OUT.safetensors

Seeded; half a minute on one core. Left out of training are variants of no label, but whole draws: the held-out accuracy
printed at the end is on fresh silent faces.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.names import EMOTIONS
from engine.core.progress import SILENT, Reporter
from engine.head.points import face_points
from engine.measure.legibility import POINTS, Reader, features
from engine.measure.silent import batch, circle

HIDDEN = (128, 48)
STEPS, BATCH, RATE = 2500, 256, 1e-3
JITTER = 0.004  # of the distance of the eyes: a tracker's noise
VA_WEIGHT = 2.0


def faces(head: Head, points: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """(features [n, d], label [n], valence-arousal [n, 2]) of drawn silent faces."""
    from engine.head.action_units import to_shapes

    au, label, intensity = batch(count, rng)
    arkit, extra = to_shapes(au)
    arkit, extra = np.clip(arkit, 0, 1), np.clip(extra, 0, 1)
    return features(head, arkit, extra, points), label, circle()[label] * intensity[:, None]


def train(head: Head, steps: int = STEPS, seed: int = 0, report: Reporter = SILENT) -> tuple[Reader, dict[str, Any]]:
    """The reader and {"steps", "seed", "silent_top1", "log"}."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    points = face_points(head, POINTS)
    known, _, _ = faces(head, points, 14 * 80, rng)
    mean = known.mean(0)
    scale = np.full_like(mean, known.std(0).mean() + 1e-6)  # one number: points that move little stay quiet
    sizes = (known.shape[1], *HIDDEN)
    body = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU(), nn.Dropout(0.2))]
    net = nn.Sequential(*body, nn.Linear(sizes[-1], len(EMOTIONS) + 2))
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    log = []
    for step in range(steps):
        x, label, va = faces(head, points, BATCH, rng)
        x = (x + rng.normal(0, JITTER, x.shape) - mean) / scale
        out = net(torch.from_numpy(x.astype(np.float32)))
        loss = nn.functional.cross_entropy(out[:, :14], torch.from_numpy(label), label_smoothing=0.05)
        loss = loss + VA_WEIGHT * nn.functional.mse_loss(torch.tanh(out[:, 14:]), torch.from_numpy(va))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            log.append({"step": step, "loss": round(loss.item(), 4)})
            report.step("legibility", step, steps)
    linear = [m for m in net if isinstance(m, nn.Linear)]
    layers = tuple((m.weight.detach().numpy().copy(), m.bias.detach().numpy().copy()) for m in linear)
    reader = Reader(mean, scale, layers, points, head.topology_sha256)
    x, label, _ = faces(head, points, 14 * 100, np.random.default_rng(seed + 1))
    right = float((reader(x)[0].argmax(1) == label).mean())
    return reader, {"steps": steps, "seed": seed, "silent_top1": round(right, 4), "log": log}


def recipe(
    out: Path, work: Path | None = None, *, seed: int = 0, report: Reporter = SILENT, steps: str = str(STEPS)
) -> dict[str, Any]:
    """`train legibility OUT`: train, write, and say how well fresh silent faces are read."""
    import torch

    from engine.head.library import load_head
    from engine.measure.nets.expression import write_net

    torch.set_num_threads(1)
    reader, about = train(load_head(), int(steps), seed, report)
    write_net(out, reader, about)
    return {name: about[name] for name in ("steps", "seed", "silent_top1")}
