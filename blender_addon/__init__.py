"""Soliloquy: emotional talking heads. A voice, keyed emotions and typed directions become an animated head.

Rooms: link (the engine process), convert (numbers, no bpy), scene (the only writers of bpy.data), ops, ui.
Enabling registers classes and starts nothing; the engine starts with the first task that needs it.
"""

bl_info = {  # read by Blender below 4.2 only; newer ones read blender_manifest.toml
    "name": "Soliloquy",
    "author": "The Soliloquy contributors",
    "version": (0, 1, 0),
    "blender": (3, 4, 0),
    "location": "3D View > Sidebar > Soliloquy",
    "description": "A voice, keyed emotions and typed directions become an animated head",
    "category": "Animation",
}


def register() -> None:
    """Called by Blender when the add-on is enabled."""
    from . import ops, ui

    ops.register()
    ui.register()


def unregister() -> None:
    """Called by Blender when the add-on is disabled; what it made in files keeps playing."""
    from . import ops, ui

    ui.unregister()
    ops.unregister()
