"""The numba rasteriser against the reference, and what it does with bad input."""

import dataclasses

import numpy as np
import pytest
import torch
from test_render_reference import near_and_wide, tensors

from engine.avatar.layout import as_planes
from engine.core.errors import BadInput, Missing
from engine.core.splats import FAR_DEPTH, Camera, Gaussians
from engine.core.units import linear_to_srgb
from engine.render import backends, cuda, rasterise, reference
from engine.render.bench import head_camera, head_scene
from engine.render.cpu import CpuRaster

torch.set_num_threads(1)

# The rule. Measured on the scenes below: p99.9 1e-6 or less, worst pixel 2e-3 (a cut at alpha = 1/255 that
# falls the other way in float32).
MOST, ALL = 1e-4, 1 / 128


def moved(camera, x=0.0, y=0.0, z=0.0):
    view = np.array(camera.world_to_camera)
    view[:3, 3] += (x, y, z)
    return dataclasses.replace(camera, world_to_camera=view)


CAMERAS = {
    "front": head_camera(160, 128),
    "odd": head_camera(131, 77, azimuth=0.7),
    "one_pixel": head_camera(1, 1, azimuth=0.3),
    "narrow": head_camera(9, 200, azimuth=2.0),
    "orthographic": dataclasses.replace(head_camera(150, 101, azimuth=0.4), orthographic=True, fx=420.0, fy=430.0),
    "orthographic_amid": moved(
        dataclasses.replace(head_camera(99, 101), orthographic=True, fx=300.0, fy=300.0), z=-0.7
    ),
    "inside": near_and_wide(),
    "half_off": moved(head_camera(120, 120), x=0.09, y=-0.05),
    "behind": moved(head_camera(64, 64), z=-3.0),
    "mirrored": dataclasses.replace(
        head_camera(120, 90), world_to_camera=np.diag([-1.0, 1, 1, 1]) @ head_camera(120, 90).world_to_camera
    ),
}


def both(g, camera, threads=1, normals=None, antialiased=False):
    """(cpu, reference) as dictionaries of colour in display space, depth and normal."""
    h, w = camera.height, camera.width
    ours = {"rgba": np.empty((h, w, 4), np.float32), "depth": np.empty((h, w), np.float32)}
    ours["normal"] = np.empty((h, w, 3), np.float32)
    CpuRaster(threads).draw(g, camera, *ours.values(), colour_space="display", normals=normals, antialiased=antialiased)
    given = None if normals is None else torch.as_tensor(normals.astype(np.float64))
    truth = reference.rasterise(*tensors(g), camera, normals=given, antialiased=antialiased)
    return ours, {name: getattr(truth, name).numpy() for name in ours}


def check(ours, truth):
    error = np.abs(ours["rgba"] - truth["rgba"]).max(-1)
    assert (error < MOST).mean() >= 0.999 and error.max() < ALL
    solid = (truth["rgba"][..., 3] >= 0.5) & (error < MOST)
    assert np.abs(ours["depth"] - truth["depth"])[solid].max(initial=0) < 1e-4  # metres
    # Facing flips where a normal is square to the ray: allow one pixel in a thousand.
    wrong = np.abs(ours["normal"] - truth["normal"]).max(-1)[solid] > 1e-3
    assert wrong.sum() <= max(1, solid.sum() // 1000)
    alpha = ours["rgba"][..., 3]
    assert (ours["depth"][alpha < 0.5] == np.float32(FAR_DEPTH)).all()
    assert (ours["rgba"][alpha == 0] == 0).all() and (ours["normal"][alpha == 0] == 0).all()


@pytest.mark.parametrize("name", CAMERAS)
def test_agrees_with_the_reference(name):
    ours, truth = both(head_scene(4000), CAMERAS[name])
    check(ours, truth)
    drawn = truth["rgba"][..., 3].max() > 0.5
    assert drawn == (name != "behind")


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_agrees_at_lower_degrees(degree):
    check(*both(head_scene(2000, degree=degree), CAMERAS["front"]))


def test_agrees_on_translucent_gaussians_and_given_normals():
    g = head_scene(3000)
    rng = np.random.default_rng(1)
    g = dataclasses.replace(g, opacity=rng.uniform(0.0, 0.3, 3000).astype(np.float32))
    check(*both(g, CAMERAS["odd"], normals=rng.normal(size=(3000, 3)).astype(np.float32)))


@pytest.mark.parametrize("name", ["odd", "orthographic", "inside"])
def test_agrees_when_antialiased(name):
    g = head_scene(3000)
    g = dataclasses.replace(g, scales=g.scales * np.float32(0.3))
    check(*both(g, CAMERAS[name], antialiased=True))


def test_antialiasing_keeps_the_light_of_a_small_picture():
    """Gaussians much thinner than a pixel: the classic 0.3 px² makes them fatter, so the total light grows with the
    reduction in size; anti-aliased, it stays what the large picture has, less the 2.5 % that lie below the cut at
    alpha = 1/255 of a Gaussian of opacity 0.155."""
    rng = np.random.default_rng(0)
    g = head_scene(400)
    scales = np.full((400, 3), 6e-4, np.float32)
    means = (rng.uniform(-1, 1, (400, 3)) * [0.1, 0.1, 0]).astype(np.float32)
    g = dataclasses.replace(g, means=means, scales=scales, opacity=np.full(400, 0.9, np.float32))
    light = {}
    for mode in (False, True):
        for size in (96, 768):
            out = draw(g, head_camera(size, size, fill=1.0), antialiased=mode, colour_space="display")
            light[mode, size] = out[..., 3].mean()
    assert light[False, 96] > 1.5 * light[False, 768]
    assert light[True, 96] == pytest.approx(light[True, 768], rel=0.05)


def test_agrees_at_full_size():
    check(*both(head_scene(60_000), head_camera(512, 512, azimuth=0.3)))


def test_threads_change_nothing():
    g, camera = head_scene(5000), head_camera(200, 150, azimuth=0.2)
    one, two, three = (both(g, camera, n)[0] for n in (1, 2, 3))
    for name in one:
        assert np.array_equal(one[name], two[name]) and np.array_equal(one[name], three[name])


def test_layout_in_memory_changes_nothing():
    g = head_scene(2000)
    copied = Gaussians(*(np.ascontiguousarray(getattr(g, f.name)) for f in dataclasses.fields(g)))
    assert not copied.means.T.flags.c_contiguous and g.means.T.flags.c_contiguous
    camera = CAMERAS["front"]
    assert np.array_equal(both(g, camera)[0]["rgba"], both(copied, camera)[0]["rgba"])


def draw(g, camera, dtype=np.float32, **options):
    out = np.full((camera.height, camera.width, 4), 77, dtype)
    CpuRaster(1).draw(g, camera, out, **options)
    return out


def test_display_bytes_are_the_floats_rounded():
    g, camera = head_scene(3000), CAMERAS["odd"]
    exact = draw(g, camera, colour_space="display")
    packed = draw(g, camera, np.uint8, colour_space="display")
    assert np.abs(packed - np.clip(exact, 0, 1) * 255.0).max() <= 0.5 + 1e-3


def test_linear_picture_is_the_decoded_one():
    """Fused table against the formula; 4e-7 is the table's own bound, premultiplied float32 adds a rounding."""
    g, camera = head_scene(3000), CAMERAS["odd"]
    blended = draw(g, camera, colour_space="display").astype(np.float64)
    assert np.abs(draw(g, camera) - backends.make_linear(blended)).max() < 2e-6


def test_linear_avatars_are_not_decoded_and_can_be_encoded():
    g, camera = head_scene(3000), CAMERAS["odd"]
    same = draw(g, camera, blend_space="linear")
    assert np.array_equal(same, draw(g, camera, blend_space="srgb", colour_space="display"))
    alpha = np.maximum(same[..., 3:].astype(np.float64), 1e-12)
    encoded = linear_to_srgb(same[..., :3] / alpha) * alpha
    assert np.abs(draw(g, camera, blend_space="linear", colour_space="display")[..., :3] - encoded).max() < 2e-6


def test_flip_puts_row_0_at_the_bottom():
    g, camera = head_scene(3000), CAMERAS["odd"]
    up = [np.empty(s, np.float32) for s in ((77, 131, 4), (77, 131), (77, 131, 3))]
    down = [np.empty_like(a) for a in up]
    raster = CpuRaster(2)
    raster.draw(g, camera, *up)
    raster.draw(g, camera, *down, flip=True)
    assert all(np.array_equal(a[::-1], b) for a, b in zip(up, down, strict=True)) and up[0].any()


def spoiled(field, rows, value, n=1500):
    g = head_scene(n)
    array = np.array(getattr(g, field))
    array[rows] = value
    return dataclasses.replace(g, **{field: array})


BAD = slice(0, 300)


@pytest.mark.parametrize("field", ["means", "quats", "scales", "opacity", "sh"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_gaussians_that_are_not_finite_are_left_out(field, value):
    if field == "opacity" and value == np.inf:
        pytest.skip("an infinite opacity counts as 1, like every opacity above")
    g, camera = spoiled(field, BAD, value), head_camera(90, 70)
    ours, truth = both(g, camera)
    clean = Gaussians(*(getattr(g, f.name)[300:] for f in dataclasses.fields(g)))
    assert np.isfinite(ours["rgba"]).all() and np.isfinite(ours["normal"]).all()
    # Not equal to the last bit: the others move to other places in the vectors.
    error = np.abs(ours["rgba"] - both(clean, camera)[0]["rgba"]).max(-1)
    assert (error < MOST).mean() >= 0.999 and error.max() < ALL
    check(ours, truth)


@pytest.mark.parametrize(
    "field, value",
    [("scales", 0.0), ("scales", 1e3), ("quats", 0.0), ("opacity", 0.0), ("opacity", 3.0), ("means", 1e6)],
)
def test_extreme_gaussians(field, value):
    check(*both(spoiled(field, slice(0, 20), value), head_camera(90, 70)))


def test_no_gaussians_give_an_empty_picture():
    empty = Gaussians(*(np.zeros((0, *shape), np.float32) for shape in ((3,), (4,), (3,), (), (4, 3))))
    camera = head_camera(40, 30)
    assert not draw(empty, camera).any()
    frame = rasterise(empty, camera)
    assert not frame.rgba.any() and (frame.depth == np.float32(FAR_DEPTH)).all() and not frame.normal.any()


def test_bands_bound_the_memory_and_change_nothing(monkeypatch):
    from engine.render import cpu

    g, camera = head_scene(3000), head_camera(160, 128)
    whole = draw(g, camera)
    monkeypatch.setattr(cpu, "MAX_ENTRIES", 500)
    raster = CpuRaster(2)
    out = np.empty_like(whole)
    raster.draw(g, camera, out)
    assert np.array_equal(whole, out)
    assert len(cpu.bands(np.array([0, 10, 20, 500, 510]), 25)) == 3


def test_three_million_gaussians_take_bounded_memory():
    """Work space of the cpu rasteriser: 136 bytes a Gaussian, 4 an entry of the lists; here they are tiny and few lie
    on a tile. One band of the picture never needs more entries than MAX_ENTRIES (above)."""
    import tracemalloc

    n = 3_000_000
    few = head_scene(3000, degree=0)
    fields = [np.repeat(np.asarray(getattr(few, f.name)), n // 3000, axis=0) for f in dataclasses.fields(few)]
    fields[2] = np.full((n, 3), 1e-4, np.float32)
    many = Gaussians(*(as_planes(a) if a.ndim > 1 else a for a in fields))
    out = np.empty((64, 64, 4), np.float32)
    tracemalloc.start()
    CpuRaster(1).draw(many, head_camera(64, 64), out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert out[..., 3].max() > 0.9 and np.isfinite(out).all()
    assert peak < n * (136 + 4 * 3)


def test_bad_requests_say_what_is_wrong():
    g, camera = head_scene(100), head_camera(20, 10)
    for options in ({"blend_space": "rec709"}, {"backend": "vulkan"}, {"passes": ("rgb",)}, {"passes": ()}):
        with pytest.raises(BadInput):
            rasterise(g, camera, **options)
    with pytest.raises(BadInput, match="normals"):
        rasterise(g, camera, normals=np.zeros((3, 3)))
    with pytest.raises(BadInput, match="contiguous"):
        CpuRaster(1).draw(g, camera, np.zeros((20, 10, 4), np.float32))
    with pytest.raises(BadInput, match="coefficients"):
        rasterise(dataclasses.replace(g, sh=np.zeros((100, 5, 3), np.float32)), camera)


def test_backends_agree_and_absent_passes_are_empty():
    g, camera = head_scene(2000), head_camera(60, 50, azimuth=0.4)
    ours, truth = rasterise(g, camera, backend="cpu"), rasterise(g, camera, backend="reference")
    assert np.abs(ours.rgba - truth.rgba).max() < ALL and ours.rgba.dtype == truth.rgba.dtype == np.float32
    solid = truth.alpha >= 0.5
    assert np.abs(ours.depth - truth.depth)[solid].max() < 1e-4
    assert np.array_equal(ours.depth[~solid], truth.depth[~solid])
    alone = rasterise(g, camera, passes=("rgba",))
    assert alone.depth.size == alone.normal.size == 0 and np.array_equal(alone.rgba, ours.rgba)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a card")
def test_gsplat_is_not_available_without_a_card():
    assert cuda.available() is False
    assert backends.choose() == "cpu"
    with pytest.raises(Missing, match="cpu rasteriser") as error:
        rasterise(head_scene(10), Camera(8, 8, 8.0, 8.0, 4.0, 4.0, np.eye(4)), backend="gsplat")
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not cuda.available(), reason="needs gsplat with a CUDA card")
@pytest.mark.parametrize("name", ["front", "odd", "orthographic_amid"])
def test_gsplat_agrees_with_the_reference(name):
    g, camera = head_scene(4000), CAMERAS[name]
    ours, truth = rasterise(g, camera, backend="gsplat"), rasterise(g, camera, backend="reference")
    error = np.abs(ours.rgba - truth.rgba).max(-1)
    # gsplat sorts by its own float32 depth and uses fast exponentials: neighbours may swap.
    assert (error < 1e-3).mean() > 0.99
