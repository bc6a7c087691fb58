"""What a capture shows: cameras round the head, poses, and which of them together make a picture, in which order.

The full product of views and poses would take days, so pictures are staggered: the neutral face from every camera, each
other pose from a few cameras, different ones for each pose. The order makes every beginning of the list a capture that
can be trained on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.core.errors import BadInput
from engine.core.splats import Camera
from engine.render.cameras import orbit
from engine.studio.poses import Pose

FOV_DEG, FILL = 22.0, 0.97
SPLITS = ("train", "val", "test", "rest", "smooth")
_GOLDEN = (math.sqrt(5) - 1) / 2
RING_ELEVATIONS = (2.0, 26.0, -14.0, 12.0, -5.0, 38.0, 6.0, -20.0, 18.0)
TURNED = 125.0  # degrees: from behind this a face shows nothing of its expression
# Degrees: test views nearer to the front than this also show the neutral face, and their own face without folds.
RESTING = 60.0
VAL_VIEWS = ((17.0, 9.0), (-58.0, 4.0))  # azimuth, elevation in degrees
DOME_VIEWS = 11


@dataclass(frozen=True)
class View:
    """A camera by where it stands: azimuth (0 in front, + on the subject's left) and elevation, degrees."""

    azimuth: float
    elevation: float
    split: str = "train"


@dataclass(frozen=True)
class Shot:
    """One picture: rows of the poses and views, its part of the set and its samples a pixel. like: number (from 1) of
    the picture whose noise it shares (0: its own)."""

    pose: int
    view: int
    split: str
    samples: int
    like: int = 0


@dataclass(frozen=True)
class Plan:
    """poses [p] (train, then test), cameras [c] with their views, shots in the order in which they are rendered."""

    poses: tuple[Pose, ...]
    views: tuple[View, ...]
    cameras: tuple[Camera, ...]
    shots: tuple[Shot, ...]


def ring(count: int = 30) -> list[View]:
    """`count` views over 360 degrees, nearer to each other in front; elevations from -20 to +38 degrees take turns."""
    if count < 2:
        raise BadInput("a ring needs two views or more")
    out = []
    for i in range(count):
        t = (2 * i + 1) / count - 1
        out.append(View(180 * math.copysign(abs(t) ** 1.25, t), RING_ELEVATIONS[i % len(RING_ELEVATIONS)]))
    return out


def dome(count: int = DOME_VIEWS) -> list[View]:
    """EmoTalk3D's dome (section 3.1): cameras evenly over 180 degrees in front, level with the face."""
    if count < 2:
        raise BadInput("a dome needs two views or more")
    return [View(float(a), 0.0) for a in np.linspace(-90, 90, count)]


PRESETS = {"ring": ring, "dome": dome}


def unseen(count: int) -> list[View]:
    """`count` views for test pictures, between those of the ring; most of them where a face is looked at."""
    out = []
    for i in range(count):
        t = 2 * ((0.37 + i * _GOLDEN) % 1.0) - 1
        azimuth = 180 * math.copysign(abs(t) ** 1.5, t)
        out.append(View(azimuth, -12 + 44 * ((0.2 + i * 0.7548776662) % 1.0), "test"))
    return out


def camera_of(view: View, points: np.ndarray, size: int) -> Camera:
    """The camera of a view that keeps points [n, 3] in a square picture."""
    return orbit(points, size, size, view.azimuth, view.elevation, FOV_DEG, FILL)


def plan(
    train: Sequence[Pose], test: Sequence[Pose], points: np.ndarray, size: int = 512, preset: str = "ring",
    views: int = 0, each: int = 9, samples: int = 32, test_samples: int = 64, tests: int = 24,
) -> Plan:  # fmt: skip
    """A staggered capture of poses on a head whose points [n, 3] stay in the pictures.

    views: of the preset (0: its own number); each: pictures of a pose other than neutral; tests: test pictures, each
    from its own unseen view. Raises BadInput for numbers that make no capture.
    """
    if preset not in PRESETS:
        raise BadInput(f"cameras '{preset}' are unknown; there are: {', '.join(PRESETS)}")
    if not 16 <= size <= 4096 or each < 0 or tests < 0 or min(samples, test_samples) < 1:
        raise BadInput("a capture needs pictures of 16 to 4096 pixels, samples from 1 on and no negative counts")
    if not train:
        raise BadInput("a capture needs a neutral pose first")
    kept = PRESETS[preset](views) if views else PRESETS[preset]()
    held = [View(a, e, "val") for a, e in VAL_VIEWS] if len(train) > 1 else []
    every = [*kept, *held, *unseen(tests if test else 0)]
    neutral = [Shot(0, v, "train", samples) for v in spread(len(kept))]
    rounds = _rounds(len(train), kept, each, samples)
    val = _held(len(train), len(kept), len(held), samples)
    seen = [
        Shot(len(train) + i % len(test), len(kept) + len(held) + i, "test", test_samples)
        for i in range(tests if test else 0)
    ]
    shots = neutral + _interleaved(rounds, val, seen)
    front = [s for s in seen if abs(every[s.view].azimuth) <= RESTING]
    shots += [Shot(0, s.view, "rest", test_samples) for s in front]
    # The same faces without folds: what is left between the two is the folds alone, noise and all else being equal.
    shots += [Shot(s.pose, s.view, "smooth", test_samples, shots.index(s) + 1) for s in front]
    cameras = tuple(camera_of(view, points, size) for view in every)
    return Plan((*train, *test), tuple(every), cameras, tuple(shots))


def spread(count: int) -> list[int]:
    """0..count-1 so that every beginning is spread over the whole range (steps of the golden section)."""
    left = set(range(count))
    out = []
    at = 0.5
    while left:
        row = min(left, key=lambda r: abs((r + 0.5) / count - at))
        out.append(row)
        left.remove(row)
        at = (at + _GOLDEN) % 1.0
    return out


def _rounds(poses: int, views: Sequence[View], each: int, samples: int) -> list[list[Shot]]:
    """One list a round: each pose but neutral from one more view, all of a pose's views different."""
    front = [i for i, view in enumerate(views) if abs(view.azimuth) <= TURNED] or list(range(len(views)))
    back = [i for i in range(len(views)) if i not in front]
    each = min(each, len(front))
    used: list[set[int]] = [set() for _ in range(poses)]
    out = []
    for k in range(each):
        row = []
        for p in range(1, poses):
            at = (p * _GOLDEN + _radical(k) + 0.5 / len(front)) % 1.0
            free = [i for i in range(len(front)) if front[i] not in used[p]]
            pick = front[min(free, key=lambda i: (abs((i + 0.5) / len(front) - at), i))]
            # Each seventh pose is seen once from behind too: necks and jaws move there.
            if back and k == 4 and p % 7 == 3:
                pick = back[(p // 7) % len(back)]
            used[p].add(pick)
            row.append(Shot(p, pick, "train", samples))
        out.append(row)
    return out


def _radical(k: int) -> float:
    """Van der Corput's sequence in base 2: 0, 1/2, 1/4, 3/4, ..."""
    out, share = 0.0, 0.5
    while k:
        out, k, share = out + share * (k & 1), k >> 1, share / 2
    return out


def _held(poses: int, first: int, views: int, samples: int) -> list[Shot]:
    """Poses over the table from the held-out views: what training stops by."""
    rows = sorted({int(r) for r in np.linspace(0, poses - 1, min(poses, 6))})
    return [Shot(p, first + v, "val", samples) for v in range(views) for p in rows]


def _interleaved(rounds: list[list[Shot]], val: list[Shot], test: list[Shot]) -> list[Shot]:
    """Validation pictures in the first round, test pictures over the first three: early, and never all at once."""
    out: list[Shot] = []
    parts = np.array_split(np.arange(len(test)), max(1, min(3, len(rounds))))
    for k, row in enumerate(rounds):
        extra: list[Shot] = list(val) if k == 0 else []
        if k < len(parts):
            extra += [test[int(i)] for i in parts[k]]
        step = max(1, len(row) // max(1, len(extra)))
        for i, shot in enumerate(row):
            out.append(shot)
            if i % step == step - 1 and extra:
                out.append(extra.pop(0))
        out += extra
    return out if rounds else [*val, *test]


def file_name(shot: Shot) -> str:
    """VHAP's name of a picture: time step and camera; a face without its folds says so."""
    return f"{shot.pose:05d}_{shot.view:02d}" + ("_smooth" if shot.split == "smooth" else "")


def to_transform(camera: Camera) -> list[list[float]]:
    """Camera-to-world in OpenGL's axes (x right, y up, looks along -z), as transforms.json holds it."""
    matrix = np.linalg.inv(camera.world_to_camera)
    matrix[:3, 1:3] *= -1
    return matrix.tolist()


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain values, for the program that renders."""
    cameras = [
        {
            **asdict(view), "index": i, "width": c.width, "height": c.height, "fl_x": c.fx, "fl_y": c.fy, "cx": c.cx,
            "cy": c.cy, "transform_matrix": to_transform(c),
        }
        for i, (view, c) in enumerate(zip(plan.views, plan.cameras, strict=True))
    ]  # fmt: skip
    return {
        "kind": "capture", "format": 1, "cameras": cameras, "poses": [p.name for p in plan.poses],
        "shots": [{**asdict(shot), "name": file_name(shot)} for shot in plan.shots],
    }  # fmt: skip
