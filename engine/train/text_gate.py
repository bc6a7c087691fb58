"""Recipe: fit the gate "does this ask for a face?" of a trained net, and write it into the checkpoint's header.

    python -m engine.train.text_gate CHECKPOINT.safetensors --by HELD.safetensors [--small HELD_SMALL.safetensors]

HELD: a net of the same recipe, trained `--without topic`: it judges the corpus' situations and plain sentences of that
split, which it has not read, and those of gate.json, and the checkpoint takes over its weights and threshold. The
threshold is the smallest that accepts at most --accept of the held-out "nothing". No measuring set is looked at.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from engine.controls.text.decide import gate_features
from engine.controls.text.net import INTERFACE, load_small
from engine.core.errors import BadInput
from engine.core.files import read_json, replacing
from engine.train.text_corpus import FOLDER, load

ACCEPT = 0.04


def fit(features: np.ndarray, asks: np.ndarray, penalty: float = 0.05, steps: int = 400) -> np.ndarray:
    """Weights [4] of a logistic regression by Newton's method with a small ridge; both kinds weigh the same."""
    w = np.zeros(features.shape[1])
    balance = np.where(asks > 0, 0.5 / max(asks.mean(), 1e-6), 0.5 / max(1 - asks.mean(), 1e-6))
    for _ in range(steps):
        p = 1 / (1 + np.exp(-features @ w))
        slope = features.T @ (balance * (p - asks)) / len(asks) + penalty * w / len(asks)
        curve = (features * (balance * p * (1 - p))[:, None]).T @ features / len(asks)
        move = np.linalg.solve(curve + 1e-6 * np.eye(len(w)), slope)
        w -= np.clip(move, -2, 2)
        if np.abs(move).max() < 1e-8:
            break
    return w


def gate_of(features: np.ndarray, asks: np.ndarray, accept: float = ACCEPT) -> dict[str, Any]:
    """{"weights", "threshold", "held_out"} for the checkpoint's configuration."""
    if not 0 < asks.mean() < 1:
        raise BadInput("a gate needs sentences of both kinds: 'asks' and 'nothing'")
    w = fit(features, asks)
    p = 1 / (1 + np.exp(-features @ w))
    plain = np.sort(p[asks == 0])[::-1]
    threshold = float(plain[int(accept * len(plain))]) + 1e-4
    passed = {
        "false_accept": round(float((p[asks == 0] >= threshold).mean()), 3),
        "recall": round(float((p[asks == 1] >= threshold).mean()), 3),
        "sentences": len(asks),
    }
    return {"weights": [round(float(v), 4) for v in w], "threshold": round(threshold, 4), "held_out": passed}


def rewrite(file: Path, **changes: Any) -> None:
    """The checkpoint with other entries in its header's configuration."""
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    with safe_open(str(file), "np") as f:
        config = json.loads(f.metadata()["config"])
    arrays = load_file(str(file))
    with replacing(file) as part:
        save_file(arrays, part, metadata={"config": json.dumps(config | changes)})


def held_out() -> dict[str, list[str]]:
    """{"asks": situations, "nothing": plain sentences}: the split "topic" and gate.json, which no net reads."""
    more = read_json(FOLDER / "gate.json")["nothing"]
    entries = [e for e in load(("situation", "nothing")) if e.split == "topic"]
    return {
        "asks": [e.text for e in entries if e.kind == "situation"],
        "nothing": [*(e.text for e in entries if e.kind == "nothing"), *more],
    }


def features_of(file: Path, texts: list[str], encoder: str, small_file: Path | None = None) -> np.ndarray:
    """[n, 4] gate features of texts under a small net, or an encoder's head weighed with a small net (None: the
    bundled one)."""
    from safetensors import safe_open

    with safe_open(str(file), "np") as f:
        small = json.loads(f.metadata()["config"])["interface"] == INTERFACE
    if small:
        net = load_small(file)
        opinions = [net(t) for t in texts]
        return np.array([gate_features(o.classes, o.known) for o in opinions])
    from engine.controls.text.encoder import EncoderHead, folder_of
    from engine.controls.text.net import small_net
    from engine.controls.text.recognise import SMALL_SHARE

    classes, _ = EncoderHead(file, folder_of(encoder)).predict(texts)
    if classes is None:
        raise BadInput(f"{file} has no classes, so it has no gate")
    beside = load_small(small_file) if small_file else small_net()
    opinions = [beside(t) for t in texts]
    mixed = [(1 - SMALL_SHARE) * c + SMALL_SHARE * o.classes for c, o in zip(classes, opinions, strict=True)]
    return np.array([gate_features(c, o.known) for c, o in zip(mixed, opinions, strict=True)])


def main() -> None:
    """The command line of the recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--by", type=Path, help="the net that judges: trained without the held-out sentences")
    parser.add_argument("--small", type=Path, help="the small net beside an encoder, trained without them too")
    parser.add_argument("--sentences", type=Path, help='{"asks": [...], "nothing": [...]} of your own')
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--accept", type=float, default=ACCEPT, help="share of held-out nothing that may pass")
    a = parser.parse_args()
    held = read_json(a.sentences) if a.sentences else held_out()
    texts = [*held["asks"], *held["nothing"]]
    asks = np.array([1.0] * len(held["asks"]) + [0.0] * len(held["nothing"]))
    gate = gate_of(features_of(a.by or a.checkpoint, texts, a.encoder, a.small), asks, a.accept)
    rewrite(a.checkpoint, gate={k: gate[k] for k in ("weights", "threshold")}, gate_held_out=gate["held_out"])
    print(json.dumps(gate))


if __name__ == "__main__":
    main()
