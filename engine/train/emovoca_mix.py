"""The synthesised EmoVOCA set: talking and silent expressions joined by a trained DE-SD (EmoVOCA, 3.2.2 and 4.1).

A talking clip keeps its voice; an expression of another person is held at its apex, its size following a curve. Both
features, scaled by mu_t and mu_e, are decoded together, 25 times a second. With both features put in twice in training,
the decoder learns to halve each (its first layer's two halves get the same gradient), so mu = 1 would show half of the
talk and half of the feeling; `calibrate` finds the mu that keep both as large as they were. The paper prints none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from engine.core.anatomy import Head
from engine.core.names import EMOTION_INDEX, EMOTIONS
from engine.core.progress import SILENT, Reporter
from engine.motion.nets.desd import DESD
from engine.studio.performances.unpaired import LEVELS
from engine.studio.performances.unpaired_store import Feel, Talk
from engine.train.emovoca_desd import SCALE_MM, Surface
from engine.train.emovoca_set import STRIDE, Mixed

V1 = ("fear", "angry", "disgusted", "happy", "sad")  # the paper's "afraid", "angry", "disgust", "happy", "sad"
V2 = (*V1, "moody", "drunk", "ill", "suspicious", "pleased", "upset")
OURS = EMOTIONS[1:]
APEX = 0.999  # level from which an expression has fully come
CHUNK = 32  # frames decoded at once: more leave the cache and take four times as long each
KINDS = {"held": 0.55, "rising": 0.2, "change": 0.15, "plain": 0.1}  # of the clips; "plain" has no feeling


@dataclass(frozen=True)
class Scales:
    """mu_t, and mu_e of a full expression; a weaker one is a smaller mu_e: EmoVOCA's way to intensity (section 4.1)."""

    talk: float = 1.0
    feel: float = 1.0


class Mixer:
    """Joins frames by a trained DE-SD."""

    def __init__(self, net: DESD, surface: Surface, scales: Scales | None = None):
        self.net, self.surface, self.scales = net.eval(), surface, scales or Scales()

    @torch.inference_mode()
    def features(self, weights: np.ndarray, kind: str) -> torch.Tensor:
        """[t, 59] -> features [t, 64] of that kind's encoder ("talk", "feel")."""
        encode = self.net.talk if kind == "talk" else self.net.feel
        parts = [encode(self.surface.displace(weights[i : i + CHUNK])) for i in range(0, len(weights), CHUNK)]
        return torch.cat(parts)

    @torch.inference_mode()
    def displaced(self, talk: torch.Tensor, feel: torch.Tensor) -> torch.Tensor:
        """Features (already scaled) -> displacements [t, n, 3] in units of SCALE_MM."""
        pairs = range(0, len(talk), CHUNK)
        return torch.cat([self.net.decode(self.net.joined(talk[i : i + CHUNK], feel[i : i + CHUNK])) for i in pairs])

    def mix(self, talk: np.ndarray, feel: np.ndarray, level: np.ndarray | float = 1.0) -> np.ndarray:
        """Weights of talking [t, 59] and of expressions [t, 59] at `level` -> weights of both [t, 59]."""
        return self.of_features(talk, self.features(talk, "talk"), self.features(feel, "feel"), level)

    def of_features(
        self, talk: np.ndarray, heard: torch.Tensor, felt: torch.Tensor, level: np.ndarray | float = 1.0
    ) -> np.ndarray:
        """`mix` with the features at hand; what the surface does not show (the tongue) stays as in `talk`."""
        size = torch.from_numpy(np.broadcast_to(np.asarray(level, np.float32), len(talk)).copy())[:, None]
        moved = self.displaced(self.scales.talk * heard, self.scales.feel * size * felt)
        out = self.surface.weights(moved, talk)
        out[:, ~self.surface.seen] = talk[:, ~self.surface.seen]
        return out


def lips_and_upper(head: Head, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the surface's points are of the lips and of the upper face. Two [n] bool."""
    return tuple(np.asarray(head.masks[name])[vertices] >= 0.5 for name in ("lips", "upper_face"))  # type: ignore[return-value]


def _error_mm(seen: torch.Tensor, truth: torch.Tensor, region: np.ndarray) -> float:
    """Largest error of a region per frame, mean over frames, mm."""
    missed = (seen - truth)[:, torch.from_numpy(region)].square().sum(-1).sqrt()
    return float(missed.max(1).values.mean()) * SCALE_MM


def kept(mixer: Mixer, talk: np.ndarray, feel: np.ndarray, lips: np.ndarray, upper: np.ndarray) -> dict[str, float]:
    """Table 2's geometric figures: LVE of mixes against the talk, UVE against the expression, both mm [t, 59] each."""
    heard, felt = mixer.features(talk, "talk"), mixer.features(feel, "feel")
    seen = mixer.displaced(mixer.scales.talk * heard, mixer.scales.feel * felt)
    surface = mixer.surface
    return {
        "lve_talk_mm": round(_error_mm(seen, surface.displace(talk), lips), 3),
        "uve_feel_mm": round(_error_mm(seen, surface.displace(feel), upper), 3),
    }


def calibrate(
    mixer: Mixer, talk: np.ndarray, feel: np.ndarray, lips: np.ndarray, upper: np.ndarray,
    grid: Sequence[float] = (0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25),
) -> Scales:  # fmt: skip
    """The mu at which the upper face is nearest to the expression, and the lips' travel as large as in the talk.

    talk, feel: weights [t, 59] of random pairs. The travel is the root mean square of the lips' difference between two
    frames that show the same expression, so that an expression's own lips do not count.
    """
    heard, felt = mixer.features(talk, "talk"), mixer.features(feel, "feel")
    want_up = mixer.surface.displace(feel)
    said = mixer.surface.displace(talk)
    turned = torch.roll(torch.arange(len(talk)), 1)
    wanted = float((said - said[turned])[:, torch.from_numpy(lips)].square().mean())
    mu_talk, mu_feel = 1.0, 1.0
    for _ in range(2):
        errors = [_error_mm(mixer.displaced(mu_talk * heard, m * felt), want_up, upper) for m in grid]
        mu_feel = float(grid[int(np.argmin(errors))])
        travel = []
        for m in grid:
            a = mixer.displaced(m * heard, mu_feel * felt)
            b = mixer.displaced(m * heard[turned], mu_feel * felt)
            travel.append(float((a - b)[:, torch.from_numpy(lips)].square().mean()))
        mu_talk = float(np.interp(wanted, travel, grid))
    return Scales(round(mu_talk, 3), mu_feel)


def _level(kind: str, rows: int, rng: np.random.Generator) -> np.ndarray:
    """How far the feeling has come over a clip of so many frames. [rows] in [0, 1]."""
    names = list(LEVELS.values())
    top = float(rng.choice(names))
    if kind == "held" or rows < 25:
        return np.full(rows, top, np.float32)
    at = np.arange(rows) / 25.0
    begin, rise = rng.uniform(0.0, 0.5 * rows / 25.0), rng.uniform(0.25, 0.9)
    low = float(rng.choice([0.0, 0.0, *names]))
    first, last = (low, top) if rng.random() < 0.6 else (top, low)
    share = np.clip((at - begin) / rise, 0.0, 1.0)
    share = share * share * (3.0 - 2.0 * share)
    return (first + (last - first) * share).astype(np.float32)


class _Apexes:
    """Features of the apexes of full expressions, by label and person, played forth and back."""

    def __init__(self, mixer: Mixer, feels: Sequence[Feel], labels: Sequence[str]):
        self.of: dict[str, list[torch.Tensor]] = {label: [] for label in labels}
        for clip in feels:
            if clip.label in self.of and clip.intensity == max(LEVELS.values()):
                rows = clip.weights[clip.level >= APEX][::STRIDE]
                self.of[clip.label].append(mixer.features(rows, "feel"))

    def play(self, label: str, rows: int, rng: np.random.Generator) -> torch.Tensor:
        """[rows, 64] of one person's apex."""
        one = self.of[label][int(rng.integers(len(self.of[label])))]
        loop = torch.cat([one, one.flip(0)])
        start = int(rng.integers(len(loop)))
        return loop[(start + torch.arange(rows)) % len(loop)]


def synthesise(
    mixer: Mixer,
    talks: Sequence[Talk],
    feels: Sequence[Feel],
    labels: Sequence[str],
    times: int,
    seed: int = 0,
    kinds: dict[str, float] | None = None,
    report: Reporter = SILENT,
) -> list[Mixed]:
    """Every talking clip `times` times, each with a drawn label and level. kinds: shares of the kinds of clip
    (default KINDS; {"held": 1.0} is the paper's set: one label and one of three levels a clip)."""
    kinds = kinds or KINDS
    apexes, out = _Apexes(mixer, feels, labels), []
    for i, talk in enumerate(talks):
        report.step("mixtures", i, len(talks))
        said = talk.weights[: len(talk.weights) // STRIDE * STRIDE : STRIDE]
        heard = mixer.features(said, "talk")
        for k in range(times):
            rng = np.random.default_rng([seed, i, k])
            kind = str(rng.choice(list(kinds), p=list(kinds.values())))
            out.append(_one(mixer, talk, said, heard, apexes, labels, kind, i, rng))
    return out


def _one(
    mixer: Mixer, talk: Talk, said: np.ndarray, heard: torch.Tensor, apexes: _Apexes, labels: Sequence[str],
    kind: str, number: int, rng: np.random.Generator,
) -> Mixed:  # fmt: skip
    rows = len(said)
    emotion = np.zeros((rows, len(EMOTIONS)), np.float32)
    strength = np.zeros(rows, np.float32)
    weights = said
    if kind != "plain":
        label = str(rng.choice(labels))
        felt, strength = apexes.play(label, rows, rng), _level(kind, rows, rng)
        emotion[:, EMOTION_INDEX[label]] = 1.0
        if kind == "change":
            other = str(rng.choice(labels))
            at = (np.arange(rows) / 25.0 - rng.uniform(0.2, 0.7) * rows / 25.0) / rng.uniform(0.25, 0.9)
            share = torch.from_numpy(np.clip(at, 0.0, 1.0).astype(np.float32))[:, None]
            felt = felt + share * (apexes.play(other, rows, rng) - felt)
            strength[:] = float(rng.choice(list(LEVELS.values())))
            emotion *= 1.0 - share.numpy()
            emotion[:, EMOTION_INDEX[other]] += share[:, 0].numpy()
        weights = mixer.of_features(said, heard, felt, strength)
        emotion[strength <= 0] = 0.0
    both = len(said) * STRIDE
    return Mixed(talk.speech[:both], emotion, strength, weights, talk.contact[:both], number, kind)
