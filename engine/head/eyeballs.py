"""Eyeballs of our own: sclera, iris with limbal ring and radial variation, pupil, corneal bulge; one sphere each."""

from __future__ import annotations

import numpy as np

from engine.head.mesh import Piece

# Angles from the optical axis, radians. hm08's lids want a ball of 15.4 mm (a real one has 12), so the angle of the
# iris is that of a real iris of 12 mm on such a ball.
PUPIL = 0.15
IRIS = 0.415
BULGE = 0.05  # height of the cornea over the ball, as a part of the radius (0.8 mm)
COLUMNS = 40

# Rings from the front pole: dense where colours change, because colour lives on vertices.
RINGS = np.array(
    [0.0, 0.075, 0.138, 0.162, 0.20, 0.25, 0.30, 0.345, 0.38, 0.405, 0.43, 0.47, 0.55, 0.68, 0.85, 1.05, 1.3, 1.65, 2.1]
)
SCLERA_RGB = np.array([0.72, 0.68, 0.64])
VEIN_RGB = np.array([0.62, 0.36, 0.31])
LIMBUS_RGB = np.array([0.020, 0.022, 0.026])
IRIS_INNER_RGB = np.array([0.20, 0.115, 0.045])
IRIS_OUTER_RGB = np.array([0.085, 0.105, 0.095])


def radius_at(angle: np.ndarray) -> np.ndarray:
    """Distance of the surface from the centre, in radii, at an angle from the axis: the cornea bulges smoothly."""
    t = np.clip(1 - angle / (1.12 * IRIS), 0, 1)
    return 1 + BULGE * (1 - (1 - t) ** 2) * np.minimum(1, 1.6 * t + 0.0)


def _albedo(angle: np.ndarray, turn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[n, 3] linear colour at (angle from the axis, turn about it)."""
    fibres = rng.normal(size=COLUMNS)
    fibres = 0.6 * fibres + 0.4 * np.roll(fibres, 1)
    column = np.round(turn / (2 * np.pi) * COLUMNS).astype(int) % COLUMNS
    depth = np.clip((angle - PUPIL) / (IRIS - PUPIL), 0, 1)[:, None]
    iris = IRIS_INNER_RGB * (1 - depth) + IRIS_OUTER_RGB * depth
    iris = iris * np.exp(0.28 * fibres[column])[:, None]
    iris = iris * (1 - 0.72 * np.clip((depth - 0.72) / 0.28, 0, 1))  # limbal ring
    red = np.clip((angle - 0.6) / 0.9, 0, 1)[:, None] ** 1.5
    colour = SCLERA_RGB * (1 - 0.55 * red) + VEIN_RGB * 0.55 * red
    edge = np.clip((0.47 - angle) / (0.47 - IRIS), 0, 1)[:, None]
    colour = colour * (1 - 0.35 * edge)
    colour = np.where((angle <= 0.41)[:, None], iris, colour)
    return np.where((angle <= 0.14)[:, None], np.array([0.002, 0.002, 0.002]), colour)


def eyeball(name: str, centre: np.ndarray, radius: float, seed: int) -> Piece:
    """One eye looking along +z. Material "iris" inside the cornea, "sclera" outside; the back is left open."""
    angle = np.repeat(RINGS[1:], COLUMNS)
    turn = np.tile(np.arange(COLUMNS) * (2 * np.pi / COLUMNS), len(RINGS) - 1)
    angle, turn = np.r_[0.0, angle], np.r_[0.0, turn]
    direction = np.stack([np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), np.cos(angle)], 1)
    rest = centre + radius * radius_at(angle)[:, None] * direction
    faces = []
    for c in range(COLUMNS):
        n = (c + 1) % COLUMNS
        faces.append([0, 1 + c, 1 + n, -1])
        for r in range(len(RINGS) - 2):
            a, b = 1 + r * COLUMNS, 1 + (r + 1) * COLUMNS
            faces.append([a + c, b + c, b + n, a + n])
    table = np.array(faces)
    inside = angle[table[:, 0]] < IRIS - 1e-6
    material = np.where(inside, "iris", "sclera").astype("<U16")
    uv = 0.5 + 0.5 * (angle / RINGS[-1])[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1)
    colour = _albedo(angle, turn, np.random.default_rng(seed))
    return Piece(name, rest, table, material, colour, uv, table)
