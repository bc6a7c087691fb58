"""One training run of a speech net on one core: batches, losses, steps, checkpoints, resume.

Runs are counted in steps, and every batch is drawn from the seed and the step's number: a run that was stopped goes on
to the same weights as one that was not (tests/engine/test_speech_train.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.core.errors import BadFile, BadInput
from engine.core.files import read_json, replacing, write_json
from engine.core.phones import CHANNELS, class_names
from engine.core.progress import SILENT, Reporter
from engine.speech.net import EVENTS, ArticulationNet, NetConfig, load_net, save_net
from engine.speech.net_phones import BITTEN, FINE
from engine.train.speech_augment import (
    TEMPO,
    TEMPO_SHARE,
    augment,
    mask_bands,
    normalise,
    normalise_running,
    tempo,
)
from engine.train.speech_data import LABELS, UNKNOWN_PHONE, Store

WINDOW = 400  # mel frames, 4 s
BATCH = 16
EMA = 0.998
EVENT_WEIGHTS = (2.0, 3.0, 1.0, 1.0)
PHONE_WEIGHT, FINE_WEIGHT = 0.5, 0.5
# Closure loss added to sounds that are mistaken for closed lips: on an unheard speaker, one n in three.
MISTAKEN = {"n": 2.0, "ɲ": 2.0, "ŋ": 2.0, "v": 1.0, "ʋ": 1.0, "ɡ": 1.0, "d": 1.0}
BITE_EXTRA = 1.5  # labiodental loss of f and v: weak sounds, one frame in forty
# Channels are learned where phone times are exact: those that a net has placed or drawn itself flatten the opening
# (its correlation on an unheard speaker fell from .79 to .77 as their share grew), while closures gain from them.
CHANNEL_TRUST = 0.9
BESIDE_SHARE = 0.2  # of the windows, those with other sounds under the voice
PAUSE = class_names().index("pause")
CHANNEL_WEIGHTS = (2.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5)
LOG_STEPS, SAVE_STEPS = 50, 200
CAUSAL_AHEAD = (1, 1, 0, 0, 0, 0, 0, 0)  # rows of 20 ms; with entry, heads and spectrum 92.5 ms in all


@dataclass(frozen=True)
class Plan:
    """steps: of `BATCH` windows. rate: peak learning rate (cosine to 2 %). shares: how often each source is drawn, as
    pairs (by its hours where empty). without: voices left out. causal: the net for live use."""

    steps: int = 4000
    seed: int = 0
    rate: float = 2.5e-3
    shares: tuple[tuple[str, float], ...] = ()
    without: tuple[str, ...] = ()
    causal: bool = False


def losses(net: ArticulationNet, mel: Tensor, labels: Tensor, noise_only: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Weighted cross entropies of events (hard), channels (soft targets), phone classes and fine phones.

    mel [b, 2t, 64] normalised; labels [b, 2t, 15] as stored (speech_data.LABELS); noise_only [b]: labels 0.
    """
    with torch.autocast("cpu", torch.bfloat16):
        trunk = net.trunk(mel)
        events, channels, _ = net.heads(trunk)
        phones, fine = net.phone_logits(trunk), net.fine_logits(trunk)
    column = lambda name: labels[..., LABELS.index(name)].long()  # noqa: E731
    which = column("phone")[:, ::2].where(~noise_only[:, None], torch.tensor(PAUSE))
    exact = column("fine").where(~noise_only[:, None], torch.tensor(0))
    labels = labels / 255.0 * (~noise_only)[:, None, None]
    k = len(EVENTS)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    trust = torch.where(noise_only[:, None], torch.ones(()), labels[..., LABELS.index("weight")])
    known = trust[..., None] * ((labels[..., :k] - 0.5).abs() > 0.1)  # 128 of 255: nobody knows
    event_loss = bce(events.float(), labels[..., :k], reduction="none") * known
    closure = event_loss[..., 0] * _closure_weights()[exact]
    bite = event_loss[..., 1] * (1.0 + BITE_EXTRA * torch.isin(exact, torch.tensor(BITTEN)))
    event_means = torch.stack([closure.mean(), bite.mean(), event_loss[..., 2].mean(), event_loss[..., 3].mean()])
    goal = labels[:, ::2, k : k + len(CHANNELS)]
    exactly = (trust[:, ::2, None] >= CHANNEL_TRUST).float()
    channel_loss = (bce(channels.float(), goal, reduction="none") * exactly).mean((0, 1))
    total = (event_means * torch.tensor(EVENT_WEIGHTS)).sum() + (channel_loss * torch.tensor(CHANNEL_WEIGHTS)).sum()
    phone_loss = _cross_entropy(phones, which)
    total = total + PHONE_WEIGHT * phone_loss
    if fine is not None:
        total = total + FINE_WEIGHT * _cross_entropy(fine, exact[:, ::2])
    parts = {
        "loss": total.item(),
        "closure": event_means[0].item(),
        "bite": event_means[1].item(),
        "jaw": channel_loss[0].item(),
        "phone": phone_loss.item(),
    }
    return total, parts


@cache
def _closure_weights() -> Tensor:
    """Weight of a frame's closure loss by its fine phone (the last entry: not known). [256]."""
    out = torch.ones(256)
    for name, extra in MISTAKEN.items():
        out[FINE.index(name)] += extra
    return out


def _cross_entropy(logits: Tensor, which: Tensor) -> Tensor:
    """Mean over the frames whose phone is known, 0 where a batch knows none. logits [b, c, t], which [b, t]."""
    loss = torch.nn.functional.cross_entropy(logits.float(), which, ignore_index=UNKNOWN_PHONE)
    return torch.nan_to_num(loss)


class Trainer:
    """One run: net, its averaged copy, AdamW and log; everything needed to go on is in `folder`."""

    def __init__(
        self, folder: Path, stores: Sequence[Path | tuple[Path, Path]], plan: Plan, beside: Path | None = None
    ):
        self.folder, self.plan = folder, plan
        self.store = Store(stores, plan.without)
        self.beside = Store([beside]) if beside else None
        self.seconds, self.steps = 0.0, 0
        self.log: list[dict[str, float]] = []
        torch.manual_seed(plan.seed)
        prior = self.store.prior(np.random.default_rng(plan.seed))
        ahead = CAUSAL_AHEAD if plan.causal else ()
        self.net = ArticulationNet(NetConfig(prior=tuple(round(float(p), 4) for p in prior), ahead=ahead, fine=True))
        self.mean = ArticulationNet(self.net.config)
        self.mean.load_state_dict(self.net.state_dict())
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=plan.rate, weight_decay=0.01)
        known = dict(plan.shares) or self.store.hours()
        self.shares = {s: known[s] for s in self.store.clips if known.get(s, 0) > 0}
        if not self.shares:
            raise BadInput(f"none of the sources {', '.join(known)} is in the stores")
        if (folder / "state.safetensors").exists():
            self._resume()

    def start_from(self, checkpoint: Path) -> None:
        """Begin with the weights (and the prior) of a checkpoint; a head that it lacks begins from chance."""
        older, _ = load_net(checkpoint)
        missing, _ = self.net.load_state_dict(older.state_dict(), strict=False)
        if any(not name.startswith("fine.") for name in missing):
            raise BadFile(checkpoint, f"cannot be trained further: it lacks {missing[0]}")
        self.mean.load_state_dict(self.net.state_dict())
        self.net.config = self.mean.config = replace(self.net.config, prior=older.config.prior)

    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """One augmented batch, drawn from the seed and the step number: (mels, labels, noise_only) as `losses`."""
        rng = np.random.default_rng([self.plan.seed, self.steps])
        g = torch.Generator().manual_seed(int(rng.integers(1 << 31)))
        torch.manual_seed(int(rng.integers(1 << 31)))  # dropout
        names, p = list(self.shares), np.array(list(self.shares.values()))
        crops = [self._crop(str(s), rng) for s in rng.choice(names, BATCH, p=p / p.sum())]
        mel = torch.from_numpy(np.stack([m for m, _ in crops]))
        labels = torch.from_numpy(np.stack([v for _, v in crops])).float()
        mel, noise_only = augment(mel, g, self._beside(rng))
        prior = torch.tensor(self.net.config.prior)
        normal = normalise_running(mel, prior) if self.plan.causal else normalise(mel, prior)
        return mask_bands(normal, g), labels, noise_only

    def _crop(self, source: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if rng.random() >= TEMPO_SHARE:
            return self.store.crop(WINDOW, source, rng)
        factor = float(np.exp(rng.uniform(*np.log(TEMPO))))
        return tempo(*self.store.crop(round(WINDOW * factor), source, rng), WINDOW)

    def _beside(self, rng: np.random.Generator) -> Tensor | None:
        """Other sounds for some windows [b, t, 64], -inf elsewhere."""
        if self.beside is None:
            return None
        out = np.full((BATCH, WINDOW, 64), -np.inf, np.float32)
        sources = list(self.beside.clips)
        for i in np.flatnonzero(rng.random(BATCH) < BESIDE_SHARE):
            out[i] = self.beside.crop(WINDOW, sources[int(rng.integers(len(sources)))], rng)[0]
        return torch.from_numpy(out)

    def step(self) -> dict[str, float]:
        started = time.perf_counter()
        done = min(1.0, self.steps / self.plan.steps)
        warm = min(1.0, (self.steps + 1) / 100)
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate * warm * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * done)))
        self.net.train()
        total, parts = losses(self.net, *self.batch())
        self.optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
        self.optimiser.step()
        decay = min(EMA, (self.steps + 1) / (self.steps + 20))
        with torch.no_grad():
            for a, b in zip(self.mean.state_dict().values(), self.net.state_dict().values(), strict=True):
                a.lerp_(b, 1 - decay) if a.is_floating_point() else a.copy_(b)
        self.steps += 1
        self.seconds += time.perf_counter() - started
        return parts

    def save(self, out: Path) -> None:
        """The state to resume from, the log, and the averaged net as the checkpoint."""
        from safetensors.torch import save_file

        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        tensors |= {f"mean.{k}": v for k, v in self.mean.state_dict().items()}
        for i, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{k}": v for k, v in state.items()}
        meta = {
            "seconds": str(self.seconds), "steps": str(self.steps), "plan": json.dumps(asdict(self.plan)),
            "prior": json.dumps(self.net.config.prior),
        }  # fmt: skip
        with replacing(self.folder / "state.safetensors") as part:
            save_file({k: v.contiguous().clone() for k, v in tensors.items()}, part, metadata=meta)
        write_json(self.folder / "log.json", self.log)
        hours = {s: round(h, 2) for s, h in self.store.hours().items() if s in self.shares}
        training = {"steps": self.steps, "minutes": round(self.seconds / 60, 1), "hours": hours}
        training |= {"seed": self.plan.seed, "without": list(self.plan.without)}
        save_net(out, self.mean, {"training": training})

    def _resume(self) -> None:
        from safetensors import safe_open

        with safe_open(str(self.folder / "state.safetensors"), "pt") as f:
            meta = f.metadata()
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118
        pick = lambda head: {k[len(head) :]: v for k, v in tensors.items() if k.startswith(head)}  # noqa: E731
        self.net.load_state_dict(pick("net."))
        self.mean.load_state_dict(pick("mean."))
        self.net.config = self.mean.config = replace(self.net.config, prior=tuple(json.loads(meta["prior"])))
        state = self.optimiser.state_dict()
        for key, value in pick("adam.").items():
            i, name = key.split(".")
            state["state"].setdefault(int(i), {})[name] = value
        self.optimiser.load_state_dict(state)
        self.seconds, self.steps = float(meta["seconds"]), int(meta["steps"])
        if (self.folder / "log.json").exists():
            self.log = [row for row in read_json(self.folder / "log.json") if row["step"] <= self.steps]


def train_speech(
    out: Path, folder: Path, plan: Plan, stores: Sequence[Path | tuple[Path, Path]], start: Path | None = None,
    beside: Path | None = None, report: Reporter = SILENT,
) -> dict[str, Any]:  # fmt: skip
    """Train and write the checkpoint `out`; `folder` keeps the state and the log. Returns steps and seconds.

    stores: as `Store`. start: a checkpoint whose weights to begin with. beside: a store of other sounds. A run that
    was stopped goes on where it was; a cancelled one leaves its state.
    """
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(folder, stores, plan, beside)
    if start is not None and not trainer.steps:
        trainer.start_from(start)
    recent: list[dict[str, float]] = []
    while trainer.steps < plan.steps:
        report.step(f"training {folder.name}", trainer.steps, plan.steps)
        recent.append(trainer.step())
        if trainer.steps % LOG_STEPS == 0:
            mean = {k: round(float(np.mean([r[k] for r in recent])), 4) for k in recent[0]}
            trainer.log.append({"step": trainer.steps, "seconds": round(trainer.seconds, 1), **mean})
            recent = []
        if trainer.steps % SAVE_STEPS == 0:
            trainer.save(out)
    trainer.save(out)
    return {"steps": trainer.steps, "seconds": trainer.seconds}
