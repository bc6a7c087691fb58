"""Runs groups of checks inside Blender's Python module, one process a group.

A group is a file `checks_*.py` whose functions `check_*` are run in order; it ends with `main(globals())`. The
process prints one line a check and leaves without Blender's exit handlers, which hang or crash in some wheels.
SOLILOQUY_TEST_PYTHON names another Python with another bpy (bench/compat.py uses it).
"""

import ast
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIMIT_S = 240


def names(group):
    """The checks of a group, in order, without importing bpy."""
    tree = ast.parse((HERE / f"{group}.py").read_text(encoding="utf-8"))
    return [n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("check_")]


def run(group, *arguments, limit=LIMIT_S):
    """{check: "" or its traceback} of one group."""
    python = os.environ.get("SOLILOQUY_TEST_PYTHON", sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        env = {
            **os.environ, "BLENDER_USER_RESOURCES": folder, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}",
            "SOLILOQUY_ENGINE_PYTHON": sys.executable, "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        out = subprocess.run(
            ["timeout", "-s", "KILL", str(limit), python, str(HERE / f"{group}.py"), *map(str, arguments)],
            cwd=ROOT, env=env, capture_output=True, text=True,
        )  # fmt: skip
    results = {}
    for block in out.stdout.split("\x1e")[1:]:
        name, _, trouble = block.partition("\n")
        results[name.strip()] = trouble.split("\x1d")[0].strip()
    for name in names(group):
        results.setdefault(
            name, f"did not run (exit code {out.returncode})\n{out.stdout[-2000:]}\n{out.stderr[-3000:]}"
        )
    return results


def main(scope):
    """Run every check of a group; called inside Blender's Python."""
    code = 0
    for name, check in list(scope.items()):
        if not name.startswith("check_"):
            continue
        try:
            check()
            trouble = ""
        except BaseException:
            trouble, code = traceback.format_exc(), 1
        print(f"\x1e{name}\n{trouble}\x1d", flush=True)
    leave(code)


def leave(code):
    """The last call of every process with bpy in it."""
    engine = sys.modules.get("blender_addon.link.shared")
    if engine is not None:
        engine.stop()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
