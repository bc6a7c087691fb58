"""ARKit shapes as FLAME parameters: expression coefficients and a turn of the jaw, with what is left in millimetres.

Each shape is fitted by least squares on the skin, millimetres squared plus a small price on coefficients (FLAME's are
in standard deviations, and far ones mix badly). Jaw shapes fit the jaw's turn as well, by Gauss-Newton steps on it.
FLAME has no lid control and its basis cannot seal lips: what is missing there is kept as columns of our own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.core.errors import BadInput
from engine.core.progress import SILENT, Reporter
from engine.core.units import MM
from engine.head import lbs
from engine.head.flame.file import EXPRESSIONS, FlameModel

JAW, POSE = 2, 15
JAW_SHAPES = ("jawOpen", "jawLeft", "jawRight")
BLINKS = {"eyelid_left": "eyeBlinkLeft", "eyelid_right": "eyeBlinkRight"}
LID_SHAPES = ("eyeLook", "eyeSquint", "eyeWide")
CLOSE_DEARER = 20.0
CONTACTS = ("mouthClose", "lipsTogether", "lowerLipToTeeth")
KEEP = ("none", "contact", "all")
PRICE_MM2 = 4e-4  # of a squared coefficient: 5 standard deviations cost as much as 0.1 mm everywhere
LIPS_WEIGHT = 6.0
_KEPT_MM = 0.1  # a residual smaller than this everywhere is not worth a column
_NEWTON = 6


@dataclass(frozen=True)
class Projection:
    """columns: names beyond FLAME's own basis, with offsets [c, s, 3] on the skin. expression [k, 100 + c] and
    pose [k, 15] of each shape. residual_mm: shape -> {"mean", "max", "moved"}: distance that is left (mean over the
    vertices that the shape moves), before and with our columns in "bare_mean"/"bare_max" and "mean"/"max"."""

    columns: tuple[str, ...]
    offsets: np.ndarray
    expression: np.ndarray
    pose: np.ndarray
    residual_mm: dict[str, dict[str, float]]


class _Fit:
    """The least-squares system of one model on its skin rows."""

    def __init__(self, model: FlameModel, skin: np.ndarray, weight: np.ndarray, extra: np.ndarray):
        self.model, self.skin = model, skin
        self.weight = np.sqrt(weight / weight.sum())[:, None]
        own = np.moveaxis(extra, 0, -1) if len(extra) else np.zeros((len(skin), 3, 0))
        self.basis = np.concatenate([model.expression[skin], own], 2)
        self.own = len(extra)

    def posed(self, expression: np.ndarray, jaw: np.ndarray) -> np.ndarray:
        """Skin vertices [s, 3] for coefficients and the jaw's axis-angle [3]."""
        shaped = self.model.template + self.model.expression @ expression[:EXPRESSIONS]
        shaped[self.skin] += self.basis[:, :, EXPRESSIONS:] @ expression[EXPRESSIONS:]
        joints = self.model.regressor @ shaped
        pose = np.zeros((1, POSE))
        pose[0, 3 * JAW : 3 * JAW + 3] = jaw
        points = shaped[self.skin] + self.model.posedirs[self.skin] @ _features(pose)
        moves = lbs.joint_transforms(joints[None], pose, (-1, 0, 1, 1, 1))
        return lbs.skin_reference(points[None], moves, self.model.weights[self.skin])[0]

    def blend(self, jaw: np.ndarray) -> np.ndarray:
        """[s, 3, 3] what skinning does to an offset when only the jaw is turned."""
        turn = lbs.rodrigues_reference(jaw)
        share = self.model.weights[self.skin, JAW][:, None, None]
        return (1 - share) * np.eye(3) + share * turn

    def solve(
        self, wanted: np.ndarray, jaw: np.ndarray, columns: np.ndarray | None = None, dearer: float = 1.0
    ) -> np.ndarray:
        """Coefficients whose offsets, under this jaw, come nearest to `wanted` [s, 3]. columns [s, 3, c]: more
        unknowns without a price, whose values come last. dearer: factor of the price."""
        basis = np.einsum("sij,sje->sie", self.blend(jaw), self.basis) if jaw.any() else self.basis
        price = np.full(basis.shape[2], dearer * PRICE_MM2)
        price[EXPRESSIONS:] = 1e-8  # our own columns are offsets at weight 1, not deviations
        if columns is not None:
            basis, price = np.concatenate([basis, columns], 2), np.concatenate([price, np.full(columns.shape[2], 1e-8)])
        a = MM * (self.weight[:, :, None] * basis).reshape(-1, basis.shape[2])
        b = MM * (self.weight * wanted).ravel()
        return np.linalg.solve(a.T @ a + np.diag(price), a.T @ b)

    def with_jaw(self, wanted: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(coefficients, jaw [3]) nearest to template + wanted [s, 3]: Gauss-Newton on the jaw, linear in the rest."""
        jaw, step = start.astype(np.float64), 1e-4
        none = np.zeros(self.basis.shape[2])
        expression = none
        goal = self.model.template[self.skin] + wanted
        for _ in range(_NEWTON):
            here = self.posed(none, jaw)
            slope = np.stack([(self.posed(none, jaw + step * axis) - here) / step for axis in np.eye(3)], -1)
            found = self.solve(goal - here, jaw, slope)
            expression, change = found[:-3], found[-3:]
            jaw = jaw + change
        # The coefficients once more for the jaw as it is, with everything that is not linear.
        left = goal - self.posed(expression, jaw)
        return expression + self.solve(left, jaw), jaw


def _features(pose: np.ndarray) -> np.ndarray:
    turn = lbs.rodrigues_reference(pose.reshape(5, 3)[1:]) - np.eye(3)
    return turn.ravel()


def project(
    model: FlameModel, skin: np.ndarray, names: tuple[str, ...], shapes: np.ndarray, weight: np.ndarray,
    lips: np.ndarray, keep: str = "contact", report: Reporter = SILENT,
) -> Projection:  # fmt: skip
    """Fit shapes [k, s, 3] (metres, on the skin rows) by FLAME's parameters.

    weight [s]: importance of each vertex (its area); lips [s] in [0, 1]. keep: "none" uses FLAME's basis alone,
    "contact" adds lids and lip contacts, "all" adds every residual above 0.1 mm.
    """
    if keep not in KEEP:
        raise BadInput(f"what is kept beyond FLAME's basis is one of {', '.join(KEEP)}, not '{keep}'")
    index = {name: k for k, name in enumerate(names)}
    weight = weight * (1 + LIPS_WEIGHT * lips)
    columns: list[str] = []
    offsets = np.zeros((0, len(skin), 3))
    bare = _Fit(model, skin, weight, offsets)
    if keep != "none":
        columns = [lid for lid, blink in BLINKS.items() if blink in index]
        offsets = shapes[[index[BLINKS[lid]] for lid in columns]]
    fit = _Fit(model, skin, weight, offsets)
    made = _all_shapes(fit, names, shapes, report)
    if keep == "none":
        return Projection((), offsets, *made, _residuals(fit, fit, names, shapes, made, made))
    kept = [n for n in names if n in CONTACTS or n.startswith(LID_SHAPES)] if keep == "contact" else list(names)
    kept = [n for n in kept if n not in BLINKS.values()]
    more, values = _leftovers(fit, kept, names, shapes, made, lips)
    expression = np.concatenate([made[0], np.zeros((len(names), len(more)))], 1)
    for c, name in enumerate(more):
        expression[index[name], EXPRESSIONS + len(columns) + c] = 1.0
    columns += [f"res_{name}" for name in more]
    whole = _Fit(model, skin, weight, np.concatenate([offsets, values]) if len(values) else offsets)
    final = (expression, made[1])
    plain = _all_shapes(bare, names, shapes, SILENT)
    return Projection(
        tuple(columns), whole.basis[:, :, EXPRESSIONS:].transpose(2, 0, 1), *final,
        _residuals(bare, whole, names, shapes, plain, final),
    )  # fmt: skip


_Made = tuple[np.ndarray, np.ndarray]


def _all_shapes(fit: _Fit, names: tuple[str, ...], shapes: np.ndarray, report: Reporter) -> _Made:
    """(expression [k, e], pose [k, 15]) of every shape."""
    index = {name: k for k, name in enumerate(names)}
    expression, pose = np.zeros((len(names), fit.basis.shape[2])), np.zeros((len(names), POSE))
    order = sorted(names, key=lambda n: n == "mouthClose")  # it needs jawOpen's fit
    for i, name in enumerate(order):
        report.step("project", i, len(order))
        k = index[name]
        if not shapes[k].any():
            continue
        if name in JAW_SHAPES:
            start = np.array([0.3, 0, 0]) if name == "jawOpen" else np.zeros(3)
            expression[k], pose[k, 3 * JAW : 3 * JAW + 3] = fit.with_jaw(shapes[k], start)
        elif name == "mouthClose" and "jawOpen" in index:
            # It only ever acts on an open jaw, so it is fitted there.
            jaw = pose[index["jawOpen"], 3 * JAW : 3 * JAW + 3]
            goal = fit.model.template[fit.skin] + shapes[index["jawOpen"]] + shapes[k]
            left = goal - fit.posed(expression[index["jawOpen"]], jaw)
            # The expressions know no shut lips on an open jaw; a dear price leaves that to our own column.
            expression[k] = fit.solve(left, jaw, dearer=CLOSE_DEARER if fit.own else 1.0)
        else:
            expression[k] = _plain_fit(fit, name, shapes[k])
    return expression, pose


def _plain_fit(fit: _Fit, name: str, shape: np.ndarray) -> np.ndarray:
    """Coefficients of a shape without jaw. Lids are our columns alone where there are any; other shapes leave them."""
    if not fit.own:
        return fit.solve(shape, np.zeros(3))
    if name in BLINKS.values():
        out = np.zeros(fit.basis.shape[2])
        out[EXPRESSIONS + list(BLINKS.values()).index(name)] = 1.0
        return out
    if name.startswith(LID_SHAPES):
        return fit.solve(shape, np.zeros(3))
    out = np.zeros(fit.basis.shape[2])
    out[:EXPRESSIONS] = _Fit(fit.model, fit.skin, fit.weight[:, 0] ** 2, np.zeros((0, 0, 0))).solve(shape, np.zeros(3))
    return out


def _wanted_and_got(
    fit: _Fit, k: int, names: tuple[str, ...], shapes: np.ndarray, made: _Made
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(wanted [s, 3], got [s, 3], jaw [3]) of a shape: mouthClose is judged on the open jaw."""
    expression, pose = made
    jaw, own, goal = pose[k, 3 * JAW : 3 * JAW + 3], expression[k], shapes[k]
    if names[k] == "mouthClose" and "jawOpen" in names:
        base = names.index("jawOpen")
        jaw, own, goal = pose[base, 3 * JAW : 3 * JAW + 3], own + expression[base], goal + shapes[base]
    return fit.model.template[fit.skin] + goal, fit.posed(own, jaw), jaw


def _leftovers(
    fit: _Fit, kept: list[str], names: tuple[str, ...], shapes: np.ndarray, made: _Made, lips: np.ndarray
) -> tuple[list[str], np.ndarray]:
    """Names and offsets [c, s, 3] of the residuals worth a column; those of lip contacts only round the lips."""
    found: list[str] = []
    values: list[np.ndarray] = []
    for name in sorted(kept, key=lambda n: n == "mouthClose"):
        k = names.index(name)
        wanted, got, jaw = _wanted_and_got(fit, k, names, shapes, made)
        left = np.linalg.solve(fit.blend(jaw), (wanted - got)[..., None])[..., 0]
        if name == "mouthClose" and "jawOpen" in found:
            left = left - values[found.index("jawOpen")]  # the open jaw brings its own along
        if name in CONTACTS:
            left = left * lips[:, None]
        if np.abs(left).max() * MM > _KEPT_MM:
            found.append(name)
            values.append(left)
    return found, np.array(values).reshape(len(found), len(fit.skin), 3)


def _residuals(
    bare: _Fit, whole: _Fit, names: tuple[str, ...], shapes: np.ndarray, plain: _Made, final: _Made
) -> dict[str, dict[str, float]]:
    out = {}
    for k, name in enumerate(names):
        size = np.linalg.norm(shapes[k], axis=1)
        if not size.any():
            continue
        moved = size > 0.02 * size.max()
        row = {"moved": float(size[moved].mean() * MM)}
        for label, fit, made in (("bare_", bare, plain), ("", whole, final)):
            wanted, got, _ = _wanted_and_got(fit, k, names, shapes, made)
            left = np.linalg.norm(wanted - got, axis=1) * MM
            row[f"{label}mean"], row[f"{label}max"] = float(left[moved].mean()), float(left.max())
        out[name] = {key: round(value, 3) for key, value in row.items()}
    return out
