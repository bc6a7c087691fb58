"""Controls that a motion system does not obey itself, applied to its finished motion as a change of action units.

The change is what the face would show with all controls less what it would show with those that the system obeys, both
by the same rules (engine.controls, motion/life.py), through the head-independent table AU -> shapes. As everywhere,
speech keeps its jaw and lips (direct.blend_share), and what a word or slider takes away cannot go below what the voice
needs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Set
from typing import Any

import numpy as np

from engine.core.control import ControlTrack
from engine.core.names import ARKIT, ARKIT_INDEX
from engine.head.action_units import to_shapes
from engine.motion.base import CONTROLS, MotionSlice
from engine.motion.direct import JAW, OPENING, blend_share, conversing
from engine.motion.life import living_au

Sampler = Callable[[np.ndarray], ControlTrack]


def obeyed(track: ControlTrack, supports: Set[str]) -> ControlTrack:
    """The track with the controls outside `supports` (⊆ CONTROLS) at rest."""
    zero = np.zeros_like
    changes: dict[str, Any] = {}
    if "labels" not in supports:
        changes["emotion"] = zero(track.emotion)
    if "intensity" not in supports:
        changes["intensity"] = np.ones_like(track.intensity)
    if "va" not in supports:
        changes["va"] = zero(track.va)
    if "prompt" not in supports:
        for name in ("prompt_activation", "prompt_suppress", "prompt_floor"):
            changes[name] = zero(getattr(track, name))
        changes["prompt_level"] = zero(track.prompt_level)
    if "au" not in supports:
        changes["au_offset"] = zero(track.au_offset)
    return dataclasses.replace(track, **changes)


def _rate_hz(times: np.ndarray) -> float:
    return (len(times) - 1) / float(times[-1] - times[0]) if len(times) > 1 else 50.0


def apply_rest(motion: MotionSlice, controls: Sampler, supports: Set[str]) -> MotionSlice:
    """The system's motion with the controls that it does not support applied to it, and the jaw where a slider has
    it."""
    return _with_slid_jaw(_with_rest(motion, controls, supports), controls)


def _with_slid_jaw(motion: MotionSlice, controls: Sampler) -> MotionSlice:
    """A mood's jaw yields to small sounds (direct.jaw_freedom); one that a person opens with a slider keeps four fifths
    in them, as every expression does, and yields to lips that meet alone. With every system."""
    offset = np.clip(controls(motion.times).au_offset, 0.0, 1.0)
    jaw = ARKIT_INDEX["jawOpen"]
    asked = to_shapes(offset)[0][:, jaw] * (1.0 - 0.2 * motion.voice)
    asked *= 1.0 - np.maximum(motion.closure, 0.8 * motion.labiodental)
    if not np.any(asked > motion.arkit[:, jaw]):
        return motion
    arkit = motion.arkit.copy()
    arkit[:, jaw] = np.maximum(arkit[:, jaw], asked)
    return dataclasses.replace(motion, arkit=arkit)


def _with_rest(motion: MotionSlice, controls: Sampler, supports: Set[str]) -> MotionSlice:
    if set(CONTROLS) <= set(supports):
        return motion
    wanted = living_au(controls, motion.times)
    given = living_au(lambda times: obeyed(controls(times), supports), motion.times)
    if np.array_equal(wanted, given):
        return motion
    after, before = (np.concatenate(to_shapes(codes), 1) for codes in (wanted, given))
    jaw, whole = ARKIT_INDEX["jawOpen"], np.concatenate([motion.arkit, motion.extra], 1)
    spoken = np.clip(motion.arkit[:, jaw] / JAW, 0.0, 1.0)  # as near as can be told from a finished motion
    talking = conversing(motion.voice, _rate_hz(motion.times))
    share = blend_share(motion.closure, motion.labiodental, motion.voice, talking, jaw_open=spoken)
    change = (after - before) * share
    opening = [ARKIT_INDEX[name] for name in OPENING]
    # Less opening than the system gave is speech's own: only what the expression added may be taken.
    held, least = np.maximum(motion.closure, motion.labiodental), np.zeros_like(whole)
    least[:, opening] = whole[:, opening] * (motion.voice * (1.0 - held))[:, None] * 0.5
    face = np.maximum(whole + change, np.minimum(least, whole))
    face[:, jaw] = np.maximum(whole[:, jaw], change[:, jaw])
    face = np.clip(face, 0.0, 1.0).astype(np.float32)
    return dataclasses.replace(
        motion,
        arkit=face[:, : len(ARKIT)],
        extra=face[:, len(ARKIT) :],
        au=np.clip(motion.au + (wanted - given), 0.0, 1.0).astype(np.float32),
    )
