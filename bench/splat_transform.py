"""Development check: our .ply and .spz read by an independent program, and its files read by us.

    npm install --prefix FOLDER @playcanvas/splat-transform       # once; needs Node 20
    python bench/splat_transform.py FOLDER

That program reads .spz through Niantic's own library and converts its axes (right, up, back) to those that most .ply
files have (right, down, front); what it writes is turned back here before the values are compared.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.avatar.attach import rotate
from engine.avatar.files import read_ply, write_ply
from engine.avatar.spz import read_spz, write_spz
from engine.core.splats import Gaussians
from engine.render.bench import head_scene

# SH terms that change sign when y and z do: odd in y plus odd in z.
_FLIP = np.array([1, -1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1], np.float32)


def turned(g: Gaussians) -> Gaussians:
    """Half a turn about x: right, up, back <-> right, down, front."""
    means, quats = np.array(g.means), np.array(g.quats)
    means[:, 1:] *= -1
    quats[:, 2:] *= -1
    return Gaussians(means, quats, g.scales, g.opacity, g.sh * _FLIP[: g.sh.shape[1], None])


def difference(a: Gaussians, b: Gaussians) -> dict[str, float]:
    """Largest difference of each entry; rotations as the movement of a unit vector."""
    points = np.random.default_rng(0).normal(size=(len(a), 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    turns = (rotate(q / np.linalg.norm(q, axis=1, keepdims=True), points) for q in (a.quats, b.quats))
    first, second = turns
    return {
        "means": float(np.abs(a.means - b.means).max()), "rotation": float(np.abs(first - second).max()),
        "log_scales": float(np.abs(np.log(a.scales) - np.log(b.scales)).max()),
        "opacity": float(np.abs(a.opacity - b.opacity).max()),
        "colour": float(np.abs(a.sh[:, 0] - b.sh[:, 0]).max()), "sh": float(np.abs(a.sh[:, 1:] - b.sh[:, 1:]).max()),
    }  # fmt: skip


def main() -> int:
    """Print the largest differences of four ways; 1 where one is beyond the formats' steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder in which npm installed the program")
    program = parser.parse_args().folder / "node_modules/@playcanvas/splat-transform/bin/cli.mjs"
    # Opacities and colours within the steps of 8 bits of .spz, whatever rounds first.
    exact = {"means": 1e-6, "rotation": 1e-5, "log_scales": 1e-5, "opacity": 1e-5, "colour": 1e-5, "sh": 1e-5}
    # Their library writes SH in 5 bits (degree 1) and 4 (above: half a step and a rounding to 8 bits are 17/256), and
    # positions in 12: ours are finer.
    steps = {
        "means": 1.3e-4, "rotation": 6e-3, "log_scales": 0.032, "opacity": 2.1e-3, "colour": 0.014, "sh": 0.067
    }  # fmt: skip
    g, failed = head_scene(2000), False

    def convert(source: Path, target: Path, *options: str) -> Path:
        subprocess.run(
            ["node", str(program), "-q", "-w", *options, str(source), str(target)], check=True, capture_output=True
        )
        return target

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_ply(folder / "ours.ply", g)
        for version in (2, 3):
            write_spz(folder / f"ours{version}.spz", g, version)
        ways = {
            "our .ply -> theirs": (read_ply(convert(folder / "ours.ply", folder / "a.ply")), g, exact),
            "our .spz 2 -> their .ply": (turned(read_ply(convert(folder / "ours2.spz", folder / "b.ply"))),
                                         read_spz(folder / "ours2.spz"), exact),
            "our .spz 3 -> their .ply": (turned(read_ply(convert(folder / "ours3.spz", folder / "c.ply"))),
                                         read_spz(folder / "ours3.spz"), exact),
            "our .ply -> their .spz 3": (turned(read_spz(
                convert(folder / "ours.ply", folder / "d.spz", "--spz-version", "3"))), g, steps),
        }  # fmt: skip
        for way, (found, wanted, bounds) in ways.items():
            values = difference(found, wanted)
            bad = [name for name, value in values.items() if not value <= bounds[name]]
            failed = failed or bool(bad)
            print(
                f"{way}: {', '.join(f'{k} {v:.2g}' for k, v in values.items())}{' BEYOND: ' if bad else ''}{bad or ''}"
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
