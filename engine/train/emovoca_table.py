"""EmoVOCA's tables on our data: ways to join two features (its table 2), mixing against faces that were never apart,
and the generators (its table 3a). Table 1 is `engine.train.emovoca_desd.max_vertex_error`.

The paper has no ground truth for combined motion; performances have one: the same voice, sentence and person with the
feeling in the face (`act.perform`) and without it (its "plain" twin), so a mix can be held against the face itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.names import ARKIT, EMOTION_INDEX
from engine.core.progress import SILENT, Reporter
from engine.measure.legibility import Reader, accuracy, read_clip
from engine.motion.contacts import about_to_speak, part, seal
from engine.studio.performances import act, people, script, unpaired, unpaired_store
from engine.train import emovoca_mix
from engine.train.emovoca_mix import Mixer
from engine.train.emovoca_set import STRIDE, Mixed
from engine.train.motion_table import errors

FRAMES = 25  # of a mixed clip that is read
Mix = Callable[[np.ndarray, np.ndarray, np.ndarray | float], np.ndarray]  # talk, feel [t, 59], level -> weights [t, 59]


def plain_sum(talk: np.ndarray, feel: np.ndarray, level: np.ndarray | float = 1.0) -> np.ndarray:
    """Displacements added: what the paper calls not viable (its fig. 3b)."""
    return np.clip(talk + np.reshape(level, (-1, 1)) * feel, 0.0, 1.0)


@dataclass(frozen=True)
class Pairs:
    """Talking clips and apexes of full expressions of the same number of frames, by label."""

    talks: list[np.ndarray]
    apexes: dict[str, list[np.ndarray]]


def pairs(work: Path, split: str = "test", talks: int = 8) -> Pairs:
    """Test clips to mix: FRAMES frames of each, at 25 Hz. Raises BadFile."""
    said = [clip for clip in unpaired_store.talks(work, split) if len(clip.weights) >= 2 * STRIDE * FRAMES]
    picked = [clip.weights[40 : 40 + STRIDE * FRAMES : STRIDE] for clip in said[:talks]]
    apexes: dict[str, list[np.ndarray]] = {}
    for clip in unpaired_store.feels(work, split):
        if clip.intensity == 1.0:
            rows = clip.weights[clip.level >= emovoca_mix.APEX][::STRIDE]
            apexes.setdefault(clip.label, []).append(np.resize(rows, (FRAMES, rows.shape[1])))
    return Pairs(picked, apexes)


def legible(mix: Mix, chosen: Pairs, reader: Reader, head: Head) -> dict[str, float]:
    """Top-1 accuracy of the reader, which knows silent faces only, on mixes at each level, among all 14 labels."""
    out = {}
    for name, level in unpaired.LEVELS.items():
        readings = []
        for i, talk in enumerate(chosen.talks):
            for label, apexes in chosen.apexes.items():
                face = mix(talk, apexes[i % len(apexes)], level).astype(np.float32)
                readings.append((label, read_clip(reader, head, face[:, : len(ARKIT)], face[:, len(ARKIT) :])))
        out[name] = accuracy(readings)["top1"]
    return out


def silent_legible(chosen: Pairs, reader: Reader, head: Head) -> float:
    """The same of the full silent expressions themselves: what a mix cannot beat by much."""
    faces = [(label, face) for label, apexes in chosen.apexes.items() for face in apexes]
    pairs_read = [(label, read_clip(reader, head, f[:, : len(ARKIT)], f[:, len(ARKIT) :])) for label, f in faces]
    return accuracy(pairs_read)["top1"]


def join_row(mixer: Mixer, chosen: Pairs, reader: Reader, head: Head) -> dict[str, float]:
    """A row of table 2: accuracy at each level, LVE against the talk and UVE against the expression."""
    talk = np.concatenate([t for t in chosen.talks for _ in chosen.apexes])
    feel = np.concatenate(
        [apexes[i % len(apexes)] for i in range(len(chosen.talks)) for apexes in chosen.apexes.values()]
    )
    masks = emovoca_mix.lips_and_upper(head, mixer.surface.vertices)
    row = legible(mixer.mix, chosen, reader, head) | emovoca_mix.kept(mixer, talk, feel, *masks)
    return row | {"mu_talk": mixer.scales.talk, "mu_feel": mixer.scales.feel}


@dataclass(frozen=True)
class Twin:
    """One performance and its plain twin: the same voice and sentence, the face without the feeling (plain [t, 59]);
    level [t]: how strongly the label is asked for."""

    made: act.Performance
    plain: np.ndarray
    label: str
    level: np.ndarray


def twins(count: int, head: Head, split: str = "test") -> Iterator[Twin]:
    """`count` held-out performances of one label each, with their plain twins."""
    found, number = 0, 0
    while found < count:
        who = people.person(split, number % people.PEOPLE[split])
        written = script.write(who, number // people.PEOPLE[split])
        number += 1
        if written.kind != "label" or written.lines[0].feeling == "neutral":
            continue
        found += 1
        made = act.perform(written, head)
        plain = act.perform(dataclasses.replace(written, kind="plain"), head)
        label = written.lines[0].feeling
        level = made.track.emotion[:, EMOTION_INDEX[label]] * made.track.intensity
        yield Twin(made, np.concatenate([plain.arkit, plain.extra], 1), label, level)


def against_truth(
    mixes: dict[str, Mix], work: Path, head: Head, count: int = 16, report: Reporter = SILENT
) -> dict[str, dict[str, float]]:
    """Errors (mm) of mixes of plain talking with another person's silent expression against the face that spoke so.

    Each mix is given the level of each row of the performance, and its lips part and meet as a take's do.
    """
    apexes = pairs(work).apexes
    sums: dict[str, list[dict[str, float]]] = {name: [] for name in mixes}
    for i, twin in enumerate(twins(count, head)):
        report.step("twins", i, count)
        truth = (twin.made.arkit, twin.made.extra)
        ones = apexes[twin.label]
        feel = np.resize(ones[i % len(ones)], (len(twin.plain), twin.plain.shape[1]))
        for name, mix in mixes.items():
            face = mix(twin.plain, feel, twin.level)
            sums[name].append(errors(truth, together(face, twin.made.contact, head), head))
    return {
        name: {e: round(float(np.mean([c[e] for c in cells])), 3) for e in cells[0]} for name, cells in sums.items()
    }


def together(face: np.ndarray, contact: np.ndarray, head: Head) -> tuple[np.ndarray, np.ndarray]:
    """Weights [t, 59] at 50 Hz with lips that part and meet as `contact` [t, 3] says: arkit, extra."""
    times = np.arange(len(face)) / act.RATE_HZ
    face = face.astype(np.float32)
    held = np.maximum(contact[:, 0], contact[:, 1])
    arkit = part(head, face[:, : len(ARKIT)], about_to_speak(times, contact[:, 2]), held)
    return seal(head, arkit, face[:, len(ARKIT) :], contact[:, 0])


def generator_row(
    predict: Callable[[Mixed], np.ndarray], clips: Sequence[Mixed], head: Head
) -> dict[str, float]:  # fmt: skip
    """LVE, UVE and MVE in mm of a generator (clip -> weights [t, 59] at 25 Hz) on synthesised clips."""
    cells = []
    for clip in clips:
        seen = np.clip(predict(clip), 0.0, 1.0).astype(np.float32)
        two = [(w[:, : len(ARKIT)], w[:, len(ARKIT) :]) for w in (clip.weights.astype(np.float32), seen)]
        cells.append(errors(two[0], two[1], head))
    return {name: round(float(np.mean([c[name] for c in cells])), 3) for name in cells[0]}


def rows_of(variants: dict[str, Mixer], work: Path, head: Head, reader: Reader) -> dict[str, Any]:
    """Table 2 for several trained ways to join."""
    chosen = pairs(work)
    return {name: join_row(mixer, chosen, reader, head) for name, mixer in variants.items()}
