"""The real painter of the live preview and of final pictures: bind the avatars to the shown meshes, add their colour
channels and what their appearance nets change, and rasterise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.avatar.channels import COUNT
from engine.avatar.face_values import FaceValues
from engine.avatar.library import load_avatar
from engine.avatar.shown import player_of, shown
from engine.core.errors import BadInput
from engine.core.splats import FAR_DEPTH, Avatar, Camera, Frame, Gaussians
from engine.core.units import TO_BLENDER, from_blender, to_blender
from engine.head.library import load_head
from engine.render import rasterise
from engine.render.threads import available_threads

if TYPE_CHECKING:
    from engine.avatar.appearance.play import Player

_AXES = np.eye(4)
_AXES[:3, :3] = TO_BLENDER  # engine world -> Blender world


class HeadPainter:
    """Avatars of one preview. specs: [{"head": name, "avatar": name, "appearance": file or "", "told": whether face
    values will come with the meshes}, ...]. notes: sentences on what will not be seen.

    Raises BadInput, BadFile for what does not fit together."""

    def __init__(self, specs: Sequence[dict[str, Any]]):
        self._heads = [load_head(s["head"]) for s in specs]
        self._avatars = [load_avatar(s["avatar"], head) for s, head in zip(specs, self._heads, strict=True)]
        for avatar, head, spec in zip(self._avatars, self._heads, specs, strict=True):
            if avatar.topology_sha256 != head.topology_sha256:
                raise BadInput(f"avatar '{spec['avatar']}' was made for another head than '{spec['head']}'")
        spaces = {a.blend_space for a in self._avatars}
        if len(spaces) > 1:
            raise BadInput("avatars that blend in sRGB and in linear light cannot stand in one picture")
        self._space = spaces.pop()
        self._players = [
            player_of(spec.get("appearance", ""), avatar, head)
            for avatar, head, spec in zip(self._avatars, self._heads, specs, strict=True)
        ]
        self.notes = _untold(specs, self._avatars, self._players)
        self._names, self._unknown = [str(spec["avatar"]) for spec in specs], set[int]()
        self.counts: Sequence[int] = [len(h.template) for h in self._heads]
        self.gaussians = sum(len(a) for a in self._avatars)
        self._posed: Gaussians | None = None
        self._warm_up()

    def pose(
        self, vertices: Sequence[np.ndarray], objects: np.ndarray, faces: Sequence[FaceValues | None] | None = None
    ) -> None:
        """Bind every avatar to its mesh in world space, so that object scale and shear shape the Gaussians too."""
        parts = []
        told = [None] * len(self._heads) if faces is None else faces
        for i, (head, local, matrix) in enumerate(zip(self._heads, vertices, objects, strict=True)):
            world = local @ matrix[:3, :3].T.astype(np.float32) + matrix[:3, 3].astype(np.float32)
            if not np.isfinite(world).all():
                raise BadInput("the mesh has coordinates that are not finite")
            face, avatar, player = told[i], self._avatars[i], self._players[i]
            # Nets see object space: what an object's own scale does is no motion of the face.
            points, place = (np.ascontiguousarray(from_blender(a)) for a in (local, world))
            parts.append(shown(avatar, head, points, face, player, place))
            if face is not None:
                self._note_unknown(i, face)
        self._posed = parts[0] if len(parts) == 1 else _joined(parts)

    def _note_unknown(self, i: int, face: FaceValues) -> None:
        lost = [
            *["colour channels"] * (bool(self._avatars[i].channels) and face.weights is None),
            *["its appearance net"] * (self._players[i] is not None and not face.motion_known),
        ]
        if lost and i not in self._unknown:
            self._unknown.add(i)
            self.notes.append(
                f"The avatar '{self._names[i]}' is drawn without {' and '.join(lost)}: nothing says what its face "
                "does; generate a performance, or give its mesh shape keys with ARKit's names or a mapping in My "
                "Character"
            )

    def draw(self, camera: Camera, planes: Sequence[str], leave_a_core: bool = False) -> Frame:
        """The posed heads. `camera`: OpenCV axes from Blender's world. Depth may be negative if orthographic."""
        assert self._posed is not None
        view = camera.world_to_camera @ _AXES
        back = 0.0
        if camera.orthographic:
            # Blender's orthographic viewport has its camera plane amid the scene; the rasteriser draws z > 0 only.
            z = self._posed.means @ view[2, :3].astype(np.float32) + np.float32(view[2, 3])
            back = float(1.0 - z.min()) if len(z) else 0.0
            view[2, 3] += back
        seen = replace(camera, world_to_camera=view)
        threads = max(1, available_threads() - 1) if leave_a_core else 0
        frame = rasterise(self._posed, seen, blend_space=self._space, passes=tuple(planes), threads=threads)
        if back and "depth" in planes:
            frame = replace(frame, depth=np.where(frame.depth < FAR_DEPTH, frame.depth - np.float32(back), frame.depth))
        return frame

    def _warm_up(self) -> None:
        """Compile (or load from the cache) every kernel now: a first picture that takes seconds looks like a hang."""
        rest = [to_blender(h.template) for h in self._heads]
        moving = FaceValues(np.ones(COUNT, np.float32))
        self.pose(rest, np.stack([np.eye(4)] * len(rest)), [moving] * len(rest))
        looking = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 5], [0, 0, 0, 1]])
        for orthographic in (False, True):
            camera = Camera(32, 32, 100.0, 100.0, 16.0, 16.0, looking, orthographic)
            self.draw(camera, ("rgba", "depth", "normal"))
        self._posed = None


def _joined(parts: Sequence[Gaussians]) -> Gaussians:
    """One set of Gaussians; spherical harmonics are padded with zeros to the highest degree."""
    bands = max(p.sh.shape[1] for p in parts)
    sh = [np.pad(p.sh, ((0, 0), (0, bands - p.sh.shape[1]), (0, 0))) for p in parts]
    joined = {k: np.concatenate([getattr(p, k) for p in parts]) for k in ("means", "quats", "scales", "opacity")}
    return Gaussians(sh=np.concatenate(sh), **joined)


def _untold(specs: Sequence[dict[str, Any]], avatars: Sequence[Avatar], players: Sequence[Player | None]) -> list[str]:
    """Sentences for a client that sends meshes alone, where the avatars could show more."""
    words = []
    for spec, avatar, player in zip(specs, avatars, players, strict=True):
        lost = ["colour channels"] * bool(avatar.channels) + ["its appearance net"] * (player is not None)
        if lost and not spec.get("told", False):
            words.append(
                f"The avatar '{spec['avatar']}' is drawn without {' and '.join(lost)}: this client does not say what "
                "the face does; run install.py again so that the add-on is as new as the engine"
            )
    return list(dict.fromkeys(words))
