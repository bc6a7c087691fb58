"""The recipe's avatar: what it promises as a record, and what can be measured in its pictures."""

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from head_tools import weights_of
from PIL import Image, ImageDraw
from scipy.spatial import cKDTree

from engine.avatar import library, light
from engine.avatar.bind import bind
from engine.avatar.default import build_default_avatar
from engine.avatar.harmonics import basis as sh_basis
from engine.avatar.library import load_avatar
from engine.avatar.raycast import Occluder, sphere_directions
from engine.avatar.sampling import spread
from engine.core.errors import BadFile, BadInput
from engine.core.units import linear_to_srgb, srgb_to_linear
from engine.head.evaluate import joints_of, vertices
from engine.head.hair.library import hair_of
from engine.head.library import load_head
from engine.render import cameras, rasterise

POSES = {
    "neutral": {},
    "open": {"jawOpen": 0.9},
    "smile": {"mouthSmile": 1.0, "cheekSquint": 0.6},
    "shut": {"eyeBlink": 1.0},
}
SIZE = 256


@pytest.fixture(scope="module")
def head():
    return load_head("default")


@pytest.fixture(scope="module")
def avatar(head):
    return load_avatar("recipe", head)


def posed(head, **weights):
    return vertices(head, weights_of(**weights)[0])[0]


def close_up(head, azimuth):
    """The head without its shoulders."""
    points = head.template[head.template[:, 1] > head.template[:, 1].max() - 0.28]
    return cameras.orbit(points, SIZE, SIZE, azimuth_deg=azimuth)


def picture(avatar, head, camera, **pose):
    return rasterise(bind(avatar, head.triangles, posed(head, **pose)), camera, backend="cpu")


def project(camera, points):
    at = np.c_[points, np.ones(len(points))] @ camera.world_to_camera.T
    return np.stack([camera.fx * at[:, 0] / at[:, 2] + camera.cx, camera.fy * at[:, 1] / at[:, 2] + camera.cy], 1)


def silhouette(head, camera, points, strands=False):
    """[h, w] bool: inside any triangle but hairs', drawn by PIL; with the scalp's strands if wanted."""
    hair = [i for i, m in enumerate(head.materials) if m.name in ("brow", "lash")]
    image = Image.new("1", (SIZE, SIZE))
    draw, at = ImageDraw.Draw(image), project(camera, points) - 0.5
    for triangle in head.triangles[~np.isin(head.face_material[head.triangle_face], hair)]:
        draw.polygon([tuple(p) for p in at[triangle]], fill=1)
    for strand in hair_of(head).points(head.triangles, points) if strands else ():
        draw.line([tuple(p) for p in project(camera, strand) - 0.5], fill=1)
    return np.asarray(image)


def grown(mask, pixels):
    for _ in range(pixels):
        padded = np.pad(mask, 1, "edge")
        mask = padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return mask


def test_the_record(avatar, head):
    assert len(avatar) == 60_000 and avatar.topology_sha256 == head.topology_sha256 and avatar.blend_space == "srgb"
    assert avatar.triangle.min() >= 0 and avatar.triangle.max() < len(head.triangles)
    assert np.isfinite(avatar.sh).all() and ((avatar.opacity > 0) & (avatar.opacity < 1)).all()
    share = np.bincount(avatar.layer, minlength=3) / len(avatar)
    assert avatar.layers == ("face", "inside_mouth", "other") and (share > 0.04).all()
    # Nothing floats off its triangle's plane but hair: rounding lifts points of large triangles by 1 or 2 mm.
    corners = head.template[head.triangles[avatar.triangle]].astype(float)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    means = bind(avatar, head.triangles, head.template).means
    off = np.abs(((means - corners.mean(1)) * normal).sum(1)) > 0.004
    strands = hair_of(head).points(head.triangles, head.template)
    middles = 0.5 * (strands[:, 1:] + strands[:, :-1])
    points = np.concatenate([strands, middles], 1).reshape(-1, 3)
    assert 0.03 < off.mean() < 0.25 and cKDTree(points).query(means[off])[0].max() < 0.003


def test_hair_lies_along_its_strands_and_is_dark(avatar, head):
    """Long axes follow the strands that they stand for, and the budget is kept."""
    strands = hair_of(head).points(head.triangles, head.template).astype(float)
    start, end = strands[:, :-1].reshape(-1, 3), strands[:, 1:].reshape(-1, 3)
    bound = bind(avatar, head.triangles, head.template)
    stretched = np.sort(bound.scales, 1)
    thin = (stretched[:, 2] > 4 * stretched[:, 1]) & (bound.means[:, 1] > joints_of(head)[3, 1] + 0.07)
    assert 0.08 < thin.mean() < 0.25
    near = cKDTree(0.5 * (start + end)).query(bound.means[thin], 4)[1]
    way = (end - start) / np.linalg.norm(end - start, axis=1, keepdims=True)
    w, x, y, z = bound.quats[thin].T
    long_axis = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], 1)  # first column
    cosine = np.abs((way[near] * long_axis[:, None]).sum(2)).max(1)
    assert np.median(cosine) > 0.95 and (bound.scales[thin].argmax(1) == 0).all()
    colour = 0.5 + 0.28209479177387814 * avatar.sh[thin, 0]
    assert 0.05 < np.median(colour) < 0.4, "brown, not skin"


def test_without_hair_the_scalp_is_cropped(head, monkeypatch):
    """Nothing stands off its triangle as hair does, the count stays, and the scalp is covered dark."""
    monkeypatch.setattr(light, "RAYS", 48)
    top = head.template[:, 1].max()
    off = {}
    for with_hair in (True, False):
        made = build_default_avatar(head, 6000, with_hair=with_hair)
        assert len(made) == 6000
        bound = bind(made, head.triangles, head.template)
        corners = head.template[head.triangles[made.triangle]].astype(float)
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        off[with_hair] = (np.abs(((bound.means - corners.mean(1)) * normal).sum(1)) > 0.006).mean()
        crown = bound.means[:, 1] > top - 0.02
        assert crown.sum() > 20 and np.median(0.5 + 0.28209479177387814 * made.sh[crown, 0]) < 0.4
    assert off[True] > 0.01 and off[False] < 0.001, off


def test_the_recipe_repeats_itself_and_counts_exactly(head, monkeypatch):
    monkeypatch.setattr(light, "RAYS", 48)  # the rest of the recipe is what counts here
    a, b, c = (build_default_avatar(head, 3000, seed) for seed in (5, 5, 6))
    assert len(a) == 3000
    for field in dataclasses.fields(a):
        if isinstance(getattr(a, field.name), np.ndarray):
            assert np.array_equal(getattr(a, field.name), getattr(b, field.name)), field.name
    assert not np.array_equal(a.local_means, c.local_means)
    with pytest.raises(BadInput, match="at least"):
        build_default_avatar(head, 100)


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("azimuth", [0, 40, 90, 180, -65])
def test_it_covers_the_head_and_nothing_else(avatar, head, pose, azimuth):
    camera = close_up(head, azimuth)
    truth = silhouette(head, camera, posed(head, **POSES[pose]))
    alpha = picture(avatar, head, camera, **POSES[pose]).alpha
    haired = silhouette(head, camera, posed(head, **POSES[pose]), strands=True)
    inside, outside = ~grown(~truth, 3), ~grown(haired, 4)
    # Lashes stand out over the outline: hence a share, not all.
    assert (alpha[inside] > 0.97).mean() > 0.999 and (alpha[outside] < 0.03).mean() > 0.985


def patch(frame, camera, points, radius=2):
    """Mean display colour [3] of the pixels round the mean of points [n, 3]."""
    x, y = project(camera, points).mean(0).astype(int)
    rgba = frame.rgba[y - radius : y + radius + 1, x - radius : x + radius + 1].reshape(-1, 4)
    return linear_to_srgb(rgba[:, :3].mean(0))


def test_lids_cover_the_eyes_and_teeth_show(avatar, head):
    camera = close_up(head, 0)
    looking, shut = picture(avatar, head, camera), picture(avatar, head, camera, eyeBlink=1.0)
    eye = joints_of(head)[3:4] + [0, 0, 0.015]
    pupil, lid = patch(looking, camera, eye, 0), patch(shut, camera, eye, 0)
    assert pupil.max() < 0.3 and lid[0] > 0.45 and lid[0] > lid[2] + 0.08  # black, skin
    incisors = posed(head, jawOpen=0.5, mouthUpperUp=0.7)[head.landmarks["incisors_upper"]]
    frame = picture(avatar, head, camera, jawOpen=0.5, mouthUpperUp=0.7)
    tooth = patch(frame, camera, incisors, 1)
    assert tooth.min() > 0.5 and np.ptp(tooth) < 0.2  # light, hardly coloured


def test_the_neutral_mouth_shows_no_teeth_and_the_skin_no_holes(avatar, head):
    """A cheek's brightness varies smoothly: what shines through a hole is dark red or outside light."""
    for pose in ({}, {"jawOpen": 0.9}, {"mouthSmile": 1.0}):
        camera = close_up(head, 20)
        frame = picture(avatar, head, camera, **pose)
        points = posed(head, **pose)
        # Between the left corner of the jaw, of the mouth and the left nostril.
        x, y = project(camera, points[head.landmarks["face68"][[13, 54, 35]]].mean(0)[None])[0].astype(int)
        cheek = linear_to_srgb(frame.rgba[y - 8 : y + 9, x - 8 : x + 9, :3])
        blurred = sum(np.roll(cheek, (i, j), (0, 1)) for i in range(-2, 3) for j in range(-2, 3)) / 25
        assert np.abs(cheek - blurred)[3:-3, 3:-3].max() < 0.035, pose


def test_light_comes_from_the_lights(avatar, head):
    """The key stands on the subject's right, and a lit face is not a flat one."""
    frame = picture(avatar, head, close_up(head, 0))
    points = head.template
    right, left = ((np.abs(points[:, 1] - 0.0) < 0.012) & (np.abs(points[:, 0] - s * 0.045) < 0.006) for s in (-1, 1))
    front = points[:, 2] > 0.0
    camera = close_up(head, 0)
    assert patch(frame, camera, points[right & front])[0] > patch(frame, camera, points[left & front])[0] + 0.02


def test_the_library(avatar, head, tmp_path, monkeypatch):
    assert load_avatar("recipe", head) is avatar
    with pytest.raises(BadInput, match="no avatar called 'absent'"):
        load_avatar("absent", head)
    with pytest.raises(BadFile, match="no such avatar"):
        load_avatar(tmp_path / "absent.npz", head)
    (tmp_path / "scan.ply").write_bytes(b"ply")
    with pytest.raises(BadFile, match="in space"):
        load_avatar(tmp_path / "scan.ply", head)
    from engine.avatar.files import save_avatar

    save_avatar(tmp_path / "other.npz", dataclasses.replace(avatar, topology_sha256="f" * 64))
    with pytest.raises(BadInput, match="was made for the head"):
        load_avatar(tmp_path / "other.npz", head)


def test_default_is_the_file_on_its_own_head_and_the_recipe_on_another(head, tmp_path, monkeypatch):
    from engine.assets import registry
    from engine.avatar import library
    from engine.avatar.files import save_avatar

    made = build_default_avatar(head, 1000)
    save_avatar(tmp_path / "a.npz", dataclasses.replace(made, meta={**made.meta, "look": library.look_of(head)}))
    registry.register(registry.describe(tmp_path / "a.npz", "default", "avatar"), tmp_path)
    registry.register(registry.Entry("recipe", "avatar", recipe="engine.avatar.default"), tmp_path)
    monkeypatch.setattr(registry, "BUNDLED", tmp_path)
    built = []
    monkeypatch.setattr(library, "_built", lambda head, with_hair=True: built.append(head) or tmp_path / "a.npz")
    assert len(load_avatar("default", head)) == 1000 and not built
    darker = dataclasses.replace(head, albedo=head.albedo * np.float32(0.5))
    load_avatar("default", darker)
    load_avatar("recipe", head)
    assert [who is darker for who in built] == [True, False]


def test_points_spread_evenly_and_follow_the_density():
    """A square, five times denser on its right half; the nearest neighbour is never nearer than 55 % of the spacing."""

    corners = np.array([[[0, 0, 0], [1, 0, 0], [1, 1, 0]], [[0, 0, 0], [1, 1, 0], [0, 1, 0]]], float)
    left, right = corners * [0.5, 1, 1], corners * [0.5, 1, 1] + [0.5, 0, 0]
    density = np.repeat([1.0, 5.0], 2)[:, None] * np.ones(3)
    triangle, bary, spacing = spread(np.concatenate([left, right]), density, np.zeros(4, int), 3000, 1)
    points = np.einsum("nk,nkc->nc", bary, np.concatenate([left, right])[triangle])
    assert len(points) == 3000 and np.allclose(bary.sum(1), 1) and bary.min() >= 0
    assert (points[:, 0] > 0.5).mean() == pytest.approx(5 / 6, abs=0.02)
    near = cKDTree(points).query(points, 2)[0][:, 1]
    assert np.quantile(near / spacing, 0.01) > 0.55
    rng = np.random.default_rng(0)
    random = rng.random((3000, 2))
    assert np.quantile(cKDTree(random).query(random, 2)[0][:, 1] * np.sqrt(3000), 0.01) < 0.2  # what chance would give


def test_groups_and_facing_keep_surfaces_apart():
    """Two layers in the same place, of two groups: each gets half; as one group they would share."""
    square = np.array([[[0, 0, 0], [1, 0, 0], [1, 1, 0]], [[0, 0, 0], [1, 1, 0], [0, 1, 0]]], float)
    corners, even = np.concatenate([square, square]), np.ones((4, 3))
    triangle, _, _ = spread(corners, even, np.array([0, 0, 1, 1]), 1000, 2)
    assert (triangle < 2).sum() == pytest.approx(500, abs=15)


def test_rays_against_closed_forms():
    """Over a plane everything is visible; under a lid of known size, the part of the sky that it leaves."""
    d = sphere_directions(4000)
    plane = np.array([[-9.0, -9, 0], [9, -9, 0], [0, 18, 0]])
    lid = np.array([[-50.0, -50, 1], [50, -50, 1], [0, 0, 1]])  # covers the quarter of directions towards -y
    point, up = np.zeros((1, 3)), np.array([[0, 0, 1.0]])
    open_sky = Occluder(plane, np.array([[0, 1, 2]])).visible(point, up, d, 1e3)
    assert open_sky.sum() == (d[:, 2] > 0.02).sum()
    covered = Occluder(np.r_[plane, lid], np.array([[0, 1, 2], [3, 4, 5]])).visible(point, up, d, 1e3)
    x, y = d[:, 0] / d[:, 2], d[:, 1] / d[:, 2]
    blocked = (d[:, 2] > 0.02) & (y > -49) & (y < 0) & (np.abs(x) < -y)
    assert not covered[0, blocked].any()
    assert covered[0].sum() == pytest.approx((open_sky[0].astype(bool) & ~blocked).sum(), abs=10)
    assert (
        Occluder(np.r_[plane, lid], np.array([[0, 1, 2], [3, 4, 5]])).visible(point, up, d, 0.5).sum() == open_sky.sum()
    )


def test_an_open_plane_receives_the_cosine_integral(head, monkeypatch):
    """With the same light from everywhere, irradiance / pi of an unshadowed point is that light."""
    monkeypatch.setattr(light, "radiance", lambda d: np.full((len(d), 3), 0.8))
    d, scalp = sphere_directions(600), head.template[:, 1] > head.template[:, 1].max() - 0.03
    lit = light.light_pose(head, {}, np.zeros(len(head.template)), d, scalp)
    free = scalp & (lit.visible.sum(1) / np.maximum((lit.normals @ d.T > 0.02).sum(1), 1) > 0.995)
    assert free.sum() > 50 and np.abs(lit.irradiance[free] / 0.8 - 1).max() < 0.03


def test_gloss_is_the_plain_formula(head):
    rng = np.random.default_rng(0)
    d, views = sphere_directions(300), sphere_directions(7)
    normals = rng.normal(size=(20, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    visible, power = rng.integers(0, 2, (20, 300)).astype(np.uint8), np.linspace(5, 50, 20)
    got = light.glossy(light.Lit(np.zeros((20, 3)), visible, normals), d, views, power)
    facing = np.maximum(normals @ views.T, 0.05)
    mirror = 2 * facing[:, :, None] * normals[:, None] - views
    mirror /= np.linalg.norm(mirror, axis=2, keepdims=True)
    lobe = np.maximum(1 + power[:, None, None] / 8 * (mirror @ d.T - 1), 0) ** 8
    want = np.einsum("njk,nk,kc->njc", lobe, visible, light.radiance(d)) / (lobe.sum(2, keepdims=True) + 1e-6)
    assert np.abs(got - want).max() < 1e-4 * want.max()


def test_the_basis_is_the_renderers():
    import torch

    from engine.render.reference import sh_basis as reference

    d = sphere_directions(50)
    assert np.allclose(sh_basis(d, 9), reference(torch.as_tensor(d), 9).numpy(), atol=1e-12)
    assert np.allclose(srgb_to_linear(linear_to_srgb(np.linspace(0, 1, 9))), np.linspace(0, 1, 9))


def test_the_caches_digest_covers_every_module_that_the_recipe_imports():
    """A module that colours the avatar but is not in the digest would leave the old one in the user's cache."""
    folder = Path(library.__file__).parent
    found, left = set(), ["default"]
    while left:
        name = left.pop()
        found.add(name)
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("engine.avatar"):
                inner = node.module.removeprefix("engine.avatar").lstrip(".")
                left += [n for n in ([inner] if inner else [a.name for a in node.names]) if n not in found]
    assert {"harmonics", "surface", "hair"} <= found <= set(library._BUILDERS), found - set(library._BUILDERS)
