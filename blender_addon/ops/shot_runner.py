"""Runs a shot through the operators that a person clicks; `batch.py` is its front door."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import bpy

from ..convert.shots import Curve, Shot, blender_rate
from ..scene import SceneProblem, appearance, find, voice


def run(context: bpy.types.Context, shot: Shot) -> Iterator[str]:
    """Generator: a label after each finished step. Raises RuntimeError (an operator's report) or SceneProblem."""
    scene = context.scene
    scene.render.fps, scene.render.fps_base = blender_rate(shot.fps)
    scene.soliloquy.key_mode, scene.soliloquy.motion = shot.keys.upper(), shot.motion
    shot.out.mkdir(parents=True, exist_ok=True)
    if "blend" in shot.outputs:  # saved first: takes and relative paths need to know where the file lives
        bpy.ops.wm.save_as_mainfile(filepath=str(shot.outputs["blend"]), check_existing=False)
    bpy.ops.soliloquy.add_head(head=shot.head)
    yield f"head '{shot.head}' added"
    bpy.ops.soliloquy.load_voice(filepath=str(shot.voice), frame=shot.start_frame)
    control = find.need_control(context)
    duration = voice.duration(scene, control)
    yield f"voice loaded, {duration:.1f} s"
    _direct(scene, control, shot, duration)
    yield f"{len(shot.emotions)} emotion keys and {len(shot.prompts)} directions set"
    bpy.ops.soliloquy.generate()
    yield "performance generated"
    first = voice.clock_of(scene, control).first
    scene.frame_start = first
    scene.frame_end = max(first, first + voice.clock_of(scene, control).count(duration) - 1)
    find.need_head(control)["soliloquy_avatar"] = shot.avatar
    appearance.choose(find.need_head(control), shot.appearance)
    yield from _write(scene, shot)


def _direct(scene: bpy.types.Scene, control: bpy.types.Object, shot: Shot, duration: float) -> None:
    """Everything that the performance depends on, on the control Empty."""
    clock = voice.clock_of(scene, control)

    def frame(seconds: float) -> int:
        return round(float(clock.frames(seconds)))

    control["seed"] = shot.seed
    control["transcript"], control["language"] = shot.transcript, shot.language
    for name, value in shot.dials.items():
        control[name] = value
    for layer, entry in shot.layers.items():
        for key, value in entry.items():
            name = f"{layer}_{key}"
            control[name] = type(control[name])(value)
    for key in sorted(shot.emotions, key=lambda k: k.at.seconds(duration)):
        bpy.ops.soliloquy.key_emotion(
            emotion=key.emotion, strength=key.strength, ease=shot.ease, frame=frame(key.at.seconds(duration))
        )
    for name, curve in shot.curves.items():
        _curve(control, name, curve, duration, frame)
    for prompt in shot.prompts:
        start, end = prompt.start.seconds(duration), prompt.end.seconds(duration)
        if end <= start:
            raise SceneProblem(f"The direction '{prompt.text}' ends before it starts")
        bpy.ops.soliloquy.add_prompt(
            text=prompt.text, frame=frame(start), seconds=end - start, strength=prompt.strength
        )


def _curve(control: bpy.types.Object, name: str, curve: Curve, duration: float, frame: Callable[[float], int]) -> None:
    """One value, or keys as a person would insert them."""
    for moment, value in curve:
        control[name] = value
        if len(curve) > 1:
            control.keyframe_insert(f'["{name}"]', frame=frame(moment.seconds(duration)))


def _write(scene: bpy.types.Scene, shot: Shot) -> Iterator[str]:
    """The files that the shot asks for."""
    if "alembic" in shot.outputs:
        bpy.ops.soliloquy.export_alembic(filepath=str(shot.outputs["alembic"]))
        yield f"wrote {shot.outputs['alembic']}"
    if "blend" in shot.outputs:
        scene.frame_set(scene.frame_start)
        bpy.ops.wm.save_mainfile(compress=True)
        yield f"wrote {shot.outputs['blend']}"
    if "turntable" in shot.outputs:
        bpy.ops.soliloquy.turntable_film(filepath=str(shot.outputs["turntable"]), size=shot.size, camera=shot.camera)
        yield f"wrote {shot.outputs['turntable']}"
    if "sheet" in shot.outputs:
        bpy.ops.soliloquy.contact_sheet(filepath=str(shot.outputs["sheet"]), moments=shot.moments)
        yield f"wrote {shot.outputs['sheet']}"
