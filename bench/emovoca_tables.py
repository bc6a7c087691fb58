"""EmoVOCA's tables 1, 2 and 3a on our data, and mixes against faces that were never apart (docs/emovoca.md).

    python bench/emovoca_tables.py WORK [--steps 800] [--generator-steps 700] [--tables 1 2 twins 3]

WORK is the folder of `soliloquy train emovoca OUT --work WORK`, run before. Networks are trained as needed and kept in
WORK/tables, so that the same line again resumes; about a quarter of an hour of one core.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.core.anatomy import Head
from engine.head.library import load_head
from engine.measure.legibility import load_reader
from engine.motion.nets import file
from engine.studio.performances import unpaired_store
from engine.train import emovoca_desd, emovoca_generators, emovoca_mix, emovoca_recipe, emovoca_set, emovoca_table
from engine.train.emovoca_mix import V1, V2, Mixer, Scales
from engine.train.emovoca_set import Mixed, Pool
from engine.train.motion_loop import Plan

VARIANTS: dict[str, dict[str, Any]] = {
    "concat": {}, "single": {"single": True}, "plain L2": {"weighted": False},
    "zero": {"join": "zero"}, "sum": {"join": "sum"}, "mult": {"join": "mult"},
}  # fmt: skip
PAIRS = 150  # of frames that calibration looks at
TALKS = 192  # talking clips of table 3
TIMES = {"v1": 1, "v2": 2}  # the paper's v2 is about twice as large


def show(table: str, row: str, figures: Any) -> None:
    """One row of a table."""
    print(json.dumps({"table": table, "row": row, "figures": figures}), flush=True)


def variant(name: str, work: Path, head: Head, steps: int) -> Mixer:
    """A DE-SD of that kind, trained if it is not there."""
    plan = Plan(steps, 2e-3, every=max(10, steps // 10), keep=work / "tables" / f"desd_{name.replace(' ', '_')}.pt")
    net, surface, _ = emovoca_desd.fit(head, emovoca_desd.frames(work, "train"), plan, **VARIANTS[name])
    return Mixer(net, surface)


def table_1(work: Path, head: Head, steps: int) -> None:
    """Reconstruction: double or single encoder, weighted or plain loss."""
    test = emovoca_desd.frames(work, "test")
    for name in ("concat", "single", "plain L2"):
        mixer = variant(name, work, head, steps)
        show("1", name, emovoca_desd.max_vertex_error(mixer.net, mixer.surface, test))


def calibrated(mixer: Mixer, work: Path, head: Head) -> Mixer:
    """The mixer with the mu that suit it."""
    rng, said = np.random.default_rng(0), emovoca_desd.frames(work, "valid").talk
    felt = np.concatenate([c.weights[c.level >= emovoca_mix.APEX] for c in unpaired_store.feels(work, "valid")])
    picked = (pool[rng.integers(len(pool), size=PAIRS)] for pool in (said, felt))
    mixer.scales = emovoca_mix.calibrate(mixer, *picked, *emovoca_mix.lips_and_upper(head, mixer.surface.vertices))
    return mixer


def table_2(work: Path, head: Head, steps: int) -> None:
    """Ways to join, each with its own mu."""
    chosen, reader = emovoca_table.pairs(work), load_reader()
    show("2", "silent expressions", emovoca_table.silent_legible(chosen, reader, head))
    show("2", "displacements added", emovoca_table.legible(emovoca_table.plain_sum, chosen, reader, head))
    for name in ("concat", "sum", "zero", "mult"):
        mixer = calibrated(variant(name, work, head, steps), work, head)
        show("2", name, emovoca_table.join_row(mixer, chosen, reader, head))
        if name == "concat":
            mixer.net.join = "reverse"
            show("2", "reversed", emovoca_table.join_row(mixer, chosen, reader, head))
    mixer = emovoca_recipe.joined(work, head)
    show("2", "as trained for the set", emovoca_table.join_row(mixer, chosen, reader, head))
    mixer.scales = Scales()
    show("2", "the same at mu = 1", emovoca_table.join_row(mixer, chosen, reader, head))


def twins(work: Path, head: Head) -> None:
    """Mixes against the face that spoke under the feeling."""
    mixer = emovoca_recipe.joined(work, head)
    mixes: dict[str, emovoca_table.Mix] = {
        "talk alone": lambda talk, feel, level: talk, "DE-SD": mixer.mix,
        "DE-SD at mu = 1": Mixer(mixer.net, mixer.surface).mix, "displacements added": emovoca_table.plain_sum,
    }  # fmt: skip
    for name, row in emovoca_table.against_truth(mixes, work, head).items():
        show("twins", name, row)


def held_mixtures(name: str, split: str, labels: tuple[str, ...], talks: int, work: Path, head: Head) -> list[Mixed]:
    """Clips of one label and one level each, as in the paper."""
    path = work / "tables" / f"{name}_{split}.npz"
    if not path.is_file():
        said, felt = unpaired_store.talks(work, split)[:talks], unpaired_store.feels(work, split)
        times = TIMES[name] if split == "train" else 1
        mixer = emovoca_recipe.joined(work, head)
        emovoca_set.write(path, emovoca_mix.synthesise(mixer, said, felt, labels, times, 3, {"held": 1.0}), {})
    return emovoca_set.read(path)[0]


def table_3(work: Path, head: Head, steps: int) -> None:
    """E-FaceFormer and E-S2L+S2D, trained on v1 and on v2, on v1's labels by held-out people."""
    test = held_mixtures("v1", "test", V1, 12, work, head)
    for name, labels in (("v1", V1), ("v2", V2)):
        clips = held_mixtures(name, "train", labels, TALKS, work, head)
        generators(name, clips, test, work, head, steps)


def generators(name: str, clips: list[Mixed], test: list[Mixed], work: Path, head: Head, steps: int) -> None:
    """Both generators trained on `clips`, their rows on `test`."""
    basis = file.shared_basis()
    wholes, number = Pool(test, basis.coefficients), {id(clip): i for i, clip in enumerate(test)}

    def plan(what: str, rate: float) -> Plan:
        return Plan(steps, rate, every=max(10, steps // 7), keep=work / "tables" / f"{what}_{name}.pt")

    pool = Pool(clips, basis.coefficients)
    net, _ = emovoca_generators.fit_faceformer(pool, wholes, head, basis, plan("ff", 1.5e-3))
    s2d, surface, _ = emovoca_generators.fit_s2d(clips, head, plan("s2d", 2e-3))
    s2l, _ = emovoca_generators.fit_s2l(clips, head, plan("s2l", 2e-3))
    two = emovoca_generators.TwoSteps(s2l, s2d, surface)

    def one(clip: Mixed) -> np.ndarray:
        return emovoca_generators.run_free(net, wholes.whole(number[id(clip)]), basis)

    def other(clip: Mixed) -> np.ndarray:
        return _with_tongue(two(wholes.whole(number[id(clip)])), clip, two)

    @torch.inference_mode()
    def landmarks(clip: Mixed) -> np.ndarray:
        marks = torch.from_numpy(clip.weights.astype(np.float32) @ emovoca_generators.mark_rows(head))
        return _with_tongue(surface.weights(s2d(marks)), clip, two)

    show("3a", f"S2D on true landmarks, {name}", emovoca_table.generator_row(landmarks, test[:5], head))
    show("3a", f"E-FaceFormer, {name}", emovoca_table.generator_row(one, test, head))
    show("3a", f"E-S2L+S2D, {name}", emovoca_table.generator_row(other, test, head))


def _with_tongue(weights: np.ndarray, clip: Mixed, two: emovoca_generators.TwoSteps) -> np.ndarray:
    """No landmark shows the tongue: it is left out of the comparison."""
    out, unseen = weights.copy(), ~two.surface.seen
    out[:, unseen] = clip.weights[:, unseen]
    return out


def main() -> None:
    """The command at the module's head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--generator-steps", type=int, default=700)
    parser.add_argument("--tables", nargs="+", default=["1", "2", "twins", "3"], choices=["1", "2", "twins", "3"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    head = load_head()
    (args.work / "tables").mkdir(exist_ok=True)
    jobs: dict[str, Callable[[], None]] = {
        "1": lambda: table_1(args.work, head, args.steps), "2": lambda: table_2(args.work, head, args.steps),
        "twins": lambda: twins(args.work, head), "3": lambda: table_3(args.work, head, args.generator_steps),
    }  # fmt: skip
    for name in args.tables:
        jobs[name]()


if __name__ == "__main__":
    main()
