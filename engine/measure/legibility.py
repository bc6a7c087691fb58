"""Whether a face shows what it should: a net trained on silent expressions reads faces that speak.

EmoVOCA's protocol (its section 4.3 and table 2: a classifier of expression-only meshes, tested on expression + speech)
and EmoTalkingGaussian's figures for valence and arousal (its S14, S15: sign agreement and root mean square error).
The net reads displacements of face points on the default head, relative to the person's neutral face and size; it knows
our AU shapes but neither our prototypes nor speech. Its figures compare systems with each other, never with a paper's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.names import EMOTION_INDEX, EMOTIONS

POINTS = 160  # face points
EIGHT = EMOTIONS[:8]  # EmoTalk3D's labels


def face_size(head: Head) -> float:
    """Distance of the eyes, metres: displacements are divided by it."""
    centres = [head.template[np.asarray(head.masks[name]) > 0.5].mean(0) for name in ("eye_left", "eye_right")]
    return float(np.linalg.norm(centres[0] - centres[1]))


def features(head: Head, arkit: np.ndarray, extra: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Displacements of the face points over the distance of the eyes, without head motion. [t, points * 3] float32."""
    from engine.head.evaluate import shape_weights

    weights = shape_weights(head, arkit, extra)
    moved = weights @ head.shapes[:, points].reshape(len(head.shape_names), -1)
    return (moved / face_size(head)).astype(np.float32)


@dataclass(frozen=True)
class Reader:
    """The measuring net: features -> labels and valence-arousal. Two hidden layers, ReLU; numpy alone."""

    mean: np.ndarray
    scale: np.ndarray
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    points: np.ndarray
    topology_sha256: str

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """features [t, d] -> (log probabilities [t, 14], valence and arousal [t, 2] in [-1, 1])."""
        h = (x - self.mean) / self.scale
        for weight, bias in self.layers[:-1]:
            h = np.maximum(h @ weight.T + bias, 0.0)
        weight, bias = self.layers[-1]
        out = h @ weight.T + bias
        logits = out[:, : len(EMOTIONS)]
        logits = logits - logits.max(1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(1, keepdims=True)), np.tanh(out[:, len(EMOTIONS) :])


def load_reader(path: str | Path | None = None) -> Reader:
    """The reader that ships, or one from a file. Raises BadFile / BadInput."""
    from engine.assets.registry import resolve
    from engine.measure.nets.expression import read_net

    return read_net(resolve("default", "legibility") if path is None else Path(path))


@dataclass(frozen=True)
class Reading:
    """What the reader sees in a clip: probability of each label [14] and mean valence and arousal [2]."""

    probability: np.ndarray
    va: np.ndarray

    def ranking(self, among: tuple[str, ...] = EMOTIONS) -> list[str]:
        """Labels from the most to the least likely."""
        return sorted(among, key=lambda name: -self.probability[EMOTION_INDEX[name]])


def read_clip(reader: Reader, head: Head, arkit: np.ndarray, extra: np.ndarray, skip: int = 0) -> Reading:
    """One reading of a whole clip: log probabilities averaged over its frames from `skip` on."""
    if head.topology_sha256 != reader.topology_sha256:
        raise BadInput("the measuring net was trained on another head; run `train legibility` again")
    logs, va = reader(features(head, arkit[skip:], extra[skip:], reader.points))
    mean = logs.mean(0)
    probability = np.exp(mean - mean.max())
    return Reading(probability / probability.sum(), va.mean(0))


def accuracy(readings: list[tuple[str, Reading]], among: tuple[str, ...] = EMOTIONS) -> dict[str, Any]:
    """Top-1 and top-3 accuracy of (true label, reading) pairs: in all, and for each label what it was taken for."""
    ranked = [(truth, reading.ranking(among)) for truth, reading in readings]
    out: dict[str, Any] = {"clips": len(ranked)}
    for k in (1, 3):
        out[f"top{k}"] = round(float(np.mean([truth in order[:k] for truth, order in ranked])), 4) if ranked else None
    out["labels"] = {}
    for label in dict.fromkeys(truth for truth, _ in ranked):
        firsts = [order[0] for truth, order in ranked if truth == label]
        wrong = {name: firsts.count(name) for name in dict.fromkeys(firsts) if name != label}
        out["labels"][label] = {"top1": round(firsts.count(label) / len(firsts), 4), "taken_for": wrong}
    return out


def va_agreement(wanted: np.ndarray, seen: np.ndarray) -> dict[str, float]:
    """Sign agreement and root mean square error of valence and arousal, [n, 2] each (EmoTalkingGaussian S14, S15)."""
    if wanted.shape != seen.shape or not len(wanted):
        raise BadInput(f"valence and arousal must be two [n, 2] arrays, got {wanted.shape} and {seen.shape}")
    same = np.sign(wanted) == np.sign(seen)
    error = np.sqrt(((wanted - seen) ** 2).mean(0))
    told = np.abs(wanted) > 1e-6  # a coordinate that is zero has no sign to agree with
    return {
        "valence_sign": round(float(same[told[:, 0], 0].mean()), 4), "valence_rmse": round(float(error[0]), 4),
        "arousal_sign": round(float(same[told[:, 1], 1].mean()), 4), "arousal_rmse": round(float(error[1]), 4),
    }  # fmt: skip
