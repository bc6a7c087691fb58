"""What dynamic appearance costs a frame: the default avatar with colour channels, and with each net on top of them.

Channels are made up (random colours in the real masks) and nets are fresh (random weights), because a frame's cost does
not depend on what they have learned: every mask, vertex and layer is computed. A frame is what a picture of a take
needs: the net at its vertices, the triangles' frames, channels, drawing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.avatar.shown import shown
from engine.core.splats import Avatar, Camera
from engine.render.cpu import CpuRaster

if TYPE_CHECKING:
    from engine.avatar.appearance.play import Player
    from engine.avatar.face_values import FaceValues
    from engine.core.anatomy import Head


class Setting:
    """The default avatar with channels on a face that moves everywhere, and a camera that fills 512 x 512 with it."""

    def __init__(self) -> None:
        from engine.avatar.channels import COUNT, empty
        from engine.avatar.face_values import FaceValues
        from engine.avatar.library import default_head, load_avatar
        from engine.core.names import AUS, EMOTIONS
        from engine.render.cameras import front

        rng = np.random.default_rng(0)
        self.head: Head = default_head()
        plain = dataclasses.replace(load_avatar(), channels=())  # the bundled one has channels of its own
        channels = tuple(
            dataclasses.replace(c, colour=rng.normal(0, 0.1, c.colour.shape).astype(np.float32))
            for c in empty(self.head, plain.triangle)
        )
        self.avatar: Avatar = dataclasses.replace(plain, channels=channels)
        self.plain = plain
        weights = np.full(COUNT, 0.3, np.float32)
        self.face: FaceValues = FaceValues(weights, np.full((len(AUS), 2), 0.3, np.float32), np.eye(len(EMOTIONS))[5])
        self.points = (self.head.template + np.tensordot(weights[: len(self.head.shapes)], self.head.shapes, 1)).astype(
            np.float32
        )
        self.camera: Camera = front(self.head.template, 512, 512)

    def frame(self, avatar: Avatar, player: Player | None, threads: int) -> Callable[[], Any]:
        """Draws one frame, from values and vertices to the picture."""
        raster = CpuRaster(threads)
        out = np.empty((self.camera.height, self.camera.width, 4), np.float32)

        def draw() -> None:
            gaussians = shown(avatar, self.head, self.points, self.face, player)
            raster.draw(gaussians, self.camera, out, colour_space="display")

        draw()  # compiles, makes the work space
        return draw

    def player(self, name: str) -> Player:
        """A net with random weights; branches that captures cannot drive are off, as in training."""
        from engine.avatar.appearance import build, kind_of
        from engine.avatar.appearance.anchors import anchors_of, rest_of
        from engine.avatar.appearance.drive import untold
        from engine.avatar.appearance.play import Player

        anchors = anchors_of(self.avatar, self.head)
        config: dict[str, Any] = dict(kind_of(name).of_captures)
        config |= dict.fromkeys(untold(kind_of(name), config), False)
        net = build(name, rest_of(self.avatar, self.head, anchors), **config).eval()
        return Player.of(self.avatar, self.head, anchors, name, net)


def rows(threads: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(name, frame to be timed): static, with channels, with channels and each net."""
    from engine.avatar.appearance import NETS

    setting = Setting()
    yield "static", setting.frame(setting.plain, None, threads)
    yield "channels", setting.frame(setting.avatar, None, threads)
    for name in NETS:
        yield f"channels and {name}", setting.frame(setting.avatar, setting.player(name), threads)


def time_rows(time: Callable[[Callable[[], Any]], float], threads: int = 1) -> dict[str, float]:
    """{name: least milliseconds of a frame}; torch works on as many threads as the rasteriser."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return {name: time(frame) for name, frame in rows(threads)}
    finally:
        torch.set_num_threads(before)
