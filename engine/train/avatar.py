"""Trains a Gaussian avatar on a capture: one picture a step, by hand-written gradients and Adam, no torch by default.

Gaussians on triangles (EmoTaG eq. 2-7), seeded by the head's own recipe; colour of SH degree 0-3 and masked dynamic
colours; L1, D-SSIM, depth and normals; places and sizes are bounded. Stops on held-out views: more steps overfit.

    soliloquy avatar train CAPTURE OUT.npz            the same line goes on where it was stopped
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.avatar import channels
from engine.avatar.files import read_avatar, save_avatar
from engine.avatar.library import look_of
from engine.avatar.surface import HAIR, INSIDE, material_ids
from engine.core.anatomy import Head
from engine.core.errors import BadFile, BadInput, Cancelled
from engine.core.files import read_archive, sha256_of_arrays, writable, write_archive
from engine.core.progress import SILENT, Reporter
from engine.core.splats import Avatar
from engine.render.gradient import backward, forward
from engine.train import avatar_kernels as kernels
from engine.train.avatar_data import Capture, View, read_capture
from engine.train.avatar_loss import D_SSIM, Graded, Photometric, geometric, perceptual
from engine.train.avatar_measure import evenly, measure, require_heads, strip
from engine.train.avatar_model import Model
from engine.train.avatar_start import closed_throat, coloured_from, start

Array = np.ndarray

# Adam's rates: places and sizes in units of a triangle's size, opacity as a logit, colours in display values.
RATES = {
    "means": 0.03, "quats": 0.005, "log_scales": 0.01, "logits": 0.03, "sh0": 0.03, "sh_rest": 0.0075, "channels": 0.03,
    "planes": 0.01, "decoder": 0.001,
}  # fmt: skip
BETAS = (0.9, 0.995)
DECAY = 0.1  # of channels' colours, in units of the rate: what few pictures tell of is not left to chance
LAST_RATE = 0.1  # of the first: rates fall by a constant factor a step
LARGEST_M, LARGEST_HAIR_M = 0.009, 0.012
REACH_M = 0.004  # how far a Gaussian may leave the place where it was seeded
REACH_LOOSE_M, REACH_INSIDE_M = 0.06, 0.0015
SHRINK, GROW = 0.35, 0.25  # of logarithms of sizes: how far parts of the mouth may leave theirs
LINING_LOGIT, LIPS_LOGIT = 3.0, 2.2  # opacities .95 and .9: a mouth's lining, and the skin about it, stay closed
ABOUT_MOUTH = 0.3  # of the jaw channel's mask: from here on skin lies over the mouth
GEOMETRY_EVERY = 4  # steps between those that compare depth and normals
PERCEPTUAL = 0.2  # weight of LPIPS where it is asked for (EmoTalkingGaussian eq. 13: beta 2)
PATIENCE = 3  # checks without a better one, after which training ends
LOOKS = 16  # pictures of one such look, at most
PREVIEWS = 4
COLOURS = ("sh", "triplane")


@dataclass(frozen=True)
class Recipe:
    """count of Gaussians; SH degree; steps at most; seed; dynamic: masked colour channels; shrink: whole number by
    which pictures are made smaller; check: steps between looks at held-out views; geometry: depth and normals;
    loose: free Gaussians for hair, neck and shoulders that the mesh lacks; rate: factor of all rates;
    colour: "sh", each Gaussian its own, or "triplane" (engine/train/avatar_colour.py);
    lpips: digest of the weights of the perceptual loss, which train() fills in ("": none)."""

    count: int = 60_000
    degree: int = 2
    steps: int = 6000
    seed: int = 0
    dynamic: bool = True
    shrink: int = 1
    check: int = 300
    d_ssim: float = D_SSIM
    geometry: bool = True
    loose: int = 0
    rate: float = 1.0
    colour: str = "sh"
    lpips: str = ""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.check < 1 or self.shrink < 1 or not 0 <= self.d_ssim <= 1:
            raise BadInput("steps, check and shrink must be 1 or more, d_ssim in [0, 1]")
        if not 0 < self.rate <= 10:
            raise BadInput("the rate's factor must be above 0 and not above 10")
        if self.colour not in COLOURS:
            raise BadInput(
                f"colour is 'sh' (each Gaussian its own) or 'triplane' (planes and an MLP), not '{self.colour}'"
            )


class Training:
    """A run: model, Adam's moments, step, best so far. `step()` takes one picture. begin: an avatar to go on from;
    graded: a perceptual distance beside the loss."""

    def __init__(
        self, capture: Capture, recipe: Recipe, report: Reporter = SILENT, begin: Avatar | None = None,
        graded: Graded | None = None,
    ):  # fmt: skip
        self.capture, self.recipe, self._graded = capture, recipe, graded
        if begin is None:
            first = start(capture.head, recipe.count, recipe.seed, recipe.dynamic, recipe.loose)
            first = coloured_from(first, capture, recipe.shrink, report)
        else:
            first = channels.widened(begin, capture.head) if recipe.dynamic else replace(begin, channels=())
        self.model = Model(first, capture.head, recipe.degree)
        self._planes = None
        if recipe.colour == "triplane":
            from engine.train.avatar_colour import PlaneColour  # torch: only for those who ask for it

            self._planes = PlaneColour(self.model, recipe.seed)
        self.moments = {name: np.zeros((2, a.size), np.float32) for name, a in self.model.values.items()}
        self.at, self.since, self.best_score = 0, 0, -np.inf
        self.best = {name: a.copy() for name, a in self.model.values.items()}
        self.history: list[list[float]] = []
        self.loss = 0.0
        self._photometric = Photometric(recipe.d_ssim)
        self._largest = _largest(capture.head, first)
        reach = np.full(len(first), REACH_M)
        if first.free is not None:
            reach[first.free.rows] = REACH_LOOSE_M
        # Few pictures look into a mouth: its parts stay near what was seeded, so that the lining has no holes and
        # nothing presses through the lips where no picture was taken.
        inside = _made_of(capture.head, first, INSIDE) & (reach < REACH_LOOSE_M)
        reach[inside] = REACH_INSIDE_M
        self._inside, self._floor = np.flatnonzero(inside), _closed(capture.head, first, inside)
        self._seeded = self.model.values["log_scales"][:, self._inside].copy()
        self._reach = reach / np.maximum(self.model.sizes(), 1e-9)

    def step(self) -> float:
        """One picture; returns its loss. Which one and on what background depends on the seed and the step alone."""
        rng = np.random.default_rng([self.recipe.seed, 7, self.at])
        view = self._turn()
        picture, posed = self.capture.picture(view, self.recipe.shrink), self.capture.poses[view.pose]
        gaussians = self.model.place(view.pose, posed, self.recipe.dynamic)
        deep = self.recipe.geometry and picture.depth_steps is not None and self.at % GEOMETRY_EVERY == 0
        rgba, sums, tape = forward(gaussians, picture.camera, geometry=deep)
        background = rng.random(3).astype(np.float32)
        loss, v = self._photometric(rgba, picture.values, background)
        if self._graded is not None:
            more, by = perceptual(self._graded, rgba, picture.values, background)
            loss, v = loss + PERCEPTUAL * more, v + np.float32(PERCEPTUAL) * by
        u = None
        depth, normal = (picture.depth, picture.normal) if deep else (None, None)
        if sums is not None and depth is not None and normal is not None:
            more, u = geometric(rgba, sums, depth, normal)
            loss += more
        d = backward(tape, v, u)
        gradients = self.model.gradients(
            view.pose, posed, gaussians, d.means, d.quats, d.scales, d.opacity, d.sh, self.recipe.dynamic
        )
        if self._planes is not None:
            gradients |= self._planes.gradients(d.sh)
        self._move(gradients)
        self.loss = loss if self.at == 1 else 0.98 * self.loss + 0.02 * loss
        return loss

    def _turn(self) -> View:
        """Every picture once before any comes again."""
        views = self.capture.views["train"]
        turn, row = divmod(self.at, len(views))
        return views[int(np.random.default_rng([self.recipe.seed, 5, turn]).permutation(len(views))[row])]

    def _move(self, gradients: Mapping[str, Array]) -> None:
        self.at += 1
        rate = self.recipe.rate * LAST_RATE ** (self.at / self.recipe.steps)
        for name, value in self.model.values.items():
            if value.size:
                first, second = self.moments[name]
                flat = np.ascontiguousarray(gradients[name], np.float32).reshape(-1)
                kernels.adam(value.reshape(-1), flat, first, second, RATES[name] * rate, *BETAS, self.at)
                if name == "channels":
                    value *= np.float32(1 - DECAY * RATES[name] * rate)
        self.model.limit(self._largest)
        scales, logits = self.model.values["log_scales"], self.model.values["logits"]
        scales[:, self._inside] = np.clip(scales[:, self._inside], self._seeded - SHRINK, self._seeded + GROW)
        np.maximum(logits, self._floor, out=logits)
        gap = self.model.values["means"] - self.model.start
        far = np.linalg.norm(gap, axis=0) / self._reach
        self.model.values["means"] = self.model.start + gap / np.maximum(far, 1).astype(np.float32)
        if self._planes is not None:
            self._planes.bake()

    def check(self) -> dict[str, Any]:
        """Look at held-out views (without any: at the training loss) and remember the best model."""
        split = "val" if self.capture.views["val"] else "train"
        figures = measure(self.avatar({}), self.capture, split, self.recipe.shrink, self.recipe.dynamic, most=LOOKS)
        score = figures["head_psnr"] if split == "val" else -self.loss
        self.history.append([self.at, figures["head_psnr"], figures["head_ssim"]])
        if score > self.best_score:
            self.best_score, self.since = float(score), 0
            self.best = {name: a.copy() for name, a in self.model.values.items()}
        else:
            self.since += 1
        return figures

    def avatar(self, meta: Mapping[str, object]) -> Avatar:
        """The model as it is."""
        return self.model.to_avatar(meta)

    def finish(self) -> None:
        """Go back to the best model."""
        for name, value in self.best.items():
            self.model.values[name] = value.copy()

    def save(self, path: Path, key: str) -> None:
        """The whole run, for going on."""
        arrays = {f"{kind}.{n}": a for kind, all_ in self._state().items() for n, a in all_.items()}
        meta = {
            "key": key, "at": self.at, "since": self.since, "loss": self.loss, "history": self.history,
            "best_score": None if not np.isfinite(self.best_score) else self.best_score,
        }  # fmt: skip
        write_archive(path, "avatar_training", 1, arrays, meta)

    def _state(self) -> dict[str, dict[str, Array]]:
        return {"value": self.model.values, "moment": self.moments, "best": self.best}

    def load(self, path: Path, key: str) -> bool:
        """Go on from a saved run; False, and nothing changed, if it is of another recipe or capture. Raises BadFile."""
        arrays, meta = read_archive(path, "avatar_training", 1)
        if meta.get("key") != key:
            return False
        found: dict[str, dict[str, Array]] = {}
        for kind, held in self._state().items():
            names = {name: arrays.get(f"{kind}.{name}") for name in held}
            if any(a is None or a.shape != held[n].shape or a.dtype.kind != "f" for n, a in names.items()):
                return False
            found[kind] = {name: np.ascontiguousarray(a, np.float32) for name, a in names.items()}
        try:
            at, since, loss = int(meta["at"]), int(meta["since"]), float(meta["loss"])
            history = [list(map(float, row)) for row in meta["history"]]
            best_score = -np.inf if meta["best_score"] is None else float(meta["best_score"])
        except (KeyError, TypeError, ValueError) as error:
            raise BadFile(path, f"is damaged ({error!r}); delete it to begin anew") from None
        # Only what fits as a whole is taken over: a half of a run would be neither this one nor that.
        for kind, held in self._state().items():
            held.update(found[kind])
        self.at, self.since, self.loss, self.history, self.best_score = at, since, loss, history, best_score
        return True


def _made_of(head: Head, avatar: Avatar, materials: tuple[str, ...]) -> Array:
    """[n] bool: Gaussians on triangles of these materials."""
    return np.asarray(np.isin(head.face_material, material_ids(head, materials))[head.triangle_face[avatar.triangle]])


def _closed(head: Head, avatar: Avatar, inside: Array) -> Array:
    """[n] float32: the least logit of each opacity."""
    floor = np.full(len(avatar), -np.inf, np.float32)
    floor[inside & _made_of(head, avatar, ("mouth",))] = LINING_LOGIT
    for jaw in channels.empty(head, avatar.triangle, ("jaw",)):
        over = np.zeros(len(avatar), bool)
        over[jaw.rows[jaw.mask > ABOUT_MOUTH]] = True
        if avatar.free is not None:
            over[avatar.free.rows] = False
        floor[over & _made_of(head, avatar, ("skin", "lips"))] = LIPS_LOGIT
    return floor


def _largest(head: Head, avatar: Avatar) -> Array:
    """[n] metres: the largest scale that a Gaussian may take."""
    hair = _made_of(head, avatar, (*HAIR, "scalp"))
    return np.where(hair, LARGEST_HAIR_M, LARGEST_M).astype(np.float32)


def train(
    folder: str | Path, out: str | Path, head: Head, recipe: Recipe | None = None, report: Reporter = SILENT,
    begin: Avatar | None = None, lpips: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train on a capture and write the avatar; {"avatar", "steps", "seconds", "val": ..., "test": ...}.

    begin: an avatar of this head, trained on fewer pictures, to go on from; it says how many Gaussians there are.
    lpips: weights (engine/measure/lpips.py) with which that distance is added to the loss.
    Beside OUT stand OUT.state.npz while it runs (a stopped run goes on from it) and OUT.preview.png: truth, avatar and
    difference of held-out views. A cancel keeps the state. Raises BadFile, BadInput, Cancelled.
    """
    recipe, out = recipe or Recipe(), writable(out)
    if out.suffix != ".npz":
        raise BadInput(f"{out}: avatars are written as .npz; 'avatar export' makes other files of it")
    graded = None
    if lpips is not None:
        from engine.measure.lpips import read_lpips

        net = read_lpips(lpips)
        recipe, graded = replace(recipe, lpips=net.sha256), net.graded
    capture = read_capture(folder, head)
    state, preview = out.with_suffix(".state.npz"), out.with_suffix(".preview.png")
    require_heads(capture, evenly(capture.views["val"] or capture.views["train"], LOOKS), recipe.shrink)
    started = time.monotonic()
    run = Training(capture, recipe, report, begin, graded)
    key = _key(capture, recipe, begin)
    if state.is_file() and not run.load(state, key):
        report.warn(f"{state} is of another training; this one begins anew")
    try:
        _loop(run, report, state, key, preview)
    except Cancelled:
        run.save(state, key)
        raise
    run.finish()
    seen = capture.views["train"]
    made = replace(channels.pruned(run.avatar(_facts(run, begin))), view_range=_seen_from(seen))
    made = closed_throat(made, head, recipe.seed)
    save_avatar(out, made)
    found = read_avatar(out)  # as rounded as it is shipped
    figures: dict[str, Any] = {
        split: measure(found, capture, split, recipe.shrink, recipe.dynamic, report)
        for split in ("val", "test") if capture.views[split]
    }  # fmt: skip
    told = figures.get("test") or figures.get("val") or {}
    told = {"psnr": told.get("head_psnr"), "ssim": told.get("head_ssim"), "figures": figures}
    save_avatar(out, replace(made, meta={**made.meta, **told}))
    _preview(run, preview)
    state.unlink(missing_ok=True)
    return {
        "avatar": str(out), "gaussians": len(made), "bytes": out.stat().st_size, "pictures": len(seen),
        "steps": run.history[-1][0] if run.history else run.at, "best_step": _best_step(run),
        "seconds": round(time.monotonic() - started, 1), "preview": str(preview), **figures,
    }  # fmt: skip


def _loop(run: Training, report: Reporter, state: Path, key: str, preview: Path) -> None:
    """Steps and checks until the steps are done or held-out views stop getting better."""
    recipe = run.recipe
    while run.at < recipe.steps and run.since < PATIENCE:
        run.step()
        report.step("training", run.at, recipe.steps)
        if run.at % recipe.check == 0 or run.at == recipe.steps:
            run.check()
            run.save(state, key)
            _preview(run, preview)


def _preview(run: Training, path: Path) -> None:
    views = run.capture.views["test"] or run.capture.views["val"] or run.capture.views["train"]
    rows = sorted({int(i) for i in np.linspace(0, len(views) - 1, min(PREVIEWS, len(views)))})
    strip(path, run.avatar({}), run.capture, [views[i] for i in rows], run.recipe.shrink, run.recipe.dynamic)


def _key(capture: Capture, recipe: Recipe, begin: Avatar | None = None) -> str:
    """Of all that a run learns from: recipe, first avatar, head, poses, cameras, the files' names, sizes and times."""
    views = [view for split in ("train", "val") for view in capture.views[split]]
    cameras = np.array([[*v.camera.world_to_camera.ravel(), v.camera.fx, v.camera.cx, v.camera.cy] for v in views])
    files = [_stamp(path) for v in views for path in (v.picture, v.mask, v.geometry)]
    # Runs that were stopped before there was a choice of these go on: what all had then is not told.
    words = sorted(word for word in asdict(recipe).items() if word not in (("colour", "sh"), ("lpips", "")))
    told = repr((words, [(v.name, v.pose) for v in views], files))
    # One pose at a time: together they may not fit in memory.
    told += "".join(sha256_of_arrays(p.vertices, p.weights) for _, p in sorted(capture.poses.items()))
    told += capture.head.topology_sha256
    if begin is not None:
        told += _digest(begin)
    return sha256_of_arrays(np.frombuffer(told.encode(), np.uint8), cameras, capture.head.template)


def _digest(avatar: Avatar) -> str:
    """Of all that an avatar is drawn from."""
    arrays = [avatar.triangle, avatar.layer, avatar.local_means, avatar.local_quats, avatar.log_scales, avatar.opacity]
    arrays += [avatar.sh, *(a for c in avatar.channels for a in (c.rows, c.mask, c.side, c.colour))]
    if avatar.free is not None:
        arrays += [getattr(avatar.free, field.name) for field in fields(avatar.free)]
    words = [(c.name, sorted(c.left.items()), sorted(c.right.items())) for c in avatar.channels]
    return sha256_of_arrays(*arrays, np.frombuffer(repr((avatar.blend_space, words)).encode(), np.uint8))


def _stamp(path: Path | None) -> tuple[str, int, int] | None:
    if path is None:
        return None
    found = path.stat()
    return path.name, found.st_size, found.st_mtime_ns


def _best_step(run: Training) -> int:
    return int(max(run.history, key=lambda row: row[1])[0]) if run.history else run.at


def _facts(run: Training, begin: Avatar | None = None) -> dict[str, object]:
    """What the file says of itself: how it was made, of whom, from which avatar on."""
    first = None if begin is None else {"sha256": _digest(begin), "count": len(begin)}
    return {
        "builder": "engine.train.avatar", "recipe": asdict(run.recipe), "begin": first,
        "capture_pictures": len(run.capture.views["train"]), "look": look_of(run.capture.head),
    }  # fmt: skip


def _seen_from(views: list[View]) -> tuple[float, float, float, float]:
    """Azimuth and elevation limits of the training views, radians: where the avatar was made to be seen from.

    Cameras that leave no gap of a quarter turn go all round.
    """
    azimuths = np.radians(np.sort([v.azimuth for v in views]))
    elevations = np.radians([v.elevation for v in views])
    gaps = np.diff(np.append(azimuths, azimuths[0] + 2 * np.pi))
    low, high = (-np.pi, np.pi) if gaps.max() < np.pi / 2 else (azimuths[0], azimuths[-1])
    return float(low), float(high), float(elevations.min()), float(elevations.max())
