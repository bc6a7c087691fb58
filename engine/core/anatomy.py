"""`Head`: a face in FLAME's layout, whatever it was made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from engine.core.errors import BadInput
from engine.core.files import sha256_of_arrays


@dataclass(frozen=True)
class Material:
    """Plain surface description, enough for Blender's principled shader and for Gaussians' first colour.

    base_color: linear RGB in [0, 1]; alpha, roughness, subsurface, specular in [0, 1].
    """

    name: str
    base_color: tuple[float, float, float]
    roughness: float = 0.5
    subsurface: float = 0.0
    alpha: float = 1.0
    specular: float = 0.5


@dataclass(frozen=True)
class Head:
    """One character's face. Metres, right-handed, Y up, Z forward, X to the subject's left.

    template [v, 3] float32. faces [f, 4] int32, counter-clockwise seen from outside; a triangle has -1 last.
    uv [w, 2], uv_faces [f, 4] int32 (same layout as faces). face_material [f] uint8 into `materials`.
    albedo [v, 3] float32: linear base colour of each vertex (skin zones, lips, iris, brows painted in).
    shapes [k, v, 3] float32 with `shape_names`: offsets at weight 1, ARKit's names first, then extras.
    identity [v, 3, i]: offsets of identity parameters. expression [v, 3, e] with `expression_names`:
    FLAME's expression basis (on the default head every shape but jawOpen, which is the jaw joint).
    posedirs [v, 3, 36]: offsets linear in (R - I) of neck, jaw, eyes (row-major 9 each).
    joint_regressor [5, v]; parents (5); weights [v, 5], rows sum to 1.
    jaw_open_rad: jaw angle (+x) that stands for ARKit jawOpen = 1.
    landmarks: name -> vertex index or indices, "face68" [68] in the usual order; lip_pairs [p, 2]: facing
    vertices of the upper and lower inner lip, subject's right corner to left corner.
    masks: name -> [v] float32 in [0, 1] ("lips", "upper_face", "skin", "teeth_upper", "teeth_lower",
    "tongue", "eye_left", "eye_right", "brows", "mouth_inside"). parts: name -> [n] vertex indices.
    shape_expression [k, e], shape_pose [k, 15] (radians): FLAME parameters of each shape at weight 1, on heads whose
    expression basis is not their shapes by name (imported FLAME models); else without rows. Such a head's takes are
    FLAME parameters, its `shapes` what those do to first order.
    correctives [c, v, 3] with `corrective_names`: offsets that answer mixes and turned eyes (lips that would pass
    through each other, lids that would not meet); corrective_drive [c, k + c + 36 + 1]: corrective i counts
    max(0, drive[i] . (shape weights, earlier correctives, R - I of neck, jaw, eyes, 1)) times. Without rows on others.
    """

    name: str
    template: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    materials: tuple[Material, ...]
    face_material: np.ndarray
    albedo: np.ndarray
    shape_names: tuple[str, ...]
    shapes: np.ndarray
    identity: np.ndarray
    expression_names: tuple[str, ...]
    expression: np.ndarray
    posedirs: np.ndarray
    joint_regressor: np.ndarray
    parents: tuple[int, ...]
    weights: np.ndarray
    lip_pairs: np.ndarray
    landmarks: dict[str, np.ndarray] = field(default_factory=dict)
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    parts: dict[str, np.ndarray] = field(default_factory=dict)
    jaw_open_rad: float = 0.0
    flame_version: str = "default-head-1"
    licence: str = ""
    shape_expression: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    shape_pose: np.ndarray = field(default_factory=lambda: np.zeros((0, 15), np.float32))
    corrective_names: tuple[str, ...] = ()
    correctives: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 3), np.float32))
    corrective_drive: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def __post_init__(self) -> None:
        v, f, k = len(self.template), len(self.faces), len(self.shape_names)
        want = {
            "template": (v, 3), "faces": (f, 4), "face_material": (f,), "albedo": (v, 3),
            "shapes": (k, v, 3), "weights": (v, len(self.parents)),
        }  # fmt: skip
        for name, shape in want.items():
            if getattr(self, name).shape != shape:
                raise BadInput(f"head.{name} must be {list(shape)}, got {list(getattr(self, name).shape)}")
        if len(self.shape_expression) and (
            self.shape_expression.shape != (k, len(self.expression_names)) or self.shape_pose.shape != (k, 15)
        ):
            raise BadInput(f"head.shape_expression must be {[k, len(self.expression_names)]}, shape_pose {[k, 15]}")
        c = len(self.corrective_names)
        if c and (self.correctives.shape != (c, v, 3) or self.corrective_drive.shape != (c, k + c + 37)):
            raise BadInput(f"head.correctives must be {[c, v, 3]}, corrective_drive {[c, k + c + 37]}")
        if self.faces.max(initial=-1) >= v or not np.isfinite(self.template).all():
            raise BadInput(f"head '{self.name}' has faces beyond its {v} vertices or coordinates that are not finite")

    @property
    def is_flame(self) -> bool:
        """Driven by FLAME parameters (an imported FLAME model)."""
        return len(self.shape_expression) > 0

    @cached_property
    def shape_index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.shape_names)}

    @cached_property
    def triangles(self) -> np.ndarray:
        """[m, 3] int32: every quad as (0 1 2), (0 2 3), in face order; a triangle gives one row."""
        quad = self.faces[:, 3] >= 0
        both = np.stack([self.faces[:, [0, 1, 2]], self.faces[:, [0, 2, 3]]], 1)
        keep = np.stack([np.ones(len(quad), bool), quad], 1)
        return np.ascontiguousarray(both[keep], np.int32)

    @cached_property
    def triangle_face(self) -> np.ndarray:
        """[m] int32: the face that each row of `triangles` came from."""
        return np.repeat(np.arange(len(self.faces), dtype=np.int32), 1 + (self.faces[:, 3] >= 0))

    @cached_property
    def topology_sha256(self) -> str:
        """Digest of the faces and the vertex count: what a checkpoint or avatar is tied to."""
        return sha256_of_arrays(np.asarray([len(self.template)], np.int64), self.faces.astype(np.int32))
