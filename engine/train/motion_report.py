"""`bench motion --table`: everything that is measured of motion systems, as one table.

Errors on performances (motion_table.py); on recorded voices the closure of lips and the calm of held vowels
(engine.measure.lipsync) and whether faces show their label (engine.measure.legibility); size and speed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from engine.core.errors import BadInput
from engine.core.files import read_json, replacing, write_json
from engine.core.progress import SILENT, Reporter
from engine.train import motion_table

BEGIN, END = "<!-- table: bench motion --table -->", "<!-- end of table -->"
READ_VOICES = 4  # recorded voices that legibility is read on, the longest
COLUMNS = {
    "lve_mm": "LVE", "uve_mm": "UVE", "mve_mm": "MVE", "lve_mean_mm": "lips", "uve_mean_mm": "upper face",
    "mve_mean_mm": "all", "closure": "closure", "false_closure": "false", "legibility": "strong",
    "legibility_mild": "mild", "jitter": "jitter", "megabytes": "MB", "x_core": "x real time",
}  # fmt: skip
# What the papers print, to stand beside our ablation rows: system -> (ablation, figure, its order in the paper).
PAPER: dict[str, tuple[tuple[str, str], ...]] = {
    "emotalk3d": (("emotion", "LMD 3.6 with, 5.6 without: worse"),),
    "emotag": (
        ("identity", "worst of all"), ("residual", "second"), ("gate", "third"), ("guidance", "fourth"),
        ("kl", "fifth"), ("score", "least"),
    ),
    "emodifftalk": (
        ("codes", "20.1 dB against 25.8: worst"), ("diffusion", "25.0 dB against 25.8: worse, smaller motion"),
    ),
    "emotalkinggaussian": (
        ("combined", "best LPIPS, worst sync: Sync-C 4.49 against 6.28"),
        ("emotion", "feelings 25.3 against 46.6; sync alike"), ("sync", "Sync-C 5.93 against 6.28: a little worse"),
    ),
}  # fmt: skip


def run(
    systems: Sequence[str] = (),
    clips: int = 24,
    folder: Path | None = None,
    voices: Path | None = None,
    ablations: Iterable[str] = (),
    report: Reporter = SILENT,
) -> dict[str, Any]:
    """{"clips", "systems": {row: figures}}: keys as docs/design.md names them, None where nothing was measured.

    systems: names or NAME@CHECKPOINT (all registered ones if none); ablations: NAME@CHECKPOINT, one row each. folder: a
    set of performances for the mean face. voices: manifest.jsonl of recorded voices; without it closure, legibility and
    jitter are None.
    """
    from engine.motion.base import offered

    names = list(systems) or [row["name"] for row in offered()]
    cut = list(ablations)
    result = motion_table.run(clips, names, folder, report, cut)
    for i, name in enumerate(dict.fromkeys(["direct", *names, *cut])):
        report.step("figures", i, len(names) + len(cut))
        row: dict[str, Any] = result["systems"][name]
        row |= speed(name) | {"megabytes": megabytes(name), "ablation": ablation(name)}
        row |= on_voices(name, voices, report) if voices else dict.fromkeys(("closure", "legibility", "jitter"))
    return result


def speed(name: str) -> dict[str, float]:
    """x_realtime, seconds and cpu_s of engine.motion.bench, and x_core: times real time on one core of its own."""
    from engine.motion import bench

    row = bench.run([name], whole_way=False)["systems"][name]
    return row | {"x_core": round(row["seconds"] / row["cpu_s"], 1)}


def checkpoint_of(name: str) -> Path | None:
    """The checkpoint that a system runs, or None for one without."""
    from engine.assets.registry import list_assets, resolve

    base, _, path = name.partition("@")
    if path:
        return Path(path)
    return resolve(base, "motion") if any(e.name == base for e in list_assets("motion")) else None


def megabytes(name: str) -> float:
    """Size of the system's checkpoint; 0 for one without."""
    path = checkpoint_of(name)
    return round(path.stat().st_size / 1e6, 2) if path else 0.0


def ablation(name: str) -> str:
    """What the checkpoint was trained without; "" for nothing."""
    from engine.motion.nets import file

    path = checkpoint_of(name)
    return str(file.read(path, name.partition("@")[0]).header.get("ablation", "")) if path else ""


def on_voices(name: str, manifest: Path, report: Reporter = SILENT) -> dict[str, Any]:
    """Figures on recorded voices: closure and false_closure of the finished mesh, jitter of held vowels, and
    legibility: top-1 of EmoTalk3D's eight labels at full strength, legibility_mild at half."""
    from engine.audio.read import read_audio
    from engine.head.library import load_head
    from engine.measure.lipsync import Reference, Track, read_manifest
    from engine.measure.lipsync_score import score
    from engine.motion.perform import perform
    from engine.speech.listen import listen
    from engine.train.emotion_protocol import legibility
    from engine.train.evaluate import mesh_track, speech_only

    head, references = load_head(), read_manifest(manifest)

    def face(reference: Reference) -> Track:
        report.check()
        audio = read_audio(reference.file)
        return mesh_track(head, perform(audio, speech_only(), 60, 1, name, head, listen(audio, "default")))

    lips = score(references, face)["score"]
    longest = sorted((read_audio(r.file) for r in references), key=lambda a: -a.duration)[:READ_VOICES]
    seen = legibility(longest, name, head, report=report)
    return {
        "closure": lips["closure"], "false_closure": lips["false_closure"], "jitter": lips["jitter"],
        "correlation": lips["correlation"], "legibility": seen["strong"]["eight"]["top1"],
        "legibility_mild": seen["mild"]["eight"]["top1"], "legibility_of_14": seen["strong"]["eight_of_14"]["top1"],
    }  # fmt: skip


def title(name: str, row: dict[str, Any]) -> str:
    """A row's name for people: a checkpoint's path says nothing, what it lacks does."""
    base, at, rest = name.partition("@")
    tail = f",{rest.partition(',')[2]}" if "," in rest else ""
    if not at:
        return name
    return f"{base} without {row['ablation']}" if row.get("ablation") else f"{base}{tail}"


def markdown(result: dict[str, Any]) -> str:
    """The table, the bars, and our ablations beside the papers' words."""
    rows = {title(name, row): row for name, row in result["systems"].items()}
    keys = [k for k in COLUMNS if any(row.get(k) is not None for row in rows.values())]
    lines = [f"{result['clips']} clips of the test people.", ""]
    lines += [f"| | {' | '.join(COLUMNS[k] for k in keys)} |", "|---" * (len(keys) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(_cell(row.get(k)) for k in keys)} |" for name, row in rows.items()]
    beside = {name: row for name, row in rows.items() if "over_no_audio" in row}
    if beside:
        lines += ["", "| | LVE / without audio | UVE / wrong label | LVE / other clip |", "|---|---|---|---|"]
        lines += [
            f"| {name} | {row['over_no_audio']:.2f} | {row['over_wrong_label']:.2f} | {row['over_other_clip']:.2f} |"
            for name, row in beside.items()
        ]
    cut = [(n.partition("@")[0].partition(" ")[0], row) for n, row in result["systems"].items() if row.get("ablation")]
    if cut:
        lines += ["", "| left out | LVE | UVE | in the paper |", "|---|---|---|---|"]
        for base, row in cut:
            said = dict(PAPER.get(base, ())).get(row["ablation"], "")
            lines.append(f"| {base}: {row['ablation']} | {row['lve_mm']:.2f} | {row['uve_mm']:.2f} | {said} |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 20 else f"{value:.3f}" if abs(value) < 0.1 else f"{value:.2f}"


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`new` over the rows of an earlier table of as many clips, so that a table can be made system by system.

    What `new` did not measure of a row (voices left out) stays as it was. Raises BadInput where the earlier one counts
    other clips: its rows would not stand beside these.
    """
    if old["clips"] != new["clips"]:
        raise BadInput(f"the page's table is of {old['clips']} clips, this one of {new['clips']}: give --clips")
    rows: dict[str, dict[str, Any]] = {}
    for table in (old, new):
        for name, row in table["systems"].items():
            known = rows.setdefault(title(name, row), {})
            known.update({key: value for key, value in row.items() if value is not None})
    first = ("mean face", "no audio", "direct", "oracle")
    order = [name for name in first if name in rows] + sorted(set(rows) - set(first))
    return {"clips": new["clips"], "systems": {name: rows[name] for name in order}}


def write_page(path: Path, result: dict[str, Any]) -> None:
    """Put the table between the marks of a page (at its end where it has none), joined with the one that was there.

    The figures themselves lie beside the page as .json. Raises BadInput as `merged` does.
    """
    figures = path.with_suffix(".json")
    if figures.is_file():
        result = merged(read_json(figures), result)
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, mark, rest = text.partition(BEGIN)
    after = rest.partition(END)[2] if mark else "\n"
    with replacing(path) as part:
        part.write_text(f"{before}{BEGIN}\n\n{markdown(result)}\n\n{END}{after}", encoding="utf-8")
    # A checkpoint's place on this computer is nobody's business: rows go by their titles.
    write_json(figures, {**result, "systems": {title(n, row): row for n, row in result["systems"].items()}})
