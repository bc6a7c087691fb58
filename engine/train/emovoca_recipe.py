"""Trains `emovoca`, EmoVOCA's whole chain, in stages that are kept and so resumed.

    soliloquy train emovoca OUT.safetensors --work FOLDER [--option steps=N] [--option set=v1|v2|ours]

FOLDER: the two unpaired sets (unpaired_store.py), then DE-SD (desd.pt), then the synthesised set (mixed_*.npz), then
E-FaceFormer (generator_*.pt while it trains). A stage whose file is there is not run again; a file that was made with
other options is refused with what differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.errors import BadFile, BadInput
from engine.core.files import read_json, sha256_of_arrays, write_json
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
    count, clips, early = count_of(steps), count_of(talks, "talks"), count_of(desd_steps, "desd_steps")
    sets(work, head, clips, report)
    if all(_path(work, set, split).is_file() for split in ("train", "valid")):
        for split in ("train", "valid"):
            _alike(_path(work, set, split), _made_with(seed, clips, early))
    else:
        mixer = joined(work, head, early, seed, report)
        for split in ("train", "valid"):
            mixtures(work, split, mixer, set, seed, clips, report, early)
    (known, about), (held, _) = (emovoca_set.read(_path(work, set, split)) for split in ("train", "valid"))
    pools = Pool(known, basis.coefficients), Pool(held, basis.coefficients)
    plan = Plan(
        count, 1.5e-3, seed, max(10, count // 40), work / f"generator_{set}{ablate and '_' + ablate}.pt",
        about={"system": NAME, "config": CONFIG, **changed, "set": sha256_of_arrays(*pools[0].goal)[:16]},
    )  # fmt: skip
    net, log = fit_faceformer(pools[0], pools[1], head, basis, plan, CONFIG, changed["passes"], report)
    facts = {name: about[name] for name in ("labels", "mu_talk", "mu_feel")}
    return finish(
        out, net, CONFIG, basis, log, system=NAME, supports=EmoVOCA.supports, native_fps=EmoVOCA.native_fps,
        head=head, curves=("loss", "held_lips_mm"), ablate=ablate, facts=facts, plans=(plan,),
    )  # fmt: skip


def _made_with(seed: int, talks: int, desd_steps: int) -> dict[str, int]:
    """What a synthesised set depends on beside its name: kept in its facts."""
    return {"seed": seed, "talks": talks, "desd_steps": desd_steps}


def _alike(path: Path, asked: Mapping[str, int]) -> None:
    """Raises BadFile where the set that is there was made with other options."""
    made = emovoca_set.facts(path)
    if other := [
        f"{name}={made.get(name, 'unknown')}, not {value}" for name, value in asked.items() if made.get(name) != value
    ]:
        raise BadFile(path, f"was made with {'; '.join(other)}: give its options, another folder, or delete the file")


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
    held = sha256_of_arrays(data.talk[::7], data.feel[::7])[:16]
    plan = Plan(steps, 2e-3, seed, max(10, steps // 24), work / "desd.pt", about={"system": "DE-SD", "set": held})
    net, surface, log = emovoca_desd.fit(head, data, plan, report=report)
    if len(log) > 1:
        draw_log(work / "desd.png", log, ("loss",), "DE-SD on the two unpaired sets")
    mixer, known = Mixer(net, surface), work / "scales.json"
    made = {"seed": seed, "steps": steps, "set": held}
    if not known.is_file() or any(read_json(known).get(name) != value for name, value in made.items()):
        rng = np.random.default_rng(seed)
        picked = (data.talk[rng.integers(len(data.talk), size=PAIRS)], _apexes(work, rng))
        found = emovoca_mix.calibrate(mixer, *picked, *emovoca_mix.lips_and_upper(head, surface.vertices))
        write_json(known, {"mu_talk": found.talk, "mu_feel": found.feel, **made})
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
    work: Path, split: str, mixer: Mixer, which: str, seed: int = 0, talks: int = 12, report: Reporter = SILENT,
    desd_steps: int = DESD_STEPS,
) -> list[Mixed]:  # fmt: skip
    """The synthesised set of a split, made if it is not there. Raises BadFile where it was made with other options."""
    path, made = _path(work, which, split), _made_with(seed, talks, desd_steps)
    if path.is_file():
        _alike(path, made)
    else:
        said, felt = unpaired_store.talks(work, split)[: talks * PEOPLE[split]], unpaired_store.feels(work, split)
        clips = emovoca_mix.synthesise(mixer, said, felt, LABELS[which], TIMES[split], seed, report=report)
        about = {"labels": list(LABELS[which]), "mu_talk": mixer.scales.talk, "mu_feel": mixer.scales.feel}
        emovoca_set.write(path, clips, about | made)
    return emovoca_set.read(path)[0]
