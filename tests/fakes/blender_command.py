"""Stands in for a Blender program: `--version`, and `--command extension ...` answered by the bpy module's own handler.

The code that answers is Blender's (its add-on bl_pkg), only the program around it is not: wheels have none.
"""

import os
import sys

import bpy

arguments = [word for word in sys.argv[1:] if word != "--factory-startup"]
code = 1
if arguments == ["--version"]:
    print("Blender " + bpy.app.version_string)
    code = 0
elif arguments[:2] == ["--command", "extension"]:
    from bl_pkg.bl_extension_cli import cli_extension_handler

    try:
        code = cli_extension_handler(arguments[2:])
    except SystemExit as leave:
        code = int(leave.code or 0)
sys.stdout.flush()
os._exit(code)
