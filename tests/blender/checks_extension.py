"""The extension: validated and built by Blender's own builder, installed and enabled. Blender 4.2 and up."""

import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import bpy
from in_blender import ROOT, main

SOURCE = ROOT / "blender_addon"
OUT = Path(tempfile.mkdtemp(prefix="soliloquy-ext-"))


def ext(*arguments):
    """Blender's extension tool; its output."""
    import addon_utils  # known only once bpy is imported

    cli = next(p for d in addon_utils.paths() if (p := Path(d, "bl_pkg", "cli", "blender_ext.py")).exists())
    done = subprocess.run([sys.executable, str(cli), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_the_manifest_is_valid():
    ext("validate", SOURCE)


def check_the_zip_holds_the_add_on_and_nothing_else():
    ext("build", "--source-dir", SOURCE, "--output-dir", OUT)
    path = next(OUT.glob("*.zip"))
    ext("validate", path)
    names = zipfile.ZipFile(path).namelist()
    assert "blender_manifest.toml" in names and "scene/take.py" in names and "batch.py" in names
    assert not [n for n in names if "__pycache__" in n or n.endswith((".pyc", ".part")) or n == "config.json"]
    assert all(n.endswith((".py", ".toml", ".json", ".md", ".glsl", "/")) for n in names), names
    assert path.stat().st_size < 500_000


def check_the_zip_installs_enables_and_disables():
    path = next(OUT.glob("*.zip"))
    start = time.perf_counter()
    bpy.ops.extensions.package_install_files(filepath=str(path), repo="user_default", enable_on_install=True)
    print(f"install and enable: {time.perf_counter() - start:.2f} s", file=sys.stderr)
    name = "bl_ext.user_default.soliloquy"
    assert name in sys.modules and name in bpy.context.preferences.addons
    assert hasattr(bpy.context.preferences.addons[name].preferences, "config_path")
    assert not bpy.ops.soliloquy.generate.poll() and hasattr(bpy.types, "SOLILOQUY_PT_main")
    assert sys.modules[f"{name}.link.shared"].current() is None, "enabling starts nothing"
    bpy.ops.preferences.addon_disable(module=name)
    assert not hasattr(bpy.types, "SOLILOQUY_PT_main") and not hasattr(bpy.types.Scene, "soliloquy")
    start = time.process_time()
    bpy.ops.preferences.addon_enable(module=name)
    assert time.process_time() - start < 0.3 and hasattr(bpy.types, "SOLILOQUY_PT_main")
    bpy.ops.preferences.addon_disable(module=name)


main(globals())
