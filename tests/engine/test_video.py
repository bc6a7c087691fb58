"""Films, folders of pictures and contact sheets, read again by other means."""

import wave
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from engine.core.errors import BadFile, BadInput, Cancelled
from engine.core.progress import Reporter
from engine.core.splats import FAR_DEPTH, Frame
from engine.core.units import srgb_to_linear
from engine.render.sheet import write_sheet
from engine.render.video import write_pictures, write_video

BEEP_AT = 0.5  # seconds


def frames(count, size=(48, 40)):
    """Grey frames whose brightness counts up."""
    return (np.full((size[1], size[0], 3), 10 + 4 * i, np.uint8) for i in range(count))


@pytest.fixture
def voice(tmp_path):
    """2 s at 16 kHz: silence, then a 1 kHz tone from BEEP_AT on."""
    t = np.arange(32_000) / 16_000
    tone = (np.sin(2 * np.pi * 1000 * t) * (t >= BEEP_AT) * 16_000).astype("<i2")
    with wave.open(str(tmp_path / "voice.wav"), "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(16_000)
        f.writeframes(tone.tobytes())
    return tmp_path / "voice.wav"


@pytest.mark.parametrize("fps", [Fraction(24_000, 1001), Fraction(25), Fraction(30_000, 1001), Fraction(60)])
def test_rate_length_and_sound_are_exact(tmp_path, voice, fps):
    path, count = tmp_path / "film.mp4", 36
    assert write_video(path, frames(count), fps, (48, 40), audio_path=voice) == count
    with av.open(str(path)) as film:
        video, sound = film.streams.video[0], film.streams.audio[0]
        assert video.average_rate == fps and video.frames == count
        assert video.duration * video.time_base == count / fps
        assert (video.codec_context.name, video.codec_context.pix_fmt, sound.codec_context.name) == (
            "h264",
            "yuv420p",
            "aac",
        )
        shown = [(f.pts * f.time_base, f.to_ndarray(format="rgb24").mean()) for f in film.decode(video=0)]
    assert [time for time, _ in shown] == [i / fps for i in range(count)]
    assert np.allclose([grey for _, grey in shown], 10 + 4 * np.arange(count), atol=2)
    with av.open(str(path)) as film:
        heard = [(f.pts * f.time_base, f.to_ndarray()[0], f.sample_rate) for f in film.decode(audio=0)]
    assert heard[0][0] == 0 and heard[0][2] == 48_000
    samples = np.concatenate([block for _, block, _ in heard])
    assert len(samples) / 48_000 == pytest.approx(min(2.0, count / fps), abs=1024 / 48_000)
    # A millisecond: a quarter wave of the tone, and AAC's pre-echo.
    assert np.argmax(np.abs(samples) > 0.2) / 48_000 == pytest.approx(BEEP_AT, abs=1e-3)


def test_odd_sizes_are_padded(tmp_path):
    write_video(tmp_path / "odd.mp4", frames(3, (51, 33)), Fraction(25), (51, 33))
    with av.open(str(tmp_path / "odd.mp4")) as film:
        context = film.streams.video[0].codec_context
        assert (context.width, context.height) == (52, 34) and not film.streams.audio


def test_colours_survive(tmp_path):
    """BT.709 in, BT.709 out: a swapped matrix is 10 to 20 levels off on saturated colours."""
    colours = np.array([[200, 30, 30], [30, 180, 40], [40, 50, 210], [210, 160, 130]], np.uint8)
    picture = np.repeat(np.repeat(colours[None], 32, 0), 16, 1)
    write_video(tmp_path / "c.mp4", [picture] * 2, Fraction(25), (64, 32))
    with av.open(str(tmp_path / "c.mp4")) as film:
        frame = next(film.decode(video=0))
        assert frame.colorspace == 1
        got = frame.to_ndarray(format="rgb24")
    assert np.abs(got[16, 8::16].astype(int) - colours).max() <= 6


def test_a_stopped_film_leaves_nothing(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(b"the old film")
    done = []

    def counted():
        for frame in frames(40):
            done.append(1)
            yield frame

    with pytest.raises(Cancelled):
        write_video(path, counted(), Fraction(25), (48, 40), report=Reporter(cancelled=lambda: len(done) > 7))
    assert len(done) == 8 and path.read_bytes() == b"the old film"
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


def test_bad_films(tmp_path):
    path = tmp_path / "film.mp4"
    with pytest.raises(BadInput, match="frame 0"):
        write_video(path, frames(2, (10, 10)), Fraction(25), (20, 10))
    with pytest.raises(BadInput, match="at least one"):
        write_video(path, [], Fraction(25), (20, 10))
    text = tmp_path / "text.wav"
    text.write_text("no sound at all")
    for sound, words in ((text, "cannot be read as sound"), (tmp_path / "absent.wav", "cannot be read")):
        with pytest.raises(BadFile, match=words):
            write_video(path, frames(2), Fraction(25), (48, 40), audio_path=sound)
    assert not path.exists()


def test_pictures(tmp_path):
    rgba = np.zeros((4, 5, 4), np.float32)
    rgba[1, 2] = [*(srgb_to_linear(np.array([0.8, 0.4, 0.2])) * 0.5), 0.5]
    depth = np.full((4, 5), FAR_DEPTH, np.float32)
    depth[1, 2] = 0.7312
    normal = np.zeros((4, 5, 3), np.float32)
    normal[1, 2] = [0, 0, 1]
    frame = Frame(rgba, depth, normal)
    folder = tmp_path / "out"
    assert write_pictures(folder, [frame, frame], ("rgba", "depth", "normal"), first=7) == 2
    assert sorted(p.name for p in folder.iterdir()) == [
        f"{name}{n}.png" for name in ("", "depth_", "normal_") for n in ("0007", "0008")
    ]
    assert np.asarray(Image.open(folder / "0007.png"))[1, 2].tolist() == [204, 102, 51, 128]
    steps = np.asarray(Image.open(folder / "depth_0008.png"))
    assert steps[1, 2] == 7312 and steps[0, 0] == 65535
    assert np.asarray(Image.open(folder / "normal_0007.png"))[1, 2].tolist() == [128, 128, 255, 128]


def test_stopped_pictures_leave_nothing(tmp_path):
    frame = Frame(np.zeros((2, 2, 4), np.float32), np.zeros((0, 0)), np.zeros((0, 0, 3)))
    calls = iter([False, False, True])
    with pytest.raises(Cancelled):
        write_pictures(tmp_path / "out", [frame] * 9, report=Reporter(cancelled=lambda: next(calls)))
    assert not list(tmp_path.iterdir())


def test_sheet(tmp_path):
    red = np.full((30, 40, 3), (255, 0, 0), np.uint8)
    blue = np.full((20, 40, 3), (0, 0, 255), np.uint8)
    path = tmp_path / "sheet.png"
    size = write_sheet(
        path, [[(red, "one"), (blue, "a label that is far too long for its picture")], [(blue, "three")]]
    )
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (size[1], size[0], 3)
    assert (sheet == (255, 0, 0)).all(-1).sum() == 30 * 40 and (sheet == (0, 0, 255)).all(-1).sum() == 2 * 20 * 40
    assert (sheet[:, :, 1] > 150).any()  # labels are drawn
    for bad in ([], [[]]):
        with pytest.raises(BadInput):
            write_sheet(path, bad)
