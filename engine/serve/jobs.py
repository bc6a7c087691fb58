"""What the engine can be asked to do: name -> function(request, reporter) -> result.

A job gets the request as plain JSON values and returns plain JSON values; numpy arrays go under "arrays" of
its result and reach the client as .npy files of the session folder. It calls `reporter.step` at least every
100 ms of work. Heavy packages are imported inside the functions. The command line calls the same functions.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import engine
from engine.core.errors import BadInput
from engine.core.files import writable
from engine.core.progress import SILENT, Reporter

Request = dict[str, Any]
Job = Callable[[Request, Reporter], dict[str, Any]]


def version(request: Request, reporter: Reporter = SILENT) -> dict[str, Any]:
    """{} -> {"version", "python", "system"}."""
    return {"version": engine.__version__, "python": platform.python_version(), "system": platform.platform()}


def needed(request: Request, name: str) -> Any:
    """A request's entry that must be there. Raises BadInput naming it."""
    if request.get(name) in (None, ""):
        raise BadInput(f"the request lacks '{name}'")
    return request[name]


def whole(request: Request, name: str, otherwise: int, low: int, high: int) -> int:
    """A request's whole number in [low, high]. Raises BadInput naming it."""
    value = request.get(name, otherwise)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadInput(f"'{name}' must be a whole number from {low} to {high}, got {value!r}")
    return value


class Noting(Reporter):
    """Another reporter, with the warnings kept as well."""

    def __init__(self, outer: Reporter, notes: list[str]):
        super().__init__(outer.step)
        self._outer, self._notes = outer, notes

    def warn(self, sentence: str) -> None:
        self._notes.append(sentence)
        self._outer.warn(sentence)

    def check(self) -> None:
        self._outer.check()


def head(request: Request, reporter: Reporter = SILENT) -> dict[str, Any]:
    """{"head", "identity": {parameter: value} or none} -> the head's arrays (engine axes, metres), materials, joints
    and correctives, for a client to build."""
    import numpy as np

    from engine.head import zones
    from engine.head.library import load_head
    from engine.serve.groom import hair_answer

    it = load_head(request.get("head", "default"), request.get("identity"))
    arrays = {name: getattr(it, name) for name in _HEAD_ARRAYS}
    if found := zones.zones(it):
        arrays["zones"] = zones.as_columns(found)
    arrays["joints"] = (it.joint_regressor @ it.template).astype(np.float32)
    hair, strands = hair_answer(it)
    arrays |= strands
    names = it.shape_names
    if it.is_flame:  # posed by its own parameters: expressions are the shape keys, correctives follow the bones
        names = it.expression_names
        arrays["shapes"] = np.ascontiguousarray(np.moveaxis(it.expression, -1, 0), np.float32)
        arrays["posedirs"] = np.ascontiguousarray(np.moveaxis(it.posedirs, -1, 0), np.float32)
    correctives = []
    if it.corrective_names and not it.is_flame:
        from engine.head.respond import described

        correctives, arrays["correctives"] = described(it), it.correctives
    return {
        "name": it.name,
        "topology_sha256": it.topology_sha256,
        "correctives": correctives,
        "flame_version": it.flame_version,
        "shape_names": list(names),
        "joint_names": list(_joint_names()),
        "parents": list(it.parents),
        "jaw_open_rad": it.jaw_open_rad,
        "licence": it.licence,
        "materials": [vars(m) for m in it.materials],
        "zone_names": list(found),
        "hair": hair,
        "landmarks": {name: np.asarray(value).tolist() for name, value in it.landmarks.items()},
        "arrays": arrays,
    }


_HEAD_ARRAYS = ("template", "faces", "uv", "uv_faces", "face_material", "albedo", "shapes", "weights", "lip_pairs")


def _joint_names() -> tuple[str, ...]:
    from engine.core.names import JOINTS

    return JOINTS


def speak(request: Request, reporter: Reporter = SILENT) -> dict[str, Any]:
    """A voice and controls -> a take (docs/design.md "Commands"; the entries are those of `soliloquy speak`)."""
    from engine.audio.read import read_audio
    from engine.core.takefile import write_take
    from engine.head.library import load_head
    from engine.motion.perform import perform
    from engine.serve.speaking import controls_of, into_of, speech_of, spliced
    from engine.serve.takes import bound_of, cue_arrays, take_answer

    bound = bound_of(request)
    path = writable(needed(request, "take"))
    warnings: list[str] = []
    heard = Noting(reporter, warnings)
    heard.step("read", 0, 1)
    into = into_of(request)
    audio = read_audio(needed(request, "audio"), heard)
    controls = controls_of(request)
    it = load_head(request.get("head", "default"), request.get("identity"))
    take = perform(
        audio,
        controls,
        fps=request.get("fps", 25),
        first_frame=whole(request, "first_frame", 1, -(10**6), 10**6),
        motion=request.get("motion", "direct"),
        head=it,
        speech=speech_of(request, audio, heard),
        report=heard,
    )
    if into is not None:
        take = spliced(into, take, it)
    write_take(path, take)
    answer = take_answer(it, take, str(path), bound, heard)
    answer["arrays"] |= cue_arrays(take.meta.get("cues") or [])
    # Cues go as arrays: those of a long voice would not fit a line of the protocol.
    answer["meta"] = {**take.meta, "cues": len(take.meta.get("cues", []))}
    return answer | {"duration": audio.duration, "warnings": warnings}


def take(request: Request, reporter: Reporter = SILENT) -> dict[str, Any]:
    """A finished take (`speak`, `head fit`) -> what `speak` answers, at the rate asked for."""
    from engine.serve.takes import open_take

    return open_take(request, reporter)


def text2au(request: Request, reporter: Reporter = SILENT) -> dict[str, Any]:
    """{"texts", "mode"?, "encoder"?, "head"?} -> {"results"}: the action units that each typed direction asks for."""
    from engine.controls.text import recognise

    texts = needed(request, "texts")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadInput("'texts' must be a list of strings")
    mode, encoder = request.get("mode", "auto"), None
    if request.get("encoder"):
        from engine.controls.text.encoder import default_encoder

        mode = "paper" if mode == "paper" else "encoder"
        encoder = default_encoder(str(request["encoder"]), str(request.get("head") or "minilm"))
    return {"results": [recognise(text, mode, encoder).to_json() for text in texts]}


def render(request: Request, reporter: Reporter = SILENT) -> dict[str, Any]:
    """A take -> a film or a folder of pictures of the Gaussian avatar."""
    from engine.serve.pictures import render_take

    return render_take(request, reporter)


def sheet(request: Request, reporter: Reporter = SILENT) -> dict[str, Any]:
    """A take -> one contact sheet: front, three-quarter and profile at several moments."""
    from engine.serve.pictures import render_sheet

    return render_sheet(request, reporter)


def avatar(request: Request, reporter: Reporter = SILENT) -> dict[str, Any]:
    """{"avatar", "head", "appearance"?} -> what the avatar is: Gaussians, head, layers, blend space, view range, size
    in bytes, channels; the name of the appearance net in a file, if that fits it. Raises BadFile where not."""
    from engine.avatar.library import load_avatar
    from engine.head.library import load_head

    head = load_head(request.get("head", "default"))
    it = load_avatar(request.get("avatar", "default"), head)
    net = None
    if request.get("appearance"):
        from engine.avatar.appearance.play import Player

        net = Player(str(request["appearance"]), it, head).name
    size = sum(a.nbytes for a in (it.triangle, it.local_means, it.local_quats, it.log_scales, it.opacity, it.sh))
    return {
        "gaussians": len(it), "head": it.head, "topology_sha256": it.topology_sha256, "layers": list(it.layers),
        "blend_space": it.blend_space, "view_range": list(it.view_range), "licence": it.licence, "bytes": size,
        "psnr": it.meta.get("psnr"), "ssim": it.meta.get("ssim"), "channels": len(it.channels), "appearance": net,
    }  # fmt: skip


def avatar_import(request: Request, reporter: Reporter = SILENT) -> dict[str, Any]:
    """{"source", "head", "out"} -> another program's avatar as ours: {"path", "head", "gaussians"}."""
    from engine.serve.avatars import import_avatar

    return import_avatar(request, reporter)


def avatar_export(request: Request, reporter: Reporter = SILENT) -> dict[str, Any]:
    """{"avatar", "head", "out", "mean"} -> our avatar for other programs: {"path", "gaussians"}."""
    from engine.serve.avatars import export_avatar

    return export_avatar(request, reporter)


def splats(request: Request, reporter: Reporter = SILENT) -> dict[str, Any]:
    """{"avatar", "head", "take", "frame", "appearance"} -> the avatar's Gaussians as a point cloud's arrays."""
    from engine.serve.avatars import splats as found

    return found(request, reporter)


def transfer(request: Request, reporter: Reporter = SILENT) -> dict[str, Any]:
    """A mesh without shapes and picked points -> the default head's shapes on it."""
    from engine.serve.shapes import transfer_to_mesh

    return transfer_to_mesh(request, reporter)


def cues(request: Request, reporter: Reporter = SILENT) -> dict[str, Any]:
    """{"source": a take or a cue file, "out": a cue file or nothing} -> its phone cues, written there in its form."""
    from engine.serve.takes import cue_arrays
    from engine.speech.cue_files import read_cues, to_rows, write_cues

    found = read_cues(needed(request, "source"))
    if request.get("out"):
        write_cues(request["out"], found)
    return {"out": request.get("out"), "count": len(found), "arrays": cue_arrays(to_rows(found))}


JOBS: dict[str, Job] = {
    "version": version,
    "head": head,
    "speak": speak,
    "take": take,
    "text2au": text2au,
    "render": render,
    "sheet": sheet,
    "avatar": avatar,
    "avatar_import": avatar_import,
    "avatar_export": avatar_export,
    "splats": splats,
    "transfer": transfer,
    "cues": cues,
}
