"""The real engine process (protocol, loop, session) with a synthetic head and a performance of plain sines.

Run as `python tests/fakes/stage_engine.py` from the project root. It answers `head`, `speak` and `text2au` in the
forms of docs/design.md within milliseconds, so that the Blender tests do not depend on the assets of the real jobs.
`speak` takes "slow" and "fails" as names of motion systems.
"""

import json
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "blender")]

import synthetic_head  # noqa: E402

from engine.core.clock import FrameClock  # noqa: E402
from engine.core.errors import BadInput  # noqa: E402
from engine.core.names import ARKIT, EXTRA  # noqa: E402
from engine.serve import jobs, loop  # noqa: E402

SECONDS = 2.0


def head(request, reporter):
    info, arrays = synthetic_head.answer(ARKIT, EXTRA)
    return {**info, "arrays": arrays}


def performance(clock, seed=0):
    """weights [t, 59] in [0, 1], pose [t, 15], translation [t, 3] of a take of SECONDS."""
    times = clock.times(clock.count(SECONDS))[:, None]
    phase = np.random.default_rng(seed).uniform(0, 6, len(ARKIT) + len(EXTRA))
    weights = (0.5 + 0.5 * np.sin(5 * times + phase)).astype(np.float32)
    pose = (0.2 * np.sin(3 * times + phase[:15])).astype(np.float32)
    return weights, pose, (0.01 * np.sin(2 * times + phase[:3])).astype(np.float32)


def cue_arrays(request):
    """The request's cues again, or a made word."""
    rows = [["_", 0.0, 0.3], ["m", 0.3, 0.4], ["ɑ", 0.4, 0.7], ["p", 0.7, 0.8], ["u", 0.8, 1.2], ["_", 1.2, SECONDS]]
    if request.get("cues"):
        table = json.loads(Path(request["cues"]).read_text(encoding="utf-8"))["cues"]
        rows = [[c["phone"], c["start"], c["end"]] for c in table]
    names = "\n".join(row[0] for row in rows).encode()
    return {
        "cue_seconds": np.array([row[1:] for row in rows], np.float64),
        "cue_phones": np.frombuffer(names, np.uint8).copy(),
    }


def speak(request, reporter):
    if request["motion"] == "fails":
        raise BadInput("the voice holds no sound; record it again")
    clock = FrameClock(Fraction(request["fps"]), request["first_frame"])
    steps = 200 if request["motion"] == "slow" else 3
    for i in range(steps):
        reporter.step("motion", i, steps)
        time.sleep(0.02)
    if not Path(request["audio"]).is_file():
        raise BadInput(f"{request['audio']} is not there")
    controls = request.get("controls") or json.loads(Path(request["controls_path"]).read_text(encoding="utf-8"))
    weights, pose, translation = performance(clock, request["seed"])
    reporter.warn("made for tests")
    Path(request["take"]).write_text(json.dumps(controls))
    Path(f"{request['take']}.request.json").write_text(json.dumps(request))
    return {
        "take": request["take"],
        "frames": len(weights),
        "fps": [clock.fps.numerator, clock.fps.denominator],
        "first_frame": clock.first,
        "duration": SECONDS,
        "shape_names": [*ARKIT, *EXTRA],
        "warnings": ["made for tests"],
        "arrays": {
            "weights": weights, "pose": pose, "translation": translation,
            "au": np.zeros((len(weights), 18, 2), np.float32), **cue_arrays(request),
        },
    }  # fmt: skip


def text2au(request, reporter):
    known = {"smile": {"AU12_L": 0.8, "AU12_R": 0.8}, "raise the brows": {"AU01_L": 0.6, "AU01_R": 0.6}}
    return {
        "results": [
            {"text": t, "aus": [], "probabilities": {}, "recognised": t in known, "activation": known.get(t, {})}
            for t in request["texts"]
        ]
    }


def transfer(request, reporter):
    """Shape k lifts the target by (k + 1) mm; the picks must lie on its vertices 0 to 5."""
    rows = [line.split()[1:] for line in Path(request["target"]).read_text().splitlines() if line.startswith("v ")]
    target = np.array(rows, np.float64)
    for place, vertex in zip(request["points"].values(), target, strict=False):
        if np.abs(np.array(place) - vertex).max() > 1e-6:
            raise BadInput(f"the point {place} is not on the mesh")
    shapes = np.zeros((len(ARKIT), len(target), 3), np.float32)
    shapes[:, :, 1] = 0.001 * np.arange(1, len(ARKIT) + 1)[:, None]
    return {"shape_names": list(ARKIT), "error_mm": {"mean": 0.0, "max": 0.0}, "arrays": {"shapes": shapes}}


if __name__ == "__main__":
    jobs.JOBS.update(head=head, speak=speak, text2au=text2au, transfer=transfer)
    loop.serve()
