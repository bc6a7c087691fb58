"""A few sentences that hold most of English, spoken by synthesisers: speech without a face, for the sync loss alone.

EmoTalkingGaussian section 3.3.2 and S5: ten texts that cover phones and what happens to them in running speech
(linking, weak forms, flaps, dropped stops, clusters), synthesised. Ours are other sentences with the same aims.
"""

from __future__ import annotations

import numpy as np

from engine.audio.read import audio_of
from engine.core.progress import SILENT, Reporter
from engine.core.sound import SAMPLE_RATE
from engine.motion.nets.inputs import interface
from engine.studio.performances.people import Person, person
from engine.studio.speech_corpus import espeak
from engine.studio.speech_corpus.build import resample

SENTENCES = (
    "Five wizards jumped quickly over the big foxes while the other thieves hid a yellow measure.",  # nearly all phones
    "We're going out now, boy, to buy a loud toy and throw it away by the boat.",  # diphthongs
    "I shouldn't have thought they'd give us half of what we'd asked for.",  # contractions, silent letters
    "Pour a bit of hot butter over the little potatoes.",  # flaps, linking r
    "The sixth strict instructor asked for crisp scripts and twelfths.",  # clusters
    "Last night she kept most stamps and just left.",  # dropped stops
    "Would you miss you if you met your own reflection?",  # assimilation before you
    "Me and my mum put a pipe by the baby's bed, but papa moved it.",  # lips together
    "Very few people have ever found five leaves of clover.",  # lip on teeth
    "Which choice would two blue shoes and a purple spoon move you to?",  # rounding
)
SPEAKERS = 6


def speakers(count: int = SPEAKERS) -> list[Person]:
    """The first people of the training pool who speak English."""
    every = (person("train", i) for i in range(48))
    return [who for who in every if who.language == "en"][:count]


def curated(count: int = SPEAKERS, encoder: str = "default", report: Reporter = SILENT) -> list[np.ndarray]:
    """The sentences as the engine hears them: rows of interface v1, one array [t, 75] a sentence and speaker.

    Raises Missing without espeak-ng, which made the performances too.
    """
    from engine.speech.encode import encode

    out: list[np.ndarray] = []
    for who in speakers(count):
        for text in SENTENCES:
            report.step("curated speech", len(out), count * len(SENTENCES))
            wave, hz, _ = espeak.speak(text, who.voice, who.rate, who.pitch)
            quiet = np.zeros(int(0.2 * SAMPLE_RATE), np.float32)
            samples = np.concatenate([quiet, resample(wave, hz), quiet])
            peak = max(float(np.abs(samples).max()), 1e-6)
            out.append(interface(encode(audio_of((samples * np.float32(0.5 / peak)).astype(np.float32)), encoder)))
    return out


def windows(speech: list[np.ndarray], count: int, rows: int, edge: int, rng: np.random.Generator) -> np.ndarray:
    """`count` windows of rows + 2 edge, held at the ends of a sentence, drawn by length. [count, rows + 2 edge, 75]."""
    length = np.array([len(part) for part in speech])
    which = rng.choice(len(speech), count, p=length / length.sum())
    start = (rng.random(count) * np.maximum(1, length[which] - rows + 1)).astype(np.int64)
    at = start[:, None] + np.arange(-edge, rows + edge)
    return np.stack([speech[i][np.clip(row, 0, len(speech[i]) - 1)] for i, row in zip(which, at, strict=True)])
