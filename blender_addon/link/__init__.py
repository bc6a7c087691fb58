"""The engine process and its protocol, seen from Blender's side. Standard library only, no bpy."""
