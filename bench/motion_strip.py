"""Strips of a speaking face: one row for each label or change of labels, one column for each moment, for the eye.

    python bench/motion_strip.py VOICE --out strip.png --motion emovoca --rows happy angry sad 'happy>angry' 'sad*'

A row is a label at full strength; A>B turns from one into the other in the middle of the voice; A* grows from nothing
to full strength (EmoVOCA's figure 6).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avatar_sheet import shot, views

from engine.audio.read import read_audio
from engine.avatar.library import load_avatar
from engine.core.anatomy import Head
from engine.core.control import Controls, Layer
from engine.core.splats import Camera
from engine.head import evaluate
from engine.head.library import load_head
from engine.head.replay import take_vertices
from engine.motion.perform import perform
from engine.render import cameras
from engine.render.sheet import write_sheet
from engine.speech.encode import encode

TURN_S = 0.6  # of a change of labels
FACE = 4.0  # focal length in pictures: the face fills one at 0.9 m


def keyed(row: str, duration: float) -> Controls:
    """The controls of a row's name; blinks and gaze off, so that rows can be compared."""
    still = {name: Layer(on=False) for name in ("blink", "gaze", "head")}
    before, turn, after = row.partition(">")
    middle = 0.5 * duration
    if turn:
        begin, end = middle - 0.5 * TURN_S, middle + 0.5 * TURN_S
        return Controls(
            emotions={before: ((begin, 1.0), (end, 0.0)), after: ((begin, 0.0), (end, 1.0))}, layers=still
        )  # fmt: skip
    if row.endswith("*"):
        grows = ((0.1 * duration, 0.0), (0.9 * duration, 1.0))
        return Controls(emotions={row[:-1]: ((0.0, 1.0),)}, intensity=grows, layers=still)
    return Controls(emotions={row: ((0.0, 1.0),)} if row != "neutral" else {}, layers=still)


def close_up(head: Head, size: int) -> Camera:
    """The face alone, a little from the side."""
    eyes, mouth = evaluate.joints_of(head)[3:5].mean(0), head.template[np.unique(head.lip_pairs)].mean(0)
    target = 0.5 * (eyes + mouth)
    view = cameras.look_at(target + np.array([0.22, 0.02, 0.9]), target)
    front = views(head, size)["front"]
    return dataclasses.replace(front, fx=FACE * size, fy=FACE * size, world_to_camera=view)


def main() -> None:
    """The command at the module's head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voice", type=Path)
    parser.add_argument("--out", required=True)
    parser.add_argument("--motion", nargs="+", default=["emovoca"])
    parser.add_argument("--rows", nargs="+", default=["happy", "angry", "sad"])
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--size", type=int, default=200)
    args = parser.parse_args()
    head = load_head()
    avatar, audio = load_avatar("default", head), read_audio(args.voice)
    heard, camera = encode(audio), close_up(head, args.size)
    sheet = []
    for motion in args.motion:
        for row in args.rows:
            take = perform(audio, keyed(row, audio.duration), 25, 1, motion, head, heard)
            frames = np.linspace(0.08 * len(take), 0.92 * len(take), args.columns).astype(int)
            points, weights = take_vertices(take, head, frames), np.concatenate([take.arkit, take.extra], 1)[frames]
            name = motion.partition("@")[0]
            sheet.append(
                [
                    (shot(avatar, head, (p, w), camera), f"{name} {row} {f / 25:.2f} s")
                    for p, w, f in zip(points, weights, frames, strict=True)
                ]
            )
    write_sheet(args.out, sheet)


if __name__ == "__main__":
    main()
