"""Small pictures of truth for a test of the bundled avatar, of views and expressions that it was not trained on.

    python bench/avatar_truth.py SET tests/golden/avatar_truth

SET is the finished beginning of `soliloquy studio capture SET --no-subsurface`. Of each of VIEWS it writes the picture
over grey at half its size (means of 2 x 2 pixels) as PNG, and cameras.npz: cameras of the whole size (w, h, fx, fy, cx,
cy, then world to camera), and the poses as the head evaluates them (arkit, extra, joints, translation), a row a view.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.core.errors import SoliloquyError
from engine.core.files import replacing
from engine.core.splats import Camera
from engine.head.library import load_head
from engine.train.avatar_data import Capture, View, read_capture
from engine.train.avatar_measure import over_grey

VIEWS = ("00059_55", "00057_53", "00051_35")  # from the front, a laugh from below, from the side
SHRINK = 2
POSE = ("arkit", "extra", "joints", "translation")


def whole(capture: Capture, view: View) -> np.ndarray:
    """A view's picture with the border that reading cuts off, [h, w, 3] uint8 over grey."""
    picture, camera = capture.picture(view, SHRINK), view.camera
    left, top = round(camera.cx / SHRINK - picture.camera.cx), round(camera.cy / SHRINK - picture.camera.cy)
    rgba = np.zeros((camera.height // SHRINK, camera.width // SHRINK, 4), np.float32)
    rgba[top : top + picture.camera.height, left : left + picture.camera.width] = picture.values
    return np.round(over_grey(rgba) * 255).astype(np.uint8)


def numbers(camera: Camera) -> list[float]:
    """A camera as a row of 22."""
    own = [camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy]
    return [*map(float, own), *np.asarray(camera.world_to_camera, np.float64).ravel()]


def main() -> None:
    """The command at the module's head."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        capture = read_capture(folder, load_head())
    except SoliloquyError as error:
        sys.exit(str(error))
    poses = np.load(folder / "poses.npz", allow_pickle=False)
    found = {view.name: view for view in capture.views["test"]}
    if missing := [name for name in VIEWS if name not in found]:
        sys.exit(f"{folder} lacks the test pictures {', '.join(missing)}; let the capture run on")
    out.mkdir(parents=True, exist_ok=True)
    cameras, rows = [], []
    for name in VIEWS:
        with replacing(out / f"{name}.png") as part:
            Image.fromarray(whole(capture, found[name])).save(part, format="PNG", optimize=True)
        cameras.append(numbers(found[name].camera))
        rows.append(found[name].pose)
    arrays = {name: poses[name][rows] for name in POSE}
    with replacing(out / "cameras.npz") as part, open(part, "wb") as file:
        np.savez_compressed(file, names=np.array(VIEWS), cameras=np.array(cameras), **arrays)


if __name__ == "__main__":
    main()
