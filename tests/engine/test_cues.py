"""Phone cues: articulation from them, edits that stay local, files of other programs, a stretch of a take made anew."""

import dataclasses

import numpy as np
import pytest
from fresh_voice import fresh_voice

from engine.controls.files import LAYERS
from engine.core.control import Controls, Layer
from engine.core.errors import BadFile, BadInput
from engine.core.names import ARTICULATION_INDEX
from engine.core.sound import Cue
from engine.core.takefile import read_take, write_take
from engine.head.library import load_head
from engine.motion.perform import flame_again, perform
from engine.motion.splice import BLEND_S, splice
from engine.serve import jobs
from engine.speech import cue_files, cues
from engine.speech.encode import load_encoder, speech_of
from engine.speech.listen import listen

MAMA = [Cue("_", 0.0, 0.3), Cue("m", 0.3, 0.4), Cue("ɑ", 0.4, 0.6), Cue("p", 0.6, 0.72), Cue("u", 0.72, 0.9),
        Cue("f", 0.9, 1.0), Cue("i", 1.0, 1.2), Cue("_", 1.2, 1.6)]  # fmt: skip
STILL = Controls(layers={name: Layer(on=False) for name in LAYERS})


@pytest.fixture(scope="module")
def voice():
    import torch

    from engine.audio.read import audio_of

    torch.set_num_threads(1)
    return audio_of(fresh_voice()[0][: int(4.4 * 16000)])


@pytest.fixture(scope="module")
def heard(voice):
    return load_encoder()(voice)


@pytest.fixture(scope="module")
def speech(voice):
    return listen(voice)


@pytest.fixture(scope="module")
def head():
    return load_head()


def channel(art, name):
    return art[:, ARTICULATION_INDEX[name]]


# Articulation


def test_contacts_follow_the_rule():
    shut, bite = cues.contacts(MAMA)
    assert shut[0] == (0.3, 0.4)  # m whole
    assert shut[1] == (0.6, pytest.approx(0.68))  # p without its burst, 40 ms at most
    assert bite == [(0.9, 1.0)]
    (first,), _ = cues.contacts([Cue("_", 0, 0.5), Cue("b", 0.5, 0.56), Cue("a", 0.56, 0.7)])
    assert first == (pytest.approx(0.459), pytest.approx(0.539))  # 80 ms before the burst, where nothing is heard


def test_articulation_opens_closes_rounds_and_rests():
    art = cues.articulation(MAMA, 80)
    times = np.arange(80) / 50
    at = lambda s: round(s * 50)  # noqa: E731
    assert art.shape == (80, 11) and art.dtype == np.float32 and art.min() >= 0 and art.max() <= 1
    assert (channel(art, "lip_close")[(times >= 0.32) & (times <= 0.38)] == 1).all()
    assert channel(art, "jaw_open")[at(0.5)] > 0.5 and channel(art, "round")[at(0.8)] > 0.5
    assert channel(art, "labiodental")[at(0.96)] > 0.9
    assert art[: at(0.1)].max() == 0 and art[at(1.5) :].max() == 0
    assert not channel(cues.articulation([], 20), "voice").any()


@pytest.mark.parametrize(
    "bad, word",
    [
        ([Cue("a", 0.2, 0.2)], "no length"),
        ([Cue("a", 0.3, 0.1)], "no length"),
        ([Cue("a", -0.3, 0.1)], "no length"),
        ([Cue("a", 0.0, float("nan"))], "no length"),
        ([Cue("a", 0.0, 0.5), Cue("b", 0.4, 0.6)], "overlap"),
    ],
)
def test_cues_without_length_or_that_overlap_are_refused(bad, word):
    with pytest.raises(BadInput, match=word):
        cues.checked(bad)


def test_free_cues_agree_with_the_mouth(voice, heard):
    decoded = speech_of(heard, voice)
    found = cues.free_cues(heard, decoded.articulation)
    assert (
        found == cues.checked(found)
        and found[0].start == 0
        and found[-1].end == pytest.approx(voice.duration, abs=0.02)
    )
    close = channel(decoded.articulation, "lip_close")
    for cue in found:
        middle = close[int(25 * (cue.start + cue.end))]
        assert (middle > 0.9) == (cue.phone in {"p", "b", "m"}) or 0.6 < middle < 0.99
    assert sum(c.phone in {"p", "b", "m"} for c in found) >= 3
    assert cues.free_cues(dataclasses.replace(heard, phones=None), decoded.articulation) == ()


# Edits


def test_the_same_cues_change_nothing(speech):
    again = cues.with_cues(speech, speech.cues)
    assert np.array_equal(again.articulation, speech.articulation)


def test_one_edited_cue_is_felt_only_around_it(speech):
    k = next(i for i, c in enumerate(speech.cues) if c.start > 2.0 and c.end - c.start > 0.07 and c.phone not in "_pbm")
    edited = list(speech.cues)
    edited[k] = dataclasses.replace(edited[k], phone="m")
    after = cues.with_cues(speech, edited)
    cue = edited[k]
    times = speech.times
    far = (times < cue.start - cues.REACH_S - cues.BLEND_S) | (times > cue.end + cues.REACH_S + cues.BLEND_S)
    assert far.sum() > 100 and np.array_equal(after.articulation[far], speech.articulation[far])
    middle = int(25 * (cue.start + cue.end))
    assert (
        channel(speech.articulation, "lip_close")[middle]
        < 0.5
        < 0.99
        < channel(after.articulation, "lip_close")[middle]
    )
    assert after.cues == tuple(edited)


def test_a_removed_closure_opens(speech):
    k = next(i for i, c in enumerate(speech.cues) if c.phone in "pbm")
    edited = [dataclasses.replace(c, phone="ɑ") if i == k else c for i, c in enumerate(speech.cues)]
    after = cues.with_cues(speech, edited)
    assert channel(after.articulation, "lip_close")[int(25 * (edited[k].start + edited[k].end))] < 0.1


def test_changed_stretches():
    moved = [*MAMA[:3], Cue("p", 0.62, 0.72), *MAMA[4:]]
    assert cues.changed(MAMA, moved) == [(0.6, 0.72)]
    assert cues.changed(MAMA, MAMA) == [] and cues.changed(MAMA, MAMA[:-1]) == [(1.2, 1.6)]
    nudged = [dataclasses.replace(c, end=c.end + 2e-4) for c in MAMA]
    assert cues.changed(MAMA, nudged) == []


# Files


@pytest.mark.parametrize("suffix", [".json", ".csv", ".TextGrid", ".txt"])
def test_cues_come_back_from_every_form(tmp_path, suffix):
    file = tmp_path / f"c{suffix}"
    odd = [Cue("_", 0.0, 0.25), Cue('t"ʃ', 0.25, 0.3337), Cue("aɪ,", 0.3337, 0.5)]
    cue_files.write_cues(file, odd)
    back = cue_files.read_cues(file)
    assert [c.phone for c in back] == [c.phone for c in odd]
    assert np.allclose([[c.start, c.end] for c in back], [[c.start, c.end] for c in odd], atol=6e-4)


def test_arpabet_files_become_ipa(tmp_path):
    file = tmp_path / "mfa.csv"
    file.write_text("phone,start,end\nsil,0,0.2\nHH,0.2,0.3\nAH0,0.3,0.4\nL,0.4,0.5\nOW1,0.5,0.7\nsp,0.7,0.8\n")
    assert [c.phone for c in cue_files.read_cues(file)] == ["_", "h", "ʌ", "l", "oʊ", "_"]


def test_praats_short_form_and_other_tiers(tmp_path):
    file = tmp_path / "short.TextGrid"
    text = (
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n1\n<exists>\n3\n'
        '"IntervalTier"\n"words"\n0\n1\n1\n0\n1\n"mama 2"\n"TextTier"\n"notes"\n0\n1\n1\n0.5\n"here"\n'
        '"IntervalTier"\n"phones"\n0\n1\n2\n0\n0.4\n"m"\n0.4\n1\n"a"\n'
    )
    file.write_bytes(text.encode("utf-16"))
    assert cue_files.read_cues(file) == (Cue("m", 0.0, 0.4), Cue("a", 0.4, 1.0))


def test_audacity_labels_with_frequencies(tmp_path):
    file = tmp_path / "labels.txt"
    file.write_text("0.5\t0.75\tm\n\\\t100\t3000\n0.75\t1\ta\n")
    assert cue_files.read_cues(file) == (Cue("m", 0.5, 0.75), Cue("a", 0.75, 1.0))


@pytest.mark.parametrize(
    "name, text, word",
    [
        ("a.json", "[]", "no cue file"),
        ("a.json", '{"kind": "cues", "format": 9, "cues": []}', "newer"),
        ("a.json", '{"kind": "cues", "format": 1, "cues": [["m", 0]]}', "cue 1 is not"),
        ("a.json", '{"kind": "cues", "format": 1, "cues": {"m": 1}}', "must be a list"),
        ("a.csv", "start,end\n0,1\n", "must begin with"),
        ("a.csv", "phone,start,end\nm,zero,1\n", "cue 1 is not"),
        ("a.csv", "phone,start,end\n" + "word " * 30 + ",0,1\n", "no phone"),
        ("a.txt", "0.5 0.7 m\n", "line 1"),
        ("a.textgrid", "hello", "no Praat TextGrid"),
        ("a.textgrid", 'File type = "ooTextFile"\nObject class = "TextGrid"\n0 1 <exists> 0\n', "no interval tier"),
        ("a.textgrid", 'File type = "ooTextFile"\nObject class = "TextGrid"\n"IntervalTier" "phones" 0 1', "damaged"),
        ("a.wav", "RIFF", "no cue file"),
    ],
)
def test_bad_cue_files_say_what_is_wrong(tmp_path, name, text, word):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(BadFile, match=word):
        cue_files.read_cues(tmp_path / name)


def test_missing_and_unknown_forms(tmp_path):
    with pytest.raises(BadFile, match="no such file"):
        cue_files.read_cues(tmp_path / "none.csv")
    with pytest.raises(BadInput, match="cannot write cues"):
        cue_files.write_cues(tmp_path / "a.xml", MAMA)


# Takes


def test_a_take_keeps_its_cues_and_gives_them_back(tmp_path, voice, speech, head):
    take = perform(voice, STILL, 25, 1, "direct", head, speech)
    write_take(tmp_path / "t.npz", take)
    assert cue_files.read_cues(tmp_path / "t.npz") == cue_files.from_rows(cue_files.to_rows(speech.cues))
    assert read_take(tmp_path / "t.npz").meta["speech"]["encoder"] == speech.features.encoder_id
    again = perform(voice, STILL, 25, 1, "direct", head, listen(voice, cues=cue_files.read_cues(tmp_path / "t.npz")))
    assert np.array_equal(again.arkit, take.arkit)


@pytest.fixture(scope="module")
def two(voice, speech, head):
    """The same voice calm and happy, at 25 frames a second."""
    happy = Controls(emotions={"happy": ((0.0, 1.0),)})
    return [perform(voice, c, 25, 1, "direct", head, speech) for c in (Controls(), happy)]


def all_arrays(take):
    return {"au": take.au, "arkit": take.arkit, "extra": take.extra, **take.drive,
            **{n: getattr(take.flame, n) for n in ("expression", "pose", "translation", "eyelids")}}  # fmt: skip


def test_a_stretch_is_new_and_the_rest_is_bit_for_bit_the_same(two, head):
    old, new = two
    out = splice(old, new, 1.0, 2.4, head, lambda take: flame_again(head, take))
    outside = (old.times < 1.0) | (old.times > 2.4)
    core = (old.times >= 1.0 + BLEND_S) & (old.times <= 2.4 - BLEND_S)
    for name, values in all_arrays(out).items():
        assert np.array_equal(values[outside], all_arrays(old)[name][outside]), name
        assert np.array_equal(values[core], all_arrays(new)[name][core]), name
    assert out.meta["segments"][0]["from"] == 1.0 and out.meta["cues"] == old.meta["cues"]


def test_the_seam_is_smooth(two, head):
    old, new = two
    out = splice(old, new, 1.0, 2.4, head, lambda take: flame_again(head, take))
    step = lambda take: np.abs(np.diff(take.arkit[:, 23])).max()  # mouthSmileLeft  # noqa: E731
    jump = np.abs(new.arkit[:, 23] - old.arkit[:, 23]).max()
    assert jump > 0.3 and step(out) < 0.75 * jump + max(step(old), step(new))


def test_lips_stay_shut_across_a_seam(two, head):
    from engine.motion.contacts import lip_model

    old, new = two
    closed = np.flatnonzero(old.drive["contact"][:, 0] > 0.97)
    seams = closed[(closed > 8) & (closed < len(old) - 40)]
    assert len(seams)
    for frame in seams[:6]:
        out = splice(old, new, old.times[frame] - 0.05, old.times[frame] + 0.9, head)
        gap = lip_model(head).gap(np.concatenate([out.arkit, out.extra], 1)[frame : frame + 1])
        assert gap.max() < 0.0006


def test_a_stretch_at_the_beginning_has_no_seam_there(two, head):
    old, new = two
    out = splice(old, new, 0.0, 1.0, head)
    assert np.array_equal(out.arkit[0], new.arkit[0]) and np.array_equal(out.arkit[-1], old.arkit[-1])


@pytest.mark.parametrize(
    "start, end, word", [(2, 1, "no length"), (90, 95, "no frame"), (float("nan"), 1, "no length")]
)
def test_stretches_without_frames_are_refused(two, head, start, end, word):
    with pytest.raises(BadInput, match=word):
        splice(*two, start, end, head)


def test_takes_that_do_not_belong_together_are_refused(two, head, voice, speech):
    old, new = two
    other = perform(voice, Controls(), 30, 1, "direct", head, speech)
    with pytest.raises(BadInput, match="frame rate"):
        splice(old, other, 0, 1, head)
    with pytest.raises(BadInput, match="another voice"):
        splice(old, dataclasses.replace(new, meta={**new.meta, "audio_sha256": "x"}), 0, 1, head)


def test_cues_of_a_stretch_replace_the_old_ones_there(two, head):
    old, new = two
    rows = [["a", 0.0, 0.9], ["b", 0.9, 1.1], ["c", 1.1, 2.0], ["d", 2.0, 2.6], ["e", 2.6, 4.0]]
    fresh = [["a", 0.0, 0.9], ["x", 0.9, 1.4], ["y", 1.4, 2.5], ["z", 2.5, 4.0]]
    out = splice(
        dataclasses.replace(old, meta={**old.meta, "cues": rows}),
        dataclasses.replace(new, meta={**new.meta, "cues": fresh}), 1.0, 2.4, head,
    )  # fmt: skip
    assert out.meta["cues"] == [["a", 0.0, 0.9], ["b", 0.9, 1.0], ["x", 1.0, 1.4], ["y", 1.4, 2.4], ["d", 2.4, 2.6],
                                ["e", 2.6, 4.0]]  # fmt: skip


# The job


@pytest.fixture(scope="module")
def wav(voice, tmp_path_factory):
    from engine.audio.read import write_wav

    path = tmp_path_factory.mktemp("cues") / "voice.wav"
    write_wav(path, voice.samples)
    return path


def test_the_job_carries_cues_and_stretches(wav, tmp_path):
    first = jobs.speak({"audio": str(wav), "take": str(tmp_path / "a.npz"), "fps": "24"})
    seconds, names = first["arrays"]["cue_seconds"], first["arrays"]["cue_phones"].tobytes().decode().split("\n")
    assert first["meta"]["cues"] == len(names) == len(seconds) > 20
    edited = [[p, float(a), float(b)] for p, (a, b) in zip(names, seconds, strict=True)]
    k = next(i for i, (p, a, b) in enumerate(edited) if a > 2 and b - a > 0.07 and p not in "_pbm")
    edited[k][0] = "m"
    span = (edited[k][1] - 0.3, edited[k][2] + 0.3)
    second = jobs.speak(
        {"audio": str(wav), "take": str(tmp_path / "b.npz"), "fps": "24", "cues": edited,
         "into": str(tmp_path / "a.npz"), "from": span[0], "to": span[1]}
    )  # fmt: skip
    a, b = (read_take(tmp_path / f"{n}.npz") for n in "ab")
    outside = (a.times < span[0]) | (a.times > span[1])
    assert np.array_equal(a.arkit[outside], b.arkit[outside]) and not np.array_equal(a.arkit, b.arkit)
    assert second["frames"] == first["frames"] and b.meta["cues"][k][0] == "m"
    frame = round(24 * 0.5 * (edited[k][1] + edited[k][2]))
    assert b.drive["contact"][frame - 1 : frame + 2, 0].max() > 0.95 > a.drive["contact"][frame, 0]


@pytest.mark.parametrize(
    "entries, word",
    [
        ({"from": 1.0}, "give --into"),
        ({"cues": [["m", 1, 0]]}, "no length"),
        ({"cues": 5}, "list"),
        ({"transcript": 7}, "'transcript' must"),
        ({"transcript": " "}, "empty"),
        ({"language": "xx", "transcript": "hello you"}, "no language"),
    ],
)
def test_bad_requests_name_the_entry(wav, tmp_path, entries, word):
    with pytest.raises(BadInput, match=word):
        jobs.speak({"audio": str(wav), "take": str(tmp_path / "x.npz"), **entries})
    assert not (tmp_path / "x.npz").exists()


def test_a_stretch_needs_numbers(wav, tmp_path):
    jobs.speak({"audio": str(wav), "take": str(tmp_path / "a.npz"), "fps": 10})
    with pytest.raises(BadInput, match="number of seconds"):
        jobs.speak(
            {
                "audio": str(wav),
                "take": str(tmp_path / "b.npz"),
                "fps": 10,
                "into": str(tmp_path / "a.npz"),
                "from": "1",
            }
        )


def test_the_cues_job_writes_and_lists(tmp_path, two):
    write_take(tmp_path / "t.npz", two[0])
    listed = jobs.cues({"source": str(tmp_path / "t.npz")})
    written = jobs.cues({"source": str(tmp_path / "t.npz"), "out": str(tmp_path / "c.TextGrid")})
    assert listed["count"] == written["count"] == len(cue_files.read_cues(tmp_path / "c.TextGrid")) > 20


def soliloquy(*args, rc=0):
    """The command as a person runs it, in this process: (exit code, stdout)."""
    from typer.testing import CliRunner

    from engine.cli import app
    from engine.core.errors import SoliloquyError

    run = CliRunner().invoke(app, [str(a) for a in args])
    if rc:
        assert isinstance(run.exception, SoliloquyError), run.output
        return str(run.exception)
    assert run.exit_code == 0, run.exception
    return run.stdout


def test_the_command_line_lists_writes_and_reads_cues(wav, tmp_path):
    import json

    take, edited = tmp_path / "a.npz", tmp_path / "c.csv"
    soliloquy(
        "speak", wav, "--out", take, "--fps", 12, "--transcript", "Oh, you came back! I was so worried about you."
    )
    rows = json.loads(soliloquy("cues", take, "--json"))["cues"]
    soliloquy("cues", take, "--out", edited)
    assert len(edited.read_text(encoding="utf-8").splitlines()) == len(rows) + 1
    said = [r[0] for r in rows if r[0] != "_"]
    assert said[:3] == ["oʊ", "j", "uː"] or said[:3] == [
        "oʊ",
        "j",
        "u",
    ]  # "Oh, you": the words, not only what was heard
    soliloquy("speak", wav, "--out", tmp_path / "b.npz", "--fps", 12, "--cues", edited, "--into", take, "--to", 1.0)
    a, b = read_take(take), read_take(tmp_path / "b.npz")
    assert np.array_equal(a.arkit[a.times > 1.0], b.arkit[a.times > 1.0])


@pytest.mark.parametrize(
    "line, words",
    [
        (["train", "adapter"], "--encoder FOLDER"),
        (["train", "adapter", "--encoder", "/nowhere"], "no such speech encoder"),
        (["train", "speech"], "needs OUT"),
        (["train", "speech", "x.safetensors"], "needs --work FOLDER"),
        (["cues", "none.npz"], "no such file"),
    ],
)
def test_commands_that_lack_something_say_so(line, words):
    assert words in soliloquy(*line, rc=1)
