"""Trains `emotalkinggaussian` on a set of performances, branch by branch: mouth, face, emotion, then all together.

    soliloquy train emotalkinggaussian OUT.safetensors --work SET [--option steps=N] [--option ablate=emotion]

First the nets that hear whether lips go with a voice (syncnet.py). Then, as in section 3.4, each branch by itself while
the others stand still: the mouth's on its points, the face's on performances and curated speech, the emotion's also on
performances whose feeling is another one of the 12 places of S6. Last, the final layer of each on the whole mesh (the
paper's last stage tunes colour and opacity, which a mesh has not). Vertices in place of pixels: rendering is
unaffordable here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.controls.emotions import affect_au
from engine.core.affect import affect_of
from engine.core.anatomy import Head
from engine.core.progress import SILENT, Reporter
from engine.motion.emotalkinggaussian import NAME, UPPER_CODES, EmoTalkingGaussian
from engine.motion.nets.basis import Basis, region_metric
from engine.motion.nets.codes import CODES, heard_channels
from engine.motion.nets.face_branches import EDGE, FACE, MOUTH, FaceBranches, Part, of_config, parts_of, sites_of
from engine.train.curated_speech import curated, windows
from engine.train.motion_codes import asked_of, rows_of, slid_weights, worn
from engine.train.motion_data import Pool
from engine.train.motion_loop import Plan, VertexLoss, draws, place, train
from engine.train.motion_recipe import ablated, count_of, finish, gather, of_data, plan_of
from engine.train.syncnet import SyncNet, fit, scores, sync_loss

BATCH, ROWS, EXTRA = 36, 12, 6  # windows of performances in a step, their rows; windows of curated speech
PART, PARTS = 80, 16  # points of the face in a step; draws of them that take turns
KINDS = ("label", "change", "mix", "plain", "va")  # what the network is told about; the rest is applied after it
SPEED, UNREST, POINTS = 4.0, 4.0, 0.3  # velocity, acceleration; the points themselves beside the mesh
RATE, TABLES = 4e-3, 10.0  # the paper: 5e-4, tables 5e-3, over 50,000 steps a branch; ours are a twelfth as many
# Steps of each stage in shares of the face branch's.
SHARES = {"sync": 0.25, "mouth": 0.4, "emotion": 0.7, "last": 0.2}
SYNC = {"face": 0.05, "emotion": 0.001, "last": 0.001}  # beta 6 of S14 and S15
FELT = 0.4  # share of windows that are given another feeling, in the emotion branch's stage
# S6: valence and arousal at radius 0.8 in steps of 45 degrees, at radius 0.5 in steps of 90.
AFFECTS = np.array(
    [(0.8 * np.cos(a), 0.8 * np.sin(a)) for a in np.radians(np.arange(22.5, 360, 45))]
    + [(0.5 * np.cos(a), 0.5 * np.sin(a)) for a in np.radians(np.arange(45, 360, 90))], np.float32,
)  # fmt: skip
CONFIG: dict[str, Any] = {"audio": 48, "hidden": 96}
ABLATIONS: dict[str, dict[str, Any]] = {  # the paper's table 4; that without normals concerns an avatar
    "combined": {"combined": True}, "emotion": {"emotion": False}, "sync": {"sync": 0.0},
}  # fmt: skip


@dataclass(frozen=True)
class Lessons:
    """A pool with what the branches hear beside it, per row: codes asked for [n, 36], valence and arousal [n, 2].
    extra: curated speech, one array [t, 75] a sentence."""

    pool: Pool
    codes: np.ndarray
    affect: np.ndarray
    extra: tuple[np.ndarray, ...] = ()


def lessons(pool: Pool, extra: tuple[np.ndarray, ...] = ()) -> Lessons:
    """`Lessons` of a pool."""
    return Lessons(pool, asked_of(pool), affect_of(pool.emotion, pool.va).astype(np.float16), extra)


@dataclass(frozen=True)
class Batch:
    """speech [b, t + 2 EDGE, 75], units [b, t, 16], affect [b, t, 2], goal [n, t, k] of the first n windows; the other
    b - n are curated speech, whose face nobody knows."""

    speech: Tensor
    units: Tensor
    affect: Tensor
    goal: Tensor

    @property
    def said(self) -> Tensor:
        """The inner rows of the speech."""
        return self.speech[:, EDGE:-EDGE]


def batch_of(data: Lessons, basis: Basis, rng: np.random.Generator, felt: float = 0.0, extra: int = EXTRA) -> Batch:
    """Windows of the clips, `felt` of them with another feeling, and `extra` of the curated speech."""
    pool = data.pool
    _, rows = pool.draw(BATCH, ROWS, EDGE, rng)
    inner = rows[:, EDGE:-EDGE]
    speech, codes, affect, goal = (
        part[at].astype(np.float32)
        for part, at in ((pool.speech, rows), (data.codes, inner), (data.affect, inner), (pool.goal, inner))
    )
    for i in np.flatnonzero(rng.random(BATCH) < felt):
        codes[i], affect[i], goal[i] = felt_again(pool, basis, inner[i], codes[i], rng)
    if data.extra and extra:
        speech = np.concatenate([speech, windows(list(data.extra), extra, ROWS, EDGE, rng)])
        other, feeling = feelings(ROWS, rng, extra) if felt else (np.zeros((extra, ROWS, CODES)), None)
        codes = np.concatenate([codes, other])
        affect = np.concatenate([affect, np.zeros((extra, ROWS, 2)) if feeling is None else feeling])
    device = place()
    parts = (worn(speech, rng), codes[..., UPPER_CODES], affect, goal)
    return Batch(*(torch.from_numpy(np.asarray(part, np.float32)).to(device) for part in parts))


def feelings(rows: int, rng: np.random.Generator, count: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Places of S6 as (codes [count, rows, 36], valence and arousal [count, rows, 2]): held, or rising to it or going
    from it within the window."""
    place_of = AFFECTS[rng.integers(len(AFFECTS), size=count)][:, None]
    level = np.linspace(0, 1, rows)[None] * rng.choice([0.0, 0.0, 1.0, -1.0], (count, 1))
    level = np.where(level.min(1, keepdims=True) < 0, 1 + level, np.where(level.any(1, keepdims=True), level, 1.0))
    affect = (place_of * level[..., None]).astype(np.float32)
    return affect_au(affect.reshape(-1, 2)).reshape(count, rows, CODES).astype(np.float32), affect


def felt_again(
    pool: Pool, basis: Basis, rows: np.ndarray, codes: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One window with another feeling and the same lips: (codes [t, 36], affect [t, 2], coefficients [t, k]).

    The rules that made the performance say what the face would have been (motion_codes.slid_weights), which is what the
    paper's lip-aligned emotional face generator gives in pictures.
    """
    columns = (pool.weights, pool.contact, pool.talking, heard_channels(pool.speech))
    weights, contact, talking, said = (part[rows].astype(np.float32) for part in columns)
    after, affect = (part[0] for part in feelings(len(rows), rng))
    return after, affect, basis.coefficients(slid_weights(weights, codes, after, contact, talking, said))


@dataclass
class Tutor:
    """What the stages share: the network, the losses, the nets that hear sync (one to learn from, one to judge)."""

    net: FaceBranches
    loss: VertexLoss
    basis: Basis
    data: Lessons
    held: Lessons | None
    sync: SyncNet | None = None
    judge: SyncNet | None = None
    weight: float = 1.0  # on SYNC
    parts: list[Part] | None = None  # points that steps take turns with; None: all in every step

    def only(self, parts: nn.Module) -> nn.Module:
        """Let these modules learn and no others."""
        self.net.requires_grad_(False)
        return parts.requires_grad_(True)

    def of_mouth(self, plan: Plan, step: int) -> Tensor:
        """Points inside the mouth, mm²: the lips, which sync nets see, are the face's."""
        made = batch_of(self.data, self.basis, draws(plan, step), extra=0)
        self.net.train()
        seen = self.net.mouth(self.net._heard("mouth", made.speech)).reshape(*made.goal.shape[:2], -1, 3)
        missed = seen - self.net.displacement_of(made.goal)[:, :, self.net.count :]
        return _points(missed) + SPEED * _points(missed[:, 1:] - missed[:, :-1])

    def of_face(self, plan: Plan, step: int, stage: str) -> Tensor:
        """Mesh, points and sync; the emotion branch is left out in the face's own stage."""
        felt = FELT if stage != "face" or self.net.combined else 0.0
        made = batch_of(self.data, self.basis, draws(plan, step), felt)
        self.net.train()
        part = self.parts[step % len(self.parts)] if self.parts else None
        seen = self.net(made.speech, made.units, made.affect, emotion=stage != "face", part=part)
        known, truth = len(made.goal), self.net.displacement_of(made.goal)
        missed = seen.displacement[:known] - (truth if part is None else truth[:, :, part.every])
        total = self.loss(seen.coefficients[:known], made.goal) + POINTS * _points(missed)
        if self.sync is not None and self.weight:
            total = total + self.weight * SYNC[stage] * sync_loss(self.sync, made.said, seen.coefficients)
        return total

    def check(self, emotion: bool = True, clips: int = 8) -> dict[str, float]:
        """Root mean square errors of lips and upper face in mm over held clips, what the basis does not hold, and the
        judge's Sync-C and Sync-E (SyncNet's figures by our own net; those of the performances are `floor`)."""
        if self.held is None:
            return {}
        rows: dict[str, list[float]] = {name: [] for name in ("lips", "upper", "residual", "sync_c", "sync_e")}
        self.net.eval()
        device, pool = self.net.points.device, self.held.pool
        for clip in range(min(clips, len(pool))):
            at = rows_of(pool, clip)
            given = (pool.speech[pool.wide(clip, EDGE)], self.held.codes[at][:, UPPER_CODES], self.held.affect[at])
            with torch.inference_mode():
                made = self.net(*(_row(part, device) for part in given), emotion=emotion)
                missed = made.coefficients - _row(pool.goal[at], device)
                rows["residual"].append(float(self.net.missed(made).mean()))
                for name, metric in (("lips", self.loss.lips), ("upper", self.loss.upper)):
                    rows[name].append(float((missed @ metric).square().sum(-1).mean().sqrt()))
            if self.judge is not None:
                found = scores(self.judge, pool.speech[at], made.coefficients[0].cpu().numpy(), pool.contact[at, 2])
                rows["sync_c"] += [found["confidence"]] if found else []
                rows["sync_e"] += [found["error"]] if found else []
        names = {"lips": "held_lips_mm", "upper": "held_upper_mm", "residual": "residual_mm"}
        return {names.get(k, k): round(float(np.mean(v)), 4) for k, v in rows.items() if v}

    def floor(self, clips: int = 8) -> dict[str, float]:
        """The judge's figures of the performances themselves."""
        if self.held is None or self.judge is None:
            return {}
        pool = self.held.pool
        spans = [rows_of(pool, clip) for clip in range(min(clips, len(pool)))]
        found = [scores(self.judge, pool.speech[at], pool.goal[at], pool.contact[at, 2]) for at in spans]
        found = [one for one in found if one]
        return {name: round(float(np.mean([one[name] for one in found])), 4) for name in (found[0] if found else ())}


def _points(missed: Tensor) -> Tensor:
    """Mean square over points, mm². missed [.., 3]."""
    return missed.square().sum(-1).mean()


def _row(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))[None].to(device)


def stage_plan(plan: Plan, stage: str) -> Plan:
    """The plan of a stage, its state beside that of the face."""
    steps = max(4, round(plan.steps * SHARES[stage.partition("-")[0]]))
    keep = plan.keep.with_name(f"{plan.keep.name.removesuffix('.state.pt')}.{stage}.pt") if plan.keep else None
    return dataclasses.replace(plan, steps=steps, every=max(2, min(plan.every, steps // 4)), keep=keep)


def sync_nets(
    data: Lessons, head: Head, basis: Basis, plan: Plan, report: Reporter = SILENT
) -> tuple[tuple[SyncNet, SyncNet], tuple[Plan, Plan]]:
    """(the one to learn from, the judge) and their plans; each has heard one half of the people."""
    lips = region_metric(head, basis, "lips")
    made, plans = [], []
    for i, name in enumerate(("sync", "sync-judge")):
        own = dataclasses.replace(stage_plan(plan, name), seed=plan.seed + 11 * i, tables=1.0, rate=2e-3)
        plans.append(own)
        made.append(fit(_half(data.pool, i), basis, lips, own, report))
    return (made[0], made[1]), (plans[0], plans[1])


def _half(pool: Pool, which: int) -> Pool:
    """The clips of every second person (all of them where there is but one)."""
    used = pool.person % 2 == which
    if not used.any() or used.all():
        return pool
    return dataclasses.replace(
        pool, first=pool.first[used], length=pool.length[used], person=pool.person[used],
        kinds=tuple(kind for kind, use in zip(pool.kinds, used, strict=True) if use),
    )  # fmt: skip


def fit_branches(tutor: Tutor, plan: Plan, report: Reporter = SILENT) -> tuple[list[dict[str, Any]], tuple[Plan, ...]]:
    """Train the stages one after the other; the log of all, its steps counted through, and the plans."""
    net, log, plans = tutor.net, list[dict[str, Any]](), list[Plan]()
    stages = ["mouth", "face", *(["emotion"] if net.with_emotion else []), "last"]
    for stage in stages:
        own = plan if stage == "face" else stage_plan(plan, stage)
        parts = tutor.only(net.last_layers() if stage == "last" else net.branch(stage))

        def step_loss(step: int, stage: str = stage, own: Plan = own) -> Tensor:
            return tutor.of_mouth(own, step) if stage == "mouth" else tutor.of_face(own, step, stage)

        def check(stage: str = stage) -> dict[str, float]:
            return {} if stage == "mouth" else tutor.check(emotion=stage != "face")

        before = log[-1]["step"] if log else 0
        rows = train(parts, step_loss, own, check, report)
        log += [{**row, "step": row["step"] + before, "stage": stage} for row in rows]
        plans.append(own)
    net.requires_grad_(True)
    return log, tuple(plans)


@dataclass(frozen=True)
class Ready:
    """What every training of this recipe begins with."""

    head: Head
    basis: Basis
    data: Lessons
    held: Lessons


def ready(work: Path, seed: int = 0, report: Reporter = SILENT) -> Ready:
    """Read the set and speak the curated sentences; nothing of it hangs on the seed. Raises BadFile, and Missing
    without espeak-ng."""
    made = gather(work, KINDS, report)
    data = lessons(made.train, tuple(curated(report=report)))
    return Ready(made.head, made.basis, data, lessons(made.held))


def recipe(
    out: Path, work: Path, *, seed: int = 0, report: Reporter = SILENT, steps: str = "2500", ablate: str = ""
) -> dict[str, Any]:
    """`train emotalkinggaussian OUT --work SET`: every stage, the checkpoint, its log and its curves.

    steps: of the face branch (SHARES gives the others). Raises BadInput, BadFile, Missing without espeak-ng.
    """
    ablated(CONFIG, ABLATIONS, ablate), plan_of(out, steps, seed)  # what is wrong with them is said before reading
    return one(ready(work, seed, report), out, seed, report, steps, ablate)


def one(
    made: Ready, out: Path, seed: int = 0, report: Reporter = SILENT, steps: str | int = 2500, ablate: str = ""
) -> dict[str, Any]:  # fmt: skip
    """One training on what is ready, of the whole network or without a part."""
    config = ablated({**CONFIG, "sync": 1.0}, ABLATIONS, ablate)
    own = {name: value for name, value in config.items() if name != "sync"}
    plan = dataclasses.replace(
        of_data(plan_of(out, steps, seed, RATE), NAME, config, made.data.pool, ablate),
        tables=TABLES, every=max(10, count_of(steps) // 20),
    )  # fmt: skip
    torch.manual_seed(seed)
    net = of_config(made.head, made.basis, own).to(place())
    loss = VertexLoss(made.head, made.basis, SPEED, UNREST).to(place())
    (sync, judge), listening = sync_nets(made.data, made.head, made.basis, plan, report)
    sites = sites_of(made.head, made.basis, int(own.get("face", FACE)), int(own.get("mouth", MOUTH)))
    parts = [Part(*(a.to(place()) for a in part)) for part in parts_of(sites, PART, PARTS, seed)]
    tutor = Tutor(net, loss, made.basis, made.data, made.held, sync, judge, float(config["sync"]), parts)
    log, plans = fit_branches(tutor, plan, report)
    wanted = ("loss", "held_lips_mm", "held_upper_mm", "residual_mm", "sync_c")
    curves = tuple(name for name in wanted if any(name in row for row in log))
    return finish(
        out, net, own, made.basis, log, system=NAME, supports=EmoTalkingGaussian.supports, head=made.head,
        native_fps=EmoTalkingGaussian.native_fps, ablate=ablate, curves=curves, plans=(*plans, *listening),
        facts={"sync_of_performances": tutor.floor()},
    )  # fmt: skip
