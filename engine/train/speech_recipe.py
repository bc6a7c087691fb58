"""Recipe of the embedded speech net: synthesise, make the store, train on one core, resume after any stop.

    python -m engine.train.speech_recipe OUT.safetensors --folder WORK --hours 5 --minutes 40

WORK keeps the store, the training state (safetensors, every minute) and log.json; the same line run again resumes.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.core.files import read_json, replacing, write_json
from engine.core.phones import CHANNELS, class_names
from engine.core.progress import SILENT, Reporter
from engine.speech.net import EVENTS, ArticulationNet, NetConfig, load_net, save_net
from engine.studio.speech_corpus.build import clips
from engine.train.speech_augment import augment, mask_bands, normalise
from engine.train.speech_data import LABELS, UNKNOWN_PHONE, Store, build_store

WINDOW = 400  # mel frames, 4 s
BATCH = 24
EMA = 0.998
EVENT_WEIGHTS = (2.0, 2.5, 1.0, 1.0)
PHONE_WEIGHT = 0.8
PAUSE = class_names().index("pause")
CHANNEL_WEIGHTS = (2.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Plan:
    """hours: of synthesised speech. variants: of each clip in the store. minutes: of training. rate: peak learning
    rate. shares: how often each source is drawn, as pairs (equal parts of the store where empty)."""

    hours: float = 5.0
    variants: int = 3
    minutes: float = 40.0
    seed: int = 0
    rate: float = 2.5e-3
    shares: tuple[tuple[str, float], ...] = (("espeak", 0.3), ("flite", 0.33), ("festival", 0.37))


def losses(net: ArticulationNet, mel: Tensor, labels: Tensor, noise_only: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Weighted cross entropies of events (hard), channels (soft targets) and phone classes.

    mel [b, 2t, 64] normalised; labels [b, 2t, 14] as stored (speech_data.LABELS); noise_only [b]: labels 0.
    """
    with torch.autocast("cpu", torch.bfloat16):
        trunk = net.trunk(mel)
        events, channels, _ = net.heads(trunk)
        phones = net.phone_logits(trunk)
    which = labels[:, ::2, LABELS.index("phone")].long().where(~noise_only[:, None], torch.tensor(PAUSE))
    labels = labels / 255.0 * (~noise_only)[:, None, None]
    k = len(EVENTS)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    trust = torch.where(noise_only[:, None], torch.ones(()), labels[..., LABELS.index("weight")])
    known = trust[..., None] * ((labels[..., :k] - 0.5).abs() > 0.1)  # 128 of 255: nobody knows
    event_loss = (bce(events.float(), labels[..., :k], reduction="none") * known).mean((0, 1))
    goal = labels[:, ::2, k : k + len(CHANNELS)]
    channel_loss = (bce(channels.float(), goal, reduction="none") * trust[:, ::2, None]).mean((0, 1))
    total = (event_loss * torch.tensor(EVENT_WEIGHTS)).sum() + (channel_loss * torch.tensor(CHANNEL_WEIGHTS)).sum()
    phone_loss = torch.nn.functional.cross_entropy(phones.float(), which, ignore_index=UNKNOWN_PHONE)
    total = total + PHONE_WEIGHT * torch.nan_to_num(phone_loss)  # not a number where a batch knows no phone
    parts = {
        "loss": total.item(),
        "closure": event_loss[0].item(),
        "jaw": channel_loss[0].item(),
        "phone": phone_loss.item(),
    }
    return total, parts


class Trainer:
    """One run: net, its averaged copy, AdamW, clock and log; everything needed to go on is in `folder`."""

    def __init__(self, folder: Path, stores: list[Path], plan: Plan):
        self.folder, self.plan = folder, plan
        self.store = Store(stores)
        self.seconds, self.steps = 0.0, 0
        self.log: list[dict[str, float]] = []
        torch.manual_seed(plan.seed)
        prior = self.store.prior(np.random.default_rng(plan.seed))
        self.net = ArticulationNet(NetConfig(prior=tuple(round(float(p), 4) for p in prior)))
        self.mean = ArticulationNet(self.net.config)
        self.mean.load_state_dict(self.net.state_dict())
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=plan.rate, weight_decay=0.01)
        known = dict(plan.shares) or self.store.hours()
        self.shares = {s: known[s] for s in self.store.clips if known.get(s, 0) > 0}
        if (folder / "state.safetensors").exists():
            self._resume()

    def start_from(self, checkpoint: Path) -> None:
        """Begin with the weights (and the prior) of a checkpoint."""
        older, _ = load_net(checkpoint)
        self.net.load_state_dict(older.state_dict())
        self.mean.load_state_dict(older.state_dict())
        self.net.config = self.mean.config = replace(self.net.config, prior=older.config.prior)

    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """One augmented batch; drawn from the seed and the step number, so a resumed run sees what a whole one sees."""
        rng = np.random.default_rng([self.plan.seed, self.steps])
        g = torch.Generator().manual_seed(int(rng.integers(1 << 31)))
        torch.manual_seed(int(rng.integers(1 << 31)))  # dropout
        names, p = list(self.shares), np.array(list(self.shares.values()))
        crops = [self.store.crop(WINDOW, str(s), rng) for s in rng.choice(names, BATCH, p=p / p.sum())]
        mel = torch.from_numpy(np.stack([m for m, _ in crops]))
        labels = torch.from_numpy(np.stack([v for _, v in crops])).float()
        mel, noise_only = augment(mel, g)
        return mask_bands(normalise(mel, torch.tensor(self.net.config.prior)), g), labels, noise_only

    def step(self) -> dict[str, float]:
        started = time.perf_counter()
        done = min(1.0, self.seconds / (self.plan.minutes * 60))
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
        meta = {"seconds": str(self.seconds), "steps": str(self.steps), "plan": json.dumps(asdict(self.plan))}
        with replacing(self.folder / "state.safetensors") as part:
            save_file({k: v.contiguous().clone() for k, v in tensors.items()}, part, metadata=meta)
        write_json(self.folder / "log.json", self.log)
        hours = {s: round(h, 2) for s, h in self.store.hours().items()}
        minutes = round(self.seconds / 60, 1)
        save_net(out, self.mean, {"training": {"steps": self.steps, "minutes": minutes, "hours": hours}})

    def _resume(self) -> None:
        from safetensors import safe_open

        with safe_open(str(self.folder / "state.safetensors"), "pt") as f:
            meta = f.metadata()
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118
        pick = lambda head: {k[len(head) :]: v for k, v in tensors.items() if k.startswith(head)}  # noqa: E731
        self.net.load_state_dict(pick("net."))
        self.mean.load_state_dict(pick("mean."))
        state = self.optimiser.state_dict()
        for key, value in pick("adam.").items():
            i, name = key.split(".")
            state["state"].setdefault(int(i), {})[name] = value
        self.optimiser.load_state_dict(state)
        self.seconds, self.steps = float(meta["seconds"]), int(meta["steps"])
        if (self.folder / "log.json").exists():
            self.log = read_json(self.folder / "log.json")


def train_speech(
    out: Path, folder: Path, plan: Plan | None = None, stores: list[Path] | None = None, start: Path | None = None,
    report: Reporter = SILENT,
) -> dict[str, Any]:  # fmt: skip
    """Train and write the checkpoint `out`; `folder` keeps the store and the state. Returns steps and seconds.

    stores: use these instead of synthesising one. start: a checkpoint whose weights to begin with. A run that was
    stopped goes on where it was.
    """
    plan = plan or Plan()
    torch.set_num_threads(1)
    if stores is None:
        stores = [folder / "synthesised"]
        if not (stores[0] / "index.json").exists():
            made = ((clip, None) for clip in clips(plan.hours, plan.seed, report))
            build_store(stores[0], made, plan.variants, plan.seed, report)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(folder, stores, plan)
    if start is not None and not trainer.steps:
        trainer.start_from(start)
    saved = trainer.seconds
    recent: list[dict[str, float]] = []
    while trainer.seconds < plan.minutes * 60:
        report.step("training", int(trainer.seconds), int(plan.minutes * 60))
        recent.append(trainer.step())
        if trainer.steps % 50 == 0:
            mean = {k: round(float(np.mean([r[k] for r in recent])), 4) for k in recent[0]}
            trainer.log.append({"step": trainer.steps, "seconds": round(trainer.seconds, 1), **mean})
            recent = []
        if trainer.seconds - saved > 60:
            trainer.save(out)
            saved = trainer.seconds
    trainer.save(out)
    return {"steps": trainer.steps, "seconds": trainer.seconds}


def main() -> None:
    """The command line of the recipe."""
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--store", type=Path, action="append", help="an existing store (may be repeated)")
    for name, default in (("hours", 5.0), ("minutes", 40.0)):
        parser.add_argument(f"--{name}", type=float, default=default)
    parser.add_argument("--start", type=Path, help="a checkpoint to begin with")
    parser.add_argument("--shares", help='how often each source is drawn, as JSON, e.g. {"espeak": 0.3}')
    parser.add_argument("--rate", type=float, default=Plan.rate)
    parser.add_argument("--variants", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    shares = tuple(json.loads(a.shares).items()) if a.shares else Plan.shares
    plan = Plan(a.hours, a.variants, a.minutes, a.seed, a.rate, shares)
    print(json.dumps(train_speech(a.out, a.folder, plan, a.store, a.start)))


if __name__ == "__main__":
    main()
