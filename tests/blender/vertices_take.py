"""Run with the engine's Python: two takes whose truth is vertices, and those vertices. FOLDER gets

offsets.npz + offsets.npy: a take with offsets of posed vertices, as a motion system of authority "vertices" makes it;
fitted.npz + fitted.npy: a mesh sequence, and `head fit --residual` of it.
"""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.core.take import FlameTrack, Take
from engine.core.takefile import write_take
from engine.head.evaluate import vertices
from engine.head.fit import fit_sequence, take_of
from engine.head.library import load_head
from engine.head.replay import take_vertices
from engine.head.residual import residual_shapes

FRAMES = 20
FOLDER = Path(sys.argv[1])
HEAD = load_head("default")
RNG = np.random.default_rng(0)


def bumps(frames):
    """[t, v, 3] metres: three local bumps of up to 2 mm that come and go; no shape of the head makes them."""
    skin = HEAD.template[HEAD.parts["skin"]]
    centres = skin[RNG.integers(0, len(skin), 3)]
    near = np.exp(-((HEAD.template[None] - centres[:, None]) ** 2).sum(2) / (2 * 0.01**2))
    shapes = near[:, :, None] * RNG.normal(0, 0.001, (3, 1, 3))
    wave = np.sin(np.arange(frames)[:, None] * [0.4, 0.9, 1.7])
    return np.tensordot(wave, shapes, 1).astype(np.float32)


def made():
    """(arkit [t, 52], extra [t, 7], pose [t, 15], translation [t, 3])."""
    arkit = (RNG.random((FRAMES, 52)) ** 3).astype(np.float32)
    extra = (RNG.random((FRAMES, 7)) ** 3).astype(np.float32)
    pose = np.zeros((FRAMES, 15), np.float32)
    pose[:, 3:6] = RNG.normal(0, 0.1, (FRAMES, 3))
    return arkit, extra, pose, RNG.normal(0, 0.01, (FRAMES, 3)).astype(np.float32)


def main():
    arkit, extra, pose, shift = made()
    t = FRAMES
    flame = FlameTrack(
        HEAD.flame_version, np.zeros(0, np.float32), np.zeros((t, len(HEAD.expression_names)), np.float32), pose,
        shift, np.zeros((t, 2), np.float32),
    )  # fmt: skip
    take = Take(
        Fraction(25), 1, np.zeros((t, 18, 2), np.float32), arkit, extra, flame, authority="vertices", offsets=bumps(t),
        meta={"head": HEAD.name, "topology_sha256": HEAD.topology_sha256},
    )  # fmt: skip
    write_take(FOLDER / "offsets.npz", take)
    np.save(FOLDER / "offsets.npy", take_vertices(take, HEAD, np.arange(t)))
    verts = vertices(HEAD, arkit, extra, pose, shift) + bumps(t)
    fit = fit_sequence(HEAD, verts)
    fitted = take_of(HEAD, fit, Fraction(25), 1, "scan.npy", residual_shapes(HEAD, verts, fit))
    write_take(FOLDER / "fitted.npz", fitted)
    np.save(FOLDER / "fitted.npy", verts)


main()
