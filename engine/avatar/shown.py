"""An avatar as it is seen in one frame: bound to the posed mesh, with its colour channels and its appearance net."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine.avatar.bind import bind
from engine.avatar.channels import coloured
from engine.avatar.face_values import FaceValues
from engine.core.anatomy import Head
from engine.core.splats import Avatar, Gaussians

if TYPE_CHECKING:
    import os

    from engine.avatar.appearance.play import Player


def player_of(path: str | os.PathLike[str] | None, avatar: Avatar, head: Head) -> Player | None:
    """The net in a file, or None without one ("" or None). Raises BadFile, BadInput for a file that does not fit."""
    if not path:
        return None
    from engine.avatar.appearance.play import Player  # torch

    return Player(path, avatar, head)


def shown(
    avatar: Avatar, head: Head, vertices: np.ndarray, face: FaceValues | None = None, player: Player | None = None,
    place: np.ndarray | None = None,
) -> Gaussians:  # fmt: skip
    """The Gaussians of a head posed as vertices [v, 3] whose face does `face` (None, or one whose motion is not known:
    channels and net are left out). place [v, 3]: where they are drawn, if that is stretched or moved against them."""
    now = avatar
    if player is not None and face is not None and face.motion_known:
        now = player.showing(face, vertices)
    bound = bind(now, head.triangles, vertices if place is None else place)
    return bound if face is None else coloured(avatar, bound, face.weights)
