"""A trained appearance net on the frames of a take, or on whatever a client's face does."""

from __future__ import annotations

import os

import numpy as np

from engine.avatar.appearance.anchors import Anchors, anchors_of, rest_of
from engine.avatar.appearance.apply import changed
from engine.avatar.appearance.base import Appearance, Drive
from engine.avatar.appearance.drive import drive_of, untold
from engine.avatar.appearance.files import read_appearance
from engine.avatar.channels import COUNT
from engine.avatar.face_values import FaceValues, of_take
from engine.core.anatomy import Head
from engine.core.errors import BadFile
from engine.core.names import AUS
from engine.core.splats import Avatar
from engine.core.take import Take

Array = np.ndarray


class Player:
    """Gives the avatar as a net has it at a moment. Raises BadFile, BadInput for a file that does not fit."""

    def __init__(self, path: str | os.PathLike[str], avatar: Avatar, head: Head):
        self.avatar, self.head = avatar, head
        self.anchors = anchors_of(avatar, head)
        self.name, self.net, self.about = read_appearance(path, rest_of(avatar, head, self.anchors))
        for branch, field in untold(type(self.net), self.net.config).items():
            raise BadFile(
                path, f"has the branch '{branch}', driven by '{field}', which captures lack; train it without"
            )

    @classmethod
    def of(cls, avatar: Avatar, head: Head, anchors: Anchors, name: str, net: Appearance) -> Player:
        """A player of a net that is in memory, evaluated at these anchors of the avatar."""
        made = cls.__new__(cls)
        made.avatar, made.head, made.anchors, made.name, made.net, made.about = avatar, head, anchors, name, net, {}
        return made

    def drive(self, face: FaceValues, vertices: Array) -> Drive:
        """What the net is told of a moment: the fields that training tells it of a capture's pose (drive.TOLD); zeros
        for what is not known, so that a face of which nothing is known is better shown without the net (shown.py).
        vertices [v, 3] of the posed head, engine axes, in any place."""
        weights = np.zeros(COUNT, np.float32) if face.weights is None else face.weights
        au = np.zeros((len(AUS), 2), np.float32) if face.au is None else face.au
        return drive_of(self.head, self.anchors, vertices, weights, au, face.emotion, face.intensity)

    def showing(self, face: FaceValues, vertices: Array) -> Avatar:
        """The avatar for a face with these values and vertices [v, 3]."""
        change = self.net(self.drive(face, vertices))
        return changed(self.avatar, self.anchors, {name: value.numpy() for name, value in change.items()})

    def at(self, take: Take, row: int, vertices: Array) -> Avatar:
        """The avatar for `take`'s frame `row` with its vertices [v, 3]."""
        return self.showing(of_take(take, row), vertices)
