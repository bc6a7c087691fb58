"""Contact sheet of an avatar: poses in columns, views in rows, close-ups of eyes and mouth, for the eye.

python bench/avatar_sheet.py --out avatar.png --size 320 --poses neutral blink jawOpen smile happy angry
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from head_sheet import both_sides, oculus, units

from engine.avatar.bind import bind
from engine.avatar.channels import coloured
from engine.avatar.library import load_avatar
from engine.controls.emotions import prototypes
from engine.core.anatomy import Head
from engine.core.names import EMOTIONS
from engine.core.splats import Avatar, Camera
from engine.core.units import linear_to_srgb
from engine.head import evaluate
from engine.head.library import load_head
from engine.render import cameras, rasterise
from engine.render.sheet import write_sheet

BACKGROUND = np.array([0.11, 0.12, 0.14])  # linear
SHAPES = {
    "blink": {"eyeBlink": 1.0},
    "jawOpen": {"jawOpen": 1.0},
    "smile": {"mouthSmile": 1.0, "cheekSquint": 0.6, "mouthUpperUp": 0.3},
    **oculus(),
}
DEFAULT = ("neutral", "blink", "jawOpen", "smile", "happy", "angry", "surprised", "sad", "aa", "U", "FF")


def posed(head: Head, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [v, 3] and weights [59] of a shape mixture or an emotion."""
    arkit, extra = both_sides(SHAPES[name]) if name in SHAPES else units(prototypes()[EMOTIONS.index(name)])
    return evaluate.vertices(head, arkit[None], extra[None])[0], np.concatenate([arkit, extra])


def views(head: Head, size: int) -> dict[str, Camera]:
    """Front, three-quarter and profile of the head without its shoulders, and two close-ups from the front."""
    points = head.template[head.template[:, 1] > head.template[:, 1].max() - 0.28]
    front = cameras.front(points, size, size)
    eyes, mouth = evaluate.joints_of(head)[3:5].mean(0), head.template[np.unique(head.lip_pairs)].mean(0)
    close = {}
    for name, target in (("eyes", eyes + [0, 0, 0.015]), ("mouth", mouth)):
        view = cameras.look_at(target + np.array([0.12, 0.02, 0.8]), target)
        close[name] = dataclasses.replace(front, fx=8.0 * size, fy=8.0 * size, world_to_camera=view)
    return {
        "front": front, "three-quarter": cameras.three_quarter(points, size, size),
        "profile": cameras.profile(points, size, size), **close,
    }  # fmt: skip


def turntable(head: Head, size: int) -> dict[str, Camera]:
    """All round in steps of 45 degrees, and from the edges of the elevations that captures hold."""
    points = head.template[head.template[:, 1] > head.template[:, 1].max() - 0.28]
    looks = [(float(a), 5.0) for a in range(-180, 180, 45)] + [(20.0, 36.0), (-20.0, -18.0)]
    return {f"{a:.0f}/{e:.0f}": cameras.orbit(points, size, size, azimuth_deg=a, elevation_deg=e) for a, e in looks}


def shot(avatar: Avatar, head: Head, face: tuple[np.ndarray, np.ndarray], camera: Camera) -> np.ndarray:
    """[h, w, 3] uint8 display values over a plain background; face: as `posed` gives it."""
    gaussians = coloured(avatar, bind(avatar, head.triangles, face[0]), face[1])
    frame = rasterise(gaussians, camera, avatar.blend_space, passes=("rgba",))
    rgb = frame.rgba[..., :3] + (1 - frame.rgba[..., 3:]) * BACKGROUND
    return (np.clip(linear_to_srgb(rgb), 0, 1) * 255 + 0.5).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--avatar", default="default", help="a name or a file")
    parser.add_argument("--turn", action="store_true", help="a turntable of the first pose instead of close-ups")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--poses", nargs="+", default=DEFAULT, choices=sorted({*SHAPES, *EMOTIONS}))
    args = parser.parse_args()
    head = load_head()
    avatar = load_avatar(args.avatar, head)
    faces = {name: posed(head, name) for name in args.poses}
    shown = turntable(head, args.size) if args.turn else views(head, args.size)
    rows = [
        [(shot(avatar, head, face, camera), f"{name}  {view}") for name, face in faces.items()]
        for view, camera in shown.items()
    ]
    if args.turn:
        rows = [[row[k] for row in rows] for k in range(len(faces))]
    write_sheet(args.out, rows)


if __name__ == "__main__":
    main()
