"""Phone cues on the control Empty: what was heard, when; an editable list in seconds of the voice.

The list follows the voice strip, because its times begin with the voice. Adjoining cues share a border: whoever moves
one end moves the neighbour's beginning. Edited cues go into the next Generate; untouched ones are replaced by it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import bpy

from . import SceneProblem, find, voice

SHORTEST_S = 0.01
JOINED_S = 0.002  # cues nearer than this share a border
PAUSE = "_"
FILE_KIND, FILE_FORMAT = "cues", 1

Row = tuple[str, float, float]  # phone, start s, end s


def group(control: bpy.types.Object) -> Any:
    """The list's property group on a control."""
    return control.soliloquy_cues


def rows(control: bpy.types.Object) -> list[Row]:
    """Every cue in the order of time."""
    return sorted(((c.phone or PAUSE, c.start, c.end) for c in group(control).rows), key=lambda r: r[1])


def write(control: bpy.types.Object, found: Iterable[Row], edited: bool = False) -> None:
    """Replace the list. edited: whether the next Generate must keep it."""
    target = group(control)
    target.rows.clear()
    for phone, start, end in found:
        cue = target.rows.add()
        cue["phone"], cue["start"], cue["end"] = phone, float(start), float(end)  # past the update callbacks
    target["index"] = min(max(target.index, 0), max(len(target.rows) - 1, 0))
    target.edited = edited


def edited(control: bpy.types.Object) -> bool:
    """Whether a person changed the list since it was heard."""
    return bool(group(control).edited) and len(group(control).rows) > 0


def text(found: Sequence[Row]) -> str:
    """The engine's cue file: JSON, one cue a line."""
    lines = ",\n".join(
        json.dumps({"phone": p, "start": round(a, 3), "end": round(b, 3)}, ensure_ascii=False) for p, a, b in found
    )
    return f'{{"kind": "{FILE_KIND}", "format": {FILE_FORMAT}, "cues": [\n{lines}\n]}}\n'


def save(path: Path, found: Sequence[Row]) -> None:
    """Write a cue file for the engine. Raises SceneProblem."""
    try:
        path.write_text(text(found), encoding="utf-8")
    except OSError as error:
        raise SceneProblem(f"{path} cannot be written ({error}): make room, or save the .blend elsewhere") from None


def active(control: bpy.types.Object) -> int:
    """Index of the chosen cue. SceneProblem without any."""
    target = group(control)
    if not len(target.rows):
        raise SceneProblem("Generate a performance first: it lists the phones that were heard")
    return min(max(target.index, 0), len(target.rows) - 1)


def at(control: bpy.types.Object, second: float) -> int:
    """Index of the cue that holds a moment. SceneProblem outside all of them."""
    for i, cue in enumerate(group(control).rows):
        if cue.start <= second < cue.end:
            return i
    raise SceneProblem("The playhead is outside all phone cues: move it into the voice")


def place(control: bpy.types.Object, index: int, start: float | None = None, end: float | None = None) -> None:
    """Move a cue's borders (seconds); a neighbour that adjoins follows, and none becomes shorter than 10 ms."""
    target = group(control).rows
    cue = target[index]
    before = target[index - 1] if index else None
    after = target[index + 1] if index + 1 < len(target) else None
    if start is not None:
        joined = before is not None and abs(before.end - cue.start) <= JOINED_S
        low = before.start + SHORTEST_S if joined else before.end if before is not None else 0.0
        new = min(max(start, low), cue.end - SHORTEST_S)
        cue["start"] = new
        if joined:
            before["end"] = new
    if end is not None:
        joined = after is not None and abs(after.start - cue.end) <= JOINED_S
        high = after.end - SHORTEST_S if joined else after.start if after is not None else 1e6
        new = max(min(end, high), cue.start + SHORTEST_S)
        cue["end"] = new
        if joined:
            after["start"] = new
    group(control).edited = True


def split(control: bpy.types.Object, second: float) -> int:
    """Divide the cue at a moment into two with the same phone; returns the second one's index. Raises SceneProblem."""
    index = at(control, second)
    found = rows(control)
    phone, start, end = found[index]
    if second - start < SHORTEST_S or end - second < SHORTEST_S:
        raise SceneProblem("Too near to the cue's border: both halves need 10 ms")
    found[index : index + 1] = [(phone, start, second), (phone, second, end)]
    write(control, found, edited=True)
    group(control)["index"] = index + 1
    return index + 1


def remove(control: bpy.types.Object, index: int) -> None:
    """Take a cue away; its time goes to the one before it (or after, at the beginning)."""
    found = rows(control)
    _, start, end = found.pop(index)
    if index and abs(found[index - 1][2] - start) <= JOINED_S:
        found[index - 1] = (*found[index - 1][:2], end)
    elif not index and found and abs(found[0][1] - end) <= JOINED_S:
        found[0] = (found[0][0], start, found[0][2])
    write(control, found, edited=True)
    group(control)["index"] = max(0, index - 1)


# The list's properties. They are in this room because they write to the scene.


def _own_index(cue: bpy.types.PropertyGroup) -> int:
    return int(re.findall(r"\[(\d+)\]", cue.path_from_id())[-1])


def _clock(cue: bpy.types.PropertyGroup) -> Any:
    return voice.clock_of(bpy.context.scene, cue.id_data)


def _first_frame(cue: bpy.types.PropertyGroup) -> float:
    return float(_clock(cue).frames(cue.start))


def _last_frame(cue: bpy.types.PropertyGroup) -> float:
    return float(_clock(cue).frames(cue.end))


def _move_start(cue: bpy.types.PropertyGroup, frame: float) -> None:
    place(cue.id_data, _own_index(cue), start=float(_clock(cue).seconds(frame)))


def _move_end(cue: bpy.types.PropertyGroup, frame: float) -> None:
    place(cue.id_data, _own_index(cue), end=float(_clock(cue).seconds(frame)))


def _renamed(cue: bpy.types.PropertyGroup, context: object) -> None:
    group(cue.id_data).edited = True


def _go(cues: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    """A click on a cue moves the playhead there: the frame shows the mouth in the cue's middle."""
    if 0 <= cues.index < len(cues.rows) and find.is_control(cues.id_data):
        cue = cues.rows[cues.index]
        clock = voice.clock_of(context.scene, cues.id_data)
        context.scene.frame_set(round(float(clock.frames(0.5 * (cue.start + cue.end)))))


class SOLILOQUY_PG_cue(bpy.types.PropertyGroup):
    """One phone. start, end: seconds of the voice; the frames are another view of them."""

    phone: bpy.props.StringProperty(
        name="Phone", update=_renamed, description="IPA symbol of the sound, such as m, ɑ or ʃ; _ is a pause"
    )
    start: bpy.props.FloatProperty(name="Start Second", precision=3)
    end: bpy.props.FloatProperty(name="End Second", precision=3)
    first: bpy.props.FloatProperty(
        name="Start", get=_first_frame, set=_move_start, precision=1, step=100,
        description="Frame where the sound begins; the cue before it ends there",
    )  # fmt: skip
    last: bpy.props.FloatProperty(
        name="End", get=_last_frame, set=_move_end, precision=1, step=100,
        description="Frame where the sound ends; the next cue begins there",
    )  # fmt: skip


class SOLILOQUY_PG_cues(bpy.types.PropertyGroup):
    """On the control Empty."""

    rows: bpy.props.CollectionProperty(type=SOLILOQUY_PG_cue)
    index: bpy.props.IntProperty(name="Cue", update=_go, options={"HIDDEN"})
    edited: bpy.props.BoolProperty(
        name="Edited", description="These cues were edited and go into the next Generate", options={"HIDDEN"}
    )


CLASSES = (SOLILOQUY_PG_cue, SOLILOQUY_PG_cues)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Object.soliloquy_cues = bpy.props.PointerProperty(type=SOLILOQUY_PG_cues)


def unregister() -> None:
    del bpy.types.Object.soliloquy_cues
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
