"""Colours of the default head's skin: linear base colour for each vertex, from soft zones placed by landmarks."""

from __future__ import annotations

import numpy as np

from engine.core.anatomy import Material
from engine.head.hairline import scalp
from engine.head.hairs import brow_strength

SKIN_RGB = np.array([0.545, 0.308, 0.212])
LIP_RGB = np.array([0.38, 0.142, 0.120])
BAG_RGB = np.array([0.24, 0.055, 0.050])
SCALP_RGB = np.array([0.078, 0.051, 0.038])

MATERIALS = (
    Material("skin", (0.545, 0.308, 0.212), roughness=0.48, subsurface=0.12),
    Material("scalp", (0.115, 0.080, 0.062), roughness=0.75, specular=0.15),
    Material("lips", (0.38, 0.142, 0.120), roughness=0.34, subsurface=0.15),
    Material("mouth", (0.24, 0.055, 0.05), roughness=0.4, subsurface=0.05),
    Material("teeth", (0.78, 0.73, 0.62), roughness=0.2, subsurface=0.1),
    Material("gums", (0.46, 0.145, 0.13), roughness=0.3, subsurface=0.1),
    Material("tongue", (0.42, 0.14, 0.13), roughness=0.38, subsurface=0.1),
    Material("sclera", (0.72, 0.68, 0.64), roughness=0.12, subsurface=0.05),
    Material("iris", (0.14, 0.11, 0.07), roughness=0.06, specular=0.8),
    Material("brow", (0.03, 0.018, 0.011), roughness=0.7, specular=0.2),
    Material("lash", (0.012, 0.008, 0.006), roughness=0.8, specular=0.1),
    Material("cap", (0.06, 0.06, 0.065), roughness=0.6),
)


def _blob(points: np.ndarray, centre: tuple[float, float, float], size: tuple[float, float, float]) -> np.ndarray:
    """[n] in [0, 1]: a soft ellipsoid, mirrored in x."""
    flat = points.copy()
    flat[:, 0] = np.abs(flat[:, 0])
    return np.exp(-0.5 * (((flat - centre) / size) ** 2).sum(1))


def _mix(colour: np.ndarray, other: np.ndarray, amount: np.ndarray) -> np.ndarray:
    return colour + np.clip(amount, 0, 1)[:, None] * (other - colour)


def skin_albedo(
    rest: np.ndarray,
    lips: np.ndarray,
    bag: np.ndarray,
    eye: np.ndarray,
    nose: np.ndarray,
    chin: np.ndarray,
    wet: np.ndarray,
) -> np.ndarray:
    """[n, 3] linear colours of skin vertices rest [n, 3] metres.

    lips [n] mask; bag [n] bool: inside the mouth; eye, nose, chin [3]: left eye's centre, nose tip, chin; wet [n] mask
    of the lids' wet edge.
    """
    rng = np.random.default_rng(11)
    mottle = rng.normal(0, 0.012, len(rest))
    colour = np.broadcast_to(SKIN_RGB, rest.shape) * np.exp(mottle)[:, None]
    for tint, amount in _zones(rest, eye, nose, chin):
        colour = colour * (1 + np.clip(amount, 0, 1)[:, None] * (np.array(tint) - 1))
    colour = _mix(colour, SCALP_RGB, scalp(rest, eye) * (0.86 + 2 * mottle))
    colour = _mix(colour, np.array([0.105, 0.060, 0.040]), 0.62 * brow_strength(rest, eye))
    colour = _mix(colour, np.array([0.52, 0.20, 0.165]), 0.8 * wet)
    colour = _mix(colour, _lip_colour(rest, lips), 0.92 * lips)
    depth = np.clip((nose[2] - 0.018 - rest[:, 2]) / 0.05, 0, 1)[:, None]
    inside = BAG_RGB * (1 - 0.8 * depth)
    return np.where(bag[:, None], inside, colour)


Zone = tuple[tuple[float, float, float], np.ndarray]


def _zones(rest: np.ndarray, eye: np.ndarray, nose: np.ndarray, chin: np.ndarray) -> list[Zone]:
    """(factor of red, green and blue, amount [n]) of each zone: where blood, fat, bone or stubble show through.

    After the painters' rule of three bands: a yellower forehead, redder cheeks, nose and ears, a cooler jaw.
    """
    _, y, z = nose
    red = 0.80 * _blob(rest, (0.041, y + 0.006, z - 0.033), (0.017, 0.015, 0.030))
    red += 0.55 * _blob(rest, (0.0, y, z), (0.012, 0.009, 0.020))
    red += 0.45 * _blob(rest, (0.014, y - 0.006, z - 0.014), (0.006, 0.007, 0.014))
    red += 0.40 * _blob(rest, tuple(chin), (0.013, 0.011, 0.020))
    ears = _blob(rest, (0.078, eye[1] - 0.02, eye[2] - 0.095), (0.009, 0.03, 0.03))
    forehead = _blob(rest, (0.0, eye[1] + 0.048, eye[2] + 0.02), (0.042, 0.019, 0.05))
    temple = _blob(rest, (0.060, eye[1] + 0.018, eye[2] - 0.02), (0.012, 0.020, 0.03))
    lid = _blob(rest, (eye[0], eye[1] + 0.0105, eye[2] + 0.014), (0.014, 0.0045, 0.02))
    corner = _blob(rest, (eye[0] - 0.0155, eye[1] - 0.002, eye[2] + 0.012), (0.006, 0.008, 0.012))
    bag = _blob(rest, (eye[0] - 0.003, eye[1] - 0.0155, eye[2] + 0.016), (0.012, 0.0055, 0.02))
    wing = _blob(rest, (0.0175, y - 0.009, z - 0.021), (0.0035, 0.006, 0.010))
    upper_lip = _blob(rest, (0.0, y - 0.018, z - 0.010), (0.026, 0.006, 0.03))
    jaw = _blob(rest, (0.034, chin[1] + 0.004, chin[2] - 0.028), (0.026, 0.016, 0.03))
    jaw += _blob(rest, (0.0, chin[1] - 0.003, chin[2]), (0.022, 0.012, 0.03))
    neck = np.clip((chin[1] - 0.018 - rest[:, 1]) / 0.02, 0, 1)
    chest = np.clip((chin[1] - 0.075 - rest[:, 1]) / 0.04, 0, 1)
    return [
        ((1.00, 0.73, 0.74), 0.82 * red),
        ((1.00, 0.70, 0.68), 0.80 * ears),
        ((1.07, 1.09, 1.02), 0.70 * forehead),
        ((0.97, 1.00, 1.06), 0.55 * temple),
        ((0.80, 0.70, 0.70), 0.75 * lid),
        ((0.78, 0.70, 0.78), 0.60 * corner),
        ((0.84, 0.79, 0.86), 0.65 * bag),
        ((0.82, 0.66, 0.64), 0.60 * wing),
        ((0.89, 0.92, 1.00), 0.50 * np.clip(upper_lip + jaw, 0, 1)),
        ((0.97, 0.99, 1.00), neck),
        ((1.02, 0.92, 0.90), chest),
    ]


def _lip_colour(rest: np.ndarray, lips: np.ndarray) -> np.ndarray:
    """[n, 3]: the upper lip, which looks down, is darker and cooler than the lower one."""
    if lips.max(initial=0) <= 0:
        return np.broadcast_to(LIP_RGB, rest.shape)
    middle = float((lips * rest[:, 1]).sum() / lips.sum())
    t = np.clip((rest[:, 1] - middle) / 0.006 * 0.5 + 0.5, 0, 1)[:, None]
    return LIP_RGB * (1 - t * (1 - np.array([0.86, 0.80, 0.84])))
