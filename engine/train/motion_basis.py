"""Fits the one basis that every motion network ends in.

soliloquy train motion_basis OUT.safetensors --work SET
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.core.names import ARKIT, EXTRA
from engine.core.progress import SILENT, Reporter
from engine.motion.nets import basis as bases
from engine.motion.nets import file
from engine.studio.performances import store
from engine.studio.performances.people import SPLITS


def recipe(out: Path, work: Path, *, seed: int = 0, report: Reporter = SILENT) -> dict[str, Any]:
    """`train motion_basis`: fit to the training faces; {"components", "faces", "still", "error_mm" per split}.

    Nothing is drawn, so the seed changes nothing. still: channels that no training face moves.
    """
    from engine.head.library import load_head

    head, faces = load_head(), {}
    for i, split in enumerate(SPLITS):
        report.step("faces", i, len(SPLITS))
        clips = store.read_split(work, split)
        faces[split] = np.concatenate([np.concatenate([c.rows["arkit"], c.rows["extra"]], 1) for c in clips])
    basis = bases.fit(head, faces["train"])
    error = {split: round(bases.left_out_mm(head, basis, rows), 4) for split, rows in faces.items()}
    still = [name for name, spread in zip((*ARKIT, *EXTRA), np.ptp(faces["train"], axis=0), strict=True) if not spread]
    about = {
        "components": basis.size, "faces": len(faces["train"]), "error_mm": error, "still": still,
        "topology_sha256": head.topology_sha256,
    }  # fmt: skip
    file.write_basis(out, basis, about)
    return about
