"""The table of motion systems: every system on held-out sentences, voices and people, beside what it must beat.

Rows that need no network: `mean face` (the training set's mean), `no audio` (`direct` with the controls and a voice
that says nothing), `direct`, and `oracle` (the same script said once more by the same person: what no system can beat).
Errors are the maximum over a region per frame, then means (engine.measure.meshes), on the default head, with blinks,
gaze and head motion left out on both sides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.control import Controls, Layer
from engine.core.names import ARKIT, EXTRA
from engine.core.progress import SILENT, Reporter
from engine.core.sound import Speech
from engine.head.evaluate import vertices
from engine.measure.meshes import mesh_errors
from engine.motion.base import MotionSlice, get_system
from engine.motion.contacts import about_to_speak, part, seal
from engine.motion.perform import run_system
from engine.studio.performances import act, people, script, store

ERRORS = ("lve_mm", "uve_mm", "mve_mm", "lve_mean_mm")
Face = tuple[np.ndarray, np.ndarray]  # arkit [t, 52], extra [t, 7] at 50 Hz
Predict = Callable[[act.Performance, Speech], Face]


def still(keyed: Controls) -> Controls:
    """The clip's controls without what lies over the face."""
    layers = {**keyed.layers, **{name: Layer(on=False) for name in ("blink", "gaze", "head")}}
    return dataclasses.replace(keyed, layers=layers)


def sealed(head: Head, motion: MotionSlice) -> Face:
    """A system's motion as a take would hold it: lips that part and meet."""
    speaking = about_to_speak(motion.times, motion.voice)
    arkit = part(head, motion.arkit, speaking, np.maximum(motion.closure, motion.labiodental))
    return seal(head, arkit, motion.extra, motion.closure)


def system(name: str, head: Head) -> Predict:
    """A registered motion system as it runs on a voice."""
    it = get_system(name)

    def predict(made: act.Performance, heard: Speech) -> Face:
        return sealed(head, run_system(it, heard, still(made.keyed)))

    return predict


def no_audio(name: str, head: Head) -> Predict:
    """The same system with the controls, but a voice in which nothing is said."""
    run = system(name, head)

    def predict(made: act.Performance, heard: Speech) -> Face:
        silent = dataclasses.replace(heard, articulation=np.zeros_like(heard.articulation))
        features = dataclasses.replace(heard.features, values=np.zeros_like(heard.features.values))
        return run(made, dataclasses.replace(silent, features=features))

    return predict


def mean_face(folder: Path | None) -> Predict:
    """The mean of the training set (of 12 scripts where no set is given)."""
    total, count = np.zeros(len(ARKIT) + len(EXTRA)), 0
    for arkit, extra in _training(folder):
        total += np.concatenate([arkit, extra], 1).sum(0)
        count += len(arkit)
    mean = (total / max(count, 1)).astype(np.float32)

    def predict(made: act.Performance, heard: Speech) -> Face:
        rows = np.repeat(mean[None], len(made.arkit), 0)
        return rows[:, : len(ARKIT)], rows[:, len(ARKIT) :]

    return predict


def _training(folder: Path | None) -> Iterator[Face]:
    if folder is not None:
        yield from ((clip.rows["arkit"], clip.rows["extra"]) for clip in store.read_split(folder, "train"))
        return
    from engine.head.library import load_head

    for number in range(12):
        made = act.perform(script.write(people.person("train", number), number), load_head())
        yield made.arkit, made.extra


def oracle(head: Head) -> Predict:
    """The same script said once more."""

    def predict(made: act.Performance, heard: Speech) -> Face:
        again = act.perform(made.script, head, take=1)
        return again.arkit, again.extra

    return predict


def held_out(clips: int, head: Head, split: str = "test") -> Iterator[act.Performance]:
    """`clips` performances of a split, person by person in turn."""
    for i in range(clips):
        yield act.perform(script.write(people.person(split, i % people.PEOPLE[split]), i // people.PEOPLE[split]), head)


def errors(truth: Face, seen: Face, head: Head) -> dict[str, float]:
    """ERRORS of one clip; rows beyond the shorter of the two are left out."""
    rows = min(len(truth[0]), len(seen[0]))
    predicted, wanted = (vertices(head, arkit[:rows], extra[:rows]) for arkit, extra in (seen, truth))
    result = mesh_errors(predicted, wanted, head)
    return {name: result[name] for name in ERRORS}


def table(
    rows: dict[str, Predict],
    performances: Iterable[act.Performance],
    head: Head,
    total: int = 0,
    encoder: str = "default",
    report: Reporter = SILENT,
) -> dict[str, dict[str, float]]:
    """Mean of every error over the clips for each row; "clips" counts them."""
    from engine.speech.encode import encode

    sums: dict[str, list[dict[str, float]]] = {name: [] for name in rows}
    for i, made in enumerate(performances):
        report.step("table", i, total)
        heard = encode(act.voice_of(made), encoder)
        for name, predict in rows.items():
            sums[name].append(errors((made.arkit, made.extra), predict(made, heard), head))
    return {
        name: {e: round(float(np.mean([c[e] for c in cells])), 3) for e in ERRORS} | {"clips": len(cells)}
        for name, cells in sums.items()
    }  # fmt: skip


def baselines(head: Head, folder: Path | None = None) -> dict[str, Predict]:
    """The rows that every table has."""
    return {
        "mean face": mean_face(folder), "no audio": no_audio("direct", head), "direct": system("direct", head),
        "oracle": oracle(head),
    }  # fmt: skip


def run(
    clips: int = 24, systems: Iterable[str] = (), folder: Path | None = None, report: Reporter = SILENT
) -> dict[str, Any]:
    """The whole table as data: {"clips", "systems": {row: errors}}."""
    from engine.head.library import load_head

    head = load_head()
    rows = baselines(head, folder) | {name: system(name, head) for name in systems if name != "direct"}
    return {"clips": clips, "systems": table(rows, held_out(clips, head), head, clips, report=report)}
