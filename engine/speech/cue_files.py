"""Phone cues as files that people and other programs edit: JSON, CSV, Praat TextGrid, Audacity labels, or a take."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.core.errors import BadFile, BadInput
from engine.core.files import read_json, replacing
from engine.core.phones import from_arpabet
from engine.core.sound import Cue
from engine.speech.cues import checked

KIND, FORMAT = "cues", 1
SUFFIXES = (".json", ".csv", ".textgrid", ".txt")
_ARPABET = re.compile(r"[A-Z]{1,2}[0-2]?")
_SILENT = {"", "sil", "sp", "spn", "pau", "<eps>", "_"}
_LONGEST = 64  # characters of a phone's name: more is a sentence in the wrong tier


def to_rows(cues: Sequence[Cue]) -> list[list[Any]]:
    """[[phone, start s, end s], ...] in milliseconds' precision, as takes and jobs carry them."""
    return [[c.phone, round(float(c.start), 3), round(float(c.end), 3)] for c in cues]


def from_rows(rows: object) -> tuple[Cue, ...]:
    """Cues of `to_rows`, or of {"phone", "start", "end"} tables. Raises BadInput that names the row."""
    if not isinstance(rows, list | tuple):
        raise BadInput("cues must be a list of [phone, start, end]")
    out = []
    for number, row in enumerate(rows, 1):
        values: Any = [row.get(k) for k in ("phone", "start", "end")] if isinstance(row, dict) else row
        try:
            phone, start, end = values
            cue = Cue(str(phone).strip() or "_", float(start), float(end))
        except (TypeError, ValueError):
            raise BadInput(f"cue {number} is not [phone, start, end] but {row!r}") from None
        if len(cue.phone) > _LONGEST or "\n" in cue.phone:
            raise BadInput(f"cue {number} is no phone but a text of {len(cue.phone)} characters")
        out.append(cue)
    return checked(_as_ipa(out))


def _as_ipa(cues: Sequence[Cue]) -> list[Cue]:
    """IPA symbols: a list in capitals only is ARPABET (Montreal Forced Aligner's English, CMU); silences are '_'."""
    spoken = [c.phone for c in cues if c.phone.lower() not in _SILENT]
    arpabet = bool(spoken) and all(_ARPABET.fullmatch(p) for p in spoken)
    name = lambda p: "_" if p.lower() in _SILENT else from_arpabet(p) if arpabet else p  # noqa: E731
    return [Cue(name(c.phone), c.start, c.end) for c in cues]


def take_cues(meta: dict[str, Any]) -> tuple[Cue, ...]:
    """The cues of a take's meta; () for a take without any. Raises BadInput."""
    return from_rows(meta.get("cues") or [])


def read_cues(path: str | Path) -> tuple[Cue, ...]:
    """Cues of a .json, .csv, .TextGrid, Audacity .txt or take.npz. Raises BadFile."""
    path = Path(path)
    suffix = path.suffix.lower()
    try:
        if suffix == ".npz":
            from engine.core.takefile import read_take

            return take_cues(read_take(path).meta)
        if suffix == ".json":
            data = read_json(path)
            if not isinstance(data, dict) or data.get("kind") != KIND:
                raise BadInput('is no cue file: it must hold {"kind": "cues", "format": 1, "cues": [...]}')
            if not isinstance(data.get("format"), int) or data["format"] > FORMAT:
                raise BadInput(f"has cue format {data.get('format')!r}, newer than this program reads ({FORMAT})")
            return from_rows(data.get("cues"))
        if suffix not in _READERS:
            raise BadInput(f"is no cue file; there are: {', '.join(SUFFIXES)} and takes (.npz)")
        return from_rows(_READERS[suffix](_text(path)))
    except BadFile:
        raise
    except BadInput as error:
        raise BadFile(path, str(error)) from None


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise BadFile(path, "no such file") from None
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror})") from None
    for encoding in ("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "latin-1"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise BadFile(path, "is no text file")


def write_cues(path: str | Path, cues: Sequence[Cue]) -> None:
    """Write cues in the form that the file's name asks for. Raises BadInput for another one."""
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        raise BadInput(f"cannot write cues as '{suffix or path}'; there are: {', '.join(SUFFIXES)}")
    text = _WRITERS[suffix](to_rows(checked(cues)))
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="")


def _json_text(rows: list[list[Any]]) -> str:
    lines = ",\n  ".join(
        json.dumps({"phone": p, "start": a, "end": b}, ensure_ascii=False) for p, a, b in rows
    )  # one cue a line: people edit this
    return f'{{"kind": "{KIND}", "format": {FORMAT}, "cues": [\n  {lines}\n]}}\n'


def _csv_text(rows: list[list[Any]]) -> str:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["phone", "start", "end"])
    table.writerows([p, f"{a:.3f}", f"{b:.3f}"] for p, a, b in rows)
    return out.getvalue()


def _read_csv(text: str) -> list[list[str]]:
    table = list(csv.reader(io.StringIO(text)))
    if not table or [c.strip().lower() for c in table[0]] != ["phone", "start", "end"]:
        raise BadInput("must begin with the line phone,start,end")
    return [row for row in table[1:] if row]


def _audacity_text(rows: list[list[Any]]) -> str:
    return "".join(f"{a:.6f}\t{b:.6f}\t{p}\n" for p, a, b in rows)


def _read_audacity(text: str) -> list[list[str]]:
    out = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("\\"):  # "\": a label's frequencies
            continue
        fields = line.split("\t")
        if len(fields) < 2:
            raise BadInput(f"line {number} is no Audacity label (start, end and name, with tabs between)")
        out.append([fields[2] if len(fields) > 2 else "_", fields[0], fields[1]])
    return out


def _textgrid_text(rows: list[list[Any]]) -> str:
    """Praat's long text form: intervals without holes, silences empty."""
    full: list[tuple[str, float, float]] = []
    at = 0.0
    for phone, start, end in rows:
        if start > at + 1e-6:
            full.append(("", at, start))
        full.append(("" if phone == "_" else phone, start, end))
        at = end
    lines = ['File type = "ooTextFile"\nObject class = "TextGrid"\n\n', f"xmin = 0\nxmax = {at:.3f}\n"]
    lines.append("tiers? <exists>\nsize = 1\n")
    lines.append('item []:\n    item [1]:\n        class = "IntervalTier"\n        name = "phones"\n')
    lines.append(f"        xmin = 0\n        xmax = {at:.3f}\n        intervals: size = {len(full)}\n")
    for i, (phone, start, end) in enumerate(full, 1):
        quoted = phone.replace('"', '""')
        lines.append(
            f"        intervals [{i}]:\n            xmin = {start:.3f}\n            xmax = {end:.3f}\n"
            f'            text = "{quoted}"\n'
        )
    return "".join(lines)


def _read_textgrid(text: str) -> list[list[Any]]:
    """The tier called phones (or the last interval tier) of Praat's long or short text form."""
    if "ooTextFile" not in text[:200] or "TextGrid" not in text[:200]:
        raise BadInput("is no Praat TextGrid in text form; save it as a text file in Praat")
    values = re.findall(r'"((?:[^"]|"")*)"|(?<![\w\[])(-?\d+(?:\.\d+)?(?:[eE]-?\d+)?)(?![\w\]])', text)
    items: list[str | float] = [s.replace('""', '"') if not n else float(n) for s, n in values]
    tiers: list[tuple[str, list[list[Any]]]] = []
    i = 2
    while i < len(items):
        if items[i] not in ("IntervalTier", "TextTier"):
            i += 1
            continue
        kind, name = items[i], str(items[i + 1])
        try:
            count = int(items[i + 4])  # after the tier's own xmin and xmax
            size = 3 if kind == "IntervalTier" else 2
            body = items[i + 5 : i + 5 + size * count]
            if kind == "IntervalTier":
                rows = [[body[k + 2], float(body[k]), float(body[k + 1])] for k in range(0, len(body), 3)]
                tiers.append((name, rows))
        except (IndexError, TypeError, ValueError):
            raise BadInput(f"its tier '{name}' is damaged") from None
        i += 5 + size * count
    if not tiers:
        raise BadInput("holds no interval tier")
    return next((rows for name, rows in tiers if name.lower() in ("phones", "phone")), tiers[-1][1])


_WRITERS: dict[str, Callable[[list[list[Any]]], str]] = {
    ".json": _json_text, ".csv": _csv_text, ".txt": _audacity_text, ".textgrid": _textgrid_text,
}  # fmt: skip
_READERS: dict[str, Callable[[str], list[list[Any]]]] = {
    ".csv": _read_csv, ".txt": _read_audacity, ".textgrid": _read_textgrid,
}  # fmt: skip
