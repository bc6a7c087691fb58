"""A capture without Blender: an avatar photographed by our own rasteriser, in the layout that Blender writes."""

import numpy as np
from PIL import Image

from engine.avatar import channels
from engine.avatar.bind import bind
from engine.avatar.layout import as_planes
from engine.core.units import linear_to_srgb
from engine.head.evaluate import vertices
from engine.render import rasterise
from engine.studio import capture
from engine.studio.capture_plan import file_name, plan
from engine.studio.poses import make
from engine.train.avatar_start import SH0, spread

POSES = (make("neutral", {}), make("jaw", {"shapes": {"jawOpen": 0.8}}), make("smile", {"shapes": {"mouthSmile": 1.0}}))
UNSEEN = (make("half", {"shapes": {"jawOpen": 0.4, "mouthSmile": 0.4}}),)


def spread_with_colour(head):
    """3000 discs in the head's own colours: quick to make, and a face is to be seen."""
    avatar = spread(head, 3000)
    rgb = linear_to_srgb(head.albedo[head.triangles[avatar.triangle]].mean(1))
    return channels.replace(avatar, sh=as_planes(((rgb - 0.5) / SH0)[:, None].astype(np.float32)))


def write(folder, head, avatar, size=64, views=3, each=2, tests=2, added=None):
    """A finished capture of `avatar` on `head`; added: extra display colour of faces whose jaw is open. Its plan."""
    made = plan(POSES, UNSEEN, head.template, size, views=views, each=each, tests=tests, samples=1, test_samples=1)
    answer = {"name": head.name, "topology_sha256": head.topology_sha256, "arrays": {}}
    capture.prepare(folder, made, size, answer)
    for name in ("images", "geometry", "meshes"):
        (folder / name).mkdir()
    np.savez(folder / "meshes" / "canonical.npz", vertices=head.template)
    posed = [vertices(head, p.arkit[None], p.extra[None], p.joints[None], p.translation[None])[0] for p in made.poses]
    for i, points in enumerate(posed):
        np.savez(folder / "meshes" / f"{i:05d}.npz", offsets=(points - head.template).astype(np.float16))
    for shot in made.shots:
        weights = np.concatenate([made.poses[shot.pose].arkit, made.poses[shot.pose].extra])
        gaussians = bind(avatar, head.triangles, posed[shot.pose])
        gaussians = channels.coloured(avatar, gaussians, weights if shot.split != "smooth" else None)
        frame = rasterise(gaussians, made.cameras[shot.view], backend="cpu")
        alpha = frame.rgba[..., 3:]
        straight = np.clip(linear_to_srgb(frame.rgba[..., :3] / np.maximum(alpha, 1e-6)), 0, 1)
        if added is not None:
            straight = np.clip(straight + added * made.poses[shot.pose].arkit[17], 0, 1)
        rgba = np.round(np.concatenate([straight, alpha], 2) * 255).astype(np.uint8)
        Image.fromarray(rgba).save(folder / "images" / f"{file_name(shot)}.png")
        depth = np.where(frame.depth < 1e9, frame.depth, 0)
        np.savez(
            folder / "geometry" / f"{file_name(shot)}.npz", depth=np.round(depth * 1e4).astype(np.uint16),
            normal=np.round(frame.normal * 127).astype(np.int8),
        )  # fmt: skip
    capture.index(folder)
    return made
