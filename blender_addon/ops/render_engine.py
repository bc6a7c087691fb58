"""The RenderEngine "Soliloquy": Gaussian avatars in the viewport's Rendered mode and in F12.

What Blender shows poses the avatar: the evaluated vertices of every marked head go to the engine in shared memory.
Nothing here ends Blender or blocks its window: a slow, stuck or dead engine leaves the last good picture on screen.
"""

from __future__ import annotations

import contextlib
from typing import Any

import bpy
import numpy as np

from ..convert.lens import depth_terms, engine_camera
from ..convert.names import FACE_VALUES
from ..link import shared
from ..link.config import EngineError
from ..link.live import LiveView, Picture, Request
from . import viewport_clock
from .shown_heads import NotNow, ShownHead, shown_heads, write_vertices

ENGINE_ID = "SOLILOQUY"
ALPHA_PASS = "SolAlpha"
LARGEST_SIDE = 8192  # pixels, as the engine has it

_final: LiveView | None = None  # kept between the frames of an animation
_told: set[str] = set()  # notes that were shown


class SoliloquyRenderEngine(bpy.types.RenderEngine):
    """Gaussian avatars of the scene's Soliloquy heads; other objects are not drawn."""

    bl_idname = ENGINE_ID
    bl_label = "Soliloquy"
    bl_use_preview = False
    bl_use_eevee_viewport = True  # Material Preview shows the mesh
    bl_use_shading_nodes_custom = False

    # Instances are made by Blender, sometimes without __init__; class values stand until a first drawing.
    # They die with the shading mode, and their live view closes itself with them.
    _view: LiveView | None = None
    _heads: list[ShownHead] | None = None
    _changed = True
    _camera: dict[str, Any] | None = None
    _texture = None
    _texture_of: tuple | None = None
    _said = ""

    # Passes --------------------------------------------------------------------------------------------

    def update_render_passes(self, scene: bpy.types.Scene = None, renderlayer: bpy.types.ViewLayer = None) -> None:
        self.register_pass(scene, renderlayer, "Combined", 4, "RGBA", "COLOR")
        if renderlayer.use_pass_z:
            self.register_pass(scene, renderlayer, "Depth", 1, "Z", "VALUE")
        if renderlayer.use_pass_normal:
            self.register_pass(scene, renderlayer, "Normal", 3, "XYZ", "VECTOR")
        self.register_pass(scene, renderlayer, ALPHA_PASS, 1, "A", "VALUE")

    # Viewport ------------------------------------------------------------------------------------------

    def view_update(self, context: bpy.types.Context, depsgraph: bpy.types.Depsgraph) -> None:
        """Something in the scene changed: look for the heads again at the next drawing."""
        self._heads, self._changed = None, True

    def view_draw(self, context: bpy.types.Context, depsgraph: bpy.types.Depsgraph) -> None:
        from ..ui import drawing

        which = context.scene.soliloquy_render.viewport_pass
        try:
            picture = self._live_picture(context, depsgraph)
            # `report` does nothing outside of a render, so notes stand with the viewport's statistics.
            noted = " ".join(dict.fromkeys(self._view.notes))
            said = self._view.error or ("Loading the avatar" if self._view.opening else noted)
        except (EngineError, NotNow) as problem:
            picture, said = (self._view.picture if self._view else None), str(problem)
        if picture is not None:
            key = (picture.seq, which)
            if self._texture_of != key:
                rgba, depth = _shown_planes(picture, which)
                self._texture, self._texture_of = drawing.upload(rgba, depth), key
        self._say(said)
        colour = background(context.scene)
        if self._texture is not None and self._heads != []:
            # A picture of an older view has no depth that fits this one.
            fits = picture is not None and picture.request.camera == self._camera
            drawing.draw(self._texture, colour, depth_terms(context.region_data.window_matrix) if fits else None)
        elif colour[3]:
            drawing.fill(colour)

    def _live_picture(self, context: bpy.types.Context, depsgraph: bpy.types.Depsgraph) -> Picture | None:
        """The newest picture for this view, asked for if the scene or the view changed."""
        if self._view is None or self._view.engine is not shared.engine():
            self._view = LiveView(shared.engine(), names=FACE_VALUES)
            self._texture_of = None
            viewport_clock.add(self._view)
        with contextlib.suppress(ReferenceError):  # undo removed an object that was remembered
            if self._heads is not None:
                [head.original.name for head in self._heads]
                return self._show(context, depsgraph)
        self._heads = None
        self._heads = shown_heads(depsgraph)
        return self._show(context, depsgraph)

    def _show(self, context: bpy.types.Context, depsgraph: bpy.types.Depsgraph) -> Picture | None:
        heads, settings = self._heads, context.scene.soliloquy_render
        if not heads:
            return None
        divider = int(settings.viewport_divider)
        size = tuple(min(LARGEST_SIDE, max(1, n // divider)) for n in (context.region.width, context.region.height))
        self._camera = engine_camera(context.region_data.window_matrix, context.region_data.view_matrix, *size)
        planes = ("rgba", "depth", "normal") if settings.viewport_pass == "NORMAL" else ("rgba", "depth")
        values = tuple(h.values for h in heads)
        request = Request(size, self._camera, tuple(h.matrix for h in heads), "srgb8", planes, values)
        changed, self._changed = self._changed, False
        return self._view.show(
            [h.spec for h in heads], request, lambda blocks: write_vertices(heads, depsgraph, blocks), changed
        )

    def _tell(self, view: LiveView) -> None:
        """What the engine notes, once, as reports of a render."""
        while view.notes:
            sentence = view.notes.pop(0)
            if sentence not in _told:
                _told.add(sentence)
                self.report({"WARNING"}, sentence)

    def _say(self, sentence: str) -> None:
        if sentence != self._said:
            self._said = sentence
            self.update_stats("Soliloquy" if sentence else "", sentence)

    # F12 -----------------------------------------------------------------------------------------------

    def render(self, depsgraph: bpy.types.Depsgraph) -> None:
        """One frame. Every failure becomes Blender's error report; the engine starts again at the next frame."""
        try:
            self._render(depsgraph)
        except (EngineError, NotNow) as problem:
            sentence = str(problem) or "A head is in edit mode; leave it to render"
            self.error_set(sentence)
            self.report({"ERROR"}, sentence)

    def _render(self, depsgraph: bpy.types.Depsgraph) -> None:
        scene = depsgraph.scene
        settings = scene.render
        # Whole numbers as in Blender: 720 * 0.7 is 503.99... in floats, and Blender wants 504.
        percentage = settings.resolution_percentage
        width, height = (max(1, n * percentage // 100) for n in (settings.resolution_x, settings.resolution_y))
        if max(width, height) > LARGEST_SIDE:
            raise EngineError(f"{width}x{height} is beyond {LARGEST_SIDE} pixels a side; lower the resolution")
        camera = final_camera(self.camera_override or scene.camera, depsgraph, width, height)
        if settings.use_border:
            camera, width, height = in_region(camera, settings, width, height)
        heads = shown_heads(depsgraph)
        rgba, depth, normal = empty_planes(width, height)
        if heads:
            planes = ("rgba", "depth", "normal")
            values = tuple(h.values for h in heads)
            request = Request((width, height), camera, tuple(h.matrix for h in heads), "float32", planes, values)
            self.update_stats("Soliloquy", f"Drawing {len(heads)} avatar{'s' * (len(heads) > 1)}")
            specs = [h.spec for h in heads]
            picture = final_view().render(
                specs, request, lambda blocks: write_vertices(heads, depsgraph, blocks), self.test_break
            )
            self._tell(final_view())
            if picture is None:
                return  # the person pressed Escape
            rgba, depth, normal = (
                np.frombuffer(picture.planes[name], np.float32).reshape(height, width, -1) for name in planes
            )
        else:
            self.report({"WARNING"}, "The scene shows no Soliloquy head: add one in the Soliloquy panel")
        images = {
            "Combined": over_background(rgba, background(scene)), "Depth": depth, "Normal": normal,
            ALPHA_PASS: rgba[..., 3:],
        }  # fmt: skip
        self._deliver(images, width, height)

    def _deliver(self, images: dict[str, np.ndarray], width: int, height: int) -> None:
        """images: [h, w, c] float32, bottom row first, by pass name; those switched off are left out."""
        result = self.begin_result(0, 0, width, height)
        passes = result.layers[0].passes
        for name, image in images.items():
            target = passes.find_by_name(name, "")
            if target is not None:
                flat = np.ascontiguousarray(image, np.float32).reshape(-1)
                target.rect.foreach_set(flat if bpy.app.version >= (4, 0) else flat.reshape(width * height, -1))
        self.end_result(result)


def _shown_planes(picture: Picture, which: str) -> tuple[np.ndarray, np.ndarray]:
    """What the viewport draws of a picture: (rgba, depth). A plane that is not there yet shows as the picture."""
    width, height = picture.request.size
    rgba = np.frombuffer(picture.planes["rgba"], np.uint8).reshape(height, width, 4)
    depth = np.frombuffer(picture.planes["depth"], np.float32).reshape(height, width)
    if which == "COMBINED" or (which == "NORMAL" and "normal" not in picture.planes):
        return rgba, depth
    alpha = rgba[..., 3:].astype(np.float32) / 255
    if which == "ALPHA":
        value = np.repeat(alpha, 3, 2)
    elif which == "DEPTH":
        solid = depth < 1e9
        near, far = (depth[solid].min(), depth[solid].max()) if solid.any() else (0.0, 1.0)
        value = np.repeat(np.where(solid, 1 - 0.9 * (depth - near) / max(far - near, 1e-6), 0)[..., None], 3, 2)
    else:
        value = np.frombuffer(picture.planes["normal"], np.float32).reshape(height, width, 3) * 0.5 + 0.5
    solid = (depth < 1e9)[..., None] if which == "NORMAL" else True
    value = np.where(solid, value, 0)
    return np.concatenate([value, np.ones_like(alpha)], 2).astype(np.float32), depth


def background(scene: bpy.types.Scene) -> tuple[float, float, float, float]:
    """Linear colour behind the avatars and its strength: 0 when the film is transparent.

    The world's plain colour, or that of its Background node; textures of the world are not drawn.
    """
    if scene.render.film_transparent:
        return (0.0, 0.0, 0.0, 0.0)
    world = scene.world
    if world is None:
        return (0.0, 0.0, 0.0, 1.0)
    if world.use_nodes and world.node_tree:
        for node in world.node_tree.nodes:
            if node.type == "BACKGROUND" and not node.inputs["Color"].is_linked:
                strength = node.inputs["Strength"].default_value
                return (*(strength * c for c in node.inputs["Color"].default_value[:3]), 1.0)
    return (*world.color, 1.0)


def over_background(rgba: np.ndarray, colour: tuple[float, float, float, float]) -> np.ndarray:
    """Premultiplied rgba [h, w, 4] over a colour of strength colour[3]."""
    if not colour[3]:
        return rgba
    rest = (1 - rgba[..., 3:]) * np.float32(colour[3])
    return np.concatenate([rgba[..., :3] + rest * np.float32(colour[:3]), rgba[..., 3:] + rest], 2)


def empty_planes(width: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour, depth and normal of a picture that shows nothing."""
    rgba = np.zeros((height, width, 4), np.float32)
    return rgba, np.full((height, width, 1), 1e10, np.float32), np.zeros((height, width, 3), np.float32)


def final_camera(
    camera: bpy.types.Object | None, depsgraph: bpy.types.Depsgraph, width: int, height: int
) -> dict[str, Any]:
    """The render camera for the engine. Raises EngineError without a camera and for panoramas."""
    if camera is None or camera.type != "CAMERA":
        raise EngineError("The scene has no camera: add one, or press Turntable in the Soliloquy panel")
    if camera.data.type == "PANO":
        raise EngineError(f"'{camera.name}' is a panoramic camera, which Soliloquy cannot draw; set it to Perspective")
    camera = camera.evaluated_get(depsgraph)
    settings = depsgraph.scene.render
    projection = camera.calc_matrix_camera(
        depsgraph, x=width, y=height, scale_x=settings.pixel_aspect_x, scale_y=settings.pixel_aspect_y
    )
    view = camera.matrix_world.normalized().inverted()  # a camera's scale is no scale of the world
    return engine_camera(projection, view, width, height)


def in_region(
    camera: dict[str, Any], settings: bpy.types.RenderSettings, width: int, height: int
) -> tuple[dict[str, Any], int, int]:
    """The camera for the render region alone, and that region's size, cut to whole pixels as Blender does."""
    left, right = (int(x * width) for x in (settings.border_min_x, settings.border_max_x))
    bottom, top = (int(y * height) for y in (settings.border_min_y, settings.border_max_y))
    if right <= left or top <= bottom:
        raise EngineError("The render region is empty; clear it or draw it again")
    moved = {**camera, "cx": camera["cx"] - left, "cy": camera["cy"] - (height - top)}
    return moved, right - left, top - bottom


def final_view() -> LiveView:
    """The view of final renders; its memory is kept from frame to frame."""
    global _final
    if _final is None or _final.engine is not shared.engine():
        _final = LiveView(shared.engine(), slots=1, names=FACE_VALUES)
    return _final


@bpy.app.handlers.persistent
def release_final(*_: object) -> None:
    """After a render or an animation: give the memory back."""
    global _final
    if _final is not None:
        with contextlib.suppress(EngineError):
            _final.close()
        _final = None


def register() -> None:
    from ..ui import render_panels

    render_panels.register()
    bpy.utils.register_class(SoliloquyRenderEngine)
    for handlers in (bpy.app.handlers.render_complete, bpy.app.handlers.render_cancel):
        handlers.append(release_final)


def unregister() -> None:
    from ..ui import render_panels

    for handlers in (bpy.app.handlers.render_complete, bpy.app.handlers.render_cancel):
        with contextlib.suppress(ValueError):
            handlers.remove(release_final)
    release_final()
    viewport_clock.stop()
    bpy.utils.unregister_class(SoliloquyRenderEngine)
    render_panels.unregister()
