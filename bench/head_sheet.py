"""Contact sheets of a head, rendered with Cycles: every shape, action unit, emotion and viseme, for a person's eye.

    python bench/head_sheet.py --out docs/pictures --sheets neutral emotions --size 256 --samples 16

The head is built by the add-on's own code (shape keys, drivers, rig, materials), so a tile shows what an artist gets.
Needs the bpy wheel. One thread unless --threads says otherwise.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.controls import emotions
from engine.core.names import ARKIT, ARKIT_INDEX, AU_INDEX, AUS, EMOTIONS, EXTRA, EXTRA_INDEX, SIDES
from engine.head import action_units
from engine.motion.perform import EYE_LOOK_RAD

ROOT = Path(__file__).resolve().parents[1]
VIEWS = {"front": 0.0, "three-quarter": 35.0, "profile": 90.0, "back": 180.0}
FACE, BUST, MOUTH, EYE = 0.27, 0.46, 0.085, 0.075  # metres across
MILD, STRONG = 0.5, 1.0
COLUMNS = {"neutral": 4, "shapes": 10, "units": 6, "emotions": 7, "visemes": 5, "identities": 4, "close": 4, "hair": 4}
# People of the identity sheet: macro and local parameters (engine.head.identity.NAMES).
PEOPLE: dict[str, dict[str, float]] = {
    "neutral": {},
    "woman, Asian": {"gender": -1, "asian": 1, "lip_fullness": 0.2},
    "man, African": {"gender": 0.9, "african": 1, "nose_width": 0.3},
    "woman, African": {"gender": -1, "african": 1, "cheekbones": 0.5},
    "man, 75": {"gender": 1, "age": 0.9, "caucasian": 0.8, "nose_length": 0.5},
    "woman, 70": {"gender": -1, "age": 0.85, "weight": 0.4},
    "heavy man": {"gender": 0.8, "weight": 1, "jaw_width": 0.5},
    "thin man": {"gender": 0.8, "weight": -1, "caucasian": 0.7, "nose_hump": 0.8},
    "woman, 40": {"gender": -0.8, "caucasian": 0.9, "age": 0.25, "chin_length": -0.4},
    "broad jaw": {"gender": 1, "jaw_width": 1, "face_width": 0.3, "chin_length": 0.6, "asian": 0.5},
}


@dataclass
class Tile:
    """One picture. yaw in degrees, span in metres across, centre (x, y up, z forward) metres from between the eyes."""

    label: str
    arkit: np.ndarray
    extra: np.ndarray
    yaw: float = 0.0
    span: float = FACE
    centre: tuple[float, float, float] = (0.0, -0.032, 0.0)
    pitch: float = 1.0
    pose: np.ndarray = field(default_factory=lambda: np.zeros(15))
    identity: dict[str, float] = field(default_factory=dict)


def both_sides(mixture: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """arkit [52] and extra [7] of named shapes; a name without its side sets both."""
    arkit, extra = np.zeros(len(ARKIT), np.float32), np.zeros(len(EXTRA), np.float32)
    for name, weight in mixture.items():
        for full in (name, name + "Left", name + "Right", name + "_L", name + "_R"):
            if full in ARKIT_INDEX:
                arkit[ARKIT_INDEX[full]] = weight
            if full in EXTRA_INDEX:
                extra[EXTRA_INDEX[full]] = weight
    return arkit, extra


def units(au: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """arkit [52] and extra [7] of action units au [18, 2], bounded as a take's are."""
    arkit, extra = action_units.to_shapes(au[None])
    return np.clip(arkit[0], 0, 1), np.clip(extra[0], 0, 1)


def gaze_of(arkit: np.ndarray) -> np.ndarray:
    """Pose [15] whose eyes look where the eyeLook weights say: on this head lids and balls go together."""
    pose = np.zeros(15)
    for side, at, sign in (("Left", 9, 1), ("Right", 12, -1)):
        now = {way: float(arkit[ARKIT_INDEX[f"eyeLook{way}{side}"]]) for way in ("Up", "Down", "In", "Out")}
        pose[at] = now["Down"] * EYE_LOOK_RAD["down"] - now["Up"] * EYE_LOOK_RAD["up"]
        pose[at + 1] = sign * (now["Out"] - now["In"]) * EYE_LOOK_RAD["yaw"]
    return pose


def oculus() -> dict[str, dict[str, float]]:
    """The 15 Oculus visemes as mixes of shapes, from the add-on's table."""
    table = json.loads((ROOT / "blender_addon" / "convert" / "visemes.json").read_text(encoding="utf-8"))["oculus"]
    return {name: entry["mix"] for name, entry in table.items()}


def sheet_tiles(name: str) -> Iterator[Tile]:
    """The tiles of one sheet."""
    rest = both_sides({})
    if name == "neutral":
        yield from (Tile(view, *rest, yaw, BUST, (0, -0.075, 0)) for view, yaw in VIEWS.items())
        yield from (Tile("neutral", *rest, yaw, 0.20, (0, -0.035, 0.0)) for yaw in (0.0, 25.0, 50.0, 90.0))
    elif name == "close":
        lips, eye = (0.0, -0.066, 0.05), (0.032, 0.0, 0.03)
        yield from (Tile("mouth", *rest, yaw, MOUTH, lips) for yaw in (0.0, 40.0))
        yield from (Tile("eye", *rest, yaw, EYE, eye) for yaw in (0.0, 40.0))
        for label, mix in (
            ("smile", {"mouthSmile": 0.9, "mouthUpperUp": 0.45, "mouthLowerDown": 0.4, "cheekSquint": 0.6}),
            ("ah", {"jawOpen": 0.7, "mouthLowerDown": 0.3}), ("teeth", {"mouthUpperUp": 1, "mouthLowerDown": 1}),
            ("pucker", {"mouthPucker": 1}), ("blink", {"eyeBlink": 1}), ("squint", {"eyeSquint": 1}),
            ("look down", {"eyeLookDown": 1}), ("wide", {"eyeWide": 1}),
        ):  # fmt: skip
            arkit, extra = both_sides(mix)
            is_eye = any(key.startswith("eye") for key in mix)
            yield Tile(
                label, arkit, extra, 15.0, EYE if is_eye else MOUTH, eye if is_eye else lips, 1.0, gaze_of(arkit)
            )
    elif name == "hair":
        yield from (Tile(view, *rest, yaw, 0.29, (0, -0.012, -0.04)) for view, yaw in VIEWS.items())
        yield Tile("from above", *rest, 25.0, 0.27, (0, 0.01, -0.06), 40.0)
        yield Tile("hairline", *rest, 8.0, 0.13, (0.0, 0.058, 0.01), 6.0)
        yield Tile("brow", *rest, 10.0, 0.062, (0.028, 0.016, 0.02))
        yield Tile("lashes", *rest, 28.0, 0.046, (0.031, 0.001, 0.012))
    elif name == "shapes":
        for shape in (*ARKIT, *EXTRA):
            arkit, extra = both_sides({shape: 1.0})
            if shape == "mouthClose":  # ARKit's takes back an open jaw: alone it says nothing
                arkit, extra = both_sides({shape: 0.6, "jawOpen": 0.6})
            if shape.startswith("tongue") or shape in ("lipsTogether", "lowerLipToTeeth"):
                arkit[ARKIT_INDEX["jawOpen"]] = {"tongueOut": 0.45, "lowerLipToTeeth": 0.05}.get(shape, 0.3)
            near = not shape.startswith(("brow", "cheek", "eye", "nose"))
            centre, span = ((0.0, -0.055, 0.04), 0.13) if near else ((0.0, -0.002, 0.03), 0.15)
            yield Tile(shape, arkit, extra, 0.0, span, centre, 1.0, gaze_of(arkit))
    elif name == "units":
        for unit in AUS:
            for level in (0.5, 1.0):
                au = np.zeros((len(AUS), len(SIDES)), np.float32)
                au[AU_INDEX[unit]] = level
                yield Tile(f"{unit} {level:g}", *units(au), 10.0, 0.215, (0, -0.028, 0.0))
    elif name == "emotions":
        prototypes = emotions.prototypes()
        for level, word in ((MILD, "mild"), (STRONG, "strong")):
            for k, emotion in enumerate(EMOTIONS):
                yield Tile(f"{emotion}, {word}", *units(level * prototypes[k]), 12.0, 0.225, (0, -0.028, 0.0))
    elif name == "visemes":
        for yaw in (0.0, 40.0):
            yield from (Tile(v, *both_sides(mix), yaw, 0.115, (0, -0.058, 0.03)) for v, mix in oculus().items())
    elif name == "identities":
        smile = both_sides({"mouthSmile": 0.7, "mouthUpperUp": 0.35, "cheekSquint": 0.5, "mouthLowerDown": 0.2})
        for label, who in PEOPLE.items():
            yield Tile(label, *rest, 15.0, 0.30, (0, -0.04, 0), identity=who)
            yield Tile(f"{label}, smiling", *smile, 15.0, 0.30, (0, -0.04, 0), identity=who)


class Studio:
    """A Blender scene with the add-on's head, three soft lights and a camera."""

    def __init__(self, head: str, size: int, samples: int, threads: int, with_hair: bool = True, plain: bool = False):
        import bpy

        self.bpy, self.name, self.with_hair, self.plain = bpy, head, with_hair and not plain, plain
        bpy.ops.wm.read_factory_settings(use_empty=True)
        scene = bpy.context.scene
        scene.render.engine = "CYCLES"
        scene.cycles.samples, scene.cycles.use_denoising = samples, True
        scene.render.threads_mode, scene.render.threads = "FIXED", threads
        scene.render.resolution_x = scene.render.resolution_y = size
        scene.render.image_settings.file_format = "PNG"
        scene.render.use_persistent_data = True
        scene.view_settings.view_transform = "Standard"
        for place, power, width in (
            ((-0.6, -1.2, 0.5), 20, 0.7),
            ((0.9, -0.9, 0.1), 8, 0.8),
            ((0.2, 1.0, 0.9), 6, 0.8),
        ):
            self._light(place, power, width)
        world = bpy.data.worlds.new("world")
        world.use_nodes = True
        world.node_tree.nodes["Background"].inputs[0].default_value = (0.20, 0.22, 0.26, 1)
        scene.world = world
        self.camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        self.camera.data.lens, self.camera.data.clip_start = 85, 0.01
        scene.collection.objects.link(self.camera)
        scene.camera = self.camera
        self.shown: str | None = None
        self.mesh: Any = None
        self.rig: Any = None

    def _show(self, identity: dict[str, float]) -> None:
        """Put this person into the scene instead of the one before."""
        from blender_addon.scene import hair
        from blender_addon.scene import head as build
        from engine.serve.jobs import head as head_job

        key = json.dumps(identity, sort_keys=True)
        if key == self.shown:
            return
        if self.mesh is not None:
            for ob in list(self.collection.objects):
                self.bpy.data.objects.remove(ob)
        info = head_job({"head": self.name, **({"identity": identity} if identity else {})})
        self.collection = self.bpy.data.collections.new("head")
        self.bpy.context.scene.collection.children.link(self.collection)
        self.mesh, self.rig = build.build(info, info["arrays"], self.collection)
        if self.with_hair and info.get("hair"):
            hair.add(info, info["arrays"], self.rig, self.collection)
        self.shown, self.joints = key, info["joint_names"]
        if self.plain:
            self._undress(info["materials"])

    def _undress(self, specs: list[dict[str, Any]]) -> None:
        """Painted colours alone: shapes are what is looked at, in a third of the time."""
        for slot, spec in zip(self.mesh.material_slots, specs, strict=False):
            material = self.bpy.data.materials.new(f"plain {spec['name']}")
            material.use_nodes = True
            shader = material.node_tree.nodes["Principled BSDF"]
            paint = material.node_tree.nodes.new("ShaderNodeVertexColor")
            paint.layer_name = "albedo"
            material.node_tree.links.new(paint.outputs["Color"], shader.inputs["Base Color"])
            shader.inputs["Roughness"].default_value = spec["roughness"]
            shader.inputs["Specular IOR Level"].default_value = spec["specular"]
            slot.material = material

    def _light(self, place: tuple[float, float, float], power: float, width: float) -> None:
        from mathutils import Vector

        lamp = self.bpy.data.lights.new("light", "AREA")
        lamp.energy, lamp.size = power, width
        body = self.bpy.data.objects.new("light", lamp)
        body.location = place
        body.rotation_euler = (-Vector(place)).to_track_quat("-Z", "Y").to_euler()
        self.bpy.context.scene.collection.objects.link(body)

    def _pose(self, tile: Tile) -> None:
        from blender_addon.convert.axes import bone_quaternions
        from blender_addon.convert.names import BONES
        from blender_addon.scene import armature

        blocks = self.mesh.data.shape_keys.key_blocks
        for names, values in ((ARKIT, tile.arkit), (EXTRA, tile.extra)):
            for name, value in zip(names, values, strict=True):
                if (block := blocks.get(name)) is not None:
                    block.slider_max = max(block.slider_max, float(value))
                    block.value = float(value)
        for j, joint in enumerate(self.joints):
            bone = self.rig.pose.bones[BONES.get(joint, joint)]
            rest = armature.rest_axes(self.rig, bone.name)
            bone.rotation_quaternion = bone_quaternions(tile.pose[None, 3 * j : 3 * j + 3], rest)[0].tolist()

    def render(self, tile: Tile, path: Path) -> None:
        """One picture of a tile, seen from `yaw` degrees to the head's left."""
        from mathutils import Vector

        self._show(tile.identity)
        self._pose(tile)
        x, y, z = tile.centre
        middle = Vector((x, -z - 0.03, y + 0.03))
        distance = tile.span * self.camera.data.lens / self.camera.data.sensor_width
        turn, tilt = np.radians(tile.yaw), np.arctan(0.02 * tile.pitch)
        way = Vector((np.sin(turn) * np.cos(tilt), -np.cos(turn) * np.cos(tilt), np.sin(tilt)))
        self.camera.location = middle + distance * way
        self.camera.rotation_euler = (middle - self.camera.location).to_track_quat("-Z", "Y").to_euler()
        self.bpy.context.scene.render.filepath = str(path)
        self.bpy.ops.render.render(write_still=True)


def compose(pictures: list[tuple[str, Path]], columns: int, out: Path) -> None:
    """One labelled JPEG of square pictures."""
    from PIL import Image, ImageDraw

    first = Image.open(pictures[0][1])
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (first.width * columns, first.height * rows), (84, 92, 108))
    draw = ImageDraw.Draw(sheet)
    for i, (label, path) in enumerate(pictures):
        corner = ((i % columns) * first.width, (i // columns) * first.height)
        sheet.paste(Image.open(path).convert("RGB"), corner)
        draw.text((corner[0] + 5, corner[1] + 3), label, fill=(255, 240, 120))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, quality=84)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/head"))
    parser.add_argument("--head", default="default")
    parser.add_argument(
        "--sheets", nargs="+", choices=list(COLUMNS), default=["neutral", "emotions", "units", "visemes"]
    )
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-hair", action="store_true", help="the scalp cropped")
    parser.add_argument("--plain", action="store_true", help="painted colours without skin shader and hair: quicker")
    parser.add_argument("--only", nargs="*", help="labels of the tiles to render")
    options = parser.parse_args()
    studio = Studio(options.head, options.size, options.samples, options.threads, not options.no_hair, options.plain)
    for name in options.sheets:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            pictures = []
            for i, tile in enumerate(sheet_tiles(name)):
                if options.only and not any(tile.label.startswith(word) for word in options.only):
                    continue
                path = Path(folder) / f"{i:03d}.png"
                studio.render(tile, path)
                pictures.append((tile.label, path))
            target = options.out / ("hair.jpg" if name == "hair" else f"head_{name}.jpg")
            compose(pictures, min(COLUMNS[name], len(pictures)), target)
        print(f"{target}: {len(pictures)} tiles, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
