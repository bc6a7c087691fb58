"""FLAME model files (.pkl as downloaded, or .npz with the same fields): read, checked, their version named.

Li et al., "Learning a model of facial shape and expression from 4D scans" (2017). The versions share vertices and
faces but not what their coefficients mean, so a file's version is part of every head and take made from it.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.errors import BadFile, BadInput
from engine.core.files import sha256_of
from engine.core.names import PARENTS

VERTICES, FACES, IDENTITIES, EXPRESSIONS, POSE_FEATURES = 5023, 9976, 300, 100, 36
VERSIONS = ("2020", "2023", "2023-no-jaw", "2023-open")
LICENCES = {
    "2020": "FLAME 2020, Max-Planck-Gesellschaft: non-commercial use only",
    "2023": "FLAME 2023, Max-Planck-Gesellschaft: non-commercial use only",
    "2023-no-jaw": "FLAME 2023, Max-Planck-Gesellschaft: non-commercial use only",
    "2023-open": "FLAME 2023 Open, Max-Planck-Gesellschaft: CC-BY-4.0 with prohibited uses",
}
# field -> shape; "faces" is spelled "f" in FLAME's own files.
FIELDS: dict[str, tuple[int, ...]] = {
    "v_template": (VERTICES, 3), "f": (FACES, 3), "shapedirs": (VERTICES, 3, IDENTITIES + EXPRESSIONS),
    "posedirs": (VERTICES, 3, POSE_FEATURES), "J_regressor": (len(PARENTS), VERTICES),
    "kintree_table": (2, len(PARENTS)), "weights": (VERTICES, len(PARENTS)),
}  # fmt: skip
_SUM_TOLERANCE = 1e-3  # of a row of weights or of the regressor; the files are float32 and some are rounded
_LARGEST_M = 2.0  # a head in metres is smaller; one in millimetres or centimetres is not


@dataclass(frozen=True)
class FlameModel:
    """One FLAME model, metres, float64. template [5023, 3]; triangles [9976, 3] int32; identity [5023, 3, 300];
    expression [5023, 3, 100]; posedirs [5023, 3, 36]; regressor [5, 5023]; weights [5023, 5]; sha256 of the file."""

    version: str
    template: np.ndarray
    triangles: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    posedirs: np.ndarray
    regressor: np.ndarray
    weights: np.ndarray
    sha256: str = ""

    @property
    def joints(self) -> np.ndarray:
        """[5, 3] metres, of the template."""
        return self.regressor @ self.template


def looks_like_flame(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a pickle, or an .npz with FLAME's fields (it is not read whole)."""
    path = Path(path)
    if path.suffix.lower() == ".pkl":
        return path.is_file()
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return False
    return {"v_template", "shapedirs", "posedirs"} <= names


def read_flame(path: str | os.PathLike[str], version: str | None = None) -> FlameModel:
    """A checked FLAME model. version: one of VERSIONS where the file's name does not say it.

    Raises BadFile for a file that is missing, damaged, unsafe or not FLAME, BadInput for an unknown version.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz":
        raw = _read_npz(path)
    elif path.suffix.lower() == ".pkl":
        from engine.head.flame.pickled import read_pickle

        raw = read_pickle(path, (*FIELDS, "flame_version"))
    else:
        raise BadFile(path, "FLAME models are .pkl or .npz files")
    named = version_of(path, raw, version)
    fields = _checked(path, raw)
    shapes = fields["shapedirs"]
    return FlameModel(
        version=named, template=fields["v_template"], triangles=fields["f"].astype(np.int32),
        identity=shapes[:, :, :IDENTITIES], expression=shapes[:, :, IDENTITIES:], posedirs=fields["posedirs"],
        regressor=fields["J_regressor"], weights=fields["weights"], sha256=sha256_of(path),
    )  # fmt: skip


def version_of(path: Path, raw: dict[str, Any], said: str | None = None) -> str:
    """Which FLAME this is: as said, as the file says ("flame_version"), or by its published file name.

    Raises BadInput if neither tells, or if what was said contradicts the file: a wrong guess would give wrong faces.
    """
    if said is not None and said not in VERSIONS:
        raise BadInput(f"'{said}' is no FLAME version; there are: {', '.join(VERSIONS)}")
    inside = raw.get("flame_version")
    found = str(np.asarray(inside).item()) if inside is not None and np.size(inside) == 1 else _version_of_name(path)
    if found and found not in VERSIONS:
        raise BadFile(path, f"says it is FLAME '{found}'; there are: {', '.join(VERSIONS)}")
    if said and found and said != found:
        raise BadInput(f"{path.name} is FLAME {found} by its own word, not {said}: leave --version out")
    if not (said or found):
        raise BadInput(
            f"{path.name} does not tell which FLAME it is, and coefficients of one version are wrong on another: "
            f"add --version ({', '.join(VERSIONS)})"
        )
    return said or found


def _version_of_name(path: Path) -> str:
    name = path.stem.lower().replace("-", "_")
    if "2023" in name:
        return "2023-open" if "open" in name else "2023-no-jaw" if "no_jaw" in name or "nojaw" in name else "2023"
    # The 2020 archive holds generic_model, female_model and male_model.
    return "2020" if "2020" in name or name in ("generic_model", "female_model", "male_model") else ""


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    except FileNotFoundError:
        raise BadFile(path, "no such file") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BadFile(path, f"is no readable FLAME archive of plain arrays ({error})") from None


def _checked(path: Path, raw: dict[str, Any]) -> dict[str, np.ndarray]:
    """FLAME's fields as float64 arrays that fit together."""
    fields: dict[str, np.ndarray] = {}
    for name, shape in FIELDS.items():
        value = raw.get(name, raw.get("faces") if name == "f" else None)
        if value is None:
            raise BadFile(path, f"is no FLAME model: it has no field '{name}'")
        array = np.asarray(value)
        if array.dtype.kind not in "fiu" or array.shape != shape:
            raise BadFile(path, f"is no FLAME model: '{name}' must be {list(shape)}, not {list(array.shape)}")
        if not np.isfinite(array).all():
            raise BadFile(path, f"is damaged: '{name}' holds values that are not finite")
        fields[name] = array.astype(np.float64)
    parents = fields["kintree_table"][0].astype(np.int64)
    parents = np.where((parents < 0) | (parents >= 2**31), -1, parents)
    if parents.tolist() != list(PARENTS):
        raise BadFile(path, f"is no FLAME model: its joints hang on {parents.tolist()}, FLAME's on {list(PARENTS)}")
    if not 0 <= fields["f"].min() <= fields["f"].max() < VERTICES:
        raise BadFile(path, "is damaged: its faces name vertices that it does not have")
    for name, negative in (("weights", -1e-6), ("J_regressor", -np.inf)):
        off = np.abs(fields[name].sum(1) - 1).max()
        if off > _SUM_TOLERANCE or fields[name].min() < negative:
            raise BadFile(path, f"is damaged: rows of '{name}' must sum to 1 and do so only within {off:.3g}")
    if np.ptp(fields["v_template"], axis=0).max() > _LARGEST_M:
        raise BadFile(path, "is not in metres: FLAME's own files are")
    return fields
