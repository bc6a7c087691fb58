"""Trains `emovoca`, EmoVOCA's whole chain, in stages that are kept and so resumed.

    soliloquy train emovoca OUT.safetensors --work FOLDER [--option steps=N] [--option set=v1|v2|ours]

FOLDER: the two unpaired sets (unpaired_store.py), then DE-SD (desd.pt), then the synthesised set (mixed_*.npz), then
E-FaceFormer (generator.pt). A stage whose file is there and finished is not run again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadInput
from engine.core.files import read_json, write_json
from engine.core.progress import SILENT, Reporter
from engine.motion.emovoca import NAME, EmoVOCA
from engine.motion.nets import file
from engine.studio.performances import unpaired_store
from engine.studio.performances.people import PEOPLE
from engine.train import emovoca_desd, emovoca_mix, emovoca_set
from engine.train.curves import draw_log
from engine.train.emovoca_generators import CONFIG, PASSES, fit_faceformer
from engine.train.emovoca_mix import OURS, V1, V2, Mixer, Scales
from engine.train.emovoca_set import Mixed, Pool
from engine.train.motion_loop import Plan
from engine.train.motion_recipe import ablated, count_of, finish

LABELS = {"v1": V1, "v2": V2, "ours": OURS}
TIMES = {"train": 1, "valid": 1, "test": 2}  # how often each talking clip is mixed
DESD_STEPS, STEPS = 2400, 4500
PAIRS = 300  # of frames that calibration looks at
ABLATIONS: dict[str, dict[str, Any]] = {"own frames": {"passes": 0}}  # teacher forcing alone


def recipe(
    out: Path, work: Path, *, seed: int = 0, report: Reporter = SILENT, steps: str = str(STEPS),
    desd_steps: str = str(DESD_STEPS), talks: str = "12", set: str = "ours", ablate: str = "",
) -> dict[str, Any]:  # fmt: skip
    """`train emovoca OUT --work FOLDER`: every stage that is missing, then the checkpoint, its log and its curves.

    set: which labels are mixed in (EmoVOCA's v1, its v2, or all 13 of ours); talks: talking clips of each person.
    """
    from engine.head.library import load_head

    if set not in LABELS:
        raise BadInput(f"there is no set '{set}'; there are: {', '.join(LABELS)}")
    changed = ablated({"passes": PASSES}, ABLATIONS, ablate)
    head, basis = load_head(), file.shared_basis()
    sets(work, head, count_of(talks, "talks"), report)
    if not all(_path(work, set, split).is_file() for split in ("train", "valid")):
        mixer = joined(work, head, count_of(desd_steps, "desd_steps"), seed, report)
        for split in ("train", "valid"):
            mixtures(work, split, mixer, set, seed, count_of(talks, "talks"), report)
    (known, about), (held, _) = (emovoca_set.read(_path(work, set, split)) for split in ("train", "valid"))
    pools = Pool(known, basis.coefficients), Pool(held, basis.coefficients)
    count = count_of(steps)
    plan = Plan(count, 1.5e-3, seed, max(10, count // 40), work / f"generator_{set}{ablate and '_' + ablate}.pt")
    net, log = fit_faceformer(pools[0], pools[1], head, basis, plan, CONFIG, changed["passes"], report)
    facts = {name: about[name] for name in ("labels", "mu_talk", "mu_feel")}
    return finish(
        out, net, CONFIG, basis, log, system=NAME, supports=EmoVOCA.supports, native_fps=EmoVOCA.native_fps,
        head=head, curves=("loss", "held_lips_mm"), ablate=ablate, facts=facts,
    )  # fmt: skip


def sets(work: Path, head: Head, talks: int, report: Reporter = SILENT) -> None:
    """The two unpaired sets of every split."""
    for split in ("train", "valid", "test"):
        few = min(talks, unpaired_store.TALKS[split]) if split != "train" else talks
        unpaired_store.make(work, split, head, few, report)


def joined(
    work: Path, head: Head, steps: int = DESD_STEPS, seed: int = 0, report: Reporter = SILENT
) -> Mixer:  # fmt: skip
    """The trained and calibrated DE-SD as a mixer; its loss curve goes beside its state."""
    data = emovoca_desd.frames(work, "train")
    plan = Plan(steps, 2e-3, seed, max(10, steps // 24), work / "desd.pt")
    net, surface, log = emovoca_desd.fit(head, data, plan, report=report)
    if len(log) > 1:
        draw_log(work / "desd.png", log, ("loss",), "DE-SD on the two unpaired sets")
    mixer, known = Mixer(net, surface), work / "scales.json"
    if not known.is_file():
        rng = np.random.default_rng(seed)
        picked = (data.talk[rng.integers(len(data.talk), size=PAIRS)], _apexes(work, rng))
        found = emovoca_mix.calibrate(mixer, *picked, *emovoca_mix.lips_and_upper(head, surface.vertices))
        write_json(known, {"mu_talk": found.talk, "mu_feel": found.feel})
    said = read_json(known)
    mixer.scales = Scales(said["mu_talk"], said["mu_feel"])
    return mixer


def _apexes(work: Path, rng: np.random.Generator) -> np.ndarray:
    """PAIRS frames of full expressions at their apex. [PAIRS, 59]."""
    rows = [c.weights[c.level >= emovoca_mix.APEX] for c in unpaired_store.feels(work, "train") if c.intensity == 1.0]
    faces = np.concatenate(rows)
    return faces[rng.integers(len(faces), size=PAIRS)]


def _path(work: Path, which: str, split: str) -> Path:
    return work / f"mixed_{which}_{split}.npz"


def mixtures(
    work: Path, split: str, mixer: Mixer, which: str, seed: int = 0, talks: int = 12, report: Reporter = SILENT
) -> list[Mixed]:  # fmt: skip
    """The synthesised set of a split, made if it is not there."""
    path = _path(work, which, split)
    if not path.is_file():
        said, felt = unpaired_store.talks(work, split)[: talks * PEOPLE[split]], unpaired_store.feels(work, split)
        clips = emovoca_mix.synthesise(mixer, said, felt, LABELS[which], TIMES[split], seed, report=report)
        about = {"labels": list(LABELS[which]), "mu_talk": mixer.scales.talk, "mu_feel": mixer.scales.feel}
        emovoca_set.write(path, clips, about)
    return emovoca_set.read(path)[0]
