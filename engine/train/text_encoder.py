"""Recipe: fine-tune a sentence encoder by low-rank changes, with a head of classes and a head of AUs.

    python -m engine.train.text_encoder OUT.safetensors [--encoder minilm|FOLDER] [--epochs 5] [--frozen]

Losses: cross entropy over the families (smoothing .1) + 2 x binary cross entropy over the 18 AUs, on the corpus and,
each epoch, a third of the lexicon's emotion phrases in carrier sentences. One core; about 8 minutes for MiniLM.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.controls.text.encoder import SCALE, Encoder, folder_of
from engine.core.files import replacing, write_json
from engine.train.text_corpus import Entry, associations, family_faces, family_names, lexicon_items, load, targets

RATE, HEAD_RATE, BATCH, RANK, GAIN = 1e-3, 2e-3, 32, 16, 8.0
PLAIN = 2  # times an epoch that a sentence which asks for nothing is read: few stand against the situations
CARRIERS = ("{}", "{} person", "she looks {}", "he is {}", "with {}", "a {} look", "{} face")


class LowRank(torch.nn.Module):
    """A linear layer W with a trained change 2 b a of rank r; b starts at 0, so training starts at W."""

    def __init__(self, base: torch.nn.Linear, rank: int):
        super().__init__()
        self.base = base
        self.a = torch.nn.Parameter(torch.randn(rank, base.in_features) * 0.02)
        self.b = torch.nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., in] -> [..., out]."""
        return self.base(x) + SCALE * (x @ self.a.T) @ self.b.T


def widen(model: torch.nn.Module, rank: int) -> dict[str, LowRank]:
    """Put low-rank changes on every linear layer of the encoder's blocks; everything else is frozen."""
    for p in model.parameters():
        p.requires_grad = False
    changed = {}
    for name, module in list(model.named_modules()):
        for child_name, child in list(module.named_children()):
            if isinstance(child, torch.nn.Linear) and ".layer" in f".{name}":
                changed[f"{name}.{child_name}"] = layer = LowRank(child, rank)
                setattr(module, child_name, layer)
    return changed


def samples(
    entries: list[Entry], rng: random.Random, without: tuple[str, ...] = ()
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """One epoch: (text, classes [k], AUs [18]); a word is dropped now and then; lexicon phrases in carriers."""
    entries = [e for e in entries for _ in range(PLAIN if e.kind == "nothing" else 1)]
    classes, aus = targets(entries)
    out = [(_dropped(e.text, rng), c, a) for e, c, a in zip(entries, classes, aus, strict=True)]
    phrases = lexicon_items(without)
    names, faces = {n: i for i, n in enumerate(family_names())}, family_faces().max(2) > 0
    things = associations()
    for phrase, family in (*rng.sample(phrases, len(phrases) // 3), *rng.sample(things, len(things) // 3)):
        row = np.zeros(len(names), np.float32)
        row[names[family]] = 1
        out.append((rng.choice(CARRIERS).format(phrase), row, faces[names[family]].astype(np.float32)))
    rng.shuffle(out)
    return out


def _dropped(text: str, rng: random.Random) -> str:
    words = text.split()
    if len(words) > 4 and rng.random() < 0.15:
        del words[rng.randrange(len(words))]
    return " ".join(words)


def losses(family: torch.Tensor, au: torch.Tensor, y: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """Cross entropy of rows that have a class (smoothing .1) + 2 x binary cross entropy.

    family, y [b, k]; au, a [b, 18]: logits and targets.
    """
    known = y.sum(1)
    goal = 0.9 * y + 0.1 / y.shape[1]
    ce = -(goal * torch.log_softmax(family, 1)).sum(1)
    bce = torch.nn.functional.binary_cross_entropy_with_logits(au, a)
    return (ce * known).sum() / known.sum().clamp_min(1) + 2 * bce


def go_on(
    layers: dict[str, LowRank], family: torch.nn.Linear, au: torch.nn.Linear, start: dict[str, np.ndarray]
) -> None:
    """Fill the changes and both heads with a checkpoint's arrays."""
    named = {f"{n}.{k}": getattr(layer, k) for n, layer in layers.items() for k in ("a", "b")}
    named |= {f"{n}.{k}": getattr(m, k) for n, m in (("family", family), ("au", au)) for k in ("weight", "bias")}
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(torch.from_numpy(start[name].astype(np.float32)))


def train(
    encoder: Encoder, epochs: int = 5, frozen: bool = False, seed: int = 0, without: tuple[str, ...] = (),
    start: dict[str, np.ndarray] | None = None, log: Any = print,
) -> tuple[dict[str, np.ndarray], dict[str, Any], list[dict[str, float]]]:  # fmt: skip
    """(arrays, configuration, log). The encoder is changed in place unless `frozen`. start: arrays of a checkpoint to
    go on from, at a third of the rates."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    entries = load(without=without)
    layers = {} if frozen else widen(encoder.model, RANK)
    if frozen:
        for p in encoder.model.parameters():
            p.requires_grad = False
    family = torch.nn.Linear(encoder.dim, len(family_names()))
    au = torch.nn.Linear(encoder.dim, 18)
    slow = 1.0
    if start is not None:
        slow = 1 / 3
        go_on(layers, family, au, start)
    low = [p for layer in layers.values() for p in (layer.a, layer.b)]
    groups: list[dict[str, Any]] = [
        {"params": [*family.parameters(), *au.parameters()], "rate": HEAD_RATE * (5 if frozen else 1)}
    ]
    groups += [{"params": low, "rate": RATE}] if low else []
    optimiser = torch.optim.AdamW(groups, lr=RATE, weight_decay=0.01)
    history: list[dict[str, float]] = []
    started, step = time.perf_counter(), 0
    total = epochs * (-(-len(samples(entries, random.Random(0), without)) // BATCH))
    for epoch in range(epochs):
        rows = sorted(samples(entries, rng, without), key=lambda r: len(r[0]) // 12 + rng.random())
        batches = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
        rng.shuffle(batches)
        encoder.model.train(not frozen)
        sums = 0.0
        for batch in batches:
            step += 1
            for g in optimiser.param_groups:
                g["lr"] = slow * g["rate"] * min(1.0, step / 50) * max(0.0, 1 - step / (total + 1))
            x = GAIN * torch.nn.functional.normalize(encoder.pooled([t for t, _, _ in batch]), dim=1)
            y, a = (torch.from_numpy(np.stack([r[i] for r in batch])) for i in (1, 2))
            loss = losses(family(x), au(x), y, a)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([p for g in groups for p in g["params"]], 1.0)
            optimiser.step()
            sums += loss.item()
        history.append({"epoch": epoch, "loss": sums / len(batches), "seconds": time.perf_counter() - started})
        log(json.dumps(history[-1]), flush=True)
    encoder.model.eval()
    arrays = {f"{n}.{k}": getattr(layer, k) for n, layer in layers.items() for k in ("a", "b")}
    arrays |= {"family.weight": family.weight, "family.bias": family.bias, "au.weight": au.weight, "au.bias": au.bias}
    config = {
        "interface": "text-encoder-1", "dim": encoder.dim, "gain": GAIN, "families": list(family_names()),
        "encoder": encoder.id, "seed": seed, "epochs": epochs, "frozen": frozen, "entries": len(entries),
    }  # fmt: skip
    return {k: v.detach().numpy().astype(np.float16) for k, v in arrays.items()}, config, history


def save(out: Path, arrays: dict[str, np.ndarray], config: dict[str, Any], history: list[dict[str, float]]) -> None:
    """Write the checkpoint and OUT.log.json beside it."""
    from safetensors.numpy import save_file

    with replacing(out) as part:
        save_file(arrays, part, metadata={"config": json.dumps(config)})
    write_json(out.with_suffix(".log.json"), {"config": config, "history": history})


def main() -> None:
    """The command line of the recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--encoder", default="minilm", help="minilm or a folder (BERT kinds, CLIP)")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frozen", action="store_true", help="heads only: for CLIP and other encoders of your own")
    parser.add_argument("--without", nargs="*", default=[], help="splits to leave out: topic words concept")
    parser.add_argument("--start", type=Path, help="a checkpoint of this recipe to go on from")
    a = parser.parse_args()
    from safetensors.numpy import load_file

    encoder = Encoder(folder_of(a.encoder))
    save(
        a.out,
        *train(encoder, a.epochs, a.frozen, a.seed, tuple(a.without), load_file(str(a.start)) if a.start else None),
    )


if __name__ == "__main__":
    main()
