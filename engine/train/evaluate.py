"""Whole systems judged on real input: lip sync of recorded voices on the final mesh, and mesh against mesh."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.controls.files import LAYERS
from engine.core.anatomy import Head
from engine.core.control import Controls, Layer
from engine.core.errors import BadFile, BadInput
from engine.core.names import ARKIT_INDEX, ARTICULATION_INDEX
from engine.core.progress import SILENT, Reporter
from engine.core.sound import Audio, Speech
from engine.core.take import Take
from engine.core.units import MM
from engine.measure.lipsync import (
    Reference,
    Track,
    closed_of_gap,
    read_manifest,
    track_of_articulation,
    true_track,
)
from engine.measure.lipsync_score import score, score_tracks

BITE_MM = 1.5  # the lower lip's inner edge is this near to the incisors where its red border touches them
SHORTEST_DRAWN_S, LABEL_BURST_S = 0.045, 0.030  # a label holds the burst too, when the lips are apart again


def speech_only() -> Controls:
    """Controls with nothing keyed and every automatic layer off: the voice alone."""
    return Controls(layers={name: Layer(on=False) for name in LAYERS})


def mesh_track(head: Head, take: Take) -> Track:
    """What the take's final mesh does: inner-lip gap in mm, closed, lip on teeth, rounding."""
    from engine.head.lips import labiodental_gap, lip_gap
    from engine.head.replay import take_vertices

    points = take_vertices(take, head, np.arange(len(take)))
    gap = lip_gap(head, points) * MM
    rest = max(float(lip_gap(head, head.template[None])[0]) * MM, 0.0)
    bite = labiodental_gap(head, points) * MM
    pucker = take.arkit[:, ARKIT_INDEX["mouthPucker"]] + take.arkit[:, ARKIT_INDEX["mouthFunnel"]]
    return Track(
        times=take.times,
        opening=gap,
        closed=closed_of_gap(gap - rest),
        contact=closed_of_gap(bite, BITE_MM),
        rounding=np.clip(pucker, 0, 1),
        in_mm=True,
    )


def lipsync_of_manifest(
    manifest: str | Path | Sequence[str | Path],
    fps: object = 60,
    clips: int | None = None,
    report: Reporter = SILENT,
    motion: str = "direct",
    speech: Sequence[str] = ("default",),
    compare: bool = False,
    transcripts: bool = False,
) -> dict[str, Any]:
    """Lip sync of the voices of one or several manifest.jsonl; keys as in docs/design.md (`measure lipsync`).

    Scored twice by the same rule: the speech net's articulation, and the finished mesh of a take at `fps` with nothing
    keyed. labels: the same face led by the labels themselves, the most that the face can reach and the measure of its
    calm. controls: the mesh figures of the same faces 100 ms late and early, and of another clip's faces: all must be
    bad. speakers: the mesh figures of each. checked: the mesh figures on labels that a person has checked. With
    `compare`, pocketsphinx's free phones on the same clips under "pocketsphinx" (None where it is missing).

    clips: only the first so many of each manifest. speech: an encoder for all manifests, or one for each. transcripts:
    the words of the manifest are known to the engine, as with `speak --transcript`.
    """
    from engine.measure.lipsync_checked import with_checks

    manifests = [manifest] if isinstance(manifest, (str, Path)) else list(manifest)
    if len(speech) not in (1, len(manifests)):
        raise BadInput(f"give one speech encoder, or one for each of the {len(manifests)} manifests, not {len(speech)}")
    names = list(speech) * (len(manifests) if len(speech) == 1 else 1)
    jobs = [(r, name) for m, name in zip(manifests, names, strict=True) for r in read_manifest(m)[:clips]]
    references = [r for r, _ in jobs]
    performer = _Performer(fps, motion, {r.file: name for r, name in jobs}, transcripts, report, 3 * len(jobs))
    articulation = score(references, performer.articulation)
    mesh = score(references, tracks := _Kept(performer.face))
    labels = score(references, performer.labels_face)
    checked = [(c, r) for r in references if (c := with_checks(r))]
    report.step("faces", performer.total, performer.total)
    return {
        "clips": mesh["clips"],
        "bilabials": mesh["bilabials"],
        "articulation": articulation["score"],
        "mesh": mesh["score"],
        "speakers": mesh["speakers"] or {references[0].speaker: mesh["score"]},
        "checked": score_tracks((c, tracks.of[r.file]) for c, r in checked) if checked else None,
        "labels": labels["score"],
        "controls": mesh["controls"],
        "pocketsphinx": _free_phones(references, report) if compare else None,
        "fps": str(fps),
        "motion": motion,
        "speech": list(speech),
        "transcripts": transcripts,
    }


class _Kept:
    """A track maker whose tracks are kept by sound file."""

    def __init__(self, make: Callable[[Reference], Track]):
        self.make, self.of = make, dict[Path, Track]()

    def __call__(self, reference: Reference) -> Track:
        track = self.of[reference.file] = self.make(reference)
        return track


class _Performer:
    """Clips to tracks: articulation, the face that it moves, and the face that the labels move."""

    def __init__(
        self, fps: object, motion: str, encoders: Mapping[Path, str], transcripts: bool, report: Reporter, total: int
    ):
        from engine.head.library import load_head

        self.fps, self.motion, self.encoders, self.report = fps, motion, encoders, report
        self.transcripts = transcripts
        self.head, self.total, self.done = load_head(), total, 0
        self.heard: dict[Path, Speech] = {}

    def _step(self, reference: Reference) -> Audio:
        from engine.audio.read import read_audio

        self.report.step("faces", self.done, self.total)
        self.done += 1
        return read_audio(reference.file)

    def articulation(self, reference: Reference) -> Track:
        from engine.speech.listen import listen

        audio = self._step(reference)
        text, language = (
            (reference.transcript or None, reference.language or None) if self.transcripts else (None, None)
        )
        self.heard[reference.file] = speech = listen(audio, self.encoders[reference.file], text, language)
        channels = {name: speech.articulation[:, i] for name, i in ARTICULATION_INDEX.items()}
        return track_of_articulation(speech.times, channels)

    def face(self, reference: Reference) -> Track:
        return self._face(self._step(reference), self.heard[reference.file])

    def labels_face(self, reference: Reference) -> Track:
        return self._face(self._step(reference), labels_as_speech(reference, self.heard[reference.file]))

    def _face(self, audio: Audio, speech: Speech) -> Track:
        from engine.motion.perform import perform

        return mesh_track(self.head, perform(audio, speech_only(), self.fps, 1, self.motion, self.head, speech))


def labels_as_speech(reference: Reference, heard: Speech) -> Speech:
    """`heard` with the articulation that a perfect ear would give: the clip's labels, drawn by the decoder's rules."""
    from engine.core.phones import CHANNELS, is_pause, targets
    from engine.measure.lipsync import closures, contacts, covered
    from engine.speech import events

    times = heard.times
    out = np.zeros_like(heard.articulation)
    wanted = targets(reference.segments, times)
    for i, name in enumerate(CHANNELS):
        out[:, ARTICULATION_INDEX[name]] = wanted[:, i]
    voice = covered(times, [(a, b) for p, a, b in reference.segments if not is_pause(p)])
    out[:, ARTICULATION_INDEX["voice"]] = voice
    spans = {"lip_close": closures(reference), "labiodental": contacts(reference.segments, "labiodental")}
    for name, found in spans.items():
        held = [(a, max(a + SHORTEST_DRAWN_S, b - LABEL_BURST_S)) for a, b in found]
        out[:, ARTICULATION_INDEX[name]] = events.curve(held, times, events.CLOSURE.ramp)
    out[:, ARTICULATION_INDEX["labiodental"]] *= 1.0 - out[:, ARTICULATION_INDEX["lip_close"]]
    return dataclasses.replace(heard, articulation=out.astype(np.float32))


def _free_phones(references: Sequence[Reference], report: Reporter) -> dict[str, Any] | None:
    """Figures of pocketsphinx's free phones on the same clips, each phone moving the lips as a label would."""
    from engine.audio.read import read_audio
    from engine.measure.sphinx import available, free_phones

    if not available():
        report.warn("pocketsphinx is not installed, so nothing was compared; run: pip install pocketsphinx==5.1.1")
        return None

    def track(reference: Reference) -> Track:
        report.check()
        heard = free_phones(read_audio(reference.file).samples)
        return true_track(dataclasses.replace(reference, segments=tuple(heard), checked=None, doubted=()))

    found = score(references, track)
    return {**found["score"], "speakers": found["speakers"]}


def read_sequence(path: str | Path, head: Head) -> np.ndarray:
    """A mesh sequence [t, v, 3] in metres from a take.npz, a .pc2 (Blender axes) or a .npy (engine axes)."""
    from engine.core.takefile import read_take
    from engine.head.replay import check_topology, take_vertices
    from engine.measure.meshes import read_pc2

    path = Path(path)
    if path.suffix == ".pc2":
        return read_pc2(path)
    if path.suffix == ".npy":
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise BadFile(path, f"is not a readable array ({error})") from None
    if path.suffix == ".npz":
        take = read_take(path)
        check_topology(take, head)
        return take_vertices(take, head, np.arange(len(take)))
    raise BadInput(f"cannot read meshes from '{path.suffix or path.name}'; there are: .npz (take), .pc2, .npy")


def compare_meshes(predicted: str | Path, truth: str | Path, head_name: str = "default") -> dict[str, Any]:
    """Errors in mm of one mesh sequence against another (engine/measure/meshes.py)."""
    from engine.head.library import load_head
    from engine.measure.meshes import mesh_errors

    head = load_head(head_name)
    return mesh_errors(read_sequence(predicted, head), read_sequence(truth, head), head)
