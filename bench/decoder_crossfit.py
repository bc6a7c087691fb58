"""The decoder's constants chosen without the speaker they are tested on, beside the constants that ship.

    python bench/decoder_crossfit.py MANIFEST=NET MANIFEST=NET ... [--trials 24]

Each manifest is one speaker with a net that never heard it. For each, constants are drawn at random about the shipped
ones; those that do best on the OTHER speakers (most closures at no more than 4 % false frames and 0.6 false events a
second, pooled) are scored on it. Figures are of the articulation.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.audio.read import read_audio
from engine.measure.lipsync import Reference, Track, closed_of_channel, read_manifest
from engine.measure.lipsync_score import Tally, _count_closures, scored_grid, sum_of
from engine.speech import decode, events, prosody
from engine.speech.encode import Heard, load_encoder

# Constants of events.py, and of its rule for closures, with the values that trials draw from.
MODULE = {
    "ANCHOR": (0.2, 0.33, 0.45),
    "ONSET": (0.04, 0.07, 0.15, 0.3),
    "GAP_AHEAD_S": (0.0, 0.04, 0.08),
    "DOUBT": ((0.1, 0.9), (0.3, 0.97), (0.5, 0.99)),
    "BITE_GAIN": (1.0, 2.0, 3.0),
    "CALIBRATE_S": (1.5, 3.0, 10.0),
}
RULE = {
    "per_second": (1.2, 1.3, 1.4, 1.45, 1.5, 1.6), "early": (0.01, 0.02, 0.03), "trust": (0.4, 0.5, 0.65),
    "ramp": (0.02, 0.025, 0.03, 0.04), "shortest": (0.025, 0.03, 0.035), "longest": (0.04, 0.045, 0.05),
}  # fmt: skip
MOST_FALSE, MOST_EVENTS = 0.04, 0.6
Constants = dict[str, object]


def shipped() -> Constants:
    return {n: getattr(events, n) for n in MODULE} | {n: getattr(events.CLOSURE, n) for n in RULE}


def put(constants: Constants) -> None:
    for name in MODULE:
        setattr(events, name, constants[name])
    events.CLOSURE = dataclasses.replace(events.CLOSURE, **{n: constants[n] for n in RULE})


def closures_of(clips: list[tuple[Reference, Heard, np.ndarray]]) -> Tally:
    tallies = []
    for reference, heard, energy in clips:
        voice = decode.believed(heard.events["voice"] * np.repeat(energy > decode.QUIET, 2), heard.phones)
        shut, _ = decode.contacts(heard, voice, decode.open_gate(voice))
        times = np.arange(len(energy)) / 50.0
        closed = events.curve(shut, times, events.CLOSURE.ramp)
        tally = Tally()
        grid, speech = scored_grid(reference)
        tally.speech_s = float(speech.sum()) / 200
        _count_closures(tally, reference, Track(times, closed, closed_of_channel(closed)), grid, speech)
        tallies.append(tally)
    return sum_of(tallies)


def words(t: Tally) -> str:
    frames, rate = t.false / max(t.free, 1), t.false_events / max(t.speech_s, 1e-9)
    return f"{t.hits / max(t.events, 1):.3f} at {frames:.4f} false frames, {rate:.2f} /s ({t.events} events)"


def merit(t: Tally) -> float:
    """Share found, less three times what goes over the limits."""
    frames, rate = t.false / max(t.free, 1), t.false_events / max(t.speech_s, 1e-9)
    return t.hits / max(t.events, 1) - 3 * max(0.0, frames / MOST_FALSE - 1) - 3 * max(0.0, rate / MOST_EVENTS - 1)


def main() -> None:
    import torch

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speakers", nargs="+", metavar="MANIFEST=NET")
    parser.add_argument("--trials", type=int, default=24)
    options = parser.parse_args()
    clips: dict[str, list[tuple[Reference, Heard, np.ndarray]]] = {}
    for pair in options.speakers:
        manifest, _, net = pair.partition("=")
        encoder = load_encoder(net or "default")
        for reference in read_manifest(manifest):
            heard = encoder(read_audio(reference.file))
            clips.setdefault(reference.speaker, []).append((reference, heard, prosody.energy(heard.mel)))
    # The same woman under two manifests is one speaker.
    if "english_woman" in clips and "asterisk-en-f" in clips:
        clips["english_woman"] += clips.pop("asterisk-en-f")
    rng = np.random.default_rng(0)
    base = shipped()
    trials = [base]
    for _ in range(options.trials):
        drawn = dict(base)
        for name in rng.choice([*MODULE, *RULE], 3, replace=False):
            values = (MODULE | RULE)[str(name)]
            drawn[str(name)] = values[int(rng.integers(len(values)))]
        trials.append(drawn)
    found: list[dict[str, Tally]] = []
    for constants in trials:
        put(constants)
        found.append({speaker: closures_of(own) for speaker, own in clips.items()})
    for speaker in clips:
        rest = [sum_of([t for s, t in row.items() if s != speaker]) for row in found]
        best = int(np.argmax([merit(t) for t in rest]))
        changed = {k: v for k, v in trials[best].items() if v != base[k]}
        print(
            f"{speaker}: shipped constants {words(found[0][speaker])}; chosen without it {words(found[best][speaker])}"
        )
        print(f"    {changed or 'the shipped ones'}")
    print(f"together, shipped constants: {words(sum_of(list(found[0].values())))}")


if __name__ == "__main__":
    main()
