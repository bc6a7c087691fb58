"""Errors of motion systems on held-out sentences, voices and people, beside what they must beat.

Rows that need no network: `mean face` (the training set's mean), `no audio` (`direct` with the controls and a voice
that says nothing), `direct`, and `oracle` (the same script said once more by the same person: what no system can beat).
Every other system also stands beside itself without audio, with another label keyed, and with another clip's voice.
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
from engine.core.names import ARKIT, EMOTIONS, EXTRA
from engine.core.progress import SILENT, Reporter
from engine.core.sound import Speech
from engine.head.evaluate import vertices
from engine.measure.meshes import mesh_errors
from engine.motion.after import apply_rest
from engine.motion.base import MotionSlice, MotionSystem, get_system
from engine.motion.contacts import about_to_speak, part, seal
from engine.motion.perform import run_system, sampler
from engine.studio.performances import act, people, script, store

ERRORS = ("lve_mm", "uve_mm", "mve_mm", "lve_mean_mm", "uve_mean_mm", "mve_mean_mm")
ROWS = {"no audio": "lve_mm", "wrong label": "uve_mm", "other clip": "lve_mm"}  # what each system stands beside
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


def run_on(it: MotionSystem, head: Head, heard: Speech, keyed: Controls) -> Face:
    """A system's face on a voice, with the controls that it does not obey applied after it."""
    controls = still(keyed)
    native = run_system(it, heard, controls)
    return sealed(head, apply_rest(native, sampler(heard, controls), it.supports))


def system(name: str, head: Head) -> Predict:
    """A motion system (a name, or NAME@CHECKPOINT) as it runs on a voice."""
    it = get_system(name)
    return lambda made, heard: run_on(it, head, heard, made.keyed)


def no_audio(name: str, head: Head) -> Predict:
    """The same system with the controls, but a voice in which nothing is said."""
    it = get_system(name)

    def predict(made: act.Performance, heard: Speech) -> Face:
        silent = dataclasses.replace(heard, articulation=np.zeros_like(heard.articulation))
        features = dataclasses.replace(heard.features, values=np.zeros_like(heard.features.values))
        return run_on(it, head, dataclasses.replace(silent, features=features), made.keyed)

    return predict


def labelled(made: act.Performance) -> bool:
    """Whether labels drive the clip, so that a wrong one can be keyed."""
    return bool(made.keyed.emotions)


def mislabelled(made: act.Performance) -> Controls:
    """The clip's controls with every label another one, drawn by the clip's seed; nothing else changes."""
    shift = int(np.random.default_rng([made.script.seed, 5]).integers(1, len(EMOTIONS)))
    other = {a: EMOTIONS[(i + shift) % len(EMOTIONS)] for i, a in enumerate(EMOTIONS)}
    return dataclasses.replace(made.keyed, emotions={other[name]: keys for name, keys in made.keyed.emotions.items()})


def wrong_label(name: str, head: Head) -> Predict:
    """The same system on the right voice, told the wrong label."""
    it = get_system(name)
    return lambda made, heard: run_on(it, head, heard, mislabelled(made))


def other_clip(name: str, head: Head) -> Predict:
    """The same system with the controls of the clip and the voice of the clip before it (of another person)."""
    from engine.speech.encode import encode

    it = get_system(name)
    first = act.perform(script.write(people.person("valid", 0), 0), head)
    before = [encode(act.voice_of(first))]

    def predict(made: act.Performance, heard: Speech) -> Face:
        other = before.pop()
        before.append(heard)
        return run_on(it, head, _as_long(other, heard), made.keyed)

    return predict


def _as_long(other: Speech, heard: Speech) -> Speech:
    """`other`, repeated or cut to the length of `heard`."""
    rows = np.arange(len(heard.articulation)) % len(other.articulation)
    values = other.features.values[np.minimum(rows, len(other.features.values) - 1)]
    return dataclasses.replace(
        other, articulation=other.articulation[rows], duration=heard.duration, cues=(),
        features=dataclasses.replace(other.features, values=values),
        prosody={name: v[np.minimum(rows, len(v) - 1)] for name, v in other.prosody.items()},
    )  # fmt: skip


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


def errors(truth: Face, seen: Face, head: Head, wanted: np.ndarray | None = None) -> dict[str, float]:
    """ERRORS of one clip; rows beyond the shorter of the two are left out. wanted: vertices of `truth`, if known."""
    rows = min(len(truth[0]), len(seen[0]))
    predicted = vertices(head, seen[0][:rows], seen[1][:rows])
    if wanted is None:
        wanted = vertices(head, truth[0][:rows], truth[1][:rows])
    result = mesh_errors(predicted, wanted[:rows], head)
    return {name: result[name] for name in ERRORS}


def table(
    rows: dict[str, Predict],
    performances: Iterable[act.Performance],
    head: Head,
    total: int = 0,
    encoder: str = "default",
    report: Reporter = SILENT,
) -> dict[str, dict[str, float]]:
    """Mean of every error over the clips for each row; "clips" counts them. See `beside` for the rows of a system."""
    from engine.speech.encode import encode

    sums: dict[str, list[dict[str, float]]] = {name: [] for name in rows}
    told: list[bool] = []
    for i, made in enumerate(performances):
        report.step("table", i, total)
        heard = encode(act.voice_of(made), encoder)
        truth = (made.arkit, made.extra)
        wanted = vertices(head, *truth)
        told.append(labelled(made))
        for name, predict in rows.items():
            report.check()
            sums[name].append(errors(truth, predict(made, heard), head, wanted))
    out = {name: _mean(cells) | {"clips": len(cells)} for name, cells in sums.items()}
    for name in [n for n in rows if all(f"{n}, {other}" in rows for other in ROWS)]:
        _stand_beside(out, sums, name, told)
    return out


def _mean(cells: list[dict[str, float]]) -> dict[str, float]:
    return {e: round(float(np.mean([c[e] for c in cells])), 3) for e in ERRORS}


def _stand_beside(
    out: dict[str, dict[str, float]], sums: dict[str, list[dict[str, float]]], name: str, told: list[bool]
) -> None:
    """Add to row `name` its error over that of each of ROWS; a wrong label is judged on labelled clips alone."""
    for other, error in ROWS.items():
        used = told if other == "wrong label" and any(told) else [True] * len(told)
        own, its = (
            float(np.mean([c[error] for c, use in zip(sums[row], used, strict=True) if use]))
            for row in (name, f"{name}, {other}")
        )
        out[name][f"over_{other.replace(' ', '_')}"] = round(own / max(its, 1e-9), 3)
        if other == "wrong label":
            cells = [c for c, use in zip(sums[f"{name}, {other}"], used, strict=True) if use]
            out[f"{name}, {other}"] = _mean(cells) | {"clips": len(cells)}


def baselines(head: Head, folder: Path | None = None) -> dict[str, Predict]:
    """The rows that every table has."""
    return {
        "mean face": mean_face(folder), "no audio": no_audio("direct", head), "direct": system("direct", head),
        "oracle": oracle(head),
    }  # fmt: skip


def rows_of(name: str, head: Head) -> dict[str, Predict]:
    """A system's row and those that it stands beside."""
    make = {"no audio": no_audio, "wrong label": wrong_label, "other clip": other_clip}
    return {name: system(name, head)} | {f"{name}, {other}": make[other](name, head) for other in ROWS}


def run(
    clips: int = 24, systems: Iterable[str] = (), folder: Path | None = None, report: Reporter = SILENT,
    ablations: Iterable[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """The whole table as data: {"clips", "systems": {row: errors}}. systems, ablations: names or NAME@CHECKPOINT;
    ablations get one row each."""
    from engine.head.library import load_head

    head = load_head()
    rows = baselines(head, folder)
    for name in systems:
        if name != "direct":
            rows |= rows_of(name, head)
    rows |= {name: system(name, head) for name in ablations}
    return {"clips": clips, "systems": table(rows, held_out(clips, head), head, clips, report=report)}
