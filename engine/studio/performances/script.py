"""What a person says and feels in one clip: lines with a feeling each, and the controls that key it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.core.control import Controls, Keys, Layer, Prompt
from engine.core.names import AUS, EMOTIONS, SIDES
from engine.studio.performances.people import SPLITS, Person
from engine.studio.speech_corpus import sentences

LINES = (1, 3)  # of a clip
TRANSITION_S = (0.25, 0.8)
KINDS = {"label": 0.5, "change": 0.2, "va": 0.12, "words": 0.1, "mix": 0.08}  # what drives the face
FELT = EMOTIONS[1:]


@dataclass(frozen=True)
class Line:
    """One spoken line: text, feeling and how strongly (0-1), pause after it in seconds."""

    text: str
    feeling: str
    intensity: float
    pause: float


@dataclass(frozen=True)
class Script:
    """Lines of one clip and what drives the face: "label", "change", "va", "words" or "mix"."""

    person: Person
    lines: tuple[Line, ...]
    kind: str
    seed: int


def write(person: Person, number: int) -> Script:
    """The person's clip of that number, always the same. Sentences of two splits never meet: their seeds differ."""
    seed = [79, SPLITS.index(person.split), person.number, number]
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    count = int(rng.integers(LINES[0] + (kind == "change"), LINES[1] + 1))
    feelings = (
        [str(rng.choice(FELT)) for _ in range(count)] if kind == "change" else [str(rng.choice(EMOTIONS))] * count
    )
    level = _intensity(rng)
    lines = tuple(
        Line(
            sentences.sentence(person.language, rng), feeling, _intensity(rng) if kind == "change" else level,
            float(rng.uniform(0.25, 0.7)),
        )
        for feeling in feelings
    )  # fmt: skip
    return Script(person, lines, kind, int(np.random.default_rng([*seed, 1]).integers(1 << 31)))


def _intensity(rng: np.random.Generator) -> float:
    """Low, medium or high (EmoVOCA's three), a little off, as people are."""
    return float(np.clip(rng.choice([1 / 3, 2 / 3, 1.0]) + rng.normal(0, 0.06), 0.15, 1.0))


def controls(script: Script, starts: np.ndarray, duration: float) -> Controls:
    """Keys of the clip. starts [lines]: second at which each line begins; its feeling has arrived by then."""
    rng = np.random.default_rng([script.seed, 2])
    life = {"life": Layer(strength=1.0, seed=0)}
    make = {"va": _va, "words": _words, "mix": _mix, "plain": _plain}.get(script.kind, _labels)
    return make(script, starts, duration, rng, life)


def _labels(script: Script, starts: np.ndarray, duration: float, rng: np.random.Generator, life: dict) -> Controls:
    keys: dict[str, list[tuple[float, float]]] = {}
    held: tuple[str, float] | None = None
    for line, start in zip(script.lines, starts, strict=True):
        if (line.feeling, line.intensity) == held:
            continue
        begin = max(float(start) - rng.uniform(*TRANSITION_S) / script.person.haste, 0.0)
        if held is not None:
            keys[held[0]] += [(begin, held[1]), (float(start), 0.0 if held[0] != line.feeling else line.intensity)]
        row = keys.setdefault(line.feeling, [])
        if not row or row[-1][0] < begin:
            row += [(begin, held[1] if held is not None and held[0] == line.feeling else 0.0)]
        row += [(float(start), line.intensity)]
        held = (line.feeling, line.intensity)
    if held is not None and rng.random() < 0.4:  # it fades after the last word
        last = keys[held[0]]
        end = duration - 0.15
        if end - 0.3 > last[-1][0]:
            last += [(end - 0.3, held[1]), (duration, held[1] * rng.uniform(0.1, 0.5))]
    return Controls(emotions={k: tuple(sorted(v)) for k, v in keys.items()}, layers=life, seed=script.seed)


def _plain(script: Script, starts: np.ndarray, duration: float, rng: np.random.Generator, life: dict) -> Controls:
    """No feeling and nothing automatic: the inexpressive talking of VOCASET."""
    still = ("blink", "gaze", "head", "life", "brow", "accent")
    return Controls(layers={name: Layer(on=False) for name in still}, seed=script.seed)


def _mix(script: Script, starts: np.ndarray, duration: float, rng: np.random.Generator, life: dict) -> Controls:
    first, second = rng.choice(FELT, 2, replace=False)
    share = float(rng.uniform(0.3, 0.7))
    level = script.lines[0].intensity
    emotions: dict[str, Keys] = {str(first): ((0.0, share * level),), str(second): ((0.0, (1 - share) * level),)}
    return Controls(emotions=emotions, layers=life, seed=script.seed)


def _va(script: Script, starts: np.ndarray, duration: float, rng: np.random.Generator, life: dict) -> Controls:
    times = np.sort(rng.uniform(0, duration, 3))
    angle, radius = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.2, 1.0, 3)
    valence = tuple((float(t), float(r * np.cos(a))) for t, a, r in zip(times, angle, radius, strict=True))
    arousal = tuple((float(t), float(r * np.sin(a))) for t, a, r in zip(times, angle, radius, strict=True))
    return Controls(valence=valence, arousal=arousal, layers=life, seed=script.seed)


def _words(script: Script, starts: np.ndarray, duration: float, rng: np.random.Generator, life: dict) -> Controls:
    """Directions as their activations (what reading the text would give), over a label or a plain face."""
    prompts = []
    for _ in range(int(rng.integers(1, 3))):
        start = float(rng.uniform(0, max(duration - 1.0, 0.1)))
        units = rng.choice([a for a in AUS if a not in ("AU25", "AU26")], int(rng.integers(1, 4)), replace=False)
        sides = SIDES if rng.random() < 0.8 else (str(rng.choice(SIDES)),)
        activation = {f"{au}_{side}": float(rng.uniform(0.4, 1.0)) for au in units for side in sides}
        prompts.append(
            Prompt("drawn", start, min(start + float(rng.uniform(0.8, 3.0)), duration), activation=activation)
        )
    base = (
        _labels(script, starts, duration, rng, life) if rng.random() < 0.5 else Controls(layers=life, seed=script.seed)
    )
    return Controls(emotions=base.emotions, prompts=tuple(prompts), layers=life, seed=script.seed)
