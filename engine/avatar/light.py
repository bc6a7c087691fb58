"""Soft studio light, and how much of it reaches each vertex of a head in a few poses.

The light is an environment of radiance L(d): key, fill and rim as broad lobes and a gentle sky. Irradiance and its
shadows come from one set of rays per vertex: E = 4 / K * sum over K directions of L V max(0, n . d). Directions that
are blocked return a little light in the colour of what blocks them, which keeps creases and the mouth warm, not black.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.avatar.compiled import fast
from engine.avatar.raycast import Occluder
from engine.core.anatomy import Head
from engine.core.names import ARKIT, ARKIT_INDEX
from engine.head.evaluate import vertices
from engine.head.mesh import vertex_normals

Array = np.ndarray

RAYS = 448
REACH = 0.35  # metres: beyond it a head does not shade itself
# (azimuth, elevation in degrees, concentration, linear RGB strength): lobe exp(k (cos - 1)) around its direction.
LIGHTS = (
    (-38.0, 34.0, 9.0, (4.6, 4.35, 4.0)),  # key: high, on the subject's right
    (52.0, 8.0, 4.0, (0.95, 1.02, 1.15)),  # fill: low on the other side, cooler
    (158.0, 32.0, 8.0, (1.9, 1.95, 2.1)),  # rim: from behind
)
SKY, GROUND = np.array([0.40, 0.42, 0.46]), np.array([0.20, 0.175, 0.155])
BOUNCE = np.array([0.155, 0.070, 0.048])  # radiance of blocked directions outside the mouth
BOUNCE_INSIDE = np.array([0.20, 0.085, 0.070])


@dataclass(frozen=True)
class Lit:
    """What a pose's vertices receive: irradiance [v, 3], visible [v, k] uint8 along k directions, normals [v, 3]."""

    irradiance: Array
    visible: Array
    normals: Array


def direction(azimuth_deg: float, elevation_deg: float) -> Array:
    """[3] unit vector towards a light; azimuth 0 is in front of the face, +90 on the subject's left."""
    a, e = np.radians(azimuth_deg), np.radians(elevation_deg)
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])


def radiance(directions: Array) -> Array:
    """[k, 3] light that comes from unit `directions` [k, 3]."""
    up = (0.5 + 0.5 * directions[:, 1:2]) ** 1.5
    out = GROUND + (SKY - GROUND) * up
    for azimuth, elevation, width, colour in LIGHTS:
        out = out + np.exp(width * (directions @ direction(azimuth, elevation) - 1))[:, None] * np.array(colour)
    return out


def light_pose(
    head: Head, weights: dict[str, float], inside: Array, directions: Array, only: Array | None = None
) -> Lit:
    """Irradiance of the head with these ARKit weights; inside [v] in [0, 1]: parts lit by the mouth's own bounce.

    only [v] bool: vertices that are wanted; the others come out dark.
    """
    arkit = np.zeros((1, len(ARKIT)), np.float32)
    for name, value in weights.items():
        arkit[0, ARKIT_INDEX[name]] = value
    points = vertices(head, arkit)[0]
    normals = vertex_normals(points.astype(np.float64), head.faces)
    rows = np.arange(len(points)) if only is None else np.flatnonzero(only)
    # Blades of hair stand on the skin: as occluders they would only speckle it.
    solid = ~np.isin(head.face_material, [i for i, m in enumerate(head.materials) if m.name in ("lash", "brow")])
    occluder = Occluder(points, head.triangles[solid[head.triangle_face]])
    visible = np.zeros((len(points), len(directions)), np.uint8)
    visible[rows] = occluder.visible(points[rows], normals[rows], directions, REACH)
    cosine = np.maximum(normals[rows] @ directions.T, 0)
    seen = visible[rows] * cosine
    bounce = BOUNCE + inside[rows, None] * (BOUNCE_INSIDE - BOUNCE)
    blocked = cosine.sum(1, keepdims=True) - seen.sum(1, keepdims=True)
    irradiance = np.zeros((len(points), 3))
    irradiance[rows] = (seen @ radiance(directions) + blocked * bounce) * (4 / len(directions))
    return Lit(irradiance, visible, normals)


def glossy(lit: Lit, directions: Array, views: Array, power: Array) -> Array:
    """[v, j, 3]: light reflected about the normal towards unit `views` [j, 3], averaged over a lobe.

    power [v]: the lobe is exp(power (cos - 1)) about the mirrored view, about 12 for skin, more for wet surfaces.
    Views from below the horizon get the value at it. Without Fresnel's factor.
    """
    out = np.empty((len(lit.normals), len(views), 3), np.float32)
    as32 = [
        np.ascontiguousarray(a, np.float32) for a in (lit.normals, directions.T, radiance(directions).T, views, power)
    ]
    _glossy(lit.visible, *as32, out)
    return out


@fast
def _glossy(
    visible: Array, normals: Array, towards: Array, light: Array, views: Array, power: Array, out: Array
) -> None:
    """The exponential is (1 + x / 8)^8, cut at 0."""
    one, eighth = np.float32(1), np.float32(0.125)
    dx, dy, dz, red, green, blue = towards[0], towards[1], towards[2], light[0], light[1], light[2]
    for i in range(len(normals)):
        nx, ny, nz, p = normals[i, 0], normals[i, 1], normals[i, 2], power[i] * eighth
        seen = visible[i]
        for j in range(len(views)):
            vx, vy, vz = views[j, 0], views[j, 1], views[j, 2]
            k = np.float32(2) * max(nx * vx + ny * vy + nz * vz, np.float32(0.05))
            mx, my, mz = k * nx - vx, k * ny - vy, k * nz - vz
            k = one / max(np.sqrt(mx * mx + my * my + mz * mz), np.float32(1e-9))
            mx, my, mz = mx * k, my * k, mz * k
            r = g = b = np.float32(0)
            total = np.float32(1e-6)
            for d in range(np.uint64(len(seen))):
                t = max(one + p * (mx * dx[d] + my * dy[d] + mz * dz[d] - one), np.float32(0))
                t *= t
                t *= t
                t *= t
                total += t
                t *= np.float32(seen[d])
                r += t * red[d]
                g += t * green[d]
                b += t * blue[d]
            out[i, j, 0], out[i, j, 1], out[i, j, 2] = r / total, g / total, b / total


def diffuse_through_skin(values: Array, faces: Array, skin: Array, rounds: tuple[int, int, int] = (6, 4, 3)) -> Array:
    """Blur irradiance [v, 3] along the mesh where skin [v] is 1: red light travels furthest under skin.

    rounds: passes of averaging with the neighbours for red, green and blue (an edge is 2 to 4 mm, and red light
    scatters about that far; Jensen et al. 2001).
    """
    a = np.concatenate([faces[:, 0], faces[:, 1], faces[:, 2]])
    b = np.concatenate([faces[:, 1], faces[:, 2], faces[:, 0]])
    degree = np.bincount(a, minlength=len(values)) + np.bincount(b, minlength=len(values))
    out = values.copy()
    for channel, passes in enumerate(rounds):
        for _ in range(passes):
            v = out[:, channel]
            near = np.bincount(a, v[b], len(v)) + np.bincount(b, v[a], len(v))
            out[:, channel] = v + 0.4 * skin * (near / np.maximum(degree, 1) - v)
    return out
