"""What a motion system is, and what passes from it to the rest of the room.

A system runs at its own rate on interface v1 (articulation + 64-d features) and fills ARKit and extra channels. What it
does not support of the controls is applied to its motion afterwards (after.py) and recorded in the take.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from engine.core.control import ControlTrack
from engine.core.errors import BadInput
from engine.core.sound import Speech

if TYPE_CHECKING:
    from engine.assets.registry import Entry

CONTROLS = ("labels", "intensity", "va", "prompt", "au")


@dataclass(frozen=True)
class MotionSlice:
    """Motion at a system's own rate. Rows at `times` [t] seconds; all float32.

    arkit [t, 52], extra [t, 7], au [t, 18, 2] (expression only; blink and speech are added later).
    closure, labiodental [t] in [0, 1]: 1 where lips must meet / the lower lip must touch the upper teeth.
    voice [t] in [0, 1]: 1 while someone speaks.
    pose [t, 15] axis-angle (FLAME's order), zero where the system does not move joints.
    """

    times: np.ndarray
    arkit: np.ndarray
    extra: np.ndarray
    au: np.ndarray
    closure: np.ndarray
    labiodental: np.ndarray
    voice: np.ndarray
    pose: np.ndarray


class MotionSystem(Protocol):
    """One file per system; `name` is what `--motion` takes."""

    name: str
    supports: frozenset[str]
    native_fps: float
    checkpoint_sha256: str

    def prepare(self, speech: Speech) -> Any:
        """Work that depends on the voice alone; the result may be kept while controls change."""

    def run(
        self, cache: Any, controls: Callable[[np.ndarray], ControlTrack], t0: float, t1: float, state: Any = None
    ) -> tuple[MotionSlice, Any]:
        """Motion for seconds [t0, t1) and the state to pass to the next, adjoining call."""


def _direct() -> MotionSystem:
    from engine.motion.direct import Direct

    return Direct()


def _emotag(path: Path | None = None) -> MotionSystem:
    from engine.motion.emotag import EmoTaG

    return EmoTaG(path)


def _emotalk3d(path: Path | None = None) -> MotionSystem:
    from engine.motion.emotalk3d import EmoTalk3D

    return EmoTalk3D(path)


def _emovoca(path: Path | None = None) -> MotionSystem:
    from engine.motion.emovoca import EmoVOCA

    return EmoVOCA(path)


def _emodifftalk(path: Path | None = None) -> MotionSystem:
    from engine.motion.emodifftalk import EmoDiffTalk

    return EmoDiffTalk(path)


def _emotalkinggaussian(path: Path | None = None) -> MotionSystem:
    from engine.motion.emotalkinggaussian import EmoTalkingGaussian

    return EmoTalkingGaussian(path)


# One line per system: name -> a function that makes it (heavy imports happen inside), from a checkpoint's path or, with
# none, from the one that is registered under that name. `direct` has no checkpoint.
SYSTEMS: dict[str, Callable[..., MotionSystem]] = {
    "direct": _direct,
    "emotalk3d": _emotalk3d,
    "emovoca": _emovoca,
    "emotag": _emotag,
    "emodifftalk": _emodifftalk,
    "emotalkinggaussian": _emotalkinggaussian,
}
# A line for people on each, shown where a system is chosen.
ABOUT: dict[str, str] = {
    "direct": "Stated rules: obeys every control, calm and exact",
    "emotalk3d": "EmoTalk3D's recurrent net: mouth and mood as one, fast",
    "emovoca": "EmoVOCA's transformer: speaks frame by frame under a label and its strength",
    "emotag": "EmoTaG's gated net: a person's own manner over a plain way of speaking",
    "emodifftalk": "EmoDiffTalk's diffusion: led by action units, every seed another take",
    "emotalkinggaussian": "EmoTalkingGaussian's branches for mouth, face and feeling: led by valence and arousal",
}


def offered() -> list[dict[str, Any]]:
    """The systems that can be chosen: {"name", "about", "obeys", "after"} (⊆ CONTROLS), read without loading a net.

    A system whose checkpoint is not there is left out.
    """
    from engine.assets.registry import list_assets

    supports = {entry.name: _supports(entry) for entry in list_assets("motion") if entry.path and entry.path.is_file()}
    out = []
    for name in SYSTEMS:
        obeys = CONTROLS if name == "direct" else supports.get(name)
        if obeys is not None:
            obeyed, after = ([c for c in CONTROLS if (c in obeys) == own] for own in (True, False))
            out.append({"name": name, "about": ABOUT.get(name, ""), "obeys": obeyed, "after": after})
    return out


def _supports(entry: Entry) -> tuple[str, ...]:
    """What an entry obeys: as registered, or for a file that somebody put there as its header says."""
    from engine.core.errors import BadFile
    from engine.motion.nets.file import header_of

    if entry.supports or entry.path is None:
        return entry.supports
    try:
        said = header_of(entry.path).get("supports", ())
        return tuple(control for control in said if control in CONTROLS)
    except (BadFile, AttributeError, TypeError, ValueError):
        return ()  # using it says what is wrong; listing the others must not fail


def get_system(name: str) -> MotionSystem:
    """The motion system of that name, or NAME@CHECKPOINT: that system with a checkpoint of your own.

    Raises BadInput that lists the known ones, BadFile for a checkpoint that is not this system's.
    """
    base, at, path = name.partition("@")
    if base not in SYSTEMS:
        raise BadInput(f"no motion system is called '{base}'; there are: {', '.join(SYSTEMS)}")
    if not at:
        return SYSTEMS[base]()
    if base == "direct" or not path:
        raise BadInput(f"'{name}': write NAME@CHECKPOINT.safetensors; 'direct' has no checkpoint")
    return SYSTEMS[base](Path(path))
