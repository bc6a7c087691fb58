"""Poses of a capture as training reads them: vertices and shape weights, from our meshes or VHAP's FLAME parameters."""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.avatar.channels import COUNT, column
from engine.core.anatomy import Head
from engine.core.errors import BadFile, BadInput

Array = np.ndarray

POSES_BYTES = 1 << 29  # a long tracked capture has thousands of poses, 0.06 to 0.25 MB each


@dataclass(frozen=True)
class Posed:
    """vertices [v, 3] float32 metres; weights [59]: ARKit's shapes, then the extra ones; parameters: the frame's own
    flame_param file, where it has one."""

    name: str
    vertices: Array
    weights: Array
    parameters: Path | None = None


class Poses(Mapping[int, Posed]):
    """The poses of a capture by their time step. Each is read once when the capture is, so that what is damaged is
    said at once, and again when it is asked for after it had to make room (POSES_BYTES)."""

    def __init__(self, folder: Path, head: Head, sources: Mapping[int, dict[str, Any]]):
        """sources: for each time step a frame of a transforms.json. Raises BadFile, BadInput."""
        self._folder, self._head, self._sources = folder, head, dict(sorted(sources.items()))
        self._kept: OrderedDict[int, Posed] = OrderedDict()
        self._bytes = 0
        for index in self._sources:
            self[index]

    def __getitem__(self, index: int) -> Posed:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        made = _posed(self._folder, self._head, self._sources[index])
        self._kept[index] = made
        self._bytes += made.vertices.nbytes
        while self._bytes > POSES_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].vertices.nbytes
        return made

    def __iter__(self) -> Iterator[int]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


def load(path: Path) -> dict[str, Array]:
    """The numbers and words of an .npz that a capture's list names. Raises BadFile."""
    try:
        with np.load(path, allow_pickle=False) as data:
            return {name: data[name] for name in data.files if data[name].dtype.kind in "fiuU"}
    except FileNotFoundError:
        raise BadFile(path, "no such file; the capture's list names it") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BadFile(path, f"is damaged ({error})") from None


def _posed(folder: Path, head: Head, frame: dict[str, Any]) -> Posed:
    """The mesh and shape weights of a pose."""
    name = str(frame.get("timestep_id", frame["timestep_index"]))
    path = folder / str(frame["flame_param_path"]) if "flame_param_path" in frame else None
    raw = load(path) if path is not None else {}
    if path is not None and "expr_names" in raw:
        vertices, weights = _evaluated(folder, head, frame), _named_weights(path, raw)
    elif path is not None and raw:
        try:
            vertices, weights = _from_flame(path, head, raw)
        except (ValueError, IndexError, TypeError) as error:
            raise BadFile(path, f"holds FLAME parameters of other sizes ({error})") from None
    else:
        vertices, weights = _evaluated(folder, head, frame), np.zeros(COUNT, np.float32)
    if vertices.shape != head.template.shape or not np.isfinite(vertices).all():
        raise BadInput(f"pose '{name}' has {len(vertices)} vertices, the head '{head.name}' has {len(head.template)}")
    return Posed(name, vertices, weights, path)


def _named_weights(path: Path, raw: dict[str, Array]) -> Array:
    """[59] from `expr_names` and `expr`, which a capture of ours writes. Raises BadFile."""
    weights = np.zeros(COUNT, np.float32)
    try:
        for shape, value in zip(raw["expr_names"].ravel(), raw["expr"].ravel(), strict=True):
            weights[column(str(shape))] = float(value)
    except KeyError as error:
        raise BadFile(path, f"names {error} as a shape, which there is not; capture again") from None
    except ValueError:
        raise BadFile(path, "has not one number in 'expr' for each of 'expr_names'; capture again") from None
    if not np.isfinite(weights).all():
        raise BadFile(path, "holds shape weights that are not finite; capture again")
    return weights


def _evaluated(folder: Path, head: Head, frame: dict[str, Any]) -> Array:
    """Our own meshes: the first pose's vertices plus float16 offsets."""
    if "mesh_path" not in frame:
        raise BadFile(folder, "has neither FLAME parameters nor meshes for its pictures")
    offsets = load(folder / str(frame["mesh_path"])).get("offsets")
    base = load(folder / "meshes" / "canonical.npz").get("vertices")
    if offsets is None or base is None or offsets.shape != base.shape:
        raise BadFile(folder / str(frame["mesh_path"]), "does not fit meshes/canonical.npz; capture again")
    try:
        return np.asarray(base, np.float32) + np.asarray(offsets, np.float32)
    except ValueError:
        raise BadFile(folder / str(frame["mesh_path"]), "holds words in place of numbers; capture again") from None


def _from_flame(path: Path, head: Head, raw: dict[str, Array]) -> tuple[Array, Array]:
    """VHAP's parameters on an imported FLAME head: (vertices, fitted shape weights)."""
    from engine.head.evaluate import flame_vertices
    from engine.head.flame.params import fit_weights

    if not head.is_flame:
        raise BadInput(f"{path} holds FLAME parameters: import your FLAME file (head import) and add --head NAME")
    if "expr" not in raw or "jaw_pose" not in raw:
        raise BadFile(path, "lacks expr or jaw_pose, FLAME's expression")
    expression = np.zeros((1, len(head.expression_names)))
    own = raw["expr"].reshape(1, -1)[:, : expression.shape[1]]
    expression[:, : own.shape[1]] = own
    zero = np.zeros((1, 3))
    parts = [raw.get(name, zero).reshape(1, -1) for name in ("rotation", "neck_pose", "jaw_pose")]
    pose = np.concatenate([*parts, raw.get("eyes_pose", np.zeros((1, 6))).reshape(1, -1)], 1)
    if pose.shape[1] != 15:
        raise ValueError(f"rotation, neck_pose, jaw_pose and eyes_pose hold {pose.shape[1]} numbers, not 15")
    shape = raw.get("shape", np.zeros(0)).ravel()[: head.identity.shape[2]]
    vertices = flame_vertices(head, shape, expression, pose)[0]
    for name in ("static_offset", "dynamic_offset"):
        # VHAP's own teeth stand behind FLAME's vertices and have no place on a head without them.
        extra = raw.get(name, np.zeros((0, 3))).reshape(-1, 3)[: len(vertices)]
        vertices[: len(extra)] += extra
    vertices += raw.get("translation", zero).reshape(1, 3)
    arkit, more, _ = fit_weights(head, expression, pose[:, 6:9])
    return vertices.astype(np.float32), np.concatenate([arkit[0], more[0]]).astype(np.float32)
