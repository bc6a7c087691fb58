"""Made-up people: a face, a voice and habits, drawn by a seed. Pools of training, validation and test never meet."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.core.errors import BadInput
from engine.core.names import AUS, SIDES
from engine.studio.speech_corpus import sentences
from engine.studio.speech_corpus.build import ESPEAK_VARIANTS, ESPEAK_VOICES

SPLITS = ("train", "valid", "test")
PEOPLE = {"train": 48, "valid": 8, "test": 8}
_FIRST = {"train": 0, "valid": 1000, "test": 2000}  # seeds of the pools
ENGLISH_SHARE = 0.5


@dataclass(frozen=True)
class Person:
    """One made-up speaker.

    number: within the split, 0 is its first person. identity: seed of the face (`face_of` gives its parameters).
    voice: espeak voice with variant; pitch [0, 99], rate (words a minute): its habits. au_gain [18, 2]: how strongly
    each unit acts and how unevenly; rest [18, 2]: what the face shows when it shows nothing. mouth: gain of each
    articulatory channel group (jaw, open, round, spread). haste: factor on how fast expressions come; nod: on head
    motion.
    """

    split: str
    number: int
    voice: str
    language: str
    pitch: int
    rate: int
    au_gain: np.ndarray
    rest: np.ndarray
    mouth: dict[str, float] = field(default_factory=dict)
    haste: float = 1.0
    nod: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.split}{self.number:02d}"


def _voices(split: str) -> list[tuple[str, str]]:
    """(language, espeak voice with variant) pairs of a split: every variant belongs to one split only."""
    order = np.random.default_rng(20).permutation(len(ESPEAK_VARIANTS))
    held = {"valid": order[:6], "test": order[6:12]}
    mine = held.get(split, order[12:])
    languages = ["en", *sentences.languages()]
    return [(code, voice + ESPEAK_VARIANTS[v]) for code in languages for voice in ESPEAK_VOICES[code] for v in mine]


def person(split: str, number: int) -> Person:
    """The split's person of that number; the same ones for ever. Raises BadInput outside the pool."""
    if split not in SPLITS or not 0 <= number < PEOPLE[split]:
        raise BadInput(f"there is no person {number} in '{split}'; splits: {', '.join(SPLITS)}, people: {PEOPLE}")
    rng = np.random.default_rng([77, _FIRST[split] + number])
    pool = _voices(split)
    english = [row for row in pool if row[0] == "en"]
    language, voice = _pick(rng, english, pool)
    even = rng.lognormal(0.0, 0.14, (len(AUS), 1))
    return Person(
        split, number, voice, language,
        pitch=int(np.clip(rng.normal(50, 12), 20, 80)),
        rate=int(np.clip(rng.normal(170, 22), 120, 225)),
        au_gain=(even * rng.normal(1.0, 0.06, (len(AUS), len(SIDES)))).clip(0.6, 1.3).astype(np.float32),
        rest=_rest(rng),
        mouth={name: float(rng.lognormal(0.0, 0.12)) for name in ("jaw", "open", "round", "spread")},
        haste=float(rng.lognormal(0.0, 0.2)),
        nod=float(rng.lognormal(0.0, 0.3)),
    )  # fmt: skip


def _rest(rng: np.random.Generator) -> np.ndarray:
    """A few units that this person's face always shows a trace of. [18, 2]."""
    level = np.where(rng.random((len(AUS), 1)) < 0.2, rng.uniform(0, 0.06, (len(AUS), 1)), 0.0)
    return level.repeat(len(SIDES), 1).astype(np.float32)


def _pick(rng: np.random.Generator, english: list[tuple[str, str]], pool: list[tuple[str, str]]) -> tuple[str, str]:
    chosen = english if rng.random() < ENGLISH_SHARE else pool
    return chosen[int(rng.integers(len(chosen)))]


def face_of(who: Person) -> np.random.Generator:
    """The generator that draws this person's face parameters (`engine.head.identity` names them)."""
    return np.random.default_rng([78, _FIRST[who.split] + who.number])
