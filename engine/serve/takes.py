"""Takes as jobs answer them: the arrays that a rig plays, and finished takes opened again at a scene's rate."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.names import ARKIT
from engine.core.progress import SILENT, Reporter
from engine.core.take import Take

BOUND_MM = 0.05


def bound_of(request: dict[str, Any]) -> float:
    """The request's "residual_mm": what residual shapes may leave of motion that only vertices hold; or BadInput."""
    value = request.get("residual_mm", BOUND_MM)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 100:
        raise BadInput(f"'residual_mm' must be a number of millimetres above 0, got {value!r}")
    return float(value)


def take_arrays(it: Head, take: Take, bound_mm: float = BOUND_MM, report: Reporter = SILENT) -> dict[str, Any]:
    """What a rig with this head's shape keys and bones plays.

    weights [t, k], pose [t, 15], translation [t, 3], au [t, 18, 2], contact [t, 3] where the take has it; for a take
    whose truth is vertices also res_shapes [k, v, 3] metres and res_weights [t, k] in [-1, 1], which bring every vertex
    within bound_mm.
    """
    arrays: dict[str, Any] = {"translation": take.flame.translation, "au": take.au}
    if "contact" in take.drive:
        arrays["contact"] = take.drive["contact"]
    if take.authority == "flame":
        from engine.head.flame.play import rig_arrays

        return arrays | rig_arrays(it, take)
    pose = take.flame.pose.copy()
    pose[:, 6:9] = 0  # ARKit form: the jaw is in the weights, so the jaw joint stays at rest
    arrays |= {"weights": np.concatenate([take.arkit, take.extra], 1), "pose": pose.astype(np.float32)}
    if take.authority == "vertices":
        from engine.head.residual import take_residual

        found = take_residual(it, take, bound_mm, report=report)
        if found is not None:
            arrays |= {"res_shapes": found.shapes, "res_weights": found.weights}
    return arrays


def cue_arrays(cues: list[Any]) -> dict[str, Any]:
    """Rows of phone cues (phone, start, end): "cue_seconds" [n, 2] float64 and "cue_phones", UTF-8, a line each."""
    names = "\n".join(str(phone) for phone, _, _ in cues).encode()
    return {
        "cue_seconds": np.array([[a, b] for _, a, b in cues], np.float64).reshape(-1, 2),
        "cue_phones": np.frombuffer(names, np.uint8).copy(),
    }


def take_answer(
    it: Head, take: Take, path: str, bound_mm: float = BOUND_MM, report: Reporter = SILENT
) -> dict[str, Any]:
    """The entries that the jobs `speak` and `take` have in common."""
    flame = take.authority == "flame"
    return {
        "take": path,
        "frames": len(take),
        "fps": [take.fps.numerator, take.fps.denominator],
        "first_frame": take.first_frame,
        "shape_names": list(it.expression_names) if flame else [*ARKIT, *take.extra_names],
        "residual_mm": take.residual_mm,
        "meta": take.meta,
        "arrays": take_arrays(it, take, bound_mm, report),
    }


def open_take(request: dict[str, Any], reporter: Reporter = SILENT) -> dict[str, Any]:
    """{"take": file, "head": name ("default"), "fps" and "first_frame": the scene's (the take's own if absent),
    "residual_mm": bound of residual shapes} -> what `speak` answers, for a take that is there already.

    Raises BadInput for a take of another mesh or FLAME version, BadFile for a damaged one.
    """
    from engine.core.clock import parse_fps
    from engine.core.takefile import read_take
    from engine.head.library import load_head
    from engine.head.replay import check_topology
    from engine.serve.jobs import Noting

    path = request.get("take")
    if not isinstance(path, str) or not path:
        raise BadInput("the request lacks 'take'")
    bound = bound_of(request)
    reporter.step("read", 0, 1)
    take, it = read_take(path), load_head(request.get("head") or "default")
    check_topology(take, it)
    warnings: list[str] = []
    if request.get("fps") is not None:
        rate = parse_fps(str(request["fps"]))
        if rate != take.fps:
            warnings.append(f"the take has {float(take.fps):g} frames per second, it was brought to {float(rate):g}")
            take = at_rate(take, rate)
    first = request.get("first_frame", take.first_frame)
    if isinstance(first, bool) or not isinstance(first, int):
        raise BadInput(f"'first_frame' must be a whole number, got {first!r}")
    take = dataclasses.replace(take, first_frame=first)
    answer = take_answer(it, take, path, bound, Noting(reporter, warnings))
    return answer | {"duration": len(take) / float(take.fps), "warnings": warnings}


def at_rate(take: Take, fps: Fraction) -> Take:
    """The take at another frame rate, its frames' values joined by straight lines; the same length in seconds."""
    count = max(1, round(len(take) / take.fps * fps))
    at = np.minimum(np.arange(count) * float(take.fps / fps), len(take) - 1)
    low = np.minimum(at.astype(int), max(len(take) - 2, 0))
    part = at - low
    high = np.minimum(low + 1, len(take) - 1)

    def moved(values: np.ndarray) -> np.ndarray:
        share = part.reshape(-1, *[1] * (values.ndim - 1))
        return ((1 - share) * values[low] + share * values[high]).astype(np.float32)

    def moved_if(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else moved(values)

    was = take.flame
    flame = dataclasses.replace(
        was, expression=moved(was.expression), pose=moved(was.pose), translation=moved(was.translation),
        eyelids=moved(was.eyelids),
    )  # fmt: skip
    return dataclasses.replace(
        take, fps=fps, au=moved(take.au), arkit=moved(take.arkit), extra=moved(take.extra), flame=flame,
        drive={n: moved(v) for n, v in take.drive.items()}, gaussians=None, offsets=moved_if(take.offsets),
        residual_weights=moved_if(take.residual_weights),
    )  # fmt: skip
