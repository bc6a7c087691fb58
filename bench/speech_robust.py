"""Lip sync under disturbances, and the mouth at rest where nobody speaks; figures on the articulation.

    python bench/speech_robust.py MANIFEST [OTHER_LANGUAGE_MANIFEST] [--clips 30] [--speech NAME|FILE]

Prints a table in Markdown (docs/speech.md holds one).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.measure.lipsync import read_manifest
from engine.train import robust


def row(name: str, figures: dict) -> str:
    cells = ["-" if (v := figures[k]) is None else f"{v:.0f}" if k == "lag_ms" else f"{v:.2f}" for k in robust.KEYS]
    cells[1] = f"{figures['false_closure']:.3f}"
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    import torch

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--speech", default="default")
    options = parser.parse_args()
    references = [read_manifest(m)[: options.clips] for m in options.manifests]
    print("| recording | p b m | false frames | false /s | f v | rounding | correlation | lag ms |")
    print("|---|---|---|---|---|---|---|---|")
    for name, figures in robust.disturbed(references[0], options.speech).items():
        print(row(name, figures), flush=True)
    if len(references) > 1:
        for name, figures in robust.mixed_languages(*references[:2], options.speech).items():
            print(row(f"two languages, {name}", figures))
    print("\n| nobody speaks, 30 s | moving, share of time | largest channel | closures a minute |\n|---|---|---|---|")
    for name, f in robust.voiceless(encoder=options.speech).items():
        print(f"| {name} | {f['moving']:.3f} | {f['peak']:.2f} | {f['closures_per_minute']:.1f} |")


if __name__ == "__main__":
    main()
