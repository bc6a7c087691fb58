"""Lets takes follow the .blend: beside it at its first save, and beside its new place after a Save As.

Blender says before a save that it comes, and only some versions say where it goes. So the path that the file will
hold is written before, and the take is copied once the file is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import bpy

from ..scene import find
from .tasks import board


@dataclass(frozen=True)
class _Move:
    """control: name of the Empty; before: its take as stored until now; source: that file; after: as stored now."""

    control: str
    before: str
    source: Path
    after: str


_moves: list[_Move] = []
_target = ""  # the .blend that is being written, where Blender says so


@bpy.app.handlers.persistent
def before_save(*arguments: object) -> None:
    """Store paths beside the file that is about to be written."""
    global _target
    _target = arguments[0] if arguments and isinstance(arguments[0], str) else ""
    _moves.clear()
    folder = Path(bpy.path.abspath(_target)).parent if _target else None
    here = Path(bpy.data.filepath).parent if bpy.data.filepath else None
    for control in bpy.data.objects:
        text = str(control.get("take", "")) if find.is_control(control) and control.library is None else ""
        source = Path(bpy.path.abspath(text))
        if not text or not source.is_file():
            continue
        if Path(bpy.app.tempdir) in source.parents or (text.startswith("//") and folder is not None and folder != here):
            after = f"//takes/{_name(source, folder)}"
        elif text.startswith("//") and folder is None:
            after = f"//takes/{_name(source, None)}"  # it may go anywhere
        else:
            continue
        control["take"] = after
        _moves.append(_Move(control.name, text, source, after))


def _name(source: Path, folder: Path | None) -> str:
    """The file's own name, unless another take has it there or may have it there. Named by its bytes, it keeps it."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    if folder is not None:
        there = folder / "takes" / source.name
        if not there.exists() or hashlib.sha256(there.read_bytes()).hexdigest() == digest:
            return source.name
    mark = f"-{digest[:8]}"
    return source.name if source.stem.endswith(mark) else f"{source.stem}{mark}{source.suffix}"


@bpy.app.handlers.persistent
def after_save(*_: object) -> None:
    """Copy what the saved file names. A file that was only saved as a copy keeps its own takes."""
    written = bpy.path.abspath(_target or bpy.data.filepath)
    home = Path(written).parent
    for move in _moves if written else ():  # before 4.0 nobody says where a copy of an unsaved file went
        there = home / move.after[2:]
        try:
            if not there.exists():
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(move.source, there)
        except OSError as error:
            board.messages.append(f"The take {move.source} could not be copied to {there.parent} ({error})")
    _put_back()


@bpy.app.handlers.persistent
def after_failure(*_: object) -> None:
    """Nothing was saved."""
    _put_back()


def _put_back() -> None:
    """The old path again where this session does not find the new one."""
    for move in _moves:
        control = bpy.data.objects.get(move.control)
        if control is not None and not (bpy.data.filepath and Path(bpy.path.abspath(move.after)).is_file()):
            control["take"] = move.before
    _moves.clear()


HANDLERS = (
    ("save_pre", before_save),
    ("save_post", after_save),
    ("save_post_fail", after_failure),
)  # the last from 4.0


def register() -> None:
    for name, handler in HANDLERS:
        if hasattr(bpy.app.handlers, name):
            getattr(bpy.app.handlers, name).append(handler)


def unregister() -> None:
    for name, handler in HANDLERS:
        with contextlib.suppress(ValueError, AttributeError):
            getattr(bpy.app.handlers, name).remove(handler)
