"""Blender's projection and view matrices as the engine's pinhole camera.

The projection matrix is the whole truth about a viewport or camera: zoom, offset, shift, sensor fit, pixel aspect
and orthographic scale are all in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Matrix = Sequence[Sequence[float]]


def engine_camera(projection: Matrix, view: Matrix, width: int, height: int) -> dict[str, Any]:
    """The protocol's "camera" (docs/design.md, engine/serve/live.py).

    projection: [4][4], OpenGL clip space; view: [4][4], world to camera, Blender's (looks along -Z, Y up), rigid.
    Pixels count from the left and the top edge, centres at .5.
    """
    orthographic = projection[3][3] != 0.0
    shift_x, shift_y = (projection[0][3], projection[1][3]) if orthographic else (-projection[0][2], -projection[1][2])
    rows = [[float(x) for x in row] for row in view]
    opencv = [rows[0], [-x for x in rows[1]], [-x for x in rows[2]], rows[3]]  # y down, looks along +z
    return {
        "view": [x for row in opencv for x in row],
        "fx": projection[0][0] * width / 2,
        "fy": projection[1][1] * height / 2,
        "cx": width / 2 * (1 + shift_x),
        "cy": height / 2 * (1 - shift_y),
        "orthographic": orthographic,
    }


def depth_terms(projection: Matrix) -> tuple[float, float, bool]:
    """(a, b, orthographic): OpenGL's depth of view distance z is -a z + b, or (-a z + b) / z in perspective."""
    return float(projection[2][2]), float(projection[2][3]), projection[3][3] != 0.0
