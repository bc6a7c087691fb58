"""The shipped speech net from nothing: synthesised speech first, then rounds with recorded voices.

    python -m engine.train.speech_rounds OUT.safetensors --folder WORK [--prompts /usr/share/asterisk/sounds]

Round 0 learns from synthesised speech alone. Each later round adds the labelled Russian recordings and the French,
Italian and Russian prompts (studio/speech_corpus/recorded.py; apt-get install festvox-ru
asterisk-core-sounds-{fr,it,ru}-g722), the prompts labelled by the round before where it is sure. Recordings that are
not installed are left out with a warning. Every stage is kept in WORK; the same line run again goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.errors import Missing
from engine.core.progress import SILENT, Reporter
from engine.speech.net import load_net
from engine.studio.speech_corpus.build import Clip, clips
from engine.studio.speech_corpus.recorded import ASTERISK, ASTERISK_FOLDERS, asterisk, festvox_ru
from engine.train.speech_data import build_store
from engine.train.speech_recipe import Plan, train_speech
from engine.train.speech_selftrain import labelled


@dataclass(frozen=True)
class Round:
    """minutes of training at peak learning rate `rate`; recorded: with the recorded voices."""

    minutes: float
    rate: float
    recorded: bool


ROUNDS = (
    Round(7, 2.5e-3, False),
    Round(8, 1.5e-3, True),
    Round(9, 2e-3, True),
    Round(9, 1.8e-3, True),
    Round(21, 1.6e-3, True),
)
SHARES = {"espeak": 0.15, "flite": 0.17, "festival": 0.28, "festvox_ru": 0.17, "asterisk": 0.23}
RUSSIAN_VARIANTS, PROMPT_VARIANTS = 3, 2


def _prompts(checkpoint: Path, root: Path, report: Reporter) -> Iterator[tuple[Clip, np.ndarray]]:
    """Every installed prompt with the labels of `checkpoint`."""
    net, _ = load_net(checkpoint)
    for language in ASTERISK_FOLDERS:
        try:
            yield from labelled(net, "asterisk", asterisk(language, root))
        except Missing as error:
            report.warn(str(error))


def _recorded_stores(folder: Path, number: int, last: Path, prompts: Path, report: Reporter) -> list[Path]:
    """Stores of the recorded voices for round `number`, made if they are not there yet."""
    russian, own = folder / "russian", folder / f"prompts{number}"
    stores = []
    try:
        if not (russian / "index.json").exists():
            next(iter(festvox_ru()))  # raises Missing before an empty store is begun
            build_store(russian, ((clip, None) for clip in festvox_ru()), RUSSIAN_VARIANTS, 5, report)
        stores.append(russian)
    except Missing as error:
        report.warn(str(error))
    if not (own / "index.json").exists():
        build_store(own, _prompts(last, prompts, report), PROMPT_VARIANTS, 9 + number, report)
    if (own / "mel.f16").stat().st_size:
        stores.append(own)
    return stores


def train_rounds(
    out: Path,
    folder: Path,
    hours: float = 6.0,
    rounds: tuple[Round, ...] = ROUNDS,
    prompts: Path = ASTERISK,
    seed: int = 0,
    report: Reporter = SILENT,
) -> list[dict[str, Any]]:
    """Train all rounds and copy the last checkpoint to `out`. Returns each round's steps and seconds."""
    synthesised = folder / "synthesised"
    if not (synthesised / "index.json").exists():
        made = ((clip, None) for clip in clips(hours, seed, report))
        build_store(synthesised, made, 3, seed, report)
    results: list[dict[str, Any]] = []
    last: Path | None = None
    for number, r in enumerate(rounds):
        checkpoint = out if number == len(rounds) - 1 else folder / f"round{number}.safetensors"
        stores = [synthesised]
        if r.recorded and last is not None:
            stores += _recorded_stores(folder, number, last, prompts, report)
        plan = Plan(hours=hours, minutes=r.minutes, seed=seed, rate=r.rate, shares=tuple(SHARES.items()))
        results.append(train_speech(checkpoint, folder / f"round{number}", plan, stores, last, report))
        last = checkpoint
    return results


def main() -> None:
    """The command line of the rounds."""
    import argparse

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=6.0)
    parser.add_argument("--prompts", type=Path, default=ASTERISK)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    report = Reporter(warn=print)
    print(json.dumps(train_rounds(a.out, a.folder, a.hours, ROUNDS, a.prompts, a.seed, report)))


if __name__ == "__main__":
    main()
