"""Renders of the default avatar in the middle of speech at full strength, in a drawn order, shown without their labels.

python bench/blind_sheet.py MANIFEST --out blind.png --key blind.json

A judge names one of the eight labels for every number of the sheet and only then opens the key.
"""

from __future__ import annotations

import argparse
import dataclasses
import secrets
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from avatar_sheet import shot, views

from engine.audio.read import read_audio
from engine.avatar.library import load_avatar
from engine.core.control import Controls, Layer
from engine.core.files import write_json
from engine.core.names import ARTICULATION_INDEX
from engine.head import evaluate
from engine.head.library import load_head
from engine.measure.legibility import EIGHT
from engine.measure.lipsync import read_manifest
from engine.motion.perform import perform
from engine.render import cameras
from engine.render.sheet import write_sheet
from engine.speech.encode import encode

FPS, COLUMNS = 25, 5


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--size", type=int, default=320)
    args = parser.parse_args()
    rng = np.random.default_rng(secrets.randbits(64))  # nobody can know the order beforehand
    head = load_head()
    avatar = load_avatar("default", head)
    front = views(head, args.size)["front"]
    target = head.template[np.unique(head.lip_pairs)].mean(0) + [0.0, 0.035, 0.0]
    view = cameras.look_at(target + np.array([0.0, 0.02, 0.8]), target)
    camera = dataclasses.replace(front, fx=3.6 * args.size, fy=3.6 * args.size, world_to_camera=view)
    voices = sorted((read_audio(r.file) for r in read_manifest(args.manifest)), key=lambda a: -a.duration)[:8]
    heard = [encode(v) for v in voices]
    still = Controls(layers={name: Layer(on=False) for name in ("blink", "gaze", "head")})
    images, key = [], []
    for _ in range(args.count):
        label, k = EIGHT[rng.integers(len(EIGHT))], int(rng.integers(len(voices)))
        keyed = dataclasses.replace(still, emotions={label: ((0.0, 1.0),)}, seed=int(rng.integers(1000)))
        take = perform(voices[k], keyed, FPS, 1, head=head, speech=heard[k])
        voiced = heard[k].articulation[:, ARTICULATION_INDEX["voice"]] > 0.5
        spoken = voiced[np.clip(np.round(take.times * 50).astype(int), 0, len(voiced) - 1)]
        frame = int(rng.choice(np.flatnonzero(spoken & (take.times > 0.4))))
        points = evaluate.vertices(head, take.arkit[frame : frame + 1], take.extra[frame : frame + 1], None)[0]
        weights = np.concatenate([take.arkit[frame], take.extra[frame]])
        images.append((shot(avatar, head, (points, weights), camera), str(len(images) + 1)))
        key.append({"label": label, "voice": k, "frame": frame})
    write_sheet(args.out, [images[i : i + COLUMNS] for i in range(0, len(images), COLUMNS)])
    write_json(args.key, {"key": key})


if __name__ == "__main__":
    main()
