"""Recipe: EmoDiffTalk's text-to-AU controller as the paper has it (supplement, section 8), for comparison.

    python -m engine.train.text_paper OUT.safetensors [--encoder minilm|FOLDER] [--entries 350]

A frozen text encoder, an MLP of one hidden layer, focal binary cross entropy (eq. 35, alpha .35, gamma 3) and InfoNCE
(eq. 36, tau .07) on the hidden features, lambda 1 and .005 (eq. 37; "01" is taken as 1), AdamW 1e-4, weight decay .01,
betas .9 and .999, 300 epochs, batch 128, 350 entries, 17 AUs (no AU20). Ours to set: 512 hidden units. The paper's
encoder is CLIP's text tower; give its folder, or take MiniLM.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.controls.text.encoder import Encoder, folder_of
from engine.core.names import AU_INDEX, PAPER17
from engine.train.text_corpus import load, targets
from engine.train.text_encoder import save

ALPHA, GAMMA, TAU, NCE = 0.35, 3.0, 0.07, 0.005
RATE, DECAY, EPOCHS, BATCH, ENTRIES, HIDDEN = 1e-4, 0.01, 300, 128, 350, 512
COLUMNS = [AU_INDEX[au] for au in PAPER17]


def focal(logits: Tensor, y: Tensor) -> Tensor:
    """Equation 35, summed over AUs, mean over entries. logits, y [b, 17]."""
    p = torch.sigmoid(logits).clamp(1e-6, 1 - 1e-6)
    hit = -ALPHA * y * (1 - p) ** GAMMA * torch.log(p)
    miss = -(1 - ALPHA) * (1 - y) * p**GAMMA * torch.log(1 - p)
    return (hit + miss).sum(1).mean()


def info_nce(anchor: Tensor, positive: Tensor, negatives: Tensor) -> Tensor:
    """Equation 36. anchor, positive [b, d], negatives [b, k, d]; normalised here."""
    anchor, positive, negatives = (nn.functional.normalize(x, dim=-1) for x in (anchor, positive, negatives))
    same = (anchor * positive).sum(-1, keepdim=True) / TAU
    other = torch.einsum("bd,bkd->bk", anchor, negatives) / TAU
    return -torch.log_softmax(torch.cat([same, other], 1), 1)[:, 0].mean()


def train(
    encoder: Encoder, entries: int = ENTRIES, epochs: int = EPOCHS, seed: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, Any], list[dict[str, float]]]:
    """(arrays, configuration, log)."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    chosen = rng.sample(load(("naming", "situation")), entries)
    y = torch.from_numpy(targets(chosen)[1][:, COLUMNS])
    texts = [[e.text, *e.positive, *e.negative] for e in chosen]
    flat = torch.from_numpy(encoder.features([t for row in texts for t in row]))
    x = flat.view(entries, 7, -1)  # anchor, three positives, three negatives
    hidden, au = nn.Linear(encoder.dim, HIDDEN), nn.Linear(HIDDEN, len(COLUMNS))
    parameters = [*hidden.parameters(), *au.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY, betas=(0.9, 0.999))
    history = []
    for epoch in range(epochs):
        order = torch.randperm(entries)
        total = 0.0
        for i in range(0, entries, BATCH):
            rows = order[i : i + BATCH]
            z = torch.relu(hidden(x[rows]))
            positive = z[torch.arange(len(rows)), torch.randint(1, 4, (len(rows),))]
            loss = focal(au(z[:, 0]), y[rows]) + NCE * info_nce(z[:, 0], positive, z[:, 4:])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item()
        if epoch % 50 == 49:
            history.append({"epoch": epoch, "loss": total})
    wide = {"weight": np.zeros((18, HIDDEN), np.float32), "bias": np.full(18, -20.0, np.float32)}
    wide["weight"][COLUMNS] = au.weight.detach().numpy()
    wide["bias"][COLUMNS] = au.bias.detach().numpy()
    arrays = {"hidden.weight": hidden.weight, "hidden.bias": hidden.bias}
    out = {k: v.detach().numpy().astype(np.float16) for k, v in arrays.items()}
    out |= {f"au.{k}": v.astype(np.float16) for k, v in wide.items()}
    config = {
        "interface": "text-encoder-1", "dim": encoder.dim, "encoder": encoder.id, "seed": seed, "epochs": epochs,
        "entries": entries, "paper": True,
    }  # fmt: skip
    return out, config, history


def main() -> None:
    """The command line of the recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--entries", type=int, default=ENTRIES)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    save(a.out, *train(Encoder(folder_of(a.encoder)), a.entries, EPOCHS, a.seed))


if __name__ == "__main__":
    main()
