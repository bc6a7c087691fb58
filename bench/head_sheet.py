"""Contact sheets of a head, rendered with Cycles: every shape, action unit, emotion and viseme, for a person's eye.

    python bench/head_sheet.py --out docs/pictures --sheets neutral emotions --size 256 --samples 16

Needs the bpy wheel. One thread unless --threads says otherwise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.core.anatomy import Head
from engine.core.names import ARKIT, ARKIT_INDEX, AU_INDEX, AUS, EXTRA, EXTRA_INDEX, SIDES
from engine.core.units import to_blender
from engine.head import action_units, evaluate
from engine.head.library import load_head

# Prototype mixtures (EMFACS style, facts of the field: Ekman & Friesen 1983; the six additions by description).
EMOTIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "happy": {"AU06": 0.8, "AU12": 1.0, "AU25": 0.6},
    "sad": {"AU01": 1.0, "AU04": 0.5, "AU15": 0.9, "AU17": 0.5},
    "angry": {"AU04": 1.0, "AU05": 0.5, "AU07": 0.7, "AU23": 0.8, "AU24": 0.3},
    "fear": {"AU01": 1.0, "AU02": 0.6, "AU04": 0.5, "AU05": 1.0, "AU20": 1.0, "AU25": 0.5, "AU26": 0.4},
    "disgusted": {"AU09": 1.0, "AU10": 0.7, "AU15": 0.5, "AU17": 0.4, "AU04": 0.3, "AU07": 0.3},
    "surprised": {"AU01": 1.0, "AU02": 1.0, "AU05": 0.8, "AU25": 0.3, "AU26": 1.0},
    "contempt": {"AU12_R": 0.5, "AU14_R": 1.0, "AU02_R": 0.3},
    "moody": {"AU04": 0.5, "AU15": 0.4, "AU17": 0.5, "AU24": 0.4},
    "drunk": {"AU45": 0.4, "AU12": 0.35, "AU25": 0.4, "AU26": 0.25, "AU01": 0.4},
    "ill": {"AU01": 0.6, "AU04": 0.3, "AU07": 0.5, "AU10": 0.3, "AU15": 0.4, "AU45": 0.25},
    "suspicious": {"AU04": 0.6, "AU07": 0.8, "AU02_L": 0.5, "AU24": 0.4},
    "pleased": {"AU12": 0.6, "AU06": 0.4},
    "upset": {"AU01": 0.7, "AU04": 0.7, "AU15": 0.7, "AU17": 0.8, "AU25": 0.2},
}
VISEMES: dict[str, dict[str, float]] = {
    "aa": {"jawOpen": 0.55, "mouthLowerDown": 0.25, "mouthUpperUp": 0.15},
    "ee": {"jawOpen": 0.12, "mouthSmile": 0.35, "mouthStretch": 0.4, "mouthLowerDown": 0.4, "mouthUpperUp": 0.25},
    "oo": {"jawOpen": 0.15, "mouthPucker": 0.85, "mouthFunnel": 0.2},
    "oh": {"jawOpen": 0.35, "mouthFunnel": 0.5, "mouthPucker": 0.3},
    "mbp": {"mouthPress": 0.4, "mouthRollUpper": 0.1, "mouthRollLower": 0.1},
    "mbp, jaw 0.4": {"jawOpen": 0.4, "mouthClose": 0.4},
    "fv": {"jawOpen": 0.06, "lowerLipToTeeth": 1.0},
    "th": {"jawOpen": 0.18, "tongueBetweenTeeth": 1.0, "mouthLowerDown": 0.2},
    "l": {"jawOpen": 0.25, "tongueTipUp": 1.0, "mouthLowerDown": 0.2},
    "smile and aa": {"jawOpen": 0.45, "mouthSmile": 0.7, "mouthUpperUp": 0.3},
}
VIEWS = {"front": 0.0, "three-quarter": 35.0, "profile": 90.0, "back": 180.0}


def both_sides(mixture: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """arkit [1, 52] and extra [1, 7] of named shapes; a name without its side sets both."""
    arkit, extra = np.zeros((1, len(ARKIT)), np.float32), np.zeros((1, len(EXTRA)), np.float32)
    for name, weight in mixture.items():
        for full in (name, name + "Left", name + "Right", name + "_L", name + "_R"):
            if full in ARKIT_INDEX:
                arkit[0, ARKIT_INDEX[full]] = weight
            if full in EXTRA_INDEX:
                extra[0, EXTRA_INDEX[full]] = weight
    return arkit, extra


def units(mixture: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """arkit [1, 52] and extra [1, 7] of action units; "AU12_R" sets one side."""
    au = np.zeros((1, len(AUS), len(SIDES)), np.float32)
    for name, weight in mixture.items():
        unit, _, side = name.partition("_")
        au[0, AU_INDEX[unit], SIDES.index(side) if side else slice(None)] = weight
    return action_units.to_shapes(au)


Tile = tuple[str, np.ndarray, np.ndarray, float, float]  # label, arkit, extra, yaw in degrees, metres across


def sheet_tiles(name: str) -> Iterator[Tile]:
    """The tiles of one sheet."""
    face, bust = 0.27, 0.46
    if name == "neutral":
        yield from ((view, *both_sides({}), yaw, bust) for view, yaw in VIEWS.items())
        yield from (("neutral", *both_sides({}), yaw, 0.20) for yaw in (0.0, 25.0, 50.0, 90.0))
    elif name == "shapes":
        yield from ((shape, *both_sides({shape: 1.0}), 0.0, face) for shape in (*ARKIT, *EXTRA))
    elif name == "units":
        yield from ((unit, *units({unit: 1.0}), 0.0, face) for unit in AUS)
    elif name == "emotions":
        yield from ((emotion, *units(mixture), 15.0, face) for emotion, mixture in EMOTIONS.items())
    elif name == "visemes":
        for yaw in (0.0, 40.0):
            yield from ((viseme, *both_sides(mixture), yaw, 0.17) for viseme, mixture in VISEMES.items())


class Studio:
    """A Blender scene with the head as one mesh, vertex colours, three soft lights and a camera."""

    def __init__(self, head: Head, size: int, samples: int, threads: int):
        import bpy

        self.bpy, self.head = bpy, head
        bpy.ops.wm.read_factory_settings(use_empty=True)
        scene = bpy.context.scene
        scene.render.engine = "CYCLES"
        scene.cycles.samples, scene.cycles.use_denoising = samples, True
        scene.render.threads_mode, scene.render.threads = "FIXED", threads
        scene.render.resolution_x = scene.render.resolution_y = size
        scene.render.image_settings.file_format = "PNG"
        scene.render.use_persistent_data = True
        scene.view_settings.view_transform = "Standard"
        self.mesh = self._mesh()
        scene.collection.objects.link(bpy.data.objects.new("head", self.mesh))
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
        self.camera.data.lens = 85
        scene.collection.objects.link(self.camera)
        scene.camera = self.camera

    def _mesh(self):
        head, bpy = self.head, self.bpy
        mesh = bpy.data.meshes.new("head")
        faces = [face[face >= 0].tolist() for face in head.faces]
        mesh.from_pydata(to_blender(head.template).tolist(), [], faces)
        colour = mesh.color_attributes.new("albedo", "FLOAT_COLOR", "POINT")
        rgba = np.c_[head.albedo, np.ones(len(head.albedo))].astype(np.float32)
        colour.data.foreach_set("color", rgba.ravel())
        for entry in head.materials:
            material = bpy.data.materials.new(entry.name)
            material.use_nodes = True
            shader = material.node_tree.nodes["Principled BSDF"]
            source = material.node_tree.nodes.new("ShaderNodeVertexColor")
            source.layer_name = "albedo"
            material.node_tree.links.new(source.outputs["Color"], shader.inputs["Base Color"])
            shader.inputs["Roughness"].default_value = entry.roughness
            shader.inputs["Subsurface Weight"].default_value = entry.subsurface
            shader.inputs["Subsurface Radius"].default_value = (0.008, 0.003, 0.002)
            shader.inputs["Specular IOR Level"].default_value = entry.specular
            mesh.materials.append(material)
        mesh.polygons.foreach_set("material_index", head.face_material.astype(np.int32))
        mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), bool))
        return mesh

    def _light(self, place: tuple[float, float, float], power: float, width: float) -> None:
        from mathutils import Vector

        lamp = self.bpy.data.lights.new("light", "AREA")
        lamp.energy, lamp.size = power, width
        body = self.bpy.data.objects.new("light", lamp)
        body.location = place
        body.rotation_euler = (-Vector(place)).to_track_quat("-Z", "Y").to_euler()
        self.bpy.context.scene.collection.objects.link(body)

    def render(self, vertices: np.ndarray, yaw: float, span: float, path: Path) -> None:
        """One picture of vertices [v, 3] (engine axes) from `yaw` degrees to its left; span: metres across."""
        from mathutils import Vector

        self.mesh.vertices.foreach_set("co", to_blender(vertices).astype(np.float32).ravel())
        self.mesh.update()
        middle = Vector((0, -0.01, -0.045 if span > 0.4 else (0.0 if span > 0.24 else -0.012)))
        distance = span * self.camera.data.lens / self.camera.data.sensor_width
        turn = np.radians(yaw)
        self.camera.location = middle + distance * Vector((np.sin(turn), -np.cos(turn), 0.02))
        self.camera.rotation_euler = (middle - self.camera.location).to_track_quat("-Z", "Y").to_euler()
        self.bpy.context.scene.render.filepath = str(path)
        self.bpy.ops.render.render(write_still=True)


def compose(pictures: list[tuple[str, Path]], columns: int, out: Path) -> None:
    """One labelled JPEG of square pictures."""
    from PIL import Image, ImageDraw

    first = Image.open(pictures[0][1])
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (first.width * columns, first.height * rows))
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
    parser.add_argument("--sheets", nargs="+", default=["neutral", "emotions", "units", "visemes", "shapes"])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="labels of the tiles to render")
    options = parser.parse_args()
    head = load_head(options.head)
    studio = Studio(head, options.size, options.samples, options.threads)
    for name in options.sheets:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            pictures = []
            for i, (label, arkit, extra, yaw, span) in enumerate(sheet_tiles(name)):
                if options.only and label not in options.only:
                    continue
                path = Path(folder) / f"{i:03d}.png"
                studio.render(evaluate.vertices(head, arkit, extra)[0], yaw, span, path)
                pictures.append((label, path))
            columns = {"neutral": 4, "emotions": 5, "units": 6, "visemes": 5, "shapes": 10}[name]
            compose(pictures, min(columns, len(pictures)), options.out / f"head_{name}.jpg")
        print(f"{options.out / f'head_{name}.jpg'}: {len(pictures)} tiles, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
