"""`avatar appearance`: an appearance net trained on a capture, on top of an avatar that was trained on it before.

The canonical Gaussians stay (EmoTalk3D section 4.2). Each picture is one step: net, changed avatar, bind, picture,
0.7 L1 + 0.3 (1 - SSIM), the hand-written gradients back to the vertices. Held-out views decide which state is kept.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.avatar import bind_kernels, free
from engine.avatar.appearance import build, kind_of
from engine.avatar.appearance.anchors import MOUTH, Anchors, anchors_of, rest_of
from engine.avatar.appearance.apply import changed
from engine.avatar.appearance.base import Appearance, Drive
from engine.avatar.appearance.drive import drive_of, untold
from engine.avatar.appearance.emotalkinggaussian import Branches
from engine.avatar.appearance.files import read_appearance, save_appearance
from engine.avatar.bind import bind
from engine.avatar.channels import coloured
from engine.core.errors import BadInput
from engine.core.files import writable
from engine.core.names import AUS, EMOTIONS
from engine.core.progress import SILENT, Reporter
from engine.core.splats import Avatar, Gaussians
from engine.render.gradient import Gradients, forward
from engine.train import avatar_kernels as kernels
from engine.train.appearance_layers import Normals, Shot
from engine.train.avatar_appearance import Learner
from engine.train.avatar_data import Capture, Posed, View
from engine.train.avatar_loss import Photometric
from engine.train.avatar_measure import Worn, compare, require_heads

Array = np.ndarray

DRIVES_KEPT = 256  # 60 kB each at 5,000 anchors


class Dressed:
    """An avatar on a capture's poses, with a net's changes."""

    def __init__(self, capture: Capture, avatar: Avatar):
        self.capture, self.avatar = capture, avatar
        self.anchors: Anchors = anchors_of(avatar, capture.head)
        self.rest = rest_of(avatar, capture.head, self.anchors)
        self._drives: OrderedDict[int, Drive] = OrderedDict()

    def drive(self, pose: int) -> Drive:
        """What the net is told of a pose; those of the last DRIVES_KEPT poses are kept."""
        if pose in self._drives:
            self._drives.move_to_end(pose)
        else:
            posed = self.capture.poses[pose]
            au, emotion = _said(posed)
            head = self.capture.head
            self._drives[pose] = drive_of(head, self.anchors, posed.vertices, posed.weights, au, emotion)
            while len(self._drives) > DRIVES_KEPT:
                self._drives.popitem(last=False)
        return self._drives[pose]

    def worn(self, net: Appearance) -> Worn:
        """The avatar as the net has it on a pose, for avatar_measure."""
        return lambda pose: changed(self.avatar, self.anchors, {k: v.numpy() for k, v in net(self.drive(pose)).items()})

    def place(self, now: Avatar, pose: int) -> Gaussians:
        """Gaussians in space, with the avatar's channels."""
        posed = self.capture.poses[pose]
        return coloured(now, bind(now, self.capture.head.triangles, posed.vertices), posed.weights)

    def frames(self, now: Avatar, pose: int) -> tuple[Array, Array]:
        """(row of each Gaussian [n], frames [f, bind_kernels.FRAME]) on a pose: triangles', then free points'."""
        head, points = self.capture.head, np.ascontiguousarray(self.capture.poses[pose].vertices, np.float32)
        frames = np.empty((len(head.triangles), bind_kernels.FRAME), np.float32)
        bind_kernels.frames(np.ascontiguousarray(head.triangles, np.int32), points, frames)
        return free.extended(now, frames, points)

    def local(self, now: Avatar, pose: int, g: Gaussians, d: Gradients) -> dict[str, Array]:
        """Gradients in space -> of the local parameters, as apply.from_local takes them."""
        n, (triangle, frames) = len(now), self.frames(now, pose)
        out = [np.zeros((k, n), np.float32) for k in (3, 4, 3)]
        scales = np.ascontiguousarray(g.scales.T, np.float32)
        rows = np.ascontiguousarray(triangle, np.int32)
        kernels.to_local(rows, frames, scales, d.means, d.quats, d.scales, *out)
        return {
            "means": out[0], "quats": out[1], "log_scales": out[2],
            "logits": d.opacity * g.opacity * (1 - g.opacity), "sh": d.sh,
        }  # fmt: skip

    def measure(self, net: Appearance | None, views: list[View], shrink: int) -> dict[str, float]:
        """Means of avatar_measure.compare over views; net None: the avatar as it is."""
        rows = []
        for view in views:
            change = {} if net is None else {k: v.numpy() for k, v in net(self.drive(view.pose)).items()}
            picture = self.capture.picture(view, shrink)
            g = self.place(changed(self.avatar, self.anchors, change), view.pose)
            rows.append(compare(self.capture, view, picture, forward(g, picture.camera)[0]))
        names = sorted({name for row in rows for name in row})
        return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def worn_by(path: str | Path, capture: Capture, avatar: Avatar) -> Worn:
    """A net from its file, for avatar_measure. Raises BadFile."""
    dressed = Dressed(capture, avatar)
    return dressed.worn(read_appearance(path, dressed.rest)[1])


def _said(posed: Posed) -> tuple[Array, Array | None]:
    """Action units [18, 2] and emotion [14] that a capture of ours wrote beside the pose; zeros and None elsewhere."""
    au, emotion = np.zeros((len(AUS), 2), np.float32), None
    if posed.parameters is not None:
        with np.load(posed.parameters, allow_pickle=False) as data:
            if "au" in data.files and data["au"].size == au.size:
                au = data["au"].reshape(au.shape).astype(np.float32)
            if "emotion" in data.files and data["emotion"].size == len(EMOTIONS):
                emotion = data["emotion"].reshape(-1).astype(np.float32)
    return au, emotion


def train_appearance(
    capture: Capture, avatar: Avatar, name: str, out: str | Path, steps: int = 2000, check: int = 250, shrink: int = 1,
    seed: int = 0, rate: float = 1e-3, report: Reporter = SILENT, composed: bool = False, **config: Any,
) -> dict[str, Any]:  # fmt: skip
    """Train the net `name` (its arguments: config) and write its best state to `out` (.safetensors).

    composed: draw the inside of the mouth and the face apart and lay one over the other (appearance_layers.py); the
    figures are of pictures that are drawn at once, as they will be. normals=True of 'emotalkinggaussian' compares
    normals too, where the capture has them.

    Returns {"net", "steps", "off", "without", "with", "test_without", "test_with"}: figures of held-out views and of
    the unseen poses of the test, of the avatar alone and with the net. steps 0: no state was better, nothing was
    written; off: branches that were left out because captures do not hold what drives them.
    Raises BadInput without such views.
    """
    target = writable(out)
    held = capture.views["val"] or capture.views["test"]
    if not held or not capture.views["train"] or steps < 1 or check < 1:
        raise BadInput("an appearance net needs training and held-out pictures, and at least one step")
    require_heads(capture, held, shrink)
    config, off = _driven(name, config)
    torch.manual_seed(seed)
    dressed = Dressed(capture, avatar)
    learner = Learner(build(name, dressed.rest, **config), dressed.anchors, rate)
    loss, views = Photometric(), capture.views["train"]
    inside = _inside(avatar) if composed else None
    without = dressed.measure(None, held, shrink)
    best, best_score, kept_at = _state(learner.net), without["head_psnr"], 0
    for step in range(1, steps + 1):
        report.step("appearance", step - 1, steps)
        turn, row = divmod(step - 1, len(views))
        view = views[int(np.random.default_rng([seed, 5, turn]).permutation(len(views))[row])]
        picture = capture.picture(view, shrink)
        now = learner.begin(avatar, dressed.drive(view.pose))
        g = dressed.place(now, view.pose)
        normals = _normals(learner.net, dressed, now, g, view.pose) if picture.depth_steps is not None else None
        shot = Shot(g, picture.camera, inside, normals)
        _, v = loss(shot.rgba, picture.values, np.random.default_rng([seed, 7, step]).random(3).astype(np.float32))
        d, residual = shot.gradients(v, picture.depth, picture.normal)
        learner.end(now, dressed.local(now, view.pose, g, d), residual=residual)
        if step % check == 0 or step == steps:
            score = dressed.measure(learner.net.eval(), held, shrink)["head_psnr"]
            learner.net.train()
            if score > best_score:
                best, best_score, kept_at = _state(learner.net), score, step
    learner.net.load_state_dict(best)
    net = learner.net.eval()
    result: dict[str, Any] = {"net": name, "steps": kept_at, "off": off, "without": without}
    # Nothing was better than the avatar alone: the untrained net is not it, but says so by step 0.
    result["with"] = dressed.measure(net if kept_at else None, held, shrink)
    if capture.views["test"]:
        result["test_without"] = dressed.measure(None, capture.views["test"], shrink)
        result["test_with"] = dressed.measure(net if kept_at else None, capture.views["test"], shrink)
    if kept_at:
        save_appearance(target, name, net, {"avatar": avatar.head, "steps": kept_at, "held_out": result["with"]})
    return result


def _inside(avatar: Avatar) -> Array:
    """[n] bool: the Gaussians inside the mouth. Raises BadInput for an avatar without."""
    if MOUTH not in avatar.layers or not (inside := avatar.layer == avatar.layers.index(MOUTH)).any():
        raise BadInput("the avatar has no Gaussians inside the mouth; train without --composed")
    return inside


def _normals(net: Appearance, dressed: Dressed, now: Avatar, g: Gaussians, pose: int) -> Normals | None:
    """The Gaussians' normals with the net's residual, where it has one."""
    if not isinstance(net, Branches) or net.normal is None:
        return None
    triangle, frames = dressed.frames(now, pose)
    return Normals(g, dressed.anchors, frames[triangle], net.normal.detach().numpy())


def _driven(name: str, config: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(config without the branches that nothing drives, their names). Raises BadInput where one was asked for.

    Captures are stills without a voice: EmoTalkingGaussian's branches hear what the mouth does instead, and its
    residual of the normals is trained only where asked for (`Appearance.of_captures`).
    """
    config = {**kind_of(name).of_captures, **config}
    missing = untold(kind_of(name), config)
    for branch, field in missing.items():
        if branch in config:
            raise BadInput(f"'{name}' cannot have the branch '{branch}': captures hold no '{field}' to drive it")
    return {**config, **dict.fromkeys(missing, False)}, sorted(missing)


def _state(net: Appearance) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}
