"""The shipped speech nets from nothing, in stages that share one corpus and one work folder.

    soliloquy train speech OUT --work WORK           the net for takes
    soliloquy train speech_causal OUT --work WORK    the net for live use
    soliloquy train speech_loso OUT --work WORK      nets that never heard one of the labelled speakers

base: synthesised speech only. Then rounds with recorded voices: the prompts are labelled by the net of the stage before
where it is sure, English ones also by alignment where their file's name spells the words (pocketsphinx). A
leave-one-speaker-out net goes through rounds of its own without that speaker, so nothing of the voice reaches it by
way of another net's labels. The shipped net goes on from the one that never heard the English woman. Every stage is
kept in WORK; the same line run again goes on where it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.errors import Missing
from engine.core.files import read_json, write_json
from engine.core.progress import SILENT, Reporter
from engine.speech.frontend import MELS
from engine.speech.net import load_net
from engine.studio.speech_corpus import interference
from engine.studio.speech_corpus.build import Clip, clips
from engine.studio.speech_corpus.fetch import fetch, recordings
from engine.studio.speech_corpus.recorded import ALSA_VOICE, RUSSIAN, alsa, asterisk, festvox_ru, prompts
from engine.studio.speech_corpus.volunteers import fillets, stamps
from engine.train.speech_data import build_store, label_rows
from engine.train.speech_recipe import Plan, train_speech
from engine.train.speech_selftrain import relabel

HOURS, SHARDS, VARIANTS = 3.0, 2, 3  # of synthesised speech; each clip in three variants
RUSSIAN_VARIANTS, PROMPT_VARIANTS, BESIDE_MINUTES = 2, 1, 15.0
SYNTHESISED = {"espeak": 0.30, "flite": 0.30, "festival": 0.40}
SHARES = {
    "espeak": 0.09, "flite": 0.10, "festival": 0.19, "festvox_ru": 0.11, "prompts_en": 0.08, "prompts_es": 0.07,
    "prompts_fr": 0.07, "prompts_it": 0.07, "prompts_ru": 0.06, "volunteers": 0.15, "alsa": 0.01,
}  # fmt: skip
_TEXTS = Path(__file__).parent / "voices.json"


@dataclass(frozen=True)
class Stage:
    """One training run of the chain. name: of its folder and checkpoint in WORK. after: the stage that labels the
    prompts and whose weights it begins with ("" for the first). steps, rate: as `Plan`. without: voices it must not
    hear. labels: the stage whose labels it shares ("": its own). teacher: the stage whose net makes them ("": the one
    before)."""

    name: str
    after: str
    steps: int
    rate: float
    without: tuple[str, ...] = ()
    causal: bool = False
    labels: str = ""
    teacher: str = ""


ENGLISH = "allison"
_UNSEEN = {"en": (ENGLISH, ALSA_VOICE), "ru": (RUSSIAN, ALSA_VOICE)}
STAGES = (
    Stage("base", "", 3500, 2.2e-3),
    Stage("ru1", "base", 900, 1.6e-3, _UNSEEN["ru"]),
    Stage("ru2", "ru1", 1400, 1.4e-3, _UNSEEN["ru"]),
    Stage("ru3", "ru2", 1500, 1.3e-3, _UNSEEN["ru"], labels="ru2"),
    Stage("ru4", "ru3", 5000, 1.3e-3, _UNSEEN["ru"]),
    Stage("loso_ru", "ru4", 1500, 1.0e-3, _UNSEEN["ru"], labels="ru4"),
    Stage("en1", "base", 900, 1.6e-3, _UNSEEN["en"]),
    Stage("en2", "en1", 1700, 1.5e-3, _UNSEEN["en"]),
    Stage("en3", "en2", 1000, 1.2e-3, _UNSEEN["en"]),
    Stage("en4", "en3", 4000, 1.3e-3, _UNSEEN["en"]),
    Stage("loso_en", "en3", 1500, 1.0e-3, _UNSEEN["en"], labels="en4"),
    Stage("shipped", "loso_en", 3500, 1.2e-3, teacher="en4"),
    Stage("causal", "shipped", 2000, 2.0e-3, (), True, "shipped"),
)
_BY_NAME = {stage.name: stage for stage in STAGES}


@dataclass(frozen=True)
class Corpus:
    """Folders of the stores, and the label rows of prompts that were aligned (name -> [t, 15])."""

    synthesised: tuple[Path, ...]
    russian: Path | None
    unlabelled: tuple[Path, ...]
    beside: Path
    known: dict[str, np.ndarray]


def corpus(work: Path, hours: float = HOURS, seed: int = 0, report: Reporter = SILENT) -> Corpus:
    """The stores of every voice, made where they are not there yet. Voices that cannot be had are left out, with a
    warning. WORK/corpus.json says what was used."""
    for name in fetch(work / "recordings", report):
        report.warn(f"{name} cannot be had here; the net learns from the other voices")
    root = work / "recordings"
    shards = tuple(work / f"synthesised{k}" for k in range(SHARDS))
    for k, shard in enumerate(shards):
        if not (shard / "index.json").exists():
            build_store(shard, clips(hours / SHARDS, seed + 2 * k, report), VARIANTS, seed + 2 * k, report)
    beside = work / "beside"
    _once(beside, lambda: build_store(beside, interference.pieces(BESIDE_MINUTES, seed), 0, seed, plain=True))
    russian: Path | None = work / "russian"
    try:
        source = recordings("festvox-ru", root)
        _once(work / "russian", lambda: build_store(work / "russian", festvox_ru(source), RUSSIAN_VARIANTS, 5, report))
    except Missing:
        russian = None
    voices = {"prompts": _prompts(root), "vol_stamps": _stamps(root), "vol_fillets": _fillets(root)}
    unlabelled = tuple(_recordings(work / name, found, report) for name, found in voices.items())
    known = _known(work, root, report)
    sizes = {p.parent.name: p.stat().st_size for p in sorted(work.glob("*/mel.f16"))}
    write_json(work / "corpus.json", {"seed": seed, "hours": hours, "known": len(known), "bytes": sizes})
    spoken = tuple(folder for folder in unlabelled if (folder / "mel.f16").stat().st_size)
    return Corpus(shards, russian, spoken, beside, known)


def _once(folder: Path, make: Callable[[], None]) -> None:
    if not (folder / "index.json").exists():
        make()


def _recordings(folder: Path, voices: Iterator[Clip], report: Reporter) -> Path:
    _once(folder, lambda: build_store(folder, voices, PROMPT_VARIANTS, 9, report, plain=True))
    return folder


def _prompts(root: Path) -> Iterator[Clip]:
    """Every recorded prompt that can be had, and the voice of alsa-utils."""
    with contextlib.suppress(Missing):
        yield from prompts(recordings("asterisk-core-sounds-fr-g722", root).parent)
    with contextlib.suppress(Missing):
        yield from alsa(recordings("alsa-utils", root))


def _stamps(root: Path) -> Iterator[Clip]:
    with contextlib.suppress(Missing):
        yield from stamps(recordings("tuxpaint-stamps-default", root))


def _fillets(root: Path) -> Iterator[Clip]:
    with contextlib.suppress(Missing):
        yield from fillets(recordings("fillets-ng-data-cs", root))


def _known(work: Path, root: Path, report: Reporter) -> dict[str, np.ndarray]:
    """Label rows of prompts whose words their file's name spells, by forced alignment; none without pocketsphinx."""
    from engine.measure import sphinx

    if not sphinx.available():
        report.warn("pocketsphinx is not installed: English prompts are labelled by the net alone")
        return {}
    cache = work / "aligned.json"
    if not cache.exists():
        texts = read_json(_TEXTS)["english_woman"]
        rows: dict[str, Any] = {}
        sounds: list[tuple[str, np.ndarray, str]] = []
        try:
            folder = recordings("asterisk-core-sounds-en-g722", root).parent
            sounds = [(n, x, texts[n[3:]]) for n, x in asterisk("en", folder) if n[3:] in texts]
        except Missing:
            pass
        try:
            named: list[Clip] = list(alsa(recordings("alsa-utils", root)))
            sounds += [(c.name, c.samples, c.name.replace("_", " ").lower()) for c in named]
        except Missing:
            pass
        for name, samples, text in sounds:
            if segments := sphinx.align(samples, text):
                rows[name] = {"samples": len(samples), "segments": [list(s) for s in segments]}
        write_json(cache, rows)
    out = {}
    for name, row in read_json(cache).items():
        frames = 2 * max(1, -(-row["samples"] // 320))
        out[name] = label_rows(tuple((p, a, b) for p, a, b in row["segments"]), frames)
    return out


def train_stage(name: str, work: Path, seed: int = 0, made: Corpus | None = None, report: Reporter = SILENT) -> Path:
    """Train a stage and those before it, each once. Returns its checkpoint in WORK."""
    stage = _BY_NAME[name]
    checkpoint = work / f"{name}.safetensors"
    if (work / name / "done.json").exists():
        return checkpoint
    made = made or corpus(work, seed=seed, report=report)
    last = train_stage(stage.after, work, seed, made, report) if stage.after else None
    stores: list[Path | tuple[Path, Path]] = list(made.synthesised)
    shares = SYNTHESISED
    if last is not None:
        shares = SHARES
        if made.russian:
            stores.append(made.russian)
        for store in made.unlabelled:
            labels = work / (stage.labels or name) / f"labels_{store.name}"
            if not (labels / "labels.u8").exists():
                teacher = train_stage(stage.teacher, work, seed, made, report) if stage.teacher else last
                relabel(store, labels, load_net(teacher)[0], made.known, stage.without, report)
            stores.append((store, labels))
    plan = Plan(stage.steps, seed, stage.rate, tuple(shares.items()), stage.without, stage.causal)
    result = train_speech(checkpoint, work / name, plan, stores, last, made.beside, report)
    write_json(work / name / "done.json", result)
    return checkpoint


def dataset(work: Path, seed: int = 0, report: Reporter = SILENT) -> dict[str, Any]:
    """Make the corpus alone; {store: hours of sound, variants counted} and the number of prompts with known words."""
    made = corpus(work, seed=seed, report=report)
    folders = [*made.synthesised, *(p for p in (made.russian, *made.unlabelled, made.beside) if p)]
    hours = {f.name: round((f / "mel.f16").stat().st_size / (2 * MELS * 360_000), 2) for f in folders}
    return {"hours": hours, "prompts with known words": len(made.known)}


def chain_log(work: Path, names: tuple[str, ...]) -> list[dict[str, float]]:
    """The logs of stages one after the other, `step` counted through: what `train/curves.py` draws."""
    rows: list[dict[str, float]] = []
    for name in names:
        before = rows[-1]["step"] if rows else 0
        rows += [row | {"step": row["step"] + before} for row in read_json(work / name / "log.json")]
    return rows


def _copy(source: Path, out: Path) -> None:
    from engine.core.files import replacing

    with replacing(out) as part:
        part.write_bytes(source.read_bytes())


def recipe(stages: tuple[str, ...]) -> Callable[[Path, Path, int, Reporter], dict[str, Any]]:
    """A function that trains `stages` in WORK and copies their checkpoints to OUT (a file for one, else a folder)."""

    def run(out: Path, work: Path, seed: int = 0, report: Reporter = SILENT) -> dict[str, Any]:
        work.mkdir(parents=True, exist_ok=True)
        written = []
        for name in stages:
            checkpoint = train_stage(name, work, seed, None, report)
            target = out if len(stages) == 1 else out / f"{name}.safetensors"
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(checkpoint, target)
            written.append(str(target))
        return {"written": written, "stages": {n: read_json(work / n / "done.json") for n in stages}}

    return run


speech = recipe(("shipped",))
speech_causal = recipe(("causal",))
speech_loso = recipe(("loso_en", "loso_ru"))
