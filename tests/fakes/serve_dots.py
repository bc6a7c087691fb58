"""The real engine process with more avatars, and jobs that give tests their truth.

"dots": six small coloured Gaussians, each in the middle of a triangle. They make the engine's picture measurable: a
dot's centre must lie where Blender draws that triangle's middle.
"folded": the default avatar with colour channels: its skin darkens where the face folds.
"""

import dataclasses
import functools
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dots import COLOURS, places

from engine.avatar import channels, library
from engine.core.splats import Avatar
from engine.serve import jobs
from engine.serve.loop import serve

SIZE_M = 0.003
SH0 = 0.28209479177387814


def dots(head):
    chosen, corners = places(head.template, head.faces)
    assert np.array_equal(head.triangles[chosen], corners)
    corners = head.template[corners]
    edge = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
    height = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / edge
    scale = np.log(SIZE_M / ((edge + height) / 2)).astype(np.float32)
    n = len(chosen)
    return Avatar(
        triangle=chosen, local_means=np.zeros((n, 3), np.float32), local_quats=np.float32([[1, 0, 0, 0]] * n),
        log_scales=np.repeat(scale[:, None], 3, 1), opacity=np.full(n, 0.98, np.float32),
        sh=((COLOURS - 0.5) / SH0)[:, None, :], layer=np.zeros(n, np.uint8), head=head.name,
        topology_sha256=head.topology_sha256,
    )  # fmt: skip


@functools.lru_cache(1)
def folded():
    head = library.default_head()
    avatar = library.load_avatar("default", head)
    made = []
    for i, channel in enumerate(channels.empty(head, avatar.triangle)):
        colour = np.tile(np.float32([-0.9, -1.2 + 0.05 * i, -1.2]), (len(channel.rows), 1))
        made.append(dataclasses.replace(channel, colour=colour))
    return dataclasses.replace(avatar, channels=tuple(made))


def make_net(request, reporter):
    """{"path", "net", "avatar"} -> {}: a net as trained ones are, with random numbers large enough to be seen."""
    import torch

    from engine.avatar.appearance import build
    from engine.avatar.appearance.anchors import anchors_of, rest_of
    from engine.avatar.appearance.files import save_appearance

    head, avatar = library.default_head(), load_avatar(request["avatar"])
    torch.manual_seed(0)
    off = {"mouth": False, "emotion": False} if request["net"] == "emotalkinggaussian" else {}
    net = build(request["net"], rest_of(avatar, head, anchors_of(avatar, head)), **off)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.12 * torch.randn_like(parameter))
    save_appearance(request["path"], request["net"], net, {})
    return {}


def offline(request, reporter):
    """{"take", "row", "camera": the protocol's, "size", "avatar", "appearance"} -> arrays "rgba" [h, w, 4] float32, top
    row first: what `render` draws of that frame."""
    from engine.core.splats import Camera
    from engine.core.takefile import read_take
    from engine.serve.paint import _AXES
    from engine.serve.pictures import frames_of

    size, lens = request["size"], [request["camera"][k] for k in ("fx", "fy", "cx", "cy")]
    camera = Camera(*size, *lens, np.array(request["camera"]["view"]).reshape(4, 4) @ _AXES)
    take, avatar = read_take(request["take"]), load_avatar(request["avatar"])
    rows = np.array([request["row"]])
    frames = frames_of(take, library.default_head(), avatar, [camera], rows, appearance=request.get("appearance"))
    return {"arrays": {"rgba": next(frames).rgba}}


def load_avatar(name="default", head=None):
    if name == "dots":
        return dots(head or library.default_head())
    return folded() if name == "folded" else REAL(name, head)


REAL = library.load_avatar

if __name__ == "__main__":
    library.load_avatar = load_avatar
    jobs.JOBS.update(make_net=make_net, offline=offline)
    serve()
