"""Performances in VOCASET's layout with FaceFormer's file names, for code that reads that set.

    OUT/vertices_npy/NAME.npy   [t, v * 3] float32 metres at 30 frames a second
    OUT/wav/NAME.wav            16 kHz mono
    OUT/templates.pkl           {subject: [v, 3]}: a pickle, because that code expects one (this project reads no pickle
                                but through a restricted unpickler)
    OUT/splits.json             {"train": [...], "val": [...], "test": [...]}

The topology is the default head's, not FLAME's.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.anatomy import Head
from engine.core.clock import FrameClock
from engine.core.errors import BadInput
from engine.core.files import replacing, write_json
from engine.core.progress import SILENT, Reporter
from engine.head.evaluate import vertices
from engine.studio.performances import act, people, script

FPS = 30
LIMIT_MINUTES = 20.0
_VAL = {"train": "train", "valid": "val", "test": "test"}


def name_of(who: people.Person, sentence: int) -> str:
    """FaceFormer's form of a file name: subject_sentenceNN."""
    return f"FaceTalk_Soliloquy_{who.name}_TA_sentence{sentence:02d}"


def export(out: Path, minutes: float, head: Head, report: Reporter = SILENT) -> dict[str, Any]:
    """Write about `minutes` (at most 20) over all splits; {"minutes", "clips", "subjects"}."""
    if not 0 < minutes <= LIMIT_MINUTES:
        raise BadInput(f"{minutes:g} minutes: this layout holds whole meshes, so at most {LIMIT_MINUTES:g}")
    for folder in ("vertices_npy", "wav"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    splits: dict[str, list[str]] = {name: [] for name in _VAL.values()}
    templates: dict[str, np.ndarray] = {}
    seconds, sentence = 0.0, 0
    while seconds < 60 * minutes:
        sentence += 1
        for split in people.SPLITS:
            for number in range(4 if split == "train" else 1):
                if seconds >= 60 * minutes:
                    break
                report.step("vocaset", int(seconds), int(60 * minutes))
                who = people.person(split, number)
                seconds += _write_clip(out, name_of(who, sentence), script.write(who, 500 + sentence), head)
                splits[_VAL[split]].append(name_of(who, sentence))
                templates[f"FaceTalk_Soliloquy_{who.name}_TA"] = head.template
    with replacing(out / "templates.pkl") as part, open(part, "wb") as file:
        pickle.dump(templates, file)
    write_json(out / "splits.json", splits)
    clips = sum(map(len, splits.values()))
    return {"minutes": round(seconds / 60, 2), "clips": clips, "subjects": len(templates)}


def _write_clip(out: Path, name: str, written: script.Script, head: Head) -> float:
    import soundfile

    made = act.perform(written, head)
    times = FrameClock.of(FPS, 1).times(int(made.duration * FPS))
    whole_arkit, whole_extra, _ = act.whole(made)
    at = np.clip(times * act.RATE_HZ, 0, len(made.arkit) - 1)
    left = np.floor(at).astype(int)
    share = (at - left)[:, None].astype(np.float32)
    right = np.minimum(left + 1, len(made.arkit) - 1)
    arkit, extra = (w[left] * (1 - share) + w[right] * share for w in (whole_arkit, whole_extra))
    mesh = vertices(head, arkit, extra)
    with replacing(out / "vertices_npy" / f"{name}.npy") as part, open(part, "wb") as file:
        np.save(file, mesh.reshape(len(mesh), -1))
    with replacing(out / "wav" / f"{name}.wav") as part:
        soundfile.write(part, made.audio, 16000, format="WAV", subtype="PCM_16")
    return made.duration
