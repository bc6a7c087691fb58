"""Engine's numbers -> Blender's: axes, frames, names, curves, arrays. numpy and stdlib only, no bpy.

In: engine arrays (metres, Y up, seconds). Out: Blender's (metres, Z up, scene frames, F-curve keys).
"""
