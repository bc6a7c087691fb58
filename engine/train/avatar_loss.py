"""What a rendered picture is compared by: 0.7 L1 + 0.3 (1 - SSIM) (Kerbl et al. 2023, eq. 7), with its gradient.

Pictures are compared in display values over one random background, so that a wrong silhouette shows. Depth and normals
of captures weigh a little (EmoTaG: .01 and .001).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.train import avatar_kernels as kernels

Array = np.ndarray
Graded = Callable[[Array, Array], tuple[float, Array]]  # pictures [h, w, 3] -> distance, its gradient by the first

D_SSIM = 0.3
DEPTH, NORMAL = 0.01, 0.001
DEPTH_SCALE_M = 0.01  # a centimetre counts as much as a whole step of brightness
SOLID = 0.95  # alpha from which a pixel's depth and normal are one surface's


class Photometric:
    """Loss and gradient of pictures of one size at a time; keeps its work space."""

    def __init__(self, d_ssim: float = D_SSIM):
        self.d_ssim = d_ssim
        self._space: Array = np.zeros((0, 0, 0), np.float32)

    def __call__(self, rgba: Array, truth: Array, background: Array) -> tuple[float, Array]:
        """(loss, gradient [h, w, 4]) of rgba [h, w, 4] against truth [h, w, 4], both premultiplied display values;
        background [3] in [0, 1]."""
        h, w = rgba.shape[:2]
        if self._space.shape[1:] != (h, w):
            self._space = np.empty((10, h, w), np.float32)
        loss, gradient = 0.0, np.empty((h, w, 4), np.float32)
        gradient[..., 3] = 0
        for channel in range(3):
            value, d = self._channel(
                _over(rgba, channel, background[channel]), _over(truth, channel, background[channel])
            )
            loss += value
            gradient[..., channel] = d
            gradient[..., 3] -= background[channel] * d
        return loss, gradient

    def _channel(self, x: Array, y: Array) -> tuple[float, Array]:
        """A third of the loss, and its gradient by x [h, w]."""
        mx, my, xx, yy, xy, spare, *raw, out = self._space
        count = 3.0 * x.size
        kernels.products(x, y, *raw)
        for source, target in ((x, mx), (y, my), (raw[0], xx), (raw[1], yy), (raw[2], xy)):
            kernels.blur(source, kernels.WINDOW, spare, target)
        weight = np.float32(-self.d_ssim / count)
        similar = kernels.ssim_maps(x, y, mx, my, xx, yy, xy, weight)
        for source, target in zip((mx, xx, xy), raw, strict=True):
            kernels.blur(source, kernels.WINDOW, spare, target)
        l1 = (1 - self.d_ssim) / count
        apart = kernels.collect(x, y, *raw, np.float32(l1), out)
        return l1 * apart + self.d_ssim * (1 / 3 - similar / count), out


def _over(rgba: Array, channel: int, background: float) -> Array:
    """One channel [h, w] of a premultiplied picture over a background."""
    return np.ascontiguousarray(rgba[..., channel] + (1 - rgba[..., 3]) * np.float32(background))


def perceptual(graded: Graded, rgba: Array, truth: Array, background: Array) -> tuple[float, Array]:
    """(loss, gradient [h, w, 4]) of a distance of opaque pictures; arguments and gradient as of Photometric."""
    x, y = (np.stack([_over(a, c, background[c]) for c in range(3)], 2) for a in (rgba, truth))
    loss, d = graded(x, y)
    return loss, np.concatenate([d, -(d @ background.astype(np.float32))[..., None]], 2)


def geometric(rgba: Array, sums: Array, depth: Array, normal: Array) -> tuple[float, Array]:
    """(loss, gradient [h, w, 4]) of sums [h, w, 4] (weight times depth, weight times normal) against depth [h, w]
    metres (0: unknown) and normal [h, w, 3] in the world. Alpha is taken as it is: the photometric loss shapes it."""
    alpha = rgba[..., 3]
    used = (alpha > SOLID) & (depth > 0)
    gradient = np.zeros_like(sums)
    count = max(int(used.sum()), 1)
    if not used.any():
        return 0.0, gradient
    a = alpha[used]
    gap = (sums[..., 0][used] / a - depth[used]) / DEPTH_SCALE_M
    near = np.abs(gap) < 1  # beyond that another surface is seen there, which sliding cannot mend
    loss = DEPTH * float(np.minimum(np.abs(gap), 1).mean())
    gradient[..., 0][used] = DEPTH / count * np.sign(gap) * near / (DEPTH_SCALE_M * a)
    n = sums[..., 1:][used]
    length = np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-4)
    unit, goal = n / length, normal[used]
    known = (goal * goal).sum(1, keepdims=True) > 0.25
    along = (unit * goal).sum(1, keepdims=True)
    loss += NORMAL * float(((1 - along) * known).mean())
    gradient[..., 1:][used] = -NORMAL / count * known * (goal - along * unit) / length
    return loss, gradient.astype(np.float32)


def psnr(x: Array, y: Array) -> float:
    """Peak signal to noise in dB of pictures in [0, 1]; equal ones give 99."""
    error = float(np.mean(np.square(x.astype(np.float64) - y)))
    return 99.0 if error <= 10**-9.9 else float(-10 * np.log10(error))


def ssim(x: Array, y: Array) -> float:
    """Mean SSIM (Wang et al. 2004; window as above) of pictures [h, w, 3] in [0, 1], windows inside the picture."""
    values = []
    for channel in range(3):
        p, q = (np.ascontiguousarray(a[..., channel], np.float32) for a in (x, y))
        maps = [np.empty_like(p) for _ in range(6)]
        for source, target in zip((p, q, p * p, q * q, p * q), maps, strict=False):
            kernels.blur(source, kernels.WINDOW, maps[5], target)
        mx, my, xx, yy, xy = maps[:5]
        c1, c2 = 0.01**2, 0.03**2
        top = (2 * mx * my + c1) * (2 * (xy - mx * my) + c2)
        low = (mx**2 + my**2 + c1) * (xx - mx**2 + yy - my**2 + c2)
        edge = kernels.TAPS // 2
        inner = (top / low)[edge:-edge, edge:-edge] if min(p.shape) > kernels.TAPS else top / low
        values.append(float(inner.mean()))
    return float(np.mean(values))
