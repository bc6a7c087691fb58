"""A trained appearance net on the frames of a take."""

from __future__ import annotations

import os

import numpy as np

from engine.avatar.appearance.anchors import anchors_of, rest_of
from engine.avatar.appearance.apply import changed
from engine.avatar.appearance.base import Drive
from engine.avatar.appearance.drive import drive_of, untold
from engine.avatar.appearance.files import read_appearance
from engine.core.anatomy import Head
from engine.core.errors import BadFile
from engine.core.splats import Avatar
from engine.core.take import Take

Array = np.ndarray


class Player:
    """Gives the avatar as a net has it at a frame of a take. Raises BadFile, BadInput for a file that does not fit."""

    def __init__(self, path: str | os.PathLike[str], avatar: Avatar, head: Head):
        self.avatar, self.head = avatar, head
        self.anchors = anchors_of(avatar, head)
        self.name, self.net, self.about = read_appearance(path, rest_of(avatar, head, self.anchors))
        for branch, field in untold(type(self.net), self.net.config).items():
            raise BadFile(
                path, f"has the branch '{branch}', driven by '{field}', which captures lack; train it without"
            )

    def drive(self, take: Take, row: int, vertices: Array) -> Drive:
        """What the net is told of a frame: the fields that training tells it of a capture's pose (drive.TOLD)."""
        said = take.drive
        emotion = said["emotion"][row] if "emotion" in said else None
        intensity = float(said["intensity"][row]) if "intensity" in said else 1.0
        au = said["au_final"][row] if "au_final" in said else take.au[row]
        weights = np.concatenate([take.arkit[row], take.extra[row]])
        return drive_of(self.head, self.anchors, vertices, weights, au, emotion, intensity)

    def at(self, take: Take, row: int, vertices: Array) -> Avatar:
        """The avatar for `take`'s frame `row` with its vertices [v, 3]."""
        change = self.net(self.drive(take, row, vertices))
        return changed(self.avatar, self.anchors, {name: value.numpy() for name, value in change.items()})
