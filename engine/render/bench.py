"""How fast the rasterisers are (`bench render`), on a scene that anyone can make again and on the default avatar."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from engine.avatar.layout import as_planes
from engine.core.progress import SILENT, Reporter
from engine.core.splats import Camera, Gaussians
from engine.render import bench_avatar, cuda, rasterise
from engine.render.cpu import CpuRaster
from engine.render.threads import available_threads

REPEATS, SECONDS = 40, 2.0  # frames timed per case at least, unless that takes longer than this
SIZES = ((512, 512), (1280, 720), (1920, 1080))
COUNTS = (20_000, 60_000)


def head_scene(count: int = 60_000, degree: int = 3, seed: int = 0) -> Gaussians:
    """Gaussians on a head-shaped ellipsoid with a nose and bumps.

    Deviations log-uniform in 1.5-4 mm along the surface (grown with fewer Gaussians, so that coverage stays), half of
    that along the normal; opacity about 0.9; random colours.
    """
    rng = np.random.default_rng(seed)
    d = rng.normal(size=(count, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    radii = np.array([0.075, 0.115, 0.09])
    nose = 0.25 * np.exp(-((d[:, 0] / 0.15) ** 2) - ((d[:, 1] + 0.05) / 0.2) ** 2) * (d[:, 2] > 0)
    means = d * radii * (1 + 0.03 * np.sin(9 * d[:, 0]) * np.sin(7 * d[:, 1]) + nose)[:, None]
    normal = d / radii
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    # The shortest rotation from z to the normal.
    quats = np.stack([1 + normal[:, 2], -normal[:, 1], normal[:, 0], np.zeros(count)], 1)
    quats /= np.linalg.norm(quats, axis=1, keepdims=True) + 1e-9
    scales = np.exp(rng.uniform(np.log(0.0015), np.log(0.004), (count, 3))) * np.sqrt(60_000 / count)
    scales[:, 2] *= 0.5
    sh = 0.05 * rng.normal(size=(count, (degree + 1) ** 2, 3))
    sh[:, 0] = rng.uniform(-1, 1, (count, 3))
    opacity = np.clip(rng.normal(0.9, 0.04, count), 0.3, 0.97).astype(np.float32)
    return Gaussians(as_planes(means), as_planes(quats), as_planes(scales), opacity, as_planes(sh))


def head_camera(width: int, height: int, azimuth: float = 0.0, fill: float = 0.6) -> Camera:
    """The scene's camera at 0.7 m, `azimuth` radians round; the head fills `fill` of the picture's height."""
    distance = 0.7
    focal = fill * height * distance / 0.23
    c, s = np.cos(azimuth), np.sin(azimuth)
    view = np.eye(4)
    view[:3, :3] = [[c, 0, -s], [0, -1, 0], [-s, 0, -c]]
    view[2, 3] = distance
    return Camera(width, height, focal, focal, width / 2, height / 2, view)


def time_cpu(gaussians: Gaussians, camera: Camera, threads: int) -> float:
    """Least milliseconds of one frame: rgba in display space, one buffer, no file."""
    raster = CpuRaster(threads)
    out = np.empty((camera.height, camera.width, 4), np.float32)
    raster.draw(gaussians, camera, out, colour_space="display")  # compiles, makes the work space
    return _least(lambda: raster.draw(gaussians, camera, out, colour_space="display"))


def _least(draw: Any) -> float:
    best, began = float("inf"), time.perf_counter()
    for i in range(10 * REPEATS):
        start = time.perf_counter()
        draw()
        now = time.perf_counter()
        best = min(best, now - start)
        if now - began > SECONDS and (i >= REPEATS or now - began > 5 * SECONDS):
            break
    return 1000 * best


STEPS = ((2_000, 128), (5_000, 128), (20_000, 256), (20_000, 512), (60_000, 512))  # Gaussians, pixels a side


def run_backward(report: Reporter = SILENT, quick: bool = False) -> dict[str, Any]:
    """{"cases": [{"size", "gaussians", "sh", "threads", "forward_ms", "backward_ms", "step_ms", "reference_ms"}],
    "isa"}: least milliseconds of a training step's raster work, SH of degree 3, the head filling the picture.

    step_ms is the torch function with its gradients of all parameters and one step of fused Adam; reference_ms the
    same of the plain torch rasteriser, at 128 x 128 only (else null). quick: the 128 x 128 cases on one thread.
    """
    cases: list[dict[str, Any]] = []
    steps = [s for s in STEPS if s[1] == 128] if quick else list(STEPS)
    jobs = [(n, side, t) for n, side in steps for t in ([1] if quick else sorted({1, min(2, available_threads())}))]
    for i, (n, side, threads) in enumerate(jobs):
        report.step("bench", i, len(jobs))
        scene, camera = head_scene(n), head_camera(side, side, fill=1.0)
        forward_ms, backward_ms, step_ms = time_step(scene, camera, threads)
        reference_ms = time_step_reference(scene, camera) if side == 128 and threads == 1 else None
        cases.append({
            "size": [side, side], "gaussians": n, "sh": 3, "threads": threads, "forward_ms": round(forward_ms, 2),
            "backward_ms": round(backward_ms, 2), "step_ms": round(step_ms, 2),
            "reference_ms": None if reference_ms is None else round(reference_ms, 1),
        })  # fmt: skip
    return {"cases": cases, "isa": instruction_set()}


def time_step(gaussians: Gaussians, camera: Camera, threads: int) -> tuple[float, float, float]:
    """Least milliseconds of (forward, backward, whole step with torch and Adam)."""
    import torch

    from engine.render import gradient

    v = np.random.default_rng(0).normal(size=(camera.height, camera.width, 4)).astype(np.float32)
    _, _, tape = gradient.forward(gaussians, camera, threads=threads)
    gradient.backward(tape, v)  # compiles
    forward = _least(lambda: gradient.forward(gaussians, camera, threads=threads))
    backward = _least(lambda: gradient.backward(tape, v))
    parameters, loss = _parameters(gaussians), torch.as_tensor(v)
    means, quats, log_scales, logits, sh = parameters
    adam = torch.optim.Adam(parameters, lr=1e-6, fused=True)

    def step() -> None:
        picture = gradient.render(means, quats, log_scales, logits, sh, camera, threads=threads)
        (picture.rgba * loss).sum().backward()
        adam.step()
        adam.zero_grad()

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        step()
        return forward, backward, _least(step)
    finally:
        torch.set_num_threads(before)


def time_step_reference(gaussians: Gaussians, camera: Camera) -> float:
    """Milliseconds of one forward and backward pass of the plain torch rasteriser on one thread, in float32."""
    import torch

    from engine.render import reference

    means, quats, log_scales, logits, sh = _parameters(gaussians)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start = time.perf_counter()
        picture = reference.rasterise(means, quats, log_scales.exp(), logits.sigmoid(), sh, camera)
        picture.rgba.sum().backward()
        return 1000 * (time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)


def _parameters(g: Gaussians) -> list[Any]:
    import torch

    values = (g.means, g.quats, np.log(g.scales), np.log(g.opacity / (1 - g.opacity)), g.sh)
    return [torch.tensor(np.array(a, np.float32)).requires_grad_() for a in values]


def _avatar() -> tuple[Gaussians, Camera]:
    """The default avatar on its neutral head, and a camera that fills a 512 x 512 picture with it."""
    from engine.avatar.bind import bind
    from engine.avatar.library import default_head, load_avatar
    from engine.render.cameras import front

    head = default_head()
    return bind(load_avatar(), head.triangles, head.template), front(head.template, 512, 512)


def run(report: Reporter = SILENT, quick: bool = False) -> dict[str, Any]:
    """{"cases": [{"scene", "size", "gaussians", "sh", "appearance", "backend", "threads", "ms", "fps",
    "reference_ms", "over_static"}], "isa"}: least milliseconds per frame; reference_ms (plain torch, one thread,
    float32) is measured in the same run where the size is 512 x 512, else null. appearance: false, or what the default
    avatar wears (bench_avatar.py), then over_static is its time over that of the bound static avatar in the same run.
    quick: the 512 x 512 cases of the cpu backend only."""
    cases: list[dict[str, Any]] = []
    sizes = SIZES[:1] if quick else SIZES
    threads = sorted({1, min(2, available_threads()), available_threads()})
    jobs = [(n, size, t) for n in COUNTS for size in sizes for t in threads]
    scenes = {n: head_scene(n) for n in COUNTS}
    references = {n: time_reference(scenes[n], head_camera(512, 512)) for n in COUNTS}
    for i, (n, size, t) in enumerate(jobs):
        report.step("bench", i, len(jobs) + 1)
        ms = time_cpu(scenes[n], head_camera(*size), t)
        cases.append(_case("ellipsoid", size, n, 3, "cpu", t, ms, references[n] if size == SIZES[0] else None))
    gaussians, camera = _avatar()
    reference = time_reference(gaussians, camera)
    degree = round(gaussians.sh.shape[1] ** 0.5) - 1
    for t in threads:
        ms = time_cpu(gaussians, camera, t)
        cases.append(_case("default avatar", (512, 512), len(gaussians), degree, "cpu", t, ms, reference))
    cases += _dressed(len(gaussians), degree, threads)
    if cuda.available() and not quick:
        for n in COUNTS:
            ms = _least(lambda n=n: rasterise(scenes[n], head_camera(512, 512), backend="gsplat", passes=("rgba",)))
            cases.append(_case("ellipsoid", SIZES[0], n, 3, "gsplat", 0, ms, references[n]))
    report.step("bench", len(jobs) + 1, len(jobs) + 1)
    return {"cases": cases, "isa": instruction_set()}


def _dressed(gaussians: int, degree: int, threads: list[int]) -> list[dict[str, Any]]:
    """The default avatar from a face's values to the picture, with and without its dynamic appearance."""
    cases = []
    for t in threads:
        found = bench_avatar.time_rows(_least, t)
        for name, ms in found.items():
            worn = False if name == "static" else name
            case = _case("default avatar, posed", (512, 512), gaussians, degree, "cpu", t, ms, None)
            cases.append({**case, "appearance": worn, "over_static": round(ms / found["static"], 2)})
    return cases


def time_reference(gaussians: Gaussians, camera: Camera) -> float:
    """Milliseconds of one frame of the plain torch rasteriser on one thread, in float32."""
    import torch

    from engine.render import reference

    g = gaussians
    means, quats, scales, opacity, sh = (
        torch.as_tensor(np.array(a, np.float32, order="C")) for a in (g.means, g.quats, g.scales, g.opacity, g.sh)
    )
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            start = time.perf_counter()
            reference.rasterise(means, quats, scales, opacity, sh, camera)
            return 1000 * (time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)


def instruction_set() -> str:
    """The widest vectors that the compiled kernels may use here."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    named = (("AVX-512", "avx512f"), ("AVX2", "avx2"), ("NEON", "neon"), ("SSE2", "sse2"))
    return next((name for name, key in named if features.get(key)), "unknown")


def _case(
    scene: str, size: tuple[int, int], gaussians: int, sh: int, backend: str, threads: int, ms: float,
    reference_ms: float | None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "scene": scene, "size": list(size), "gaussians": gaussians, "sh": sh, "appearance": False, "backend": backend,
        "threads": threads, "ms": round(ms, 2), "fps": round(1000 / ms, 1),
        "reference_ms": None if reference_ms is None else round(reference_ms, 1),
    }  # fmt: skip
