"""Trains `emodifftalk` on a set of performances: first speech to AU, then the AU-prompt diffusion.

    soliloquy train emodifftalk OUT.safetensors --work SET [--option steps=N] [--option ablate=codes|diffusion]

Stage 1 learns the codes that a whole face shows (L1 + 0.1 x squared change, eq. 21-23). Stage 2 is given the codes that
were asked for and, in columns of their own, AU25 and AU26 as the encoder hears them in the voice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.core.anatomy import Head
from engine.core.names import ARTICULATION, AU_INDEX, PAPER17
from engine.core.progress import SILENT, Reporter
from engine.head.action_units import to_shapes
from engine.motion.emodifftalk import EAR_FEATURES, NAME, STILLED_REACH, EmoDiffTalk, stilled
from engine.motion.nets.au_diffusion import (
    LISTEN,
    MARGIN,
    SMOOTH_REACH,
    SPOKEN,
    WINDOW,
    Both,
    Denoiser,
    Recurrent,
    SpeechToAU,
    add_noise,
    audio_loss,
    build,
    geometry_loss,
    make,
    steady,
)
from engine.motion.nets.basis import Basis, region_metric, shape_rows
from engine.motion.nets.codes import CODES, heard_channels
from engine.train.motion_codes import asked_of, shown_codes, slid, slid_weights, worn
from engine.train.motion_data import Pool
from engine.train.motion_loop import Plan, VertexLoss, draws, place, train
from engine.train.motion_recipe import ablated, finish, gather, of_data, plan_of

BATCH, EAR_BATCH = 12, 8
HELD = 32  # windows that the log looks at
EAR_STEPS = 0.2  # of the steps of stage 2
EAR_DEAF = 0.5  # share of crops without features: features of people mislead it, and all that it hears becomes a jaw
DEAF = 0.25  # the same of the denoiser's crops
LIPS_HELD = 4.0  # see varied_of
SLID = 0.35  # share of windows in which single AUs are moved by hand
STILL_MM, FLOOR_MM = 0.05, 0.02  # points that move less than this in training are at rest; least unit of a coefficient
CONFIG: dict[str, Any] = {
    "ear": {"width": 64, "pool": 3},
    "net": {"width": 96, "layers": 4, "codes": CODES + len(SPOKEN), "yields": True},
}
ABLATIONS: dict[str, dict[str, Any]] = {  # the paper's table 3; Codes4O concerns an avatar's opacity
    "codes": {"net": {**CONFIG["net"], "use_codes": False}},
    "diffusion": {"net": {"codes": CODES + len(SPOKEN), "yields": True, "recurrent": True}},
}
_OWN = [PAPER17.index(name) for name in SPOKEN]


@dataclass(frozen=True)
class Lessons:
    """A pool with the codes that were asked for [n, 36] and those that the whole face shows [n, 17]."""

    pool: Pool
    codes: np.ndarray
    shown: np.ndarray


def lessons(pool: Pool) -> Lessons:
    """`Lessons` of a pool."""
    return Lessons(pool, asked_of(pool), shown_codes(pool))


@dataclass(frozen=True)
class Ready:
    """Lessons to learn from and to look at, in the shared basis on the default head."""

    head: Head
    basis: Basis
    data: Lessons
    held: Lessons


def resting_metric(head: Head, basis: Basis, goal: np.ndarray) -> np.ndarray:
    """[k, r]: displacement of the points that hardly move in the faces `goal` [n, k] (root mean square, mm)."""
    rows = (basis.out.astype(np.float64) @ shape_rows(head)).reshape(basis.size, -1, 3)
    power = np.cov(goal.astype(np.float64).T)
    moved = np.sqrt(np.einsum("kvc,kl,lvc->v", rows, power, rows, optimize=True))
    still = rows[:, moved < STILL_MM].reshape(basis.size, -1) / np.sqrt(max(int((moved < STILL_MM).sum()), 1))
    value, vector = np.linalg.eigh(still @ still.T)
    return (vector * np.sqrt(np.maximum(value, 0.0))).astype(np.float32)


def _tensors(device: torch.device) -> Callable[[np.ndarray], Tensor]:
    return lambda values: torch.from_numpy(np.asarray(values, np.float32)).to(device)


def fit_ear(
    data: Lessons, held: Lessons | None, plan: Plan, config: Mapping[str, Any], report: Reporter = SILENT
) -> tuple[SpeechToAU, list[dict[str, Any]]]:
    """Stage 1. The log's `codes` is the mean absolute error on held clips, `spoken` that of AU25 and AU26."""
    torch.manual_seed(plan.seed)
    device = place()
    ear, tensor, pool = SpeechToAU(**config).to(device), _tensors(device), data.pool

    def step_loss(step: int) -> Tensor:
        rng = draws(plan, step)
        _, rows = pool.draw(EAR_BATCH, WINDOW, LISTEN, rng)
        ear.train()
        heard = ear(tensor(worn(pool.speech[rows], rng, EAR_DEAF)))
        return audio_loss(heard, tensor(data.shown[rows]))

    @torch.inference_mode()
    def check() -> dict[str, float]:
        if held is None:
            return {}
        ear.eval()
        _, rows = held.pool.draw(48, WINDOW, LISTEN, np.random.default_rng(5))
        inner = rows[:, LISTEN:-LISTEN]
        missed = (ear(tensor(held.pool.speech[rows]))[:, LISTEN:-LISTEN] - tensor(held.shown[inner])).abs()
        return {"codes": round(float(missed.mean()), 4), "spoken": round(float(missed[..., _OWN].mean()), 4)}

    return ear, train(ear, step_loss, plan, check, report)


@dataclass(frozen=True)
class Batch:
    """One batch of stage 2. goal [b, w, k] mm, codes [b, w, 36 + 2] (asked, heard), speech [b, w + 2 MARGIN, 75]."""

    goal: Tensor
    codes: Tensor
    speech: Tensor


def batch_of(
    data: Lessons, basis: Basis, ear: SpeechToAU, count: int, rng: np.random.Generator,
    tensor: Callable[[np.ndarray], Tensor], learning: bool = True,
) -> Batch:  # fmt: skip
    """Windows of the clips, the voice's own codes as the encoder hears them: mixed with true ones they would be
    believed beyond what they are worth. learning: worn speech and sliders; else all as when the system runs, what the
    encoder hears included."""
    pool = data.pool
    _, rows = pool.draw(count, WINDOW, LISTEN, rng)
    speech = worn(pool.speech[rows], rng, DEAF) if learning else pool.speech[rows]
    heard, inner = tensor(speech), rows[:, LISTEN:-LISTEN]
    to_ear = heard.clone()
    if not learning:
        to_ear[..., len(ARTICULATION) :] *= EAR_FEATURES
    with torch.no_grad():
        own = ear.eval()(to_ear)[:, LISTEN:-LISTEN]
    goal, asked = (part[inner].astype(np.float32) for part in (pool.goal, data.codes))
    for i in np.flatnonzero(rng.random(count) < SLID) if learning else ():
        goal[i], asked[i] = _by_hand(data, basis, inner[i], rng)
    codes = torch.cat([tensor(asked), own[..., _OWN]], -1)
    edge = LISTEN - MARGIN
    return Batch(tensor(goal), codes, heard[:, edge:-edge])


def _by_hand(
    data: Lessons, basis: Basis, rows: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(goal, codes that were asked for) of one window with sliders moved; what the voice says of itself stays."""
    pool = data.pool
    columns = (pool.weights, data.codes, pool.contact, pool.talking, heard_channels(pool.speech))
    weights, before, contact, talking, said = (part[rows].astype(np.float32) for part in columns)
    after = slid(before, rng)
    return basis.coefficients(slid_weights(weights, before, after, contact, talking, said)), after


def varied_of(head: Head, basis: Basis) -> np.ndarray:
    """How much of each component's noise the seed draws when the system runs: little where the lips move. [k]."""
    lips, upper = (np.square(region_metric(head, basis, name)).sum(1) for name in ("lips", "upper_face"))
    return (upper / (upper + LIPS_HELD * lips + 1e-9)).astype(np.float32)


def answer_of(basis: Basis, spread: np.ndarray) -> np.ndarray:
    """What each code moves by the head's table of AUs, in units of `spread` [k]; a heard one moves both sides.
    [k, 36 + 2] float32."""
    arkit, extra = to_shapes(np.eye(CODES, dtype=np.float32).reshape(CODES, -1, 2))
    moved = np.concatenate([arkit, extra], 1) @ basis.into / spread
    heard = [moved[2 * AU_INDEX[name] : 2 * AU_INDEX[name] + 2].sum(0) for name in SPOKEN]
    return np.concatenate([moved, heard]).T.astype(np.float32)


def fit(
    data: Lessons, held: Lessons | None, head: Head, basis: Basis, plan: Plan, ear: SpeechToAU,
    config: Mapping[str, Any], report: Reporter = SILENT,
) -> tuple[Denoiser | Recurrent, list[dict[str, Any]]]:  # fmt: skip
    """Stage 2 under eq. 29."""
    torch.manual_seed(plan.seed)
    device = place()
    tensor, net = _tensors(device), build(basis.size, config).to(device)
    spread = np.maximum(data.pool.goal.astype(np.float32).std(0), FLOOR_MM)
    with torch.no_grad():
        net.spread.copy_(tensor(spread))
        net.answer.weight.copy_(tensor(answer_of(basis, spread)))
    measure = VertexLoss(head, basis).to(device)
    resting, varied = tensor(resting_metric(head, basis, data.pool.goal[::7])), tensor(varied_of(head, basis))

    def step_loss(step: int) -> Tensor:
        rng = draws(plan, step)
        made = batch_of(data, basis, ear, BATCH, rng, tensor)
        net.train()
        if isinstance(net, Recurrent):
            seen = net(made.codes, made.speech)
        else:
            time = tensor(rng.random(BATCH))
            drawn = (rng.standard_normal((BATCH, n, basis.size)) for n in (WINDOW + 2 * SMOOTH_REACH, 1))
            noise = steady(*(tensor(part) for part in drawn))
            seen = net(add_noise(made.goal / net.spread, time, noise), made.codes, made.speech, time)
        return geometry_loss(seen * net.spread, made.goal, measure.lips, resting)

    def check() -> dict[str, float]:
        if held is None:
            return {}
        rng = np.random.default_rng(6)
        return held_errors(net, batch_of(held, basis, ear, HELD, rng, tensor, learning=False), measure, varied)

    return net, train(net, step_loss, plan, check, report)


@torch.inference_mode()
def held_errors(net: Denoiser | Recurrent, made: Batch, measure: VertexLoss, varied: Tensor) -> dict[str, float]:
    """Root mean square errors of lips and upper face in mm over windows sampled as when the system runs (its noise
    [k] as in `varied_of`, its smoothing), and how far the lips move in them against the truth (1: as much)."""
    net.eval()
    rng = torch.Generator().manual_seed(7)
    b, w, k = made.goal.shape
    noise = steady(*(torch.randn((b, n, k), generator=rng) for n in (w + 2 * SMOOTH_REACH, 1)))
    rows = make(net, made.codes, made.speech, varied.sqrt() * noise.to(made.goal.device)) * net.spread
    seen = stilled(rows.transpose(0, 1)).transpose(0, 1)
    goal = made.goal[:, STILLED_REACH:-STILLED_REACH]
    missed = seen - goal
    moved = [((x - x.mean(1, keepdim=True)) @ measure.lips).square().sum(-1).mean().sqrt() for x in (seen, goal)]
    return {
        "held_lips_mm": round(float((missed @ measure.lips).square().sum(-1).mean(1).sqrt().mean()), 4),
        "held_upper_mm": round(float((missed @ measure.upper).square().sum(-1).mean(1).sqrt().mean()), 4),
        "amplitude": round(float(moved[0] / moved[1]), 3),
    }  # fmt: skip


def recipe(
    out: Path, work: Path, *, seed: int = 0, report: Reporter = SILENT, steps: str = "6000", ablate: str = ""
) -> dict[str, Any]:
    """`train emodifftalk OUT --work SET`: both stages, the checkpoint, its log and its curves."""
    ablated(CONFIG, ABLATIONS, ablate), plan_of(out, steps, seed)  # what is wrong with them is said before reading
    return one(ready(work, seed, report), out, seed, report, steps, ablate)


def ready(work: Path, seed: int = 0, report: Reporter = SILENT) -> Ready:
    """What every training of this recipe begins with; nothing of it hangs on the seed."""
    made = gather(work, (), report)
    return Ready(made.head, made.basis, lessons(made.train), lessons(made.held))


def one(
    made: Ready, out: Path, seed: int = 0, report: Reporter = SILENT, steps: str | int = 6000, ablate: str = ""
) -> dict[str, Any]:  # fmt: skip
    """One training of both stages on what is ready, of the whole network or without a part."""
    config, data, held = ablated(CONFIG, ABLATIONS, ablate), made.data, made.held
    plan = of_data(plan_of(out, steps, seed), NAME, config, data.pool, ablate)
    first = max(10, round(EAR_STEPS * plan.steps))
    early = replace(plan, steps=first, every=max(10, first // 20), keep=out.with_suffix(".ear.pt"))
    ear, heard = fit_ear(data, held, early, config["ear"], report)
    net, log = fit(data, held, made.head, made.basis, plan, ear, config["net"], report)
    varied = [round(float(v), 4) for v in varied_of(made.head, made.basis)]
    return finish(
        out, Both(ear, net), config, made.basis, log, system=NAME, supports=EmoDiffTalk.supports,
        native_fps=EmoDiffTalk.native_fps, head=made.head, ablate=ablate,
        curves=("loss", "held_lips_mm", "held_upper_mm", "amplitude"), plans=(plan, early),
        facts={"ear": heard[-1] if heard else {}, "varied": varied},  # only the first of several processes has logs
    )  # fmt: skip
