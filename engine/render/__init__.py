"""`Gaussians` + `Camera` in, `Frame` out: reference.py (plain torch), cpu.py (numba), cuda.py (gsplat, lazy).

    frame = rasterise(gaussians, front(vertices, 512, 512))        # rgba, depth, normal: linear light, row 0 on top
    CpuRaster(threads=1).draw(gaussians, camera, buffer, ...)      # into a caller's buffer (engine.render.cpu)

Importing this loads no backend.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.core.splats import Camera, Frame, Gaussians


def rasterise(
    gaussians: Gaussians,
    camera: Camera,
    blend_space: str = "srgb",
    backend: str = "auto",
    passes: Sequence[str] = ("rgba", "depth", "normal"),
    threads: int = 0,
    normals: np.ndarray | None = None,
    antialiased: bool = False,
) -> Frame:
    """Draw Gaussians as a camera sees them.

    blend_space: what the Gaussians' colours are; "srgb" blends display values (as 3DGS files are trained) and makes
    the picture linear afterwards: straight colour is decoded, then premultiplied again (display values above 4 clamp).
    backend: "auto" (gsplat where a real CUDA raster call works, else cpu), "cpu", "gsplat", "reference".
    passes: rgba always comes; depth or normal that is not asked for costs nothing and is empty ([0, 0], [0, 0, 3]).
    threads: of the cpu backend; 0 uses the cores that the process may use.
    normals: [n, 3] world directions of the surface; None takes each Gaussian's shortest axis, facing the camera.
    antialiased: Gaussians thinner than a pixel lose in opacity what they gain in width (Mip-Splatting's 2-D filter;
    gsplat's mode of that name): pictures of other sizes keep their look. For avatars that were trained so.
    Raises BadInput for unknown names, Missing where gsplat is asked for and cannot run.
    """
    from engine.render.backends import draw

    return draw(gaussians, camera, blend_space, backend, tuple(passes), threads, normals, antialiased)
