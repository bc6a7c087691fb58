"""Trains `emotag` on a set of performances: GRMN over many people, guided by a teacher of emotion.

    soliloquy train emotag OUT.safetensors --work SET [--option steps=N] [--option ablate=identity]

The loss is eq. 10 with vertices in place of pixels: rendering is unaffordable here, and geometry is what the network
gives. Depth and normals (eq. 14) belong to an avatar's captures, and so do the offsets inside the mouth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.core.anatomy import Head
from engine.core.progress import SILENT, Reporter
from engine.motion.emotag import IDENTITY, NAME, EmoTaG, identity_of
from engine.motion.nets.basis import Basis
from engine.motion.nets.grmn import GRMN, guidance
from engine.train import emotag_teacher
from engine.train.motion_codes import asked_of, clips_of, rows_of, worn
from engine.train.motion_data import Pool
from engine.train.motion_loop import Plan, VertexLoss, draws, place, train
from engine.train.motion_recipe import ablated, finish, gather, of_data, plan_of

BATCH, ROWS, EDGE = 8, 144, 12
NOBODY = 0.25  # share of crops whose speaker is not told: the network must serve a voice without a person
CONFIG: dict[str, Any] = {"identity": IDENTITY, "width": 128}
# Weights of eq. 12 and 13 beside the mean square error of vertices in mm (ours to set: the units differ).
GUIDANCE: dict[str, float] = {"kl": 0.2, "score": 0.2}
ABLATIONS: dict[str, dict[str, Any]] = {  # the paper's table 5
    "identity": {"use_identity": False}, "residual": {"use_residual": False}, "gate": {"use_gate": False},
    "kl": {"kl": 0.0}, "score": {"score": 0.0}, "guidance": {"kl": 0.0, "score": 0.0},
}  # fmt: skip


@dataclass(frozen=True)
class Lessons:
    """A pool with what GRMN needs beside it: codes [n, 36], the teacher's shares [n, 14], and each person's identities,
    one a clip, in standard units [clips, IDENTITY]."""

    pool: Pool
    codes: np.ndarray
    taught: np.ndarray
    persons: tuple[np.ndarray, ...]


Units = tuple[np.ndarray, np.ndarray]  # mean and spread of identities, [IDENTITY] each


def identities(pool: Pool) -> np.ndarray:
    """What each clip says of its speaker. [clips, IDENTITY]."""
    rows = (rows_of(pool, i) for i in range(len(pool)))
    return np.stack([identity_of(pool.weights[r].astype(np.float32), pool.speech[r].astype(np.float32)) for r in rows])


def units(pool: Pool) -> Units:
    """The units in which identities are given to the network: of the training clips."""
    raw = identities(pool)
    return raw.mean(0), raw.std(0) + 1e-3


def standard(raw: np.ndarray, unit: Units) -> np.ndarray:
    """Identities [.., IDENTITY] in standard units, bounded. float32."""
    return np.clip((raw - unit[0]) / unit[1], -3.0, 3.0).astype(np.float32)


def lessons(pool: Pool, teacher: emotag_teacher.Teacher, unit: Units) -> Lessons:
    """`Lessons` of a pool."""
    own = standard(identities(pool), unit)
    persons = tuple(own[clips_of(pool, name)] for name in pool.people)
    return Lessons(pool, asked_of(pool), teacher(pool.goal.astype(np.float32)).astype(np.float16), persons)


def fit(
    data: Lessons, held: Lessons | None, head: Head, basis: Basis, plan: Plan,
    config: Mapping[str, Any] | None = None, report: Reporter = SILENT,
) -> tuple[GRMN, list[dict[str, Any]]]:  # fmt: skip
    """The network and its log. config: of GRMN, and the weights `kl` and `score` of the guidance."""
    torch.manual_seed(plan.seed)
    device, facts = place(), {**CONFIG, **GUIDANCE, **(config or {})}
    weight = {name: float(facts.pop(name)) for name in GUIDANCE}
    net, loss = GRMN(basis.size, **facts).to(device), VertexLoss(head, basis).to(device)
    pool = data.pool

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float32)).to(device)

    def step_loss(step: int) -> Tensor:
        rng = draws(plan, step)
        clips, rows = pool.draw(BATCH, ROWS, EDGE, rng)
        known = [data.persons[i] for i in pool.person[clips]]
        identity = np.stack([own[rng.integers(len(own))] for own in known])
        identity[rng.random(BATCH) < NOBODY] = 0.0
        net.train()
        given = (worn(pool.speech[rows], rng), data.codes[rows], pool.emotion[rows], identity)
        made = net(*(tensor(part) for part in given))
        divergence, level = guidance(made, tensor(data.taught[rows]))
        return loss(made.motion, tensor(pool.goal[rows])) + weight["kl"] * divergence + weight["score"] * level

    def check() -> dict[str, float]:
        return {} if held is None else held_errors(net, held, loss, range(min(24, len(held.pool))))

    return net, train(net, step_loss, plan, check, report)


@torch.inference_mode()
def held_errors(
    net: GRMN, held: Lessons, loss: VertexLoss, clips: range | list[int], person: np.ndarray | None = None
) -> dict[str, float]:
    """Root mean square errors of lips and upper face in mm over clips, and the share of rows whose likeliest label the
    latent tells as the teacher does. person: the identity that is told; None: the network's own."""
    net.eval()
    device = net.person.device
    who = net.person if person is None else torch.from_numpy(person).to(device)
    lips, upper, same = [], [], []
    for clip in clips:
        rows = rows_of(held.pool, clip)
        given = (held.pool.speech[rows], held.codes[rows], held.pool.emotion[rows])
        made = net(*(torch.from_numpy(part.astype(np.float32))[None].to(device) for part in given), who[None])
        missed = made.motion[0] - torch.from_numpy(held.pool.goal[rows].astype(np.float32)).to(device)
        lips.append(float((missed @ loss.lips).square().sum(-1).mean().sqrt()))
        upper.append(float((missed @ loss.upper).square().sum(-1).mean().sqrt()))
        same.append(float((made.latent[0].argmax(-1).cpu().numpy() == held.taught[rows].argmax(-1)).mean()))
    means = {"held_lips_mm": np.mean(lips), "held_upper_mm": np.mean(upper), "told": np.mean(same)}
    return {name: round(float(value), 4) for name, value in means.items()}


@dataclass(frozen=True)
class Ready:
    """What every training of this recipe begins with."""

    head: Head
    basis: Basis
    unit: Units
    data: Lessons
    held: Lessons


def ready(work: Path, seed: int = 0, report: Reporter = SILENT) -> Ready:
    """Read the set and fit the teacher."""
    made = gather(work, (), report)
    unit, teacher = units(made.train), emotag_teacher.fit(made.train, made.held, seed)
    return Ready(made.head, made.basis, unit, lessons(made.train, teacher, unit), lessons(made.held, teacher, unit))


def recipe(
    out: Path, work: Path, *, seed: int = 0, report: Reporter = SILENT, steps: str = "4000", ablate: str = ""
) -> dict[str, Any]:
    """`train emotag OUT --work SET`: train, write the checkpoint, its log and its curves."""
    ablated(CONFIG, ABLATIONS, ablate), plan_of(out, steps, seed)  # what is wrong with them is said before reading
    return one(ready(work, seed, report), out, seed, report, steps, ablate)


def one(
    made: Ready, out: Path, seed: int = 0, report: Reporter = SILENT, steps: str | int = 4000, ablate: str = ""
) -> dict[str, Any]:  # fmt: skip
    """One training on what is ready, of the whole network or without a part."""
    config = ablated({**CONFIG, **GUIDANCE}, ABLATIONS, ablate)
    plan = of_data(plan_of(out, steps, seed), NAME, config, made.data.pool, ablate)
    net, log = fit(made.data, made.held, made.head, made.basis, plan, config, report)
    return save(out, net, config, made, log, ablate, (plan,))


def save(
    out: Path, net: GRMN, config: Mapping[str, Any], made: Ready, log: list[dict[str, Any]], ablate: str = "",
    plans: Iterable[Plan] = (),
) -> dict[str, Any]:  # fmt: skip
    """Write the checkpoint, its log and its curves. The header holds the units of identities: adapting needs them."""
    return finish(
        out, net, {name: value for name, value in config.items() if name not in GUIDANCE}, made.basis, log,
        system=NAME, supports=EmoTaG.supports, native_fps=EmoTaG.native_fps, head=made.head, ablate=ablate,
        curves=("loss", "held_lips_mm", "held_upper_mm", "told"),
        facts={"identity": [[round(float(v), 6) for v in part] for part in made.unit]}, plans=plans,
    )  # fmt: skip
