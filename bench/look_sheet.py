"""The head as the add-on makes it, in Cycles: skin, eyes, mouth and wrinkles, for a person's eye.

    python bench/look_sheet.py --out docs/pictures              head_look.jpg and wrinkles_on_off.jpg
    python bench/look_sheet.py --sheets wrinkles --only frown --size 512
    python bench/look_sheet.py --time                           seconds a frame with and without wrinkles

Needs the bpy wheel. One thread unless --threads says otherwise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.core.names import ARKIT, AU_INDEX, AUS, EXTRA, SIDES
from engine.head import action_units
from engine.serve.jobs import head as head_job

EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "brows up": {"AU01": 1.0, "AU02": 1.0},
    "frown": {"AU04": 1.0, "AU07": 0.3},
    "big smile": {"AU06": 0.9, "AU12": 1.0, "AU25": 0.5},
    "disgust": {"AU09": 1.0, "AU10": 0.5, "AU07": 0.4},
    "chin raise": {"AU17": 1.0, "AU15": 0.3},
    "open": {"AU26": 0.9, "AU25": 0.8, "AU12": 0.3},
    "left brow": {"AU01_L": 0.4, "AU02_L": 1.0},
    "look aside": {},
}
SPAN, EYE_SPAN, MOUTH_SPAN = 0.25, 0.062, 0.085


@dataclass(frozen=True)
class Shot:
    """One picture. yaw, pitch in degrees to the head's left and up; middle, metres across in Blender's axes."""

    label: str
    expression: str
    yaw: float = 0.0
    pitch: float = 0.0
    middle: tuple[float, float, float] = (0.0, 0.0, 0.005)
    span: float = SPAN
    amount: float = 1.0
    wrinkles: bool = True


def shots(sheet: str) -> Iterator[Shot]:
    """The pictures of a sheet."""
    eye, mouth = (0.030, -0.045, 0.030), (0.0, -0.05, -0.038)
    if sheet == "look":
        yield Shot("front", "neutral")
        yield Shot("three-quarter", "neutral", 38.0)
        yield Shot("profile", "neutral", 90.0, middle=(0, 0.02, 0.0))
        yield Shot("from below", "neutral", 25.0, -14.0)
        yield Shot("eye", "neutral", 12.0, 0.0, eye, EYE_SPAN)
        yield Shot("eye, aside", "look aside", 40.0, 4.0, eye, EYE_SPAN)
        yield Shot("mouth", "neutral", 15.0, 0.0, mouth, MOUTH_SPAN)
        yield Shot("mouth open", "open", 0.0, 0.0, (0, -0.05, -0.05), MOUTH_SPAN)
    elif sheet == "wrinkles":
        # Yaw in degrees, height of the picture's middle in metres.
        views = {
            "brows up": (10.0, 0.034), "frown": (5.0, 0.026), "big smile": (35.0, 0.0), "disgust": (20.0, 0.008),
            "chin raise": (25.0, -0.020),
        }  # fmt: skip
        for name, (yaw, up) in views.items():
            shot = Shot(name, name, yaw, middle=(0, 0, up), span=0.165)
            yield shot
            yield replace(shot, label=f"{name}, off", wrinkles=False)
        for name in ("brows up", "big smile"):
            yaw, up = views[name]
            yield Shot(f"{name}, half", name, yaw, middle=(0, 0, up), span=0.165, amount=0.5)


class Studio:
    """The default head built by the add-on, three soft lights and a camera."""

    def __init__(self, size: int, samples: int, threads: int, with_hair: bool = True):
        import bpy

        from blender_addon.scene import hair, head

        self.bpy = bpy
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        self._settings(size, samples, threads)
        info = head_job({"head": "default"})
        self.ob, self.rig = head.build(info, info["arrays"], self.scene.collection)
        if with_hair and info.get("hair"):
            hair.add(info, info["arrays"], self.rig, self.scene.collection)
        for place, power, width in (
            ((-0.55, -1.1, 0.55), 15, 0.55),
            ((0.9, -0.8, 0.1), 4.5, 0.9),
            ((0.35, 0.9, 0.8), 14, 0.5),
        ):
            self._light(place, power, width)
        self.camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        self.camera.data.lens, self.camera.data.clip_start = 85, 0.01
        self.scene.collection.objects.link(self.camera)
        self.scene.camera = self.camera

    def _settings(self, size: int, samples: int, threads: int) -> None:
        scene = self.scene
        scene.render.engine = "CYCLES"
        scene.cycles.samples, scene.cycles.use_denoising = samples, True
        scene.render.threads_mode, scene.render.threads = "FIXED", threads
        scene.render.resolution_x = scene.render.resolution_y = size
        scene.render.image_settings.file_format = "PNG"
        scene.render.use_persistent_data = True
        scene.view_settings.view_transform = "AgX"
        scene.view_settings.look = "AgX - Medium High Contrast"
        world = self.bpy.data.worlds.new("world")
        world.use_nodes = True
        world.node_tree.nodes["Background"].inputs[0].default_value = (0.16, 0.17, 0.19, 1)
        scene.world = world

    def _light(self, place: tuple[float, float, float], power: float, width: float) -> None:
        from mathutils import Vector

        lamp = self.bpy.data.lights.new("light", "AREA")
        lamp.energy, lamp.size = power, width
        body = self.bpy.data.objects.new("light", lamp)
        body.location = place
        body.rotation_euler = (-Vector(place)).to_track_quat("-Z", "Y").to_euler()
        self.scene.collection.objects.link(body)

    def pose(self, shot: Shot) -> None:
        """Set keys, gaze and wrinkles."""
        au = np.zeros((1, len(AUS), len(SIDES)), np.float32)
        for name, weight in EXPRESSIONS[shot.expression].items():
            unit, _, side = name.partition("_")
            au[0, AU_INDEX[unit], "LR".index(side) if side else slice(None)] = weight * shot.amount
        arkit, extra = action_units.to_shapes(au)
        blocks = self.ob.data.shape_keys.key_blocks
        for name, value in zip((*ARKIT, *EXTRA), (*arkit[0], *extra[0]), strict=True):
            if name in blocks:
                blocks[name].value = float(value)
        aside = 0.45 if shot.expression == "look aside" else 0.0
        for name in ("eye.L", "eye.R"):
            bone = self.rig.pose.bones[name]
            bone.rotation_mode = "QUATERNION"
            axis = bone.bone.matrix_local.to_3x3().inverted() @ self._vector((0, 0, 1))
            bone.rotation_quaternion = self._turn(axis, aside)
        if "wrinkles" in self.ob:
            self.ob["wrinkles"] = shot.wrinkles
        self.ob.update_tag()

    def _vector(self, row: tuple[float, float, float]):
        from mathutils import Vector

        return Vector(row)

    def _turn(self, axis, angle: float):
        from mathutils import Quaternion

        return Quaternion(axis, angle)

    def render(self, shot: Shot, path: Path) -> float:
        """Seconds of processor time that the picture took, which other work on the machine does not change."""
        self.pose(shot)
        middle = self._vector(shot.middle)
        distance = shot.span * self.camera.data.lens / self.camera.data.sensor_width
        yaw, pitch = np.radians(shot.yaw), np.radians(shot.pitch)
        way = self._vector((np.sin(yaw) * np.cos(pitch), -np.cos(yaw) * np.cos(pitch), np.sin(pitch)))
        self.camera.location = middle + distance * way
        self.camera.rotation_euler = (-way).to_track_quat("-Z", "Y").to_euler()
        self.scene.render.filepath = str(path)
        start = time.process_time()
        self.bpy.ops.render.render(write_still=True)
        return time.process_time() - start


def compose(pictures: list[tuple[str, Path]], columns: int, out: Path, tile: int) -> None:
    """One labelled JPEG."""
    from PIL import Image, ImageDraw

    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (tile * columns, tile * rows))
    draw = ImageDraw.Draw(sheet)
    for i, (label, path) in enumerate(pictures):
        corner = ((i % columns) * tile, (i // columns) * tile)
        sheet.paste(Image.open(path).convert("RGB").resize((tile, tile), Image.Resampling.LANCZOS), corner)
        draw.text((corner[0] + 5, corner[1] + 3), label, fill=(255, 240, 120))
    out.parent.mkdir(parents=True, exist_ok=True)
    quality = 88
    sheet.save(out, quality=quality)
    while out.stat().st_size > 290_000 and quality > 50:
        quality -= 4
        sheet.save(out, quality=quality)


def cost(studio: Studio, folder: Path) -> None:
    """Print processor seconds a frame: all of the skin, without the wrinkles' nodes, without any bump, without light
    below the skin. A face fills the picture, so a film with a background pays less."""
    shot = Shot("cost", "brows up", 10.0, span=0.13)
    studio.render(shot, folder / "warm.png")
    groups = {tree.name.split(" ", 1)[-1]: tree for tree in studio.bpy.data.node_groups}

    def cut(tree, kind: str) -> None:
        for link in [link for link in tree.links if link.from_node.bl_idname == kind]:
            tree.links.remove(link)

    def flat() -> None:
        for material in studio.bpy.data.materials:
            for node in material.node_tree.nodes:
                if node.type == "BSDF_PRINCIPLED":
                    node.inputs["Subsurface Weight"].default_value = 0.0

    steps = {
        "whole": lambda: None,
        "without wrinkles": lambda: cut(groups["skin"], "ShaderNodeGroup"),
        "and without bump": lambda: cut(groups["skin"], "ShaderNodeBump"),
        "and without subsurface": flat,
    }
    whole = 0.0
    for name, change in steps.items():
        change()
        seconds = min(studio.render(shot, folder / "cost.png") for _ in range(3))
        whole = whole or seconds
        print(f"{name}: {seconds:.2f} s, {100 * seconds / whole:.0f} % of the whole", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/look"))
    parser.add_argument("--sheets", nargs="+", default=["look", "wrinkles"])
    parser.add_argument("--only", nargs="*", help="labels of the pictures to render")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--tile", type=int, default=0, help="size in the sheet; 0: as rendered")
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--no-hair", action="store_true")
    options = parser.parse_args()
    studio = Studio(options.size, options.samples, options.threads, not options.no_hair)
    with tempfile.TemporaryDirectory() as folder:
        if options.time:
            cost(studio, Path(folder))
            return
        for sheet in options.sheets:
            pictures, start = [], time.perf_counter()
            for i, shot in enumerate(shots(sheet)):
                if options.only and shot.label not in options.only:
                    continue
                path = Path(folder) / f"{sheet}{i:03d}.png"
                studio.render(shot, path)
                pictures.append((shot.label, path))
            out = options.out / {"look": "head_look.jpg", "wrinkles": "wrinkles_on_off.jpg"}[sheet]
            compose(pictures, min(4, len(pictures)), out, options.tile or options.size)
            print(f"{out}: {len(pictures)} pictures, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
