"""flame_param.npz as VHAP writes it and GaussianAvatars plays it: FLAME parameters per frame, in and out.

Fields, float32: shape [300], expr [t, 100], rotation, neck_pose, jaw_pose [t, 3], eyes_pose [t, 6] (left, right),
translation [t, 3], static_offset [1, v, 3]. Ours adds flame_version, fps and eyelids [t, 2]; readers of the original
skip them. What our own columns (lids, lip contacts, tongue) do beyond FLAME's basis has no place in that file.
"""

from __future__ import annotations

import os
import zipfile
from fractions import Fraction
from pathlib import Path

import numpy as np

from engine.core.anatomy import Head
from engine.core.clock import FrameClock
from engine.core.errors import BadFile, BadInput
from engine.core.files import replacing
from engine.core.names import ARKIT, AUS, EXTRA, JOINTS
from engine.core.take import FlameTrack, Take
from engine.core.units import MM
from engine.head.evaluate import flame_vertices
from engine.head.flame.file import EXPRESSIONS, IDENTITIES, VERSIONS, VERTICES

_POSES = {"rotation": ("root",), "neck_pose": ("neck",), "jaw_pose": ("jaw",), "eyes_pose": ("eye_left", "eye_right")}
_NEEDED = ("expr", "jaw_pose")
_SWEEPS = 60
_RIDGE = 1e-3  # of the mean diagonal: keeps weights small where shapes do the same


def write_params(path: str | os.PathLike[str], take: Take, head: Head) -> float:
    """Write a take as flame_param.npz; returns how far its faces are from the take's, in mm (largest distance).

    Raises BadInput for a take that is not FLAME's.
    """
    if take.authority != "flame" or not head.is_flame:
        raise BadInput("only takes made on an imported FLAME head are FLAME parameters: speak with --head NAME first")
    flame, t = take.flame, len(take)
    own = flame.expression[:, :EXPRESSIONS]
    arrays = {
        "shape": np.pad(flame.shape, (0, IDENTITIES - len(flame.shape))), "expr": own,
        **{name: _columns(flame.pose, joints) for name, joints in _POSES.items()},
        "translation": flame.translation, "eyelids": flame.eyelids,
        "static_offset": np.zeros((1, VERTICES, 3)),
    }  # fmt: skip
    with replacing(path) as part, open(part, "wb") as file:
        np.savez(
            file, **{name: np.asarray(a, np.float32) for name, a in arrays.items()},
            flame_version=np.array(flame.version),
            fps=np.array([take.fps.numerator, take.fps.denominator], np.int64),
        )  # fmt: skip
    rows = np.unique(np.linspace(0, t - 1, min(t, 25)).astype(int))
    plain = np.zeros_like(flame.expression[rows])
    plain[:, :EXPRESSIONS] = own[rows]
    full = flame_vertices(head, flame.shape, flame.expression[rows], flame.pose[rows])[:, :VERTICES]
    bare = flame_vertices(head, flame.shape, plain, flame.pose[rows])[:, :VERTICES]
    return float(np.linalg.norm(full - bare, axis=2).max() * MM)


def read_params(
    path: str | os.PathLike[str], head: Head, version: str | None = None, fps: object = None, first_frame: int = 1
) -> Take:
    """A take from a flame_param.npz on an imported FLAME head.

    version: where the file does not say which FLAME its numbers are of; another than the head's is refused. fps: where
    the file does not say (25 if neither does). ARKit weights are fitted, with their distance in the take's residual.
    Raises BadFile for a file that is missing, damaged or incomplete, BadInput for a version that does not fit.
    """
    path = Path(path)
    if not head.is_flame:
        raise BadInput(f"'{head.name}' is no imported FLAME head: import your FLAME file first (head import)")
    raw = _load(path)
    said = str(raw["flame_version"].item()) if raw.get("flame_version", np.zeros(2)).size == 1 else version
    if said is None:
        raise BadInput(
            f"{path.name} does not tell which FLAME its numbers are of: add --version ({', '.join(VERSIONS)})"
        )
    if version not in (None, said):
        raise BadInput(f"{path.name} says that its numbers are of FLAME {said}, not {version}: leave --version out")
    if said != head.flame_version:
        raise BadInput(
            f"{path.name} holds parameters of FLAME {said}, not of {head.flame_version} as '{head.name}': the same "
            "numbers are another face there; use a head of that version"
        )
    expr = raw["expr"].reshape(-1, raw["expr"].shape[-1])
    t = len(expr)
    if expr.shape[1] > EXPRESSIONS:
        raise BadFile(path, f"has {expr.shape[1]} expression coefficients, FLAME has {EXPRESSIONS}")
    expression = np.zeros((t, len(head.expression_names)), np.float32)
    expression[:, : expr.shape[1]] = expr
    pose = np.zeros((t, 3 * len(JOINTS)), np.float32)
    for name, joints in _POSES.items():
        if name in raw:
            _columns(pose, joints)[:] = _frames(path, raw, name, t, 3 * len(joints))
    lids = _frames(path, raw, "eyelids", t, 2) if "eyelids" in raw else np.zeros((t, 2), np.float32)
    for column, lid in zip(lids.T, ("eyelid_left", "eyelid_right"), strict=True):
        if lid in head.expression_names:
            expression[:, head.expression_names.index(lid)] = column
    shape = raw.get("shape", np.zeros(0)).astype(np.float32).ravel()[: head.identity.shape[2]]
    moved = _frames(path, raw, "translation", t, 3) if "translation" in raw else np.zeros((t, 3), np.float32)
    track = FlameTrack(said, shape, expression, pose, moved, lids)
    arkit, extra, residual = fit_weights(head, expression, pose[:, 6:9])
    rate = Fraction(*raw["fps"].tolist()) if fps is None and raw.get("fps", np.zeros(0)).size == 2 else fps or 25
    return Take(
        fps=FrameClock.of(rate, first_frame).fps, first_frame=first_frame, arkit=arkit, extra=extra, flame=track,
        au=np.zeros((t, len(AUS), 2), np.float32), authority="flame", residual_mm={"arkit": round(residual, 3)},
        meta={"head": head.name, "topology_sha256": head.topology_sha256, "system": "flame_param"},
    )  # fmt: skip


def fit_weights(head: Head, expression: np.ndarray, jaw: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """(arkit [t, 52], extra [t, 7], largest distance in mm) in [0, 1] that look most like FLAME parameters.

    Least squares over a part of the skin, box-constrained, by cyclic coordinate descent.
    """
    names = head.shape_names
    rows = head.parts["skin"][np.flatnonzero(np.abs(head.shapes[:, head.parts["skin"]]).max((0, 2)) > 5e-4)][::3]
    basis = head.shapes[:, rows].reshape(len(names), -1).astype(np.float64)
    pose = np.zeros((len(expression), 3 * len(JOINTS)))
    pose[:, 6:9] = jaw
    goal = np.concatenate([
        (flame_vertices(head, None, expression[at : at + 64], pose[at : at + 64])[:, rows] - head.template[rows])
        .reshape(-1, basis.shape[1]) for at in range(0, len(pose), 64)
    ])  # fmt: skip
    gram, pull = basis @ basis.T, goal @ basis.T
    ridge = _RIDGE * np.diag(gram).mean()
    weights = np.zeros((len(goal), len(names)))
    for _ in range(_SWEEPS):
        for k in np.flatnonzero(np.diag(gram) > 1e-12):
            step = (pull[:, k] - weights @ gram[:, k] - ridge * weights[:, k]) / (gram[k, k] + ridge)
            weights[:, k] = np.clip(weights[:, k] + step, 0, 1)
    left = np.linalg.norm((goal - weights @ basis).reshape(len(goal), -1, 3), axis=2)
    columns = {name: weights[:, k] for k, name in enumerate(names)}
    zero = np.zeros(len(goal))
    arkit, extra = (np.stack([columns.get(n, zero) for n in group], 1).astype(np.float32) for group in (ARKIT, EXTRA))
    return arkit, extra, float(left.max(initial=0.0) * MM)


def _columns(pose: np.ndarray, joints: tuple[str, ...]) -> np.ndarray:
    """The view [t, 3 * joints] of a pose [t, 15]; the joints follow one another."""
    start = 3 * JOINTS.index(joints[0])
    return pose[:, start : start + 3 * len(joints)]


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as data:
            raw = {name: data[name] for name in data.files}
    except FileNotFoundError:
        raise BadFile(path, "no such file") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BadFile(path, f"is no readable flame_param.npz ({error})") from None
    for name in _NEEDED:
        if name not in raw or raw[name].ndim < 2:
            raise BadFile(path, f"is no flame_param.npz: it has no frames in '{name}'")
    for name, value in raw.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise BadFile(path, f"is damaged: '{name}' holds values that are not finite")
    return raw


def _frames(path: Path, raw: dict[str, np.ndarray], name: str, t: int, width: int) -> np.ndarray:
    """A field as [t, width]; one row stands for all frames."""
    value = raw[name].reshape(-1, raw[name].shape[-1])
    if value.shape[1] != width or len(value) not in (1, t):
        raise BadFile(path, f"is no flame_param.npz: '{name}' must be {[t, width]}, not {list(raw[name].shape)}")
    return np.broadcast_to(value, (t, width)).astype(np.float32)
