"""head.npz: every field of a `Head`, numpy arrays and JSON only, with a format version."""

from __future__ import annotations

import os
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from engine.core.anatomy import Head, Material
from engine.core.errors import BadFile, BadInput
from engine.core.files import read_archive, write_archive

KIND, FORMAT = "head", 1
_POSE_FEATURES = 36  # R - I of neck, jaw and both eyes
_ARRAYS = (
    "template", "faces", "uv", "uv_faces", "face_material", "albedo", "shapes", "identity", "expression",
    "posedirs", "joint_regressor", "weights", "lip_pairs",
)  # fmt: skip
_OPTIONAL = ("shape_expression", "shape_pose", "correctives", "corrective_drive")  # the first two: FLAME models alone
_GROUPS = ("landmarks", "masks", "parts")
_LATER: dict[str, Any] = {"corrective_names": ()}  # plain fields that earlier files lack
_PLAIN = tuple(f.name for f in fields(Head) if f.name not in (*_ARRAYS, *_OPTIONAL, *_GROUPS, "materials"))


def save_head(
    path: str | os.PathLike[str], head: Head, compressed: bool = True, notes: dict[str, Any] | None = None
) -> None:
    """Write a head to `path`. notes: more JSON facts for the header (digests of what it was built from)."""
    arrays: dict[str, np.ndarray] = {name: getattr(head, name) for name in _ARRAYS}
    arrays.update({name: value for name in _OPTIONAL if len(value := getattr(head, name))})
    # Most pose features of most heads do nothing (ours: 32 of 36): only the columns that do are kept.
    columns = np.flatnonzero(head.posedirs.any((0, 1)))
    arrays["posedirs"], arrays["posedirs_columns"] = head.posedirs[:, :, columns], columns.astype(np.int32)
    for group in _GROUPS:
        arrays.update({f"{group}/{key}": np.asarray(value) for key, value in getattr(head, group).items()})
    meta = {name: getattr(head, name) for name in _PLAIN}
    meta["materials"] = [asdict(material) for material in head.materials]
    write_archive(path, KIND, FORMAT, arrays, {**meta, "notes": notes or {}}, compressed)


def read_head(path: str | os.PathLike[str]) -> Head:
    """The head in a head.npz. Raises BadFile if it is missing, damaged, of another kind or from a newer version."""
    arrays, meta = read_archive(path, KIND, FORMAT)
    groups: dict[str, dict[str, np.ndarray]] = {group: {} for group in _GROUPS}
    for name in [name for name in arrays if "/" in name]:
        group, _, key = name.partition("/")
        groups.setdefault(group, {})[key] = arrays.pop(name)
    try:
        materials = tuple(
            Material(**{**m, "base_color": tuple(float(c) for c in m["base_color"])}) for m in meta["materials"]
        )
        meta = _LATER | meta
        plain = {name: tuple(v) if isinstance(v := meta[name], list) else v for name in _PLAIN}
        kept, columns = arrays["posedirs"], arrays["posedirs_columns"]
        arrays["posedirs"] = np.zeros((*kept.shape[:2], _POSE_FEATURES), np.float32)
        arrays["posedirs"][:, :, columns] = kept
        made: dict[str, Any] = {**{name: arrays[name] for name in _ARRAYS}, **groups, **plain}
        made.update({name: arrays[name] for name in _OPTIONAL if name in arrays})
        return Head(**made, materials=materials)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise BadFile(path, f"is not a complete head ({error})") from None
    except BadInput as error:
        raise BadFile(path, f"holds arrays that do not fit together ({error})") from None
