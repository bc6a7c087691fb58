"""The engine's pictures on Blender's screen, with their depth.

8-bit pixels travel packed in a one-channel float texture, because Blender's Python takes only float data and a
float buffer over a numpy array is not copied. The shader unpacks the bits and decodes the display values. A GPU
that alters odd float patterns (NaN, denormals) on the way would spoil them: a self-test at the first drawing
finds out, and then plain 16-bit float textures are used.
"""

from __future__ import annotations

from dataclasses import dataclass

import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader

_FETCH = """
ivec2 cell = min(ivec2(uv * vec2(textureSize(image, 0))), textureSize(image, 0) - 1);
vec4 value = texelFetch(image, cell, 0);
"""
_UNPACK = """
uint bits = floatBitsToUint(value.r);
vec4 bytes = vec4(float(bits & 255u), float((bits >> 8) & 255u), float((bits >> 16) & 255u), float(bits >> 24)) / 255.0;
"""
_RAW = "void main() {" + _FETCH + _UNPACK + "shown = bytes; }"
_PACKED = (
    "void main() {"
    + _FETCH
    + _UNPACK
    + """
vec3 low = bytes.rgb / 12.92, high = pow((bytes.rgb + 0.055) / 1.055, vec3(2.4));
vec3 light = mix(low, high, step(vec3(0.04045), bytes.rgb));
float rest = (1.0 - bytes.a) * background.a;
shown = vec4(light + background.rgb * rest, bytes.a + rest);
}"""
)
_FLOAT = (
    "void main() {"
    + _FETCH
    + """
float rest = (1.0 - value.a) * background.a;
shown = vec4(value.rgb + background.rgb * rest, value.a + rest);
}"""
)
_DEPTH = (
    "void main() {"
    + _FETCH
    + """
float z = value.r;
if (z > 1e9) { discard; }
float n = lens.z > 0.5 ? lens.y - lens.x * z : (lens.y - lens.x * z) / z;
shown = vec4(0.0);
gl_FragDepth = clamp(n * 0.5 + 0.5, 0.0, 1.0);
}"""
)


def _shader(fragment: str, constant: str | None, depth: bool = False) -> gpu.types.GPUShader:
    info = gpu.types.GPUShaderCreateInfo()
    if constant:
        info.push_constant("VEC4", constant)
    info.sampler(0, "FLOAT_2D", "image")
    info.vertex_in(0, "VEC2", "pos")
    between = gpu.types.GPUStageInterfaceInfo("soliloquy_between")
    between.smooth("VEC2", "uv")
    info.vertex_out(between)
    info.fragment_out(0, "VEC4", "shown")
    if depth and hasattr(info, "depth_write"):  # not on 3.4, which needs no word about it
        info.depth_write("ANY")
    info.vertex_source("void main() { uv = pos * 0.5 + 0.5; gl_Position = vec4(pos, 0.0, 1.0); }")
    info.fragment_source(fragment)
    return gpu.shader.create_from_info(info)


class _Kit:
    """Shaders and the full-screen rectangle, made once in the first drawing."""

    def __init__(self) -> None:
        self.packed = _shader(_PACKED, "background")
        self.plain = _shader(_FLOAT, "background")
        self.depth = _shader(_DEPTH, "lens", depth=True)
        self.batches = {id(s): _rectangle(s) for s in (self.packed, self.plain, self.depth)}
        self.packing_works = bits_survive()
        self.nothing = Shown(_texture(np.zeros(4), 1, 1, "RGBA16F"), packed=False, depth=None)

    def draw(self, shader: gpu.types.GPUShader, texture: gpu.types.GPUTexture, constant: str, values: tuple) -> None:
        shader.bind()
        shader.uniform_sampler("image", texture)
        shader.uniform_float(constant, values)
        self.batches[id(shader)].draw(shader)


_kit: _Kit | None = None


def kit() -> _Kit:
    global _kit
    if _kit is None:
        _kit = _Kit()
    return _kit


def forget() -> None:
    """Let go of everything on the GPU (unregister)."""
    global _kit
    _kit = None


def _rectangle(shader: gpu.types.GPUShader) -> gpu.types.GPUBatch:
    return batch_for_shader(shader, "TRI_STRIP", {"pos": ((-1, -1), (1, -1), (-1, 1), (1, 1))})


def _texture(values: np.ndarray, width: int, height: int, form: str) -> gpu.types.GPUTexture:
    flat = np.ascontiguousarray(values, np.float32).reshape(-1)
    return gpu.types.GPUTexture((width, height), format=form, data=gpu.types.Buffer("FLOAT", len(flat), flat))


def bits_survive() -> bool:
    """Whether 32 arbitrary bits in a float texture reach the shader unchanged: every pattern of top bytes is tried."""
    side = 64
    bits = np.arange(side * side, dtype=np.uint32) * np.uint32(1048583) + np.uint32(12345)
    bits[:256] = (np.arange(256, dtype=np.uint32) << 24) | np.uint32(0x00C0FFEE)  # opaque bright pixels are NaNs
    bits[256:512] = np.arange(256, dtype=np.uint32)  # dark transparent ones are denormals
    bits[512:768] = np.uint32(0xFF800000) | np.arange(256, dtype=np.uint32)  # signalling NaNs
    try:
        shader = _shader(_RAW, None)
        texture = _texture(bits.view(np.float32), side, side, "R32F")
        screen = gpu.types.GPUOffScreen(side, side)
        try:
            with screen.bind():
                gpu.state.blend_set("NONE")
                shader.bind()
                shader.uniform_sampler("image", texture)
                _rectangle(shader).draw(shader)
                buffer = gpu.state.active_framebuffer_get().read_color(0, 0, side, side, 4, 0, "UBYTE")
        finally:
            screen.free()
        buffer.dimensions = side * side * 4
        return bool(np.array_equal(np.array(buffer, np.uint8).view("<u4"), bits))
    except Exception as problem:  # whatever a driver may not like: the plain way works everywhere
        print(f"Soliloquy: packed pixels are not usable on this GPU ({problem}); using float textures")
        return False


_DECODE = np.arange(256, dtype=np.float32) / 255
_DECODE = np.where(_DECODE <= 0.04045, _DECODE / 12.92, ((_DECODE + 0.055) / 1.055) ** 2.4).astype(np.float32)


@dataclass
class Shown:
    """A picture on the GPU. depth may be None."""

    colour: gpu.types.GPUTexture
    packed: bool
    depth: gpu.types.GPUTexture | None


def upload(rgba: np.ndarray, depth: np.ndarray | None) -> Shown:
    """rgba [h, w, 4] uint8 display values or float32 linear, premultiplied; depth [h, w] float32; bottom row first."""
    height, width = rgba.shape[:2]
    packed = rgba.dtype == np.uint8 and kit().packing_works
    if packed:
        colour = _texture(rgba.reshape(-1).view(np.float32), width, height, "R32F")
    else:
        if rgba.dtype == np.uint8:
            straight = _DECODE[rgba]
            straight[..., 3] = rgba[..., 3] / np.float32(255)
            rgba = straight
        colour = _texture(rgba, width, height, "RGBA16F")
    return Shown(colour, packed, None if depth is None else _texture(depth, width, height, "R32F"))


def fill(background: tuple[float, float, float, float]) -> None:
    """The background alone."""
    draw(kit().nothing, background, None)


def draw(shown: Shown, background: tuple[float, float, float, float], lens: tuple[float, float, bool] | None) -> None:
    """Over the bound framebuffer: colour first, blended, then depth alone, so that soft edges stay soft.

    background: linear RGB and how much of it (0: film is transparent). lens: `convert.lens.depth_terms`.
    """
    tools = kit()
    gpu.state.depth_test_set("NONE")
    gpu.state.depth_mask_set(False)
    gpu.state.blend_set("ALPHA_PREMULT")
    tools.draw(tools.packed if shown.packed else tools.plain, shown.colour, "background", background)
    if shown.depth is not None and lens is not None:
        gpu.state.blend_set("NONE")
        gpu.state.color_mask_set(False, False, False, False)
        gpu.state.depth_test_set("LESS_EQUAL")
        gpu.state.depth_mask_set(True)
        tools.draw(tools.depth, shown.depth, "lens", (lens[0], lens[1], float(lens[2]), 0.0))
        gpu.state.color_mask_set(True, True, True, True)
    gpu.state.depth_mask_set(False)
    gpu.state.depth_test_set("NONE")
    gpu.state.blend_set("NONE")
