"""One Blender timer that hears the engine while viewports wait for it, and asks them to draw again.

The engine's answer wakes nobody by itself, and `RenderEngine.tag_update` does not redraw: without this timer a slow
engine's last picture would appear only when the mouse moves.
"""

from __future__ import annotations

import weakref

import bpy

from ..link.live import LiveView

BUSY_S, IDLE_S = 0.004, 0.1

_views: weakref.WeakSet[LiveView] = weakref.WeakSet()  # a view goes with its viewport's render engine


def add(view: LiveView) -> None:
    _views.add(view)
    if not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, first_interval=BUSY_S, persistent=True)


def stop() -> None:
    _views.clear()
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)


def tick() -> float | None:
    """Poll every view; None ends the timer when no viewport is left."""
    if not _views:
        return None
    news = [view.poll() for view in list(_views)]  # every view is polled, also after a first one with news
    if any(news):
        redraw_rendered()
    return BUSY_S if any(view.waiting for view in list(_views)) else IDLE_S


def redraw_rendered() -> None:
    """Tag the 3D viewports in Rendered mode. The areas are looked up, because render engines come and go."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D" and area.spaces.active.shading.type == "RENDERED":
                area.tag_redraw()
