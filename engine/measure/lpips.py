"""LPIPS, the learned perceptual distance of two pictures (Zhang et al. 2018, version 0.1), from the user's own weights.

Features of AlexNet or VGG16 at five depths, each pixel's at unit length, squared differences weighed by a linear layer,
means over the picture added up. No weights come with the program. The file is a .safetensors or .npz with the names of
the reference implementation's state_dict (which network it is follows from the shapes):

    net.slice{1..5}.{layer}.weight, .bias     convolutions, numbered as in torchvision's alexnet / vgg16 .features
    lin{0..4}.model.1.weight                  [1, channels, 1, 1] (model.0 where it was built without dropout)

A person who has that package writes it once:

    state = lpips.LPIPS(net="alex").state_dict()
    safetensors.torch.save_file({name: a.clone() for name, a in state.items()}, "lpips.safetensors")
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.core.errors import BadFile, BadInput
from engine.core.files import sha256_of

Array = np.ndarray

SMALLEST = 32  # pixels: of less, AlexNet's last layers have nothing left
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pictures in [-1, 1]
_EPSILON = 1e-10


class Layer(NamedTuple):
    """A convolution and the ReLU behind it: where it is, its shape, what it does, pooling before it (0: none)."""

    slice: int
    number: int
    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    pad: int = 1
    pool: int = 0


ALEX = (
    Layer(1, 0, 3, 64, 11, 4, 2), Layer(2, 3, 64, 192, 5, 1, 2, 3), Layer(3, 6, 192, 384, 3, pool=3),
    Layer(4, 8, 384, 256, 3), Layer(5, 10, 256, 256, 3),
)  # fmt: skip
VGG = (
    Layer(1, 0, 3, 64, 3), Layer(1, 2, 64, 64, 3), Layer(2, 5, 64, 128, 3, pool=2), Layer(2, 7, 128, 128, 3),
    Layer(3, 10, 128, 256, 3, pool=2), Layer(3, 12, 256, 256, 3), Layer(3, 14, 256, 256, 3),
    Layer(4, 17, 256, 512, 3, pool=2), Layer(4, 19, 512, 512, 3), Layer(4, 21, 512, 512, 3),
    Layer(5, 24, 512, 512, 3, pool=2), Layer(5, 26, 512, 512, 3), Layer(5, 28, 512, 512, 3),
)  # fmt: skip
NETS = {"alex": ALEX, "vgg": VGG}


class Lpips:
    """The distance; 0 for equal pictures. name: "alex" or "vgg"; sha256 of the weights' file."""

    def __init__(self, name: str, weights: Mapping[str, Tensor], sha256: str = ""):
        self.name, self.layers, self.sha256 = name, NETS[name], sha256
        self.weights = {key: value.detach().float() for key, value in weights.items()}
        self._shift, self._scale = (torch.tensor(v).view(1, 3, 1, 1) for v in (_SHIFT, _SCALE))

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Five [b, c, h, w] of pictures [b, 3, h, w] in [0, 1], of unit length along c."""
        x, out = (pictures * 2 - 1 - self._shift) / self._scale, []
        for at, layer in enumerate(self.layers):
            if layer.pool:
                x = functional.max_pool2d(x, layer.pool, 2)
            part = f"net.slice{layer.slice}.{layer.number}"
            weight, bias = self.weights[f"{part}.weight"], self.weights[f"{part}.bias"]
            x = functional.relu(functional.conv2d(x, weight, bias, layer.stride, layer.pad))
            if at + 1 == len(self.layers) or self.layers[at + 1].slice != layer.slice:
                # The same as dividing by the root alone, but differentiable where nothing fires.
                length = torch.sqrt(x.square().sum(1, keepdim=True).clamp_min(_EPSILON**2))
                out.append(x / (length + _EPSILON))
        return out

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """[b] of pictures [b, 3, h, w], display values in [0, 1]. Raises BadInput if they are too small."""
        if min(*first.shape[2:]) < SMALLEST:
            raise BadInput(
                f"LPIPS needs pictures of {SMALLEST} pixels or more each way, not {first.shape[3]} x {first.shape[2]}"
            )
        total = torch.zeros(len(first))
        for k, (p, q) in enumerate(zip(self.features(first), self.features(second), strict=True)):
            weighed = ((p - q).square() * self.weights[f"lin{k}"]).sum(1)
            total = total + weighed.mean((1, 2))
        return total

    def of(self, first: Array, second: Array) -> float:
        """Of two pictures [h, w, 3] in [0, 1]."""
        with torch.no_grad():
            return float(self(*(_tensor(a) for a in (first, second))))

    def graded(self, first: Array, second: Array) -> tuple[float, Array]:
        """(distance, its gradient [h, w, 3] by `first`) of pictures [h, w, 3] in [0, 1]."""
        with torch.enable_grad():
            moving = _tensor(first).requires_grad_(True)
            found = self(moving, _tensor(second)).sum()
            (by,) = torch.autograd.grad(found, moving)
        return float(found.detach()), np.ascontiguousarray(by[0].permute(1, 2, 0).numpy())


def _tensor(picture: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32))


def read_lpips(path: str | Path) -> Lpips:
    """Weights from a .safetensors or .npz of the layout above. Raises BadFile with what does not fit."""
    path = Path(path)
    arrays = _arrays(path)
    first = arrays.get("net.slice1.0.weight")
    name = next((n for n, layers in NETS.items() if first is not None and first.shape == _shape(layers[0])), None)
    if name is None:
        raise BadFile(
            path, "holds no LPIPS weights of AlexNet or VGG16: net.slice1.0.weight is missing or of no such net"
        )
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {}
    kept = {}
    for layer in NETS[name]:
        part = f"net.slice{layer.slice}.{layer.number}"
        wanted |= {
            f"{part}.weight": (f"{part}.weight", _shape(layer)),
            f"{part}.bias": (f"{part}.bias", (layer.outputs,)),
        }
    last = {layer.slice: layer.outputs for layer in NETS[name]}
    for k in range(5):
        spelt = next((s for i in (1, 0) if (s := f"lin{k}.model.{i}.weight") in arrays), f"lin{k}.model.1.weight")
        wanted[f"lin{k}"] = (spelt, (1, last[k + 1], 1, 1))
    for key, (spelt, shape) in wanted.items():
        found = arrays.get(spelt)
        if found is None:
            raise BadFile(path, f"has no '{spelt}'; write the whole state_dict of the reference implementation")
        if found.shape != shape or found.dtype.kind != "f":
            raise BadFile(path, f"holds '{spelt}' of shape {found.shape} where {name} has numbers of shape {shape}")
        if not np.isfinite(found).all():
            raise BadFile(path, f"holds numbers in '{spelt}' that are not finite")
        kept[key] = torch.from_numpy(np.array(found, np.float32))
    return Lpips(name, kept, sha256_of(path))


def _shape(layer: Layer) -> tuple[int, ...]:
    return layer.outputs, layer.inputs, layer.kernel, layer.kernel


def _arrays(path: Path) -> dict[str, Array]:
    """Every array of the file, by name; nothing of it is executed."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        raise BadFile(path, "no such file")
    if path.suffix.lower() not in (".safetensors", ".npz"):
        raise BadFile(
            path, "is neither .safetensors nor .npz; other files of weights can run programs and are not read"
        )
    try:
        if path.suffix.lower() == ".safetensors":
            return dict(load_file(str(path)))
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except (OSError, SafetensorError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise BadFile(path, f"is damaged ({str(error).splitlines()[0] if str(error) else 'cut short'})") from None
