"""Who the person is: the neutral mixture of MakeHuman's macro targets, and parameters that lead away from it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from engine.core.errors import BadInput
from engine.head.hm08 import ETHNICITIES, SEXES

MALE = 0.5  # part of the male targets in the neutral face
HEAVY = 0.85  # part of each target of weight: all of them at full are more than a face carries

# Columns of Head.identity on the default head and the range of each that was looked at. gender: +1 male, -1 female.
# age: 0 about 25, 1 about 80 years. weight: +1 heavy, -1 thin. The three ethnic columns move from the mean towards
# MakeHuman's target of that name. The others are local: + is more of what the name says.
RANGES: dict[str, tuple[float, float]] = {
    "gender": (-1, 1), "age": (0, 1), "weight": (-1, 1), **dict.fromkeys(ETHNICITIES, (0.0, 1.0)),
    "face_width": (-0.5, 0.5), "cheekbones": (-1, 1), "jaw_width": (-1, 1), "chin_length": (-1, 1),
    "nose_width": (-1, 1), "nose_length": (-1, 1), "nose_hump": (-1, 1), "mouth_width": (-1, 1),
    "lip_fullness": (-1, 1),
}  # fmt: skip
NAMES = tuple(RANGES)
# Local parameters -> MakeHuman targets ("incr" above 0, "decr" below) and their shares.
LOCAL: dict[str, dict[str, float]] = {
    "weight": {"head-fat": HEAVY, "l-cheek-volume": 0.6 * HEAVY, "r-cheek-volume": 0.6 * HEAVY, "neck-double": HEAVY},
    "face_width": {"head-scale-horiz": 1.0},
    "cheekbones": {"l-cheek-bones": 1.0, "r-cheek-bones": 1.0},
    "jaw_width": {"chin-bones": 0.6, "chin-width": 0.5},
    "chin_length": {"chin-height": 0.6},
    "nose_width": {"nose-scale-horiz": 1.0},
    "nose_length": {"nose-scale-vert": 0.8},
    "nose_hump": {"nose-hump": 1.0},
    "mouth_width": {"mouth-scale-horiz": 0.8},
    "lip_fullness": {"mouth-upperlip-volume": 0.9, "mouth-lowerlip-volume": 0.7},
}
_ITEM = re.compile(r"\s*([a-z_]+)\s*=\s*([-+]?(?:\d+\.?\d*|\.\d+))\s*")


def checked(who: Mapping[str, float] | None) -> dict[str, float]:
    """Parameters that are not 0, in the order of NAMES. Raises BadInput for unknown names and values out of RANGES."""
    given = dict(who or {})
    if unknown := [str(name) for name in given if name not in RANGES]:
        raise BadInput(f"no identity parameter called '{unknown[0]}' (known: {', '.join(NAMES)})")
    out = {}
    for name, (low, high) in RANGES.items():
        try:
            value = round(float(given.get(name, 0.0)), 4)
        except (TypeError, ValueError):
            raise BadInput(f"identity '{name}' must be a number from {low:g} to {high:g}") from None
        if not low <= value <= high:
            raise BadInput(f"identity '{name}' must be a number from {low:g} to {high:g}, got {value:g}")
        if value:
            out[name] = value
    return out


def parse(text: str) -> dict[str, float]:
    """ "gender=1, age=0.5" -> checked parameters. Raises BadInput."""
    out = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        found = _ITEM.fullmatch(item)
        if not found:
            raise BadInput(f"'{item}' is not an identity parameter; write them as gender=1, age=0.5")
        out[found[1]] = float(found[2])
    return checked(out)


def text_of(who: Mapping[str, float]) -> str:
    """Checked parameters as `parse` reads them."""
    return ",".join(f"{name}={value:g}" for name, value in checked(who).items())


def mixture(targets: dict[str, np.ndarray], age: str, male: float, ethnic: dict[str, float]) -> np.ndarray:
    """[m, 3] metres: macro targets of an age mixed by sex and ethnicity (weights sum to 1 each)."""
    total = np.zeros_like(next(iter(targets.values())))
    for sex, share in zip(SEXES, (1 - male, male), strict=True):
        total += share * targets[f"universal-{sex}-{age}-averagemuscle-averageweight"]
        for name, part in ethnic.items():
            total += share * part * targets[f"{name}-{sex}-{age}"]
    return total


def neutral_offsets(targets: dict[str, np.ndarray]) -> np.ndarray:
    """[m, 3]: from the raw base mesh to the neutral person."""
    return mixture(targets, "young", MALE, dict.fromkeys(ETHNICITIES, 1 / 3))


def _local(targets: dict[str, np.ndarray], name: str, way: str) -> np.ndarray:
    """[m, 3] offsets of a local parameter at +1 ("incr") or -1 ("decr")."""
    total = np.zeros_like(next(iter(targets.values())))
    for target, share in LOCAL.get(name, {}).items():
        total += share * targets[f"{target}-{way}"]
    return total


def _macro(targets: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Offsets [m, 3] at +1 of the parameters that macro targets describe; linear."""
    mean = dict.fromkeys(ETHNICITIES, 1 / 3)
    young = mixture(targets, "young", MALE, mean)
    heavy = sum(
        0.25
        * (
            targets[f"universal-{s}-young-averagemuscle-maxweight"]
            - targets[f"universal-{s}-young-averagemuscle-minweight"]
        )
        for s in SEXES
    )
    return {
        "gender": 0.5 * (mixture(targets, "young", 1, mean) - mixture(targets, "young", 0, mean)),
        "age": mixture(targets, "old", MALE, mean) - young,
        "weight": heavy,
        **{name: mixture(targets, "young", MALE, {name: 1.0}) - young for name in ETHNICITIES},
    }


def identity_basis(targets: dict[str, np.ndarray], anchor: np.ndarray) -> dict[str, np.ndarray]:
    """Offsets [m, 3] of each of NAMES at weight 1 (local ones: the mean of what +1 and -1 do).

    `anchor` (vertex indices: both eyes) stays where it is on average, because macro targets also make the whole body
    taller or shorter.
    """
    macro, none = _macro(targets), np.zeros_like(next(iter(targets.values())))
    basis = {
        name: macro.get(name, none) + 0.5 * (_local(targets, name, "incr") - _local(targets, name, "decr"))
        for name in NAMES
    }
    return {name: offsets - offsets[anchor].mean(0) for name, offsets in basis.items()}


def offsets_of(targets: dict[str, np.ndarray], anchor: np.ndarray, who: Mapping[str, float]) -> np.ndarray:
    """[m, 3] from the neutral person to this one, `anchor` kept in place: what the head of a person is built from."""
    macro = _macro(targets)
    total = np.zeros_like(next(iter(targets.values())))
    for name, value in checked(who).items():
        if name in macro:
            total += value * macro[name]
        total += abs(value) * _local(targets, name, "incr" if value > 0 else "decr")
    return total - total[anchor].mean(0)
