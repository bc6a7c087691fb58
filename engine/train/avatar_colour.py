"""Colour of a canonical avatar by a tri-plane and an MLP (EmoDiffTalk eq. 1, 15-17), baked into spherical harmonics.

A Gaussian's colour is what the MLP makes of the planes' features at its place on the neutral face; none has a colour of
its own. The paper's colour is plain RGB, which is degree 0 here; of a higher degree the MLP gives all coefficients.
After each step the colours stand in the model as if they were free, so that drawing, measuring and files do not change.
Numbers that the paper does not print are set here: sizes of planes and MLP, rates (avatar.RATES).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from engine.avatar.appearance.triplane import TriPlaneHash
from engine.train import avatar_kernels as kernels
from engine.train.avatar_data import Posed
from engine.train.avatar_model import Model

Array = np.ndarray

LOG2_ROWS = 14  # nodes of a plane's level without sharing: all but the two finest (172² and 256²) have their own
HIDDEN = 64
MARGIN_M = 0.01  # of the planes beyond the first places: Gaussians move while they learn
LAST_LAYER = 0.1  # of torch's first weights
FIT_STEPS, FIT_BATCH, FIT_RATES = 300, 4096, {"planes": 0.02, "decoder": 0.005}  # to the first colours


class PlaneColour:
    """The colours of a Model. Adds its parameters to model.values, flat: "planes" and "decoder"; begins as near to the
    colours that the model has as the planes get in FIT_STEPS (SH above degree 0 begins at zero)."""

    def __init__(self, model: Model, seed: int = 0):
        self.model = model
        points = self.places()
        low, high = (torch.from_numpy(edge) for edge in (points.min(0) - MARGIN_M, points.max(0) + MARGIN_M))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.planes = TriPlaneHash(low, high, log2_rows=LOG2_ROWS)
            self.decoder = nn.Sequential(
                nn.Linear(self.planes.out, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(),
                nn.Linear(HIDDEN, 3 * model.terms),
            )  # fmt: skip
        colours = np.array(model.values["sh0"].T)
        self._begin(colours.mean(0))
        self._fit(points, colours, np.random.default_rng([seed, 11]))
        self.bake()

    def places(self) -> Array:
        """[n, 3] metres: the Gaussians on the neutral face, as they are now."""
        neutral = Posed("rest", self.model.head.template, np.zeros(0))
        return np.ascontiguousarray(self.model.place(-1, neutral, dynamic=False).means)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """[n, 3 * terms]: coefficients of points [n, 3], term by term."""
        found: torch.Tensor = self.decoder(self.planes(points))
        return found

    def bake(self) -> None:
        """Write the colours of the parameters into model.values "sh0" and "sh_rest"."""
        self._take()
        with torch.no_grad():
            sh = self.forward(torch.from_numpy(self.places())).numpy().T
        self.model.values["sh0"] = np.ascontiguousarray(sh[:3])
        self.model.values["sh_rest"] = np.ascontiguousarray(sh[3:])

    def gradients(self, d_sh: Array) -> dict[str, Array]:
        """By "planes" and "decoder" from d_sh [3 terms, n], gradients by the baked colours, whose own become zero. No
        gradient goes through the planes to the places."""
        self._take()
        seen = np.flatnonzero(d_sh.any(0))
        found = self._back(self.places()[seen], np.ascontiguousarray(d_sh[:, seen].T, np.float32))
        none = {name: np.zeros_like(self.model.values[name]) for name in ("sh0", "sh_rest")}
        return {**found, **none}

    def _back(self, points: Array, given: Array) -> dict[str, Array]:
        """Gradients by the parameters, flat, of the sum of `given` [m, 3 terms] times the coefficients at points."""
        planes = np.zeros_like(self.model.values["planes"])
        if not len(points):
            return {"planes": planes, "decoder": np.zeros_like(self.model.values["decoder"])}
        at = torch.from_numpy(points)
        with torch.no_grad():
            features = self.planes(at)
            unit = ((at - self.planes.low) / self.planes.span).clamp(0, 1).numpy()
        with torch.enable_grad():
            features.requires_grad_(True)
            by = torch.autograd.grad(
                self.decoder(features), [features, *self.decoder.parameters()], torch.from_numpy(given)
            )
        sizes, table = np.array(self.planes.sizes, np.int64), planes.reshape(self.planes.table.shape)
        kernels.triplane_back(unit, by[0].contiguous().numpy(), sizes, table)
        return {"planes": planes, "decoder": nn.utils.parameters_to_vector(by[1:]).numpy()}

    def _take(self) -> None:
        """Let the nets see model.values, whose arrays training replaces when it goes on or back; nothing is copied."""
        self.planes.table.data = torch.from_numpy(self.model.values["planes"]).view_as(self.planes.table)
        flat, at = torch.from_numpy(self.model.values["decoder"]), 0
        for part in self.decoder.parameters():
            part.data = flat[at : at + part.numel()].view_as(part)
            at += part.numel()

    def _begin(self, mean: Array) -> None:
        """Parameters into model.values: `mean` [3] everywhere, from a last layer that is small in the constant term
        and zero above it (one of zeros alone would let nothing reach the planes)."""
        last = self.decoder[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight[:3] *= LAST_LAYER
            last.weight[3:] = 0
            last.bias.zero_()
            last.bias[:3] = torch.from_numpy(mean)
        self.model.values["planes"] = self.planes.table.detach().numpy().reshape(-1).copy()
        flat = nn.utils.parameters_to_vector(self.decoder.parameters())
        self.model.values["decoder"] = flat.detach().numpy().copy()

    def _fit(self, points: Array, colours: Array, rng: np.random.Generator) -> None:
        """Batches of points [n, 3] to their first colours [n, 3], by squares and Adam."""
        values = {name: self.model.values[name] for name in FIT_RATES}
        moments = {name: np.zeros((2, a.size), np.float32) for name, a in values.items()}
        self._take()
        for at in range(1, FIT_STEPS + 1):
            rows = rng.integers(len(points), size=min(FIT_BATCH, len(points)))
            with torch.no_grad():
                found = self.forward(torch.from_numpy(points[rows])).numpy()
            given = np.zeros_like(found)
            given[:, :3] = (found[:, :3] - colours[rows]) / len(rows)
            fall = 0.1 ** (at / FIT_STEPS)
            for name, gradient in self._back(points[rows], given).items():
                kernels.adam(values[name], gradient, *moments[name], FIT_RATES[name] * fall, 0.9, 0.99, at)
