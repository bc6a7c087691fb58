"""The synthesised corpus: many sentences by many voices, each clip with its samples and exact phone segments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.core.errors import BadInput, Missing
from engine.core.phones import Segment
from engine.core.progress import SILENT, Reporter
from engine.core.sound import SAMPLE_RATE
from engine.studio.speech_corpus import espeak, others, sentences

# espeak voices by language of sentences.py; English twice over, in its accents.
ESPEAK_VOICES: dict[str, tuple[str, ...]] = {
    "en": ("en-us", "en-gb-x-rp", "en-gb-scotland", "en-029", "en"),
    **{code: (code,) for code in sentences.languages()},
}
# Variants with human-like formants (the pack's robots and effects are left out).
ESPEAK_VARIANTS = (
    "", "+f1", "+f2", "+f3", "+f4", "+f5", "+m1", "+m2", "+m3", "+m4", "+m6", "+m7", "+m8", "+klatt", "+klatt2",
    "+klatt3", "+klatt4", "+Alex", "+Alicia", "+Andrea", "+Annie", "+Denis", "+Diogo", "+Gene", "+Henrique", "+Hugo",
    "+Jacky", "+Lee", "+Marco", "+Mario", "+Michael", "+Mike", "+Nguyen", "+Reed", "+adam", "+antonio", "+belinda",
    "+benjamin", "+david", "+ed", "+edward", "+gustave", "+ian", "+iven", "+john", "+linda", "+max",
    "+michel", "+miguel", "+norbert", "+pablo", "+paul", "+pedro", "+quincy", "+rob", "+robert", "+sandro", "+shelby",
    "+steph", "+travis", "+victor", "+zac", "+grandma", "+grandpa", "+aunty",
)  # fmt: skip
SHARES = {"espeak": 0.34, "flite": 0.30, "festival": 0.36}  # of the hours, where all three are installed


@dataclass(frozen=True)
class Clip:
    """One utterance. samples [n] float32 mono 16 kHz; segments: IPA symbol, start s, end s (none: not known); text:
    what is said, "" where nobody wrote it down."""

    source: str
    voice: str
    language: str
    samples: np.ndarray
    segments: tuple[Segment, ...]
    name: str = ""
    text: str = ""

    @property
    def duration(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def resample(samples: np.ndarray, rate: int, to: int = SAMPLE_RATE) -> np.ndarray:
    """Polyphase resampling. [n] -> [n to / rate] float32."""
    if rate == to:
        return samples.astype(np.float32)
    from scipy.signal import resample_poly

    divisor = int(np.gcd(rate, to))
    return resample_poly(samples, to // divisor, rate // divisor).astype(np.float32)


def _espeak_clips(rng: np.random.Generator) -> Iterator[Clip]:
    codes = list(ESPEAK_VOICES)
    weights = np.array([6.0 if c == "en" else 1.0 for c in codes])
    while True:
        language = str(rng.choice(codes, p=weights / weights.sum()))
        voice = str(rng.choice(ESPEAK_VOICES[language])) + str(rng.choice(ESPEAK_VARIANTS))
        text = sentences.sentence(language, rng)
        try:
            samples, rate, segments = espeak.speak(
                text, voice, int(rng.integers(110, 260)), int(rng.integers(15, 90)), int(rng.integers(20, 95))
            )
        except BadInput:
            continue  # a variant that this build of espeak lacks
        if len(segments) > 3:
            yield Clip("espeak", voice, language, resample(samples, rate), tuple(segments))


def _flite_clips(rng: np.random.Generator) -> Iterator[Clip]:
    while True:
        voice = str(rng.choice(others.FLITE_VOICES))
        text = " ".join(sentences.english(rng) for _ in range(2))
        samples, rate, segments = others.flite(text, voice, rng.uniform(0.75, 1.35), rng.uniform(85, 250))
        yield Clip("flite", voice, "en", resample(samples, rate), tuple(segments))


def _festival_clips(rng: np.random.Generator) -> Iterator[Clip]:
    voices = others.festival_voices()
    while True:
        voice = str(rng.choice(voices))
        language = others.FESTIVAL_VOICES[voice][0]
        texts = [sentences.sentence(language, rng) for _ in range(12)]
        for samples, rate, segments in others.festival(texts, voice, rng.uniform(0.75, 1.35)):
            yield Clip("festival", voice, language, resample(samples, rate), tuple(segments))


def clips(hours: float, seed: int = 0, report: Reporter = SILENT) -> Iterator[Clip]:
    """Clips until `hours` of speech are made, sources in the ratio of SHARES among those installed.

    The same seed and the same installed synthesisers give the same clips. Raises Missing where none is installed.
    """
    rng = np.random.default_rng(seed)
    makers = {}
    if espeak.available():
        makers["espeak"] = _espeak_clips(np.random.default_rng(rng.integers(1 << 31)))
    if others.flite_available():
        makers["flite"] = _flite_clips(np.random.default_rng(rng.integers(1 << 31)))
    if others.festival_voices():
        makers["festival"] = _festival_clips(np.random.default_rng(rng.integers(1 << 31)))
    if not makers:
        raise Missing("no speech synthesiser is installed; run: pip install espeakng-loader")
    made = dict.fromkeys(makers, 0.0)
    total = hours * 3600.0
    while (done := sum(made.values())) < total:
        report.step("synthesis", int(done), int(total))
        source = min(made, key=lambda s: made[s] / SHARES[s])
        clip = next(makers[source])
        made[source] += clip.duration
        yield clip
