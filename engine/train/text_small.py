"""Recipe: the small net that needs no download, taught by our corpus and by a fine-tuned encoder (distillation).

    python -m engine.train.text_small OUT.safetensors --teacher ENCODER.safetensors [--wordnet FOLDER] [--epochs 10]

The teacher (engine/train/text_encoder.py) reads WordNet's sentences, our situations with words exchanged, and our
associations; the small net learns its classes (Kullback-Leibler, temperature 1.5) and AUs (cross entropy), and from
our corpus the labels themselves. Its word vectors start as the encoder's own vectors of single words, reduced by PCA.
One core: 10 minutes for the teacher's reading, 5 for the net.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.controls.text.encoder import EncoderHead, folder_of
from engine.controls.text.net import INTERFACE, grams, place, split
from engine.core.files import replacing, write_json
from engine.train.text_corpus import Entry, associations, family_faces, family_names, lexicon_items, load, targets
from engine.train.text_wordnet import DEFAULT, WordNet, exchanged, read_wordnet

DIM, WIDE, BUCKETS, BATCH, RATE, HEAT = 64, 128, 4096, 256, 3e-3, 1.5
COMMON = 9  # occurrences in WordNet's sentences from which a word gets a vector
DROP = 0.1  # of words, whole
UNKNOWN = 0.06  # share of known words that are read by their letters, so that the n-grams learn


class TorchSmall(nn.Module):
    """Torch twin of engine.controls.text.net.SmallNet."""

    def __init__(self, words: int, classes: int):
        super().__init__()
        self.vectors = nn.Embedding(words + 1, DIM, padding_idx=0)  # row 0: padding
        self.weight = nn.Embedding(words + 1, 1, padding_idx=0)
        self.ngrams = nn.EmbeddingBag(BUCKETS, DIM, mode="mean")
        self.unknown = nn.Parameter(torch.zeros(1))
        self.conv = nn.Linear(3 * DIM, WIDE)
        self.family = nn.Linear(WIDE + DIM, classes)
        self.au = nn.Linear(WIDE + DIM, 18)
        self.dropout = nn.Dropout(0.3)
        nn.init.zeros_(self.weight.weight)
        nn.init.normal_(self.ngrams.weight, std=0.05)

    def forward(self, rows: Tensor, letters: Tensor, offsets: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of classes [b, k] and AUs [b, 18].

        rows [b, n]: word + 1, 0 where it is read by letters or padding. letters, offsets: n-grams of the words read by
        letters, in order. real [b, n]: 1 a word, 2 a word read by letters, 0 padding.
        """
        e = self.vectors(rows)
        mark = self.weight(rows)[..., 0]
        spelt = real == 2
        if spelt.any():
            e = e.masked_scatter(spelt[..., None].expand_as(e), self.ngrams(letters, offsets))
            mark = torch.where(spelt, self.unknown.expand_as(mark), mark)
        wide = torch.cat([nn.functional.pad(e, (0, 0, 1, 0))[:, :-1], e, nn.functional.pad(e, (0, 0, 0, 1))[:, 1:]], 2)
        h = torch.relu(self.conv(wide)).masked_fill(real[..., None] == 0, 0.0)
        a = torch.softmax(mark.masked_fill(real == 0, -1e9), 1)
        x = self.dropout(torch.cat([h.amax(1), (a[..., None] * e).sum(1)], 1))
        return self.family(x), self.au(x)


def vocabulary(texts: list[str], net: WordNet) -> list[str]:
    """Words that get a vector: those of our own texts and those that WordNet's sentences use often."""
    own = {w for t in texts for w in split(t)}
    return sorted(own | {w for w, n in net.common.items() if n >= COMMON and w.isascii()})


def batch_of(
    texts: list[str], index: dict[str, int], rng: random.Random | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tensors of a batch (see TorchSmall.forward); rng: drop words and read some by letters, None: neither."""
    lines = []
    for t in texts:
        words = split(t) or ["0"]
        if rng and len(words) > 3:
            words = [w for w in words if rng.random() > DROP] or words
        lines.append(words)
    n = max(map(len, lines))
    rows, real = torch.zeros(len(lines), n, dtype=torch.long), torch.zeros(len(lines), n, dtype=torch.long)
    letters: list[int] = []
    offsets: list[int] = []
    for i, words in enumerate(lines):
        for j, w in enumerate(words):
            k = place(w, index)
            if k is None or (rng and len(w) > 3 and rng.random() < UNKNOWN):
                real[i, j] = 2
                offsets.append(len(letters))
                letters += grams(w, BUCKETS)
            else:
                real[i, j] = 1
                rows[i, j] = k + 1
    return rows, torch.tensor(letters, dtype=torch.long), torch.tensor(offsets, dtype=torch.long), real


def reading(
    entries: list[Entry], net: WordNet, rng: random.Random, examples: int = 6_000, glosses: int = 500
) -> list[str]:
    """Sentences for the teacher to judge: no labels of ours."""
    made = [t for e in entries for _ in range(2 if e.kind == "situation" else 1) if (t := exchanged(e.text, net, rng))]
    carriers = ("{}", "there is {}", "she thinks of {}", "he sees {}", "suddenly, {}", "{} again", "the {}", "my {}")
    made += [rng.choice(carriers).format(a) for a, _ in associations()]
    own = [e.text for e in entries if e.kind == "situation"]
    made += [f"{rng.choice(own)}, and {rng.choice(own)}" for _ in range(500)]
    found = (*_some(net.examples, examples, rng), *_some(net.glosses, glosses, rng))
    return sorted({*found, *made})


def _some(texts: Sequence[str], n: int, rng: random.Random) -> list[str]:
    return rng.sample(texts, min(n, len(texts)))


def initial(words: list[str], teacher: EncoderHead) -> np.ndarray:
    """[n, DIM] the encoder's vectors of single words, centred, reduced by PCA, of mean length 1."""
    x = teacher.encoder.features(words, 256)
    x = x - x.mean(0)
    values, axes = np.linalg.eigh(x.T @ x)
    y = x @ axes[:, np.argsort(values)[::-1][:DIM]]
    return (y / np.linalg.norm(y, axis=1).mean()).astype(np.float32)


def resumed(start: Path, texts: list[str], teacher: EncoderHead, seed: int = 0) -> tuple[TorchSmall, list[str]]:
    """(the net of a checkpoint, with vectors for words of `texts` that it lacks; all its words). A new word's vector is
    the encoder's, by the linear map that fits the known words' vectors best."""
    from engine.controls.text.net import load_small

    old = load_small(start)
    known = list(old.index)
    fresh = sorted({w for t in texts for w in split(t)} - set(known))
    model = TorchSmall(len(known) + len(fresh), len(old.families))
    sample = random.Random(seed).sample(range(len(known)), min(3000, len(known)))
    x = teacher.encoder.features([*(known[i] for i in sample), *fresh], 256)
    x = np.concatenate([x, np.ones((len(x), 1), np.float32)], 1)
    a, b = x[: len(sample)], old.vectors[sample]
    fit = np.linalg.solve(a.T @ a + 0.1 * np.eye(a.shape[1]), a.T @ b)
    state = {f"{name}.{k}": old.arrays[f"{name}.{k}"] for name in ("conv", "family", "au") for k in ("weight", "bias")}
    marks = np.concatenate([[0.0], old.arrays["weight"], np.zeros(len(fresh))])
    state |= {
        "vectors.weight": np.concatenate([np.zeros((1, DIM)), old.vectors, x[len(sample) :] @ fit]),
        "weight.weight": marks[:, None], "ngrams.weight": old.ngrams, "unknown": old.arrays["unknown"],
    }  # fmt: skip
    model.load_state_dict({k: torch.from_numpy(np.asarray(v, np.float32)) for k, v in state.items()})
    return model, [*known, *fresh]


def rows_of(
    entries: list[Entry], judged: list[str], p: np.ndarray, q: np.ndarray, net: WordNet, rng: random.Random,
    phrases: list[tuple[str, str]],
) -> list[tuple[str, np.ndarray, np.ndarray, float]]:  # fmt: skip
    """(text, classes, AUs, weight) of an epoch: labels of ours (weight 1), the teacher's opinion p, q (.5), some of
    the lexicon's phrases (.5)."""
    names = {n: i for i, n in enumerate(family_names())}
    classes, aus = targets(entries)
    faces = (family_faces().max(2) > 0).astype(np.float32)
    out = [(e.text, c, a, 1.0) for e, c, a in zip(entries, classes, aus, strict=True)]
    for phrase, family in (*rng.sample(phrases, 800), *associations()):
        row = np.zeros(len(names), np.float32)
        row[names[family]] = 1
        out.append((phrase, row, faces[names[family]], 0.5))
    out += [(t, p[i], q[i], 0.5) for i, t in enumerate(judged)]
    nothing = np.eye(len(names), dtype=np.float32)[names["nothing"]]
    # A plain sentence stays plain when its words are exchanged; the teacher is less sure of that.
    plain = [t for e in entries if e.kind == "nothing" for _ in range(8) if (t := exchanged(e.text, net, rng))]
    return out + [(t, nothing, faces[names["nothing"]], 0.7) for t in plain]


def opinions(
    teacher: EncoderHead, judged: list[str], words: list[str], cache: Path | None = None, vectors: bool = True
) -> tuple[list[str], list[str], np.ndarray, np.ndarray, np.ndarray]:
    """(sentences [n], words [w], classes [n, k] at temperature HEAT, AUs [n, 18], first vectors [w, DIM] or none): what
    the teacher thinks. cache: .npz that is read if it is there, with its own sentences and words, and written if not.
    """
    if cache and cache.exists():
        kept = np.load(cache, allow_pickle=False)
        p, q, start = kept["p"], kept["q"], kept["start"]
        judged, words = kept["judged"].tolist(), kept["words"].tolist()
    else:
        parts = [teacher.predict(judged[i : i + 8192]) for i in range(0, len(judged), 8192)]
        p, q = (np.concatenate([x[k] for x in parts]).astype(np.float32) for k in (0, 1))  # type: ignore[misc]
        start = initial(words, teacher) if vectors else np.zeros(0, np.float32)
        if cache:
            with replacing(cache) as part, open(part, "wb") as f:
                np.savez(f, p=p, q=q, start=start, judged=np.array(judged), words=np.array(words))
    p = p ** (1 / HEAT)
    p /= p.sum(1, keepdims=True)
    return judged, words, p, q, start


def train(
    teacher: EncoderHead, net: WordNet, epochs: int = 10, seed: int = 0, without: tuple[str, ...] = (),
    cache: Path | None = None, start_from: Path | None = None, examples: int = 6_000, log: Any = print,
) -> tuple[dict[str, np.ndarray], dict[str, Any], list[dict[str, float]]]:  # fmt: skip
    """(arrays, configuration, log). cache: .npz where the teacher's opinions are kept between runs. start_from: a
    checkpoint to go on from, at half the rate. examples: WordNet's sentences that the teacher judges."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    entries = load(without=without)
    phrases = lexicon_items(without)
    own = [*(e.text for e in entries), *(w for w, _ in (*phrases, *associations()))]
    lessons = reading(entries, net, random.Random(1), examples, examples // 12), vocabulary(own, net)
    judged, words, p, q, start = opinions(teacher, *lessons, cache, start_from is None)
    rate = RATE
    if start_from:
        rate = RATE / 2
        model, words = resumed(start_from, own, teacher, seed)
    else:
        model = TorchSmall(len(words), p.shape[1])
        with torch.no_grad():
            model.vectors.weight[1:] = torch.from_numpy(start)
    index = {w: i for i, w in enumerate(words)}
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-4)
    history: list[dict[str, float]] = []
    total = epochs * (-(-len(rows_of(entries, judged, p, q, net, rng, phrases)) // BATCH))
    began, step = time.perf_counter(), 0
    for epoch in range(epochs):
        rows = rows_of(entries, judged, p, q, net, rng, phrases)
        rows += [r for r in rows if r[3] == 1.0] * 3  # our own labels are few
        rows.sort(key=lambda r: len(r[0]) // 16 + rng.random())  # lines of a length share a batch: less padding
        batches = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
        rng.shuffle(batches)
        model.train()
        sums = 0.0
        for part in batches:
            step += 1
            for g in optimiser.param_groups:
                g["lr"] = rate * max(0.02, 1 - step / (total * 1.15))
            family, au = model(*batch_of([r[0] for r in part], index, rng))
            y, a = (torch.from_numpy(np.stack([r[k] for r in part])) for k in (1, 2))
            w = torch.tensor([r[3] for r in part])
            ce = -(y * torch.log_softmax(family, 1)).sum(1)
            bce = nn.functional.binary_cross_entropy_with_logits(au, a, reduction="none").mean(1)
            loss = ((ce + 2 * bce) * w).mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimiser.step()
            sums += loss.item()
        history.append({"epoch": epoch, "loss": sums / len(batches), "seconds": time.perf_counter() - began})
        log(json.dumps(history[-1]), flush=True)
    config = {
        "interface": INTERFACE,
        "families": list(family_names()),
        "seed": seed,
        "epochs": epochs,
        "sentences": len(judged),
    }
    return packed(model.eval(), words), config, history


def packed(model: TorchSmall, words: list[str]) -> dict[str, np.ndarray]:
    """Arrays of the checkpoint: vectors in 8 bits with a scale per row, the rest in 16-bit floats."""
    state = {k: v.detach().numpy() for k, v in model.state_dict().items()}
    out: dict[str, np.ndarray] = {"words": np.frombuffer("\n".join(words).encode(), np.uint8)}
    for name, rows in (("vectors", state["vectors.weight"][1:]), ("ngrams", state["ngrams.weight"])):
        scale = np.maximum(np.abs(rows).max(1), 1e-6) / 127
        out[name] = np.round(rows / scale[:, None]).astype(np.int8)
        out[f"{name}.scale"] = scale.astype(np.float16)
    out["weight"] = state["weight.weight"][1:, 0].astype(np.float16)
    out["unknown"] = state["unknown"].astype(np.float16)
    for name in ("conv", "family", "au"):
        out |= {f"{name}.{k}": state[f"{name}.{k}"].astype(np.float16) for k in ("weight", "bias")}
    return out


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
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--wordnet", type=Path, default=DEFAULT)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--without", nargs="*", default=[])
    parser.add_argument("--start", type=Path, help="a checkpoint of this recipe to go on from")
    parser.add_argument("--examples", type=int, default=6_000, help="WordNet's sentences for the teacher to judge")
    a = parser.parse_args()
    teacher = EncoderHead(a.teacher, folder_of(a.encoder))
    net = read_wordnet(a.wordnet)
    save(a.out, *train(teacher, net, a.epochs, a.seed, tuple(a.without), a.cache, a.start, a.examples))


if __name__ == "__main__":
    main()
