"""Typed directions by rules: grammar, codes, spelling, negation, degree, side, exclusions, languages."""

import pytest

from engine.controls.text import recognise
from engine.controls.text.languages import FILES, detect, english, table
from engine.controls.text.lexicon import actions, parts, phrases
from engine.controls.text.words import corrected, tokens
from engine.core.errors import BadInput


def face(text):
    return recognise(text, "rules")


@pytest.mark.parametrize(
    "text, aus",
    [
        ("raise the brows", "AU01 AU02"),
        ("lift only the inner brows", "AU01"),
        ("knit your eyebrows together", "AU04"),
        ("widen the eyes", "AU05"),
        ("narrowed eyes", "AU07"),
        ("she scrunches up her nose", "AU09"),
        ("an upper lip that is pulled up", "AU10"),
        ("pull the corners of the mouth up", "AU12"),
        ("corners of her mouth turned down", "AU15"),
        ("a quivering chin", "AU17"),
        ("stretch your lips sideways", "AU20"),
        ("tighten the lips", "AU23"),
        ("lips pressed together", "AU24"),
        ("part your lips", "AU25"),
        ("drop the jaw", "AU25 AU26"),
        ("close your eyes", "AU45"),
        ("raise the brows and the cheeks", "AU01 AU02 AU06"),
        ("brows and upper lip raised", "AU01 AU02 AU10"),
        ("do not press your lips; part them", "AU25"),
        ("AU12+25", "AU12 AU25"),
        ("action units 1, 4 and 15", "AU01 AU04 AU15"),
        ("FACS 43", "AU45"),
        ("AU26", "AU25 AU26"),
        ("a happy birthday", ""),
    ],
)
def test_parts_actions_and_codes(text, aus):
    assert face(text).aus == aus.split()


@pytest.mark.parametrize(
    "text, on, off",
    [
        ("no smile, just raised brows", "AU01 AU02", "AU12"),
        ("smile but don't show your teeth", "AU12", "AU25"),
        ("scared without raising the brows", "AU05 AU20", "AU01 AU02"),
        ("not only happy but thrilled", "AU06 AU12", ""),
        ("she cannot stop laughing", "AU06 AU12 AU25", ""),
        ("couldn't be happier", "AU06 AU12", ""),
        ("keep the mouth shut and raise the brows", "AU01 AU02", "AU25 AU26"),
        ("eyes wide but the brows don't move", "AU05", "AU01 AU02"),
        ("wipe that grin off your face", "", "AU12"),
        ("a smile that doesn't reach the eyes", "AU12", "AU06"),
        ("nothing but a raised left eyebrow", "AU02", "AU12"),
        ("neither happy nor sad, just bored", "AU45", "AU12"),
        ("angry, but do not frown", "AU07", "AU04"),
        ("drop the jaw", "AU26", ""),
        ("AU1+2 but not AU5", "AU01 AU02", "AU05"),
    ],
)
def test_negation_reaches_as_far_as_it_should(text, on, off):
    aus = set(face(text).aus)
    assert set(on.split()) <= aus and not set(off.split()) & aus


def test_a_denial_is_a_negative_activation_and_says_its_words():
    answer = face("surprised, but keep the mouth closed")
    assert answer.activation["AU25_L"] == -1 and answer.activation["AU05_L"] > 0
    assert answer.because["AU25"] == "mouth closed" and answer.because["AU05"] == "surprised"


def test_degree_orders_strength():
    levels = [face(f"{word} smile").level("AU12") for word in ("a faint", "a", "a very big")]
    assert levels == sorted(levels) and levels[0] < 0.6 * levels[2]
    assert face("smile at 30 %").level("AU12") == pytest.approx(0.3)
    assert face("slightly raised brows, eyes very wide").level("AU01") < 0.5 < face("eyes very wide").level("AU05")


def test_sides():
    left = face("raise your left eyebrow").activation
    assert left["AU02_L"] > 0 and "AU02_R" not in left
    assert "AU45_R" in face("wink with the right eye").activation
    assert "AU45_L" not in face("wink with the right eye").activation
    both = face("left brow up and right corner of the mouth down").activation
    assert {k for k in both if both[k] > 0} == {"AU01_L", "AU02_L", "AU15_R"}
    assert {"AU12_L", "AU25_L"} == set(face("AU12+25 left").activation)
    contempt = face("contempt").activation
    assert contempt["AU14_R"] > contempt["AU14_L"]


@pytest.mark.parametrize(
    "text", ["lips pressed, mouth wide open", "eyes wide open and closed", "angry with an open mouth"]
)
def test_what_a_face_cannot_do_at_once_is_not_asked(text):
    aus = set(face(text).aus)
    assert not {"AU24", "AU25"} <= aus and not {"AU05", "AU45"} <= aus
    assert "AU25" in aus or "AU26" not in aus


def test_spelling():
    assert set(face("suprised").aus) == set(face("surprised").aus) != set()
    assert "frightend -> frightened" in face("she looks frightend").note
    assert recognise("a" * 1000).aus == []  # no word, and no search among a million neighbours of it
    assert corrected("sad", {"sat": 1}) is None  # short words have too many neighbours
    assert recognise("the report covers the second quarter").aus == []


def test_a_denied_word_of_several_tokens_keeps_its_place():
    row = tokens("AU12, then smile", ("the",))
    assert row[0].unit and [t.word for t in row[1:]] == [",", "then", "smile"]


def test_the_lexicon_is_large_and_means_something():
    assert len(phrases()) >= 1500 and len(parts()) > 80 and len(actions()) > 250
    assert all(-1 <= v <= 1 for phrase in phrases().values() for v in phrase.face.values())


@pytest.mark.parametrize(
    "text, language, on, off",
    [
        ("hochgezogene Augenbrauen", "de", "AU01 AU02", "AU12"),
        ("sie lächelt leicht mit dem linken Mundwinkel", "de", "AU12", "AU04"),
        ("nicht lächeln, nur die Stirn runzeln", "de", "AU04", "AU12"),
        ("ein wütendes Gesicht", "de", "AU04 AU07", "AU12"),
        ("les sourcils froncés, la bouche ouverte", "fr", "AU04 AU25 AU26", "AU12"),
        ("elle sourit sans montrer les dents", "fr", "AU12", "AU25"),
        ("il est très triste", "fr", "AU01 AU15", "AU12"),
        ("ojos muy abiertos y cejas levantadas", "es", "AU01 AU02 AU05", "AU12"),
        ("no sonríe, está furioso", "es", "AU04 AU07", "AU12"),
        ("guiña el ojo izquierdo", "es", "AU45", "AU12"),
    ],
)
def test_german_french_and_spanish(text, language, on, off):
    answer = recognise(text)
    assert answer.language == language and answer.recognised
    assert set(on.split()) <= set(answer.aus) and not set(off.split()) & set(answer.aus)


def test_other_languages_are_named():
    assert "Italian" in recognise("lei sorride con gli occhi e non è triste").note
    assert recognise("彼女は笑っている").language == "und" and not recognise("彼女は笑っている").recognised
    assert detect("raise the left eyebrow") == "en" == detect("AU12+25")


@pytest.mark.parametrize("language", FILES)
def test_translated_lexicons(language):
    words = table(language)
    assert len(words) >= 300
    assert {"left", "right", "very", "without"} <= set(words.values())
    assert english("xyz, 12!", language) == "xyz, 12!"


def test_bad_input():
    with pytest.raises(BadInput, match="1000"):
        recognise("smile " * 400)
    with pytest.raises(BadInput, match="no way of reading"):
        recognise("smile", "guess")
    with pytest.raises(BadInput, match="--head"):
        recognise("smile", "paper")
