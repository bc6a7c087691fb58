"""Avatars by name: the bundled one, the recipe's (built once for a head, into the user's cache), the user's, a file."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from engine.assets import registry
from engine.avatar.files import read_avatar, save_avatar
from engine.core.anatomy import Head
from engine.core.errors import BadFile, BadInput
from engine.core.files import sha256_of, sha256_of_arrays
from engine.core.splats import Avatar

# The first is a file for the head that it was trained on, and the recipe for every other one.
DEFAULT, CROPPED, RECIPE = "default", "default-cropped", "recipe"
# Source files whose change makes another default avatar: its cache is named after their digest.
_BUILDERS = (
    "attach", "bind_kernels", "compiled", "default", "files", "hair", "harmonics", "layout", "light", "raycast",
    "rotations", "sampling", "strands", "surface", "../head/hair/grow", "../head/hair/library",
    "../head/hair/strands", "../head/hairline",
)  # fmt: skip
_KEPT = 6  # built avatars kept in the cache, newest first: one for each head in use


def load_avatar(name_or_path: str | os.PathLike[str] = DEFAULT, head: Head | None = None) -> Avatar:
    """An avatar by its registered name, or from an avatar .npz, for `head` (None: the default head).

    "default" is the bundled one, trained on pictures, on the very head that these show; on another it is "recipe",
    which is built for the head. "default-cropped" is the same without its hair (cropped.py).

    The same file gives the same (shared, frozen) object. Raises BadInput for an unknown name or an avatar that was
    made for another head, BadFile for a damaged file.
    """
    head = default_head() if head is None else head
    text = os.fspath(name_or_path)
    if registry.is_path(text):
        path = Path(text)
    else:
        entry = registry.find(text, "avatar")
        path = registry.resolve(text, "avatar") if entry.path else _built(head, text != CROPPED)
        if text == DEFAULT and entry.folder == str(registry.BUNDLED) and not _shows(path, head):
            path = _built(head)
        elif text == CROPPED and entry.path is None:
            path = _without_hair(path, head)
    if path.suffix == ".ply":
        raise BadFile(path, "holds Gaussians in space, which do not move with a face; give an avatar .npz")
    try:
        stat = path.stat()
    except OSError:
        raise BadFile(path, "no such avatar file") from None
    avatar = _read(str(path.resolve()), stat.st_mtime_ns, stat.st_size)
    if avatar.topology_sha256 != head.topology_sha256:
        raise BadInput(f"the avatar '{text}' was made for the head '{avatar.head}', not for '{head.name}'")
    return avatar


def default_head() -> Head:
    """The head that "default" stands for (rooms above that may not import head ask here)."""
    from engine.head.library import load_head

    return load_head()


@functools.lru_cache(maxsize=8)
def _read(path: str, mtime_ns: int, size: int) -> Avatar:
    # Keyed by time and size so that a file that changed on disk is read again.
    return read_avatar(path)


def look_of(head: Head) -> str:
    """What an avatar of this head depends on: shape, colours, materials."""
    return sha256_of_arrays(head.template, head.albedo, head.faces, head.face_material)


def _shows(path: Path, head: Head) -> bool:
    """Whether the avatar in a file is of this very head."""
    stat = path.stat()
    told = _read(str(path.resolve()), stat.st_mtime_ns, stat.st_size).meta.get("look")
    return told is None or told == look_of(head)


def _built(head: Head, with_hair: bool = True) -> Path:
    """Path of the recipe's avatar of this head; built first if it is not there or is damaged."""
    look = look_of(head)
    name = DEFAULT if with_hair else CROPPED
    path = registry.user_cache() / f"avatar-{name}-{_builder_digest()[:12]}-{look[:12]}.npz"
    if _is_kept(path):
        return path
    from engine.avatar.default import build_default_avatar

    save_avatar(path, build_default_avatar(head, with_hair=with_hair))
    built = sorted(path.parent.glob("avatar-default-*.npz"), key=lambda p: -p.stat().st_mtime)
    for old in built[_KEPT:]:
        old.unlink(missing_ok=True)
    return path


def _is_kept(path: Path) -> bool:
    """Whether a built avatar is there and can be read; a damaged one is removed."""
    if not path.is_file():
        return False
    try:
        stat = path.stat()
        _read(str(path.resolve()), stat.st_mtime_ns, stat.st_size)
        return True
    except BadFile:
        path.unlink(missing_ok=True)
        return False


def _without_hair(recipe: Path, head: Head) -> Path:
    """Path of the bundled avatar of this head with the recipe's cropped scalp; the recipe's where it is not bundled."""
    entry = registry.find(DEFAULT, "avatar")
    if not entry.path or entry.folder != str(registry.BUNDLED):
        return recipe
    trained = registry.resolve(DEFAULT, "avatar")
    from engine.head.hair.library import hair_of

    if not _shows(trained, head) or (hair := hair_of(head)) is None:
        return recipe
    code = Path(__file__).with_name("cropped.py")
    path = recipe.with_name(f"{recipe.stem}-{sha256_of(trained)[:12]}-{sha256_of(code)[:8]}.npz")
    if _is_kept(path):
        return path
    from engine.avatar.cropped import without_hair

    joined = without_hair(load_avatar(DEFAULT, head), _read_path(recipe), head, hair.triangle)
    save_avatar(path, joined)
    return path


def _read_path(path: Path) -> Avatar:
    stat = path.stat()
    return _read(str(path.resolve()), stat.st_mtime_ns, stat.st_size)


@functools.cache
def _builder_digest() -> str:
    here = Path(__file__).parent
    return hashlib.sha256("".join(sha256_of(here / f"{name}.py") for name in _BUILDERS).encode()).hexdigest()
