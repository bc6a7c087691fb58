"""`Avatar` (Gaussians on triangles), `Gaussians` (in space), `Camera` and `Frame`."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.core.errors import BadInput

FAR_DEPTH = 1e10  # depth where alpha < 0.5


@dataclass(frozen=True)
class Gaussians:
    """n Gaussians in space. All float32.

    means [n, 3] metres; quats [n, 4] wxyz, unit; scales [n, 3] metres (linear, not log); opacity [n] in (0, 1);
    sh [n, (degree + 1)^2, 3]: colour = 0.5 + SH basis (view direction) . sh, in the avatar's blend space.
    """

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacity: np.ndarray
    sh: np.ndarray

    def __len__(self) -> int:
        return len(self.means)


@dataclass(frozen=True)
class Channel:
    """A colour that is added to some of an avatar's Gaussians as far as a muscle is active (engine/avatar/channels.py).

    left, right: shape name -> share of the muscle's value on that side; rows [m] int32: the Gaussians; mask [m] in
    [0, 1]; side [m]: 1 where the left value counts, 0 where the right one; colour [m, 3]: added to the constant SH
    term at value 1.
    """

    name: str
    left: dict[str, float]
    right: dict[str, float]
    rows: np.ndarray
    mask: np.ndarray
    side: np.ndarray
    colour: np.ndarray


@dataclass(frozen=True)
class Free:
    """Gaussians that hang by no triangle (engine/avatar/free.py).

    rows [f] int32: which; follow [f] in [0, 1]: how far they go with their triangle's middle; rest [f, 8]: the frame of
    that triangle on the neutral face (bind_kernels.frames); anchors [a] int32: vertices they stand by, at anchor_rest
    [a, 3] metres on the neutral face.
    """

    rows: np.ndarray
    follow: np.ndarray
    rest: np.ndarray
    anchors: np.ndarray
    anchor_rest: np.ndarray


@dataclass(frozen=True)
class Avatar:
    """Gaussians in the local frame of their triangle.

    triangle [n] int32 into the head's `triangles`; local_means [n, 3] in units of the triangle's size,
    axes [edge, normal, third]; local_quats [n, 4] wxyz; log_scales [n, 3] natural log, in units of the size;
    opacity [n]; sh [n, c, 3]; layer [n] uint8 into `layers`.
    blend_space: "srgb" (blended in display space, then converted) or "linear".
    view_range: (azimuth min, max, elevation min, max) in radians in which it was made to be seen.
    channels: dynamic colour, added where the face moves. free: those that do not follow their triangle rigidly.
    """

    triangle: np.ndarray
    local_means: np.ndarray
    local_quats: np.ndarray
    log_scales: np.ndarray
    opacity: np.ndarray
    sh: np.ndarray
    layer: np.ndarray
    head: str
    topology_sha256: str
    layers: tuple[str, ...] = ("face", "inside_mouth", "other")
    blend_space: str = "srgb"
    view_range: tuple[float, float, float, float] = (-np.pi, np.pi, -0.7, 0.9)
    licence: str = ""
    meta: dict[str, object] = field(default_factory=dict)
    channels: tuple[Channel, ...] = ()
    free: Free | None = None

    def __post_init__(self) -> None:
        n = len(self.triangle)
        want = {
            "local_means": (n, 3), "local_quats": (n, 4), "log_scales": (n, 3), "opacity": (n,), "layer": (n,),
        }  # fmt: skip
        for name, shape in want.items():
            if getattr(self, name).shape != shape:
                raise BadInput(f"avatar.{name} must be {list(shape)}, got {list(getattr(self, name).shape)}")
        if self.blend_space not in ("srgb", "linear"):
            raise BadInput(f"avatar.blend_space must be srgb or linear, got {self.blend_space!r}")

    def __len__(self) -> int:
        return len(self.triangle)


@dataclass(frozen=True)
class Camera:
    """OpenCV camera: x right, y down, looks along +z; pixel centres at .5; image row 0 is the top row.

    world_to_camera [4, 4] float64; fx, fy, cx, cy in pixels. orthographic: fx, fy are pixels per metre.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    world_to_camera: np.ndarray
    orthographic: bool = False

    def __post_init__(self) -> None:
        if not (1 <= self.width <= 16384 and 1 <= self.height <= 16384):
            raise BadInput(f"an image of {self.width}x{self.height} is outside 1 to 16384 pixels a side")
        if np.shape(self.world_to_camera) != (4, 4) or not np.isfinite(self.world_to_camera).all():
            raise BadInput("camera.world_to_camera must be a finite [4, 4] matrix")


@dataclass(frozen=True)
class Frame:
    """A rendered picture, linear light, row 0 on top, float32.

    rgba [h, w, 4] premultiplied; depth [h, w] metres along the view axis, 1e10 where alpha < 0.5;
    normal [h, w, 3] world space, zero where nothing is; alpha [h, w].
    """

    rgba: np.ndarray
    depth: np.ndarray
    normal: np.ndarray

    @property
    def alpha(self) -> np.ndarray:
        return self.rgba[..., 3]
