"""Run with the engine's Python: HEAD.npz OUT.npz COUNT -> seeded FLAME parameters and their vertices, engine axes."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.head.evaluate import flame_vertices
from engine.head.flame.play import joint_shifts
from engine.head.library import load_head

head, count = load_head(sys.argv[1]), int(sys.argv[3])
rng = np.random.default_rng(0)
expression = rng.normal(0, 1.0, (count, len(head.expression_names))).astype(np.float32)
pose = rng.normal(0, 0.25, (count, 15)).astype(np.float32)
move = rng.normal(0, 0.02, (count, 3)).astype(np.float32)
expression[0], pose[0], move[0] = 0, 0, 0
np.savez(
    sys.argv[2], expression=expression, pose=pose, translation=move, names=np.array(head.expression_names),
    shifts=joint_shifts(head, None, expression, pose).astype(np.float32),
    vertices=flame_vertices(head, None, expression, pose) + move[:, None],
)  # fmt: skip
