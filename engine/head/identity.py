"""Who the person is: the neutral mixture of MakeHuman's macro targets and a small identity basis."""

from __future__ import annotations

import numpy as np

from engine.head.hm08 import ETHNICITIES, SEXES

# Columns of Head.identity on the default head. gender: +1 male, -1 female. age: 0 about 25, 1 about 80 years.
# weight: +1 heavy, -1 thin. The three ethnic columns move from the mean towards MakeHuman's target of that name.
NAMES = ("gender", "age", "weight", *ETHNICITIES)
MALE = 0.5  # part of the male targets in the neutral face


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


def identity_basis(targets: dict[str, np.ndarray], anchor: np.ndarray) -> dict[str, np.ndarray]:
    """Offsets [m, 3] of each of NAMES at weight 1; `anchor` (vertex indices: both eyes) stays where it is on average,
    because macro targets also make the whole body taller or shorter."""
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
    basis = {
        "gender": 0.5 * (mixture(targets, "young", 1, mean) - mixture(targets, "young", 0, mean)),
        "age": mixture(targets, "old", MALE, mean) - young,
        "weight": heavy,
        **{name: mixture(targets, "young", MALE, {name: 1.0}) - young for name in ETHNICITIES},
    }
    return {name: offsets - offsets[anchor].mean(0) for name, offsets in basis.items()}
