"""Runs the add-on's Blender checks on other Blender releases: bpy wheels in throw-away environments.

    python bench/compat.py [4.2.23 4.5.15 5.0.1] [--keep FOLDER]

Each release is installed with pip into its own folder (about 1 GB each while it runs); Python 3.11 is needed. The
engine stays in this Python: only Blender's side changes. Prints one line a check group and fails if a check fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "blender")]

import in_blender  # noqa: E402

RELEASES = ("4.2.23", "4.5.15", "5.0.1")  # the two long-term releases and the newest that we promise
GROUPS = tuple(sorted(path.stem for path in (ROOT / "tests" / "blender").glob("checks_*.py")))
LIMIT_S = 900  # of a group: computers that do this have other things to do as well


def environment(release: str, folder: Path) -> Path:
    """A virtual environment with that bpy and numpy; its Python."""
    home = folder / release
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(home, with_pip=True)
    subprocess.run([str(python), "-m", "pip", "install", "-q", f"bpy=={release}", "numpy<2"], check=True)
    return python


def arguments(group: str) -> tuple[str, ...]:
    """What a group is called with: checks_flame wants a FLAME head, made up by the tests."""
    if group != "checks_flame":
        return ()
    sys.path.insert(0, str(ROOT / "tests" / "engine"))
    import flame_like

    return (str(flame_like.prepared()[2]),)


def check(release: str, folder: Path, groups: Sequence[str] = GROUPS) -> int:
    """Run the groups on one release; how many checks failed."""
    os.environ["SOLILOQUY_TEST_PYTHON"] = str(environment(release, folder))
    failed = 0
    for group in groups:
        results = in_blender.run(group, *arguments(group), limit=LIMIT_S)
        bad = {name: trouble for name, trouble in results.items() if trouble}
        failed += len(bad)
        print(f"Blender {release}  {group}: {len(results) - len(bad)} of {len(results)} pass", flush=True)
        for name, trouble in bad.items():
            print(f"  {name}\n    " + trouble.replace("\n", "\n    "), flush=True)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("releases", nargs="*", default=RELEASES, help="bpy releases")
    parser.add_argument("--keep", type=Path, help="folder for the environments, kept for the next run")
    parser.add_argument("--groups", nargs="+", default=GROUPS, help="files of tests/blender without .py")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        return 1 if sum(check(r, options.keep or Path(scratch), options.groups) for r in options.releases) else 0


if __name__ == "__main__":
    sys.exit(main())
