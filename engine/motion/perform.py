"""Voice + controls + head -> `Take`: the one way, whatever the motion system."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from engine import __version__
from engine.controls.files import digest
from engine.controls.track import sample
from engine.core.anatomy import Head
from engine.core.clock import FrameClock
from engine.core.control import Controls, ControlTrack
from engine.core.names import ARKIT_INDEX, ARTICULATION_INDEX, AU_INDEX, EXTRA, EXTRA_INDEX
from engine.core.progress import SILENT, Reporter
from engine.core.sound import Audio, Speech
from engine.core.take import FlameTrack, Take
from engine.core.units import MM
from engine.motion.accents import Accented, layer_of
from engine.motion.after import apply_rest
from engine.motion.base import CONTROLS, MotionSlice, MotionSystem, get_system
from engine.motion.contacts import about_to_speak, part, seal
from engine.motion.dials import sampled, turned
from engine.motion.layers import Layers, blink_events, make_layers
from engine.speech.cue_files import to_rows

BLOCK = 2000  # frames between two looks at whether someone cancelled
WINDOW_S = 20.0  # a long voice is run in windows: progress, cancel, bounded memory
EYE_LOOK_RAD = {"yaw": np.radians(30), "up": np.radians(25), "down": np.radians(30)}  # angle of a full eyeLook shape


def perform(
    audio: Audio,
    controls: Controls,
    fps: object = 25,
    first_frame: int = 1,
    motion: str = "direct",
    head: Head | None = None,
    speech: Speech | str = "default",
    report: Reporter = SILENT,
) -> Take:
    """A whole performance of `audio` at `fps` (any rate in [1, 240]); the same input and seed give the same take.

    speech: an encoder's name or a finished `Speech`. Raises BadInput for unusable rates, names or controls, and
    Cancelled when `report` says so.
    """
    if head is None:
        from engine.head.library import load_head

        head = load_head()
    clock = FrameClock.of(fps, first_frame)
    heard = _hear(audio, speech, report)
    if heard.articulation[:, ARTICULATION_INDEX["voice"]].max(initial=0) < 0.5:
        report.warn("no voice was heard in this file: the mouth stays closed")
    system = get_system(motion)
    native = run_system(system, heard, controls, report)
    native = apply_rest(native, sampler(heard, controls), system.supports)
    times = clock.times(clock.count(audio.duration))
    frames = turned(native, times, clock.fps, sampled(controls, times))
    layers = make_layers(heard, controls, times)
    report.check()
    arkit, extra = _contacts(head, frames, *with_layers(frames.arkit, frames.extra, layers), report)
    take = _assemble(head, clock, frames, layers, arkit, extra, heard, controls)
    report.check()
    meta = _meta(head, audio, controls, system, heard)
    derived = "arkit" if take.authority == "flame" else "flame"
    return dataclasses.replace(take, residual_mm={derived: flame_residual_mm(head, take)}, meta=meta)


def _contacts(
    head: Head, frames: MotionSlice, arkit: np.ndarray, extra: np.ndarray, report: Reporter
) -> tuple[np.ndarray, np.ndarray]:
    """Lips that part and meet as they must, block by block: (arkit [t, 52], extra [t, 7])."""
    speaking = about_to_speak(frames.times, frames.voice)
    held = np.maximum(frames.closure, frames.labiodental)
    for start in range(0, len(arkit), BLOCK):
        report.step("face", start, len(arkit))
        rows = slice(start, start + BLOCK)
        open_enough = part(head, arkit[rows], speaking[rows], held[rows])
        arkit[rows], extra[rows] = seal(head, open_enough, extra[rows], frames.closure[rows])
    report.step("face", len(arkit), len(arkit))
    return arkit, extra


def _hear(audio: Audio, speech: Speech | str, report: Reporter) -> Speech:
    if isinstance(speech, Speech):
        return speech
    from engine.speech.listen import listen

    return listen(audio, speech, report=report)


def sampler(speech: Speech, controls: Controls) -> Callable[[np.ndarray], ControlTrack]:
    """The controls at any seconds, with the accents of this voice."""
    accented = Accented(speech, controls)
    return lambda times: accented(sample(controls, times))


def run_system(system: MotionSystem, speech: Speech, controls: Controls, report: Reporter = SILENT) -> MotionSlice:
    """The system's motion for the whole voice at its native rate, run window by window."""
    cache, state, parts = system.prepare(speech), None, []
    keyed = sampler(speech, controls)
    starts = np.arange(0.0, speech.duration, WINDOW_S)
    for i, t0 in enumerate(starts):
        report.step("motion", i, len(starts))
        end = min(t0 + WINDOW_S, speech.duration)
        part, state = system.run(cache, keyed, t0, end, state)
        parts.append(part)
    report.step("motion", len(starts), len(starts))
    names = [f.name for f in dataclasses.fields(MotionSlice)]
    return MotionSlice(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})


def with_layers(arkit: np.ndarray, extra: np.ndarray, layers: Layers) -> tuple[np.ndarray, np.ndarray]:
    """Blink and gaze laid over a face: copies of arkit [t, 52] and extra [t, 7]."""
    arkit, extra = arkit.copy(), extra.copy()
    for side, name in enumerate(("Left", "Right")):
        lid = ARKIT_INDEX[f"eyeBlink{name}"]
        arkit[:, lid] = np.maximum(arkit[:, lid], layers.blink[:, side])
        for other in ("eyeSquint", "eyeWide"):  # both fight a shut lid
            arkit[:, ARKIT_INDEX[f"{other}{name}"]] *= 1.0 - arkit[:, lid]
    yaw, pitch = layers.gaze[:, 0], layers.gaze[:, 1]
    for name, angle, full in (
        ("eyeLookOutLeft", yaw, "yaw"), ("eyeLookInRight", yaw, "yaw"),
        ("eyeLookInLeft", -yaw, "yaw"), ("eyeLookOutRight", -yaw, "yaw"),
        ("eyeLookUpLeft", pitch, "up"), ("eyeLookUpRight", pitch, "up"),
        ("eyeLookDownLeft", -pitch, "down"), ("eyeLookDownRight", -pitch, "down"),
    ):  # fmt: skip
        arkit[:, ARKIT_INDEX[name]] = np.clip(angle / EYE_LOOK_RAD[full], 0.0, 1.0)
    return arkit, extra


def _pose(frames: MotionSlice, layers: Layers) -> np.ndarray:
    """[t, 15] axis-angle: the system's joints plus head motion (neck) and gaze (both eyes)."""
    pose = frames.pose.astype(np.float32).copy()
    pose[:, 3:6] += layers.head
    eyes = np.stack([-layers.gaze[:, 1], layers.gaze[:, 0], np.zeros(len(pose), np.float32)], 1)
    pose[:, 9:12] += eyes
    pose[:, 12:15] += eyes
    return pose


def _final_au(frames: MotionSlice, arkit: np.ndarray) -> np.ndarray:
    """Expression AUs with what the face ends up doing: blink (45), lips part (25), jaw drop (26). [t, 18, 2]."""
    au = frames.au.copy()
    for side, name in enumerate(("Left", "Right")):
        au[:, AU_INDEX["AU45"], side] = arkit[:, ARKIT_INDEX[f"eyeBlink{name}"]]
        parted = (1.0 - frames.closure) * np.maximum(
            arkit[:, ARKIT_INDEX[f"mouthLowerDown{name}"]], np.minimum(2.0 * arkit[:, ARKIT_INDEX["jawOpen"]], 1.0)
        )
        au[:, AU_INDEX["AU25"], side] = np.maximum(au[:, AU_INDEX["AU25"], side] * (1.0 - frames.closure), parted)
        au[:, AU_INDEX["AU26"], side] = arkit[:, ARKIT_INDEX["jawOpen"]]
    return np.clip(au, 0.0, 1.0)


def flame_track(head: Head, arkit: np.ndarray, extra: np.ndarray, pose: np.ndarray) -> FlameTrack:
    """FLAME-layout form of ARKit-form motion on a head whose expression basis holds its shapes by name.

    The jaw leaves the shapes: jawOpen becomes the jaw joint's angle (never both).
    """
    named = {**{n: arkit[:, i] for n, i in ARKIT_INDEX.items()}, **{n: extra[:, i] for n, i in EXTRA_INDEX.items()}}
    zeros = np.zeros(len(arkit), np.float32)
    expression = np.stack([named.get(name, zeros) for name in head.expression_names], 1)
    flame_pose = pose.copy()
    flame_pose[:, 6] += arkit[:, ARKIT_INDEX["jawOpen"]] * head.jaw_open_rad
    lids = np.stack([named["eyeBlinkLeft"], named["eyeBlinkRight"]], 1)
    return FlameTrack(
        head.flame_version, np.zeros(0, np.float32), expression, flame_pose,
        np.zeros((len(arkit), 3), np.float32), lids,
    )  # fmt: skip


def _flame(
    head: Head, frames: MotionSlice, arkit: np.ndarray, extra: np.ndarray, pose: np.ndarray
) -> FlameTrack:  # fmt: skip
    """The take's FLAME-layout form: by name on our heads, by projection on imported FLAME models."""
    if not head.is_flame:
        return flame_track(head, arkit, extra, pose)
    from engine.motion.flame_form import flame_form

    held = np.maximum(frames.closure, frames.labiodental)
    return flame_form(head, arkit, extra, pose, frames.closure, held, frames.voice)


def flame_again(head: Head, take: Take) -> FlameTrack:
    """The FLAME-layout form of a take's own ARKit form, on a head whose expression basis holds its shapes by name."""
    pose = take.flame.pose.copy()
    pose[:, 6:9] = 0.0  # flame_track turns the jaw by jawOpen
    return flame_track(head, take.arkit, take.extra, pose)


def flame_residual_mm(head: Head, take: Take) -> float:
    """Largest vertex distance between the take's FLAME form and its ARKit form, over up to 25 frames, millimetres."""
    from engine.head.evaluate import flame_vertices, vertices

    rows = np.unique(np.linspace(0, len(take) - 1, min(len(take), 25)).astype(int))
    pose = take.flame.pose.copy()
    pose[:, 6:9] = 0.0
    truth = vertices(head, take.arkit[rows], take.extra[rows], pose[rows])
    derived = flame_vertices(head, take.flame.shape, take.flame.expression[rows], take.flame.pose[rows])
    return round(float(np.linalg.norm(truth - derived, axis=2).max() * MM), 4)


def _assemble(
    head: Head, clock: FrameClock, frames: MotionSlice, layers: Layers, arkit: np.ndarray, extra: np.ndarray,
    speech: Speech, controls: Controls,
) -> Take:  # fmt: skip
    pose = _pose(frames, layers)
    au = _final_au(frames, arkit)
    track = sample(controls, frames.times)
    rows = (frames.times - speech.features.t0_s) * speech.features.rate_hz
    rows = np.clip(rows.round().astype(int), 0, len(speech.features.values) - 1)
    return Take(
        fps=clock.fps,
        first_frame=clock.first,
        au=au,
        arkit=arkit,
        extra=extra,
        extra_names=EXTRA,
        flame=_flame(head, frames, arkit, extra, pose),
        authority="flame" if head.is_flame else "arkit",
        drive={
            "emotion": track.emotion,
            "intensity": track.intensity,
            "va": track.va,
            "au_final": au,
            "audio": speech.features.values[rows],
            # What lips must do, whatever face shows it: together, lower lip on the teeth, apart while speaking.
            "contact": np.stack([frames.closure, frames.labiodental, frames.voice], 1).astype(np.float32),
        },
    )


def _meta(head: Head, audio: Audio, controls: Controls, system: MotionSystem, speech: Speech) -> dict[str, Any]:
    blinks = blink_events(speech, controls) if layer_of(controls, "blink").on else []
    return {
        "head": head.name,
        "topology_sha256": head.topology_sha256,
        "audio_sha256": audio.sha256,
        "controls_digest": digest(controls),
        "system": system.name,
        "native_fps": system.native_fps,
        "checkpoint_sha256": system.checkpoint_sha256,
        "seed": controls.seed,
        "blinks": [[round(t, 3), amount] for t, amount in blinks],
        "obeyed": sorted(system.supports),
        "applied_after": sorted(set(CONTROLS) - system.supports),
        "engine": __version__,
        "speech": {"encoder": speech.features.encoder_id, "layer": speech.features.layer},
        "cues": to_rows(speech.cues),
    }
