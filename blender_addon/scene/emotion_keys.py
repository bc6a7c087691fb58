"""Keys emotions on the control at a frame. A key means *arrived*: the ease-in starts before it."""

from __future__ import annotations

import bpy

from ..convert.names import EMOTIONS
from . import SceneProblem, fcurves, nla


def key(control: bpy.types.Object, emotion: str, frame: float, ease: float, strength: float = 1.0) -> None:
    """Let the face have arrived at `emotion` on `frame`; every other emotion has gone by then.

    ease: frames before `frame` in which it changes, shortened where an earlier emotion key lies nearer.
    Later keys stay as they are. Emotions that are zero before and after get no keys.
    """
    if emotion not in EMOTIONS:
        raise SceneProblem(f"'{emotion}' is no emotion; choose one of {', '.join(EMOTIONS)}")
    nla.need_writable(control, "The control")
    curves = {path[2:-2]: curve for (path, _), curve in fcurves.own_curves(control).items()}
    emotions = {name: curves[name] for name in EMOTIONS if name in curves}
    earlier = [p.co[0] for c in emotions.values() for p in c.keyframe_points if p.co[0] < frame - 1e-3]
    start = max([frame - max(ease, 1.0), *(x for x in earlier if x > frame - ease)])
    before = {n: (emotions[n].evaluate(start) if n in emotions else float(control[n])) for n in EMOTIONS}
    now = {n: (emotions[n].evaluate(frame) if n in emotions else float(control[n])) for n in EMOTIONS}
    for name in EMOTIONS:
        goal = strength if name == emotion else 0.0
        if max(abs(before[name]), abs(now[name]), abs(goal)) < 1e-4:
            continue
        _insert(control, name, start, min(max(before[name], 0.0), 1.0))
        _insert(control, name, frame, goal)


def _insert(control: bpy.types.Object, name: str, frame: float, value: float) -> None:
    """One smooth key that does not overshoot."""
    path = f'["{name}"]'
    control[name] = float(value)
    control.keyframe_insert(path, frame=frame, group="Emotion")
    curve = fcurves.own_curves(control)[(path, 0)]
    for point in curve.keyframe_points:
        if abs(point.co[0] - frame) < 1e-3:
            point.co[1] = value  # where NLA strips lie below, Blender may store a remapped value
            point.interpolation = "BEZIER"
            point.handle_left_type = point.handle_right_type = "AUTO_CLAMPED"
    curve.update()
