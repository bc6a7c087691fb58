"""The expressions of a capture: named poses from a table, and moments of takes, as numbers that pose heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.controls.emotions import label_au
from engine.core.errors import BadFile, BadInput
from engine.core.files import read_json
from engine.core.names import ARKIT_INDEX, AUS, EMOTION_INDEX, EMOTIONS, EXTRA_INDEX, JOINTS
from engine.core.take import Take
from engine.head.action_units import to_shapes

TABLE = Path(__file__).with_name("expressions.json")
_EYES = tuple(3 * JOINTS.index(joint) for joint in ("eye_left", "eye_right"))


@dataclass(frozen=True)
class Pose:
    """arkit [52], extra [7], au [18, 2], emotion [14] in [0, 1]; joints [15] axis-angle, radians; translation [3]
    metres. All float32, engine axes."""

    name: str
    arkit: np.ndarray
    extra: np.ndarray
    au: np.ndarray
    emotion: np.ndarray
    joints: np.ndarray
    translation: np.ndarray

    @property
    def open_mouth(self) -> bool:
        """Whether teeth or tongue are to be seen."""
        lips = self.arkit[[ARKIT_INDEX[n] for n in ("mouthUpperUpLeft", "mouthLowerDownLeft")]].sum()
        return bool(self.arkit[ARKIT_INDEX["jawOpen"]] > 0.2 or lips > 0.6)


def _sides(name: str) -> tuple[str, ...]:
    """A shape's own name, or both its sides'. Raises KeyError."""
    for names in ((name,), (f"{name}Left", f"{name}Right"), (f"{name}_L", f"{name}_R")):
        if all(n in ARKIT_INDEX or n in EXTRA_INDEX for n in names):
            return names
    raise KeyError(name)


def make(name: str, spec: Mapping[str, Any]) -> Pose:
    """A pose from its entry in the table. Raises KeyError or TypeError for names and values that mean nothing."""
    labels, given = dict(spec.get("labels", {})), dict(spec.get("shapes", {}))
    emotion = np.zeros((1, len(EMOTIONS)), np.float32)
    for label, strength in labels.items():
        emotion[0, EMOTION_INDEX[label]] = float(strength)
    au = np.asarray(label_au(emotion, np.ones(1, np.float32)), np.float32)
    arkit, extra = (np.array(a[0], np.float32) for a in to_shapes(au))
    for word, value in given.items():
        for shape in _sides(word):
            row, index = (arkit, ARKIT_INDEX) if shape in ARKIT_INDEX else (extra, EXTRA_INDEX)
            row[index[shape]] = max(row[index[shape]], float(value))
    joints = np.zeros(3 * len(JOINTS), np.float32)
    yaw, pitch = np.radians(np.asarray(spec.get("gaze", (0.0, 0.0)), np.float64))
    for at in _EYES:
        joints[at : at + 2] = -pitch, yaw
    return Pose(name, arkit, extra, au[0], emotion[0], joints, np.zeros(3, np.float32))


def table(path: Path = TABLE) -> tuple[list[Pose], list[Pose]]:
    """(train, test) poses of a table; the first train pose is neutral. Raises BadFile."""
    raw = read_json(path)
    try:
        if raw["kind"] != "capture_poses":
            raise KeyError("kind")
        train, test = ([make(name, spec) for name, spec in raw[part].items()] for part in ("train", "test"))
        if train[0].arkit.any() or train[0].joints.any():
            raise BadFile(path, "must begin with a neutral train pose")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise BadFile(path, f"is no table of capture poses ({error!r})") from None
    return train, test


def of_take(take: Take, count: int, name: str) -> list[Pose]:
    """`count` moments of a take that differ most from each other and from the face at rest (farthest-point choice)."""
    if count < 1:
        raise BadInput("a take gives at least one pose")
    values = np.concatenate([take.arkit, take.extra], 1).astype(np.float64)
    distance = np.linalg.norm(values, axis=1)
    rows: list[int] = []
    for _ in range(min(count, len(values))):
        row = int(distance.argmax())
        if distance[row] <= 0 and rows:
            break
        rows.append(row)
        distance = np.minimum(distance, np.linalg.norm(values - values[row], axis=1))
    pose = take.flame.pose if take.flame is not None else np.zeros((len(take), 3 * len(JOINTS)), np.float32)
    pose = np.array(pose, np.float32)
    pose[:, :9] = 0  # a capture is of a head that stands still; jawOpen opens the mouth
    emotion = take.drive.get("emotion") if take.drive else None
    feeling = np.zeros((len(take), len(EMOTIONS)), np.float32) if emotion is None else np.asarray(emotion, np.float32)
    return [
        Pose(
            f"{name}_{row:05d}", np.asarray(take.arkit[row], np.float32), np.asarray(take.extra[row], np.float32),
            np.asarray(take.au[row], np.float32).reshape(len(AUS), 2), feeling[row], pose[row], np.zeros(3, np.float32),
        )
        for row in sorted(rows)
    ]  # fmt: skip


def stacked(poses: Sequence[Pose]) -> dict[str, np.ndarray]:
    """Arrays [p, ...] of poses by field."""
    fields = ("arkit", "extra", "au", "emotion", "joints", "translation")
    return {name: np.stack([getattr(p, name) for p in poses]) for name in fields}
