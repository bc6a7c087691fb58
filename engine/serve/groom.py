"""A head's hair for a client: points on the neutral face, the hairs' widths and shades."""

from __future__ import annotations

from typing import Any

from engine.core.anatomy import Head


def hair_answer(head: Head) -> tuple[dict[str, Any], dict[str, Any]]:
    """({"rgb", "bone"}, arrays) of a head with hair, ({}, {}) of one without.

    Arrays: "hair_points" [n, k, 3] metres, engine axes, on the head's template; "hair_radius" [n, k] metres;
    "hair_tint" [n], factors of the colour "rgb" (linear). bone: the joint that carries the scalp.
    """
    from engine.head.hair.library import hair_of

    hair = hair_of(head)
    if hair is None:
        return {}, {}
    arrays = {
        "hair_points": hair.points(head.triangles, head.template), "hair_radius": hair.radius, "hair_tint": hair.tint,
    }  # fmt: skip
    return {"rgb": list(hair.rgb), "bone": "neck"}, arrays
