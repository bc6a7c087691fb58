"""Whole systems judged on real input: lip sync of recorded voices on the final mesh, and mesh against mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.control import Controls, Layer
from engine.core.errors import BadFile, BadInput
from engine.core.names import ARKIT_INDEX, ARTICULATION_INDEX
from engine.core.progress import SILENT, Reporter
from engine.core.sound import Speech
from engine.core.take import Take
from engine.core.units import MM
from engine.measure.lipsync import Reference, Track, closed_of_gap, read_manifest, score, track_of_articulation

BITE_MM = 1.5  # the lower lip's inner edge is this near to the incisors where its red border touches them


def speech_only() -> Controls:
    """Controls with nothing keyed and every automatic layer off: the voice alone."""
    return Controls(layers={name: Layer(on=False) for name in ("blink", "gaze", "head")})


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
    manifest: str | Path, fps: object = 60, clips: int | None = None, report: Reporter = SILENT, motion: str = "direct"
) -> dict[str, Any]:
    """Lip sync of the voices of a manifest.jsonl; keys as in docs/design.md (`measure lipsync`).

    Scored twice by the same rule: the speech net's articulation, and the finished mesh of a take at `fps` with nothing
    keyed. controls: the mesh figures of the same faces 100 ms late, and of another clip's faces: both must be bad.
    """
    from engine.audio.read import read_audio
    from engine.head.library import load_head
    from engine.motion.perform import perform
    from engine.speech.encode import encode

    references = read_manifest(manifest)[:clips]
    head = load_head()
    heard: dict[Path, Speech] = {}

    def articulation_of(reference: Reference) -> Track:
        report.step("speech", len(heard), len(references))
        audio = read_audio(reference.file)
        heard[reference.file] = speech = encode(audio)
        channels = {name: speech.articulation[:, i] for name, i in ARTICULATION_INDEX.items()}
        return track_of_articulation(speech.times, channels)

    articulation = score(references, articulation_of)
    done = iter(range(len(references)))

    def face_of(reference: Reference) -> Track:
        report.step("faces", next(done), len(references))
        audio = read_audio(reference.file)
        return mesh_track(head, perform(audio, speech_only(), fps, 1, motion, head, heard[reference.file]))

    mesh = score(references, face_of)
    report.step("faces", len(references), len(references))
    return {
        "clips": mesh["clips"],
        "bilabials": mesh["bilabials"],
        "articulation": articulation["score"],
        "mesh": mesh["score"],
        "controls": mesh["controls"],
        "fps": str(fps),
        "motion": motion,
    }


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
