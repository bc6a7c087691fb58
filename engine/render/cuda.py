"""gsplat on an NVIDIA card, where a real raster call succeeds (Ye et al. 2024, https://github.com/nerfstudio-project/gsplat).

`import gsplat` succeeds without CUDA and its first call would then try to compile; so the test is a tiny real picture,
made once, and only where torch itself sees a card. Nothing is ever compiled by this project.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.errors import Missing
from engine.core.splats import Camera, Gaussians
from engine.render.reference import FAR_PLANE, NEAR_PLANE

# gsplat's near plane also holds for orthographic cameras; ours have none, so the scene is pushed away and back.
_ORTHOGRAPHIC_SHIFT = 1000.0


@functools.cache
def problem() -> str:
    """Why gsplat cannot be used here, in one sentence; "" if it can."""
    try:
        import torch

        if not torch.cuda.is_available():
            return "no NVIDIA card is visible to torch; use the cpu rasteriser"
        import gsplat  # noqa: F401
    except ImportError as error:
        return f"gsplat is not installed ({error}); run `pip install gsplat==1.5.3` or use the cpu rasteriser"
    if not _compiled():
        return "gsplat has no compiled CUDA library for this torch; use the cpu rasteriser"
    try:
        one = Gaussians(
            np.array([[0, 0, 1]], np.float32), np.array([[1, 0, 0, 0]], np.float32), np.full((1, 3), 0.1, np.float32),
            np.array([0.9], np.float32), np.zeros((1, 1, 3), np.float32),
        )  # fmt: skip
        rgba, _, _ = _rasterise(one, Camera(16, 16, 16.0, 16.0, 8.0, 8.0, np.eye(4)), None)
        if not 0.5 < float(rgba[8, 8, 3]) < 1:
            return "gsplat draws a wrong test picture on this card; use the cpu rasteriser"
    except Exception as error:  # a broken driver or extension raises anything; the cpu path must still be taken
        return f"gsplat cannot draw on this machine ({type(error).__name__}); use the cpu rasteriser"
    return ""


def _compiled() -> bool:
    """Whether gsplat's CUDA library exists: in its wheel, or built before by its owner in torch's extension folder.

    Asked before gsplat's backend is touched, because that compiles (minutes) wherever it finds nvcc.
    """
    if importlib.util.find_spec("gsplat.csrc") is not None:
        return True
    from torch.utils import cpp_extension

    root = os.environ.get("TORCH_EXTENSIONS_DIR") or cpp_extension.get_default_build_root()
    return any(Path(root).glob("**/gsplat_cuda/gsplat_cuda.*"))


def available() -> bool:
    """Whether a real CUDA raster call succeeds here. Never raises; the answer is kept."""
    return not problem()


def rasterise(
    gaussians: Gaussians, camera: Camera, normals: np.ndarray | None = None, antialiased: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rgba [h, w, 4] as blended, mean depth [h, w], unit normal [h, w, 3]) float32. Raises Missing without CUDA."""
    if not available():
        raise Missing(problem())
    return _rasterise(gaussians, camera, normals, antialiased)


def _rasterise(
    gaussians: Gaussians, camera: Camera, normals: np.ndarray | None, antialiased: bool = False
) -> tuple[Any, Any, Any]:
    import torch
    from gsplat import rasterization

    from engine.render import reference

    g = gaussians
    means, quats, scales, opacity, sh = (
        torch.as_tensor(np.ascontiguousarray(a, np.float32)) for a in (g.means, g.quats, g.scales, g.opacity, g.sh)
    )
    finite = torch.isfinite(means).all(1) & torch.isfinite(quats).all(1) & torch.isfinite(scales).all(1)
    finite &= torch.isfinite(opacity) & torch.isfinite(sh).all(2).all(1) & (quats.norm(dim=1) > 1e-15)
    # Colours, depths and normals go through the same kernel as seven features: one pass, and our own SH rules.
    means, quats, scales, opacity, sh = (a[finite].cuda() for a in (means, quats, scales, opacity.clamp_max(1), sh))
    view = torch.as_tensor(np.asarray(camera.world_to_camera, np.float32)).cuda()
    with torch.no_grad():
        if normals is None:
            facing = reference.facing_normals(means, quats, scales, camera)
        else:
            given = torch.as_tensor(np.asarray(normals, np.float32))[finite].cuda()
            facing = reference.turn_to_camera(given, means, camera)
        depth = means @ view[2, :3] + view[2, 3]
        features = torch.cat([reference.colours(means, sh, camera), depth[:, None], facing], 1)
        if camera.orthographic:
            view = view.clone()
            view[2, 3] += _ORTHOGRAPHIC_SHIFT
        k = torch.tensor([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]], device="cuda")
        out, alpha, _ = rasterization(
            means, quats, scales, opacity, features, view[None], k[None].float(), camera.width, camera.height,
            near_plane=NEAR_PLANE, far_plane=FAR_PLANE, eps2d=0.3, sh_degree=None, packed=False,
            rasterize_mode="antialiased" if antialiased else "classic",
            camera_model="ortho" if camera.orthographic else "pinhole",
        )  # fmt: skip
        out, alpha = out[0], alpha[0]
        normal = torch.nn.functional.normalize(out[..., 4:7], dim=-1, eps=1e-4)
        rgba = torch.cat([out[..., :3], alpha], -1)
        mean_depth = out[..., 3] / alpha[..., 0].clamp_min(1e-12)
    return rgba.cpu().numpy(), mean_depth.cpu().numpy(), normal.cpu().numpy()
