"""Which names are the same, and which stand for nothing."""

import pytest

from cpmn_tf.formats.names import check_keys, is_nothing, nfc


@pytest.mark.parametrize(
    ("text", "composed"),
    [
        ("Plonge\u0301e", "Plong\u00e9e"),
        ("\u212bngstro\u0308m", "\u00c5ngstr\u00f6m"),  # the sign of the unit becomes the letter
        ("\u1103\u1165\u11ab", "\ub358"),  # Hangul
        ("-a b", "-a b"),
    ],
)
def test_names_are_compared_in_form_c(text, composed):
    assert nfc(text) == nfc(composed) == composed


@pytest.mark.parametrize(
    "label", ["Background", "None", "NoAction", "no action", "__bg__", "no-event", "N/A"]
)
def test_labels_that_stand_for_nothing(label):
    assert is_nothing(label)


@pytest.mark.parametrize("label", ["Jump", "Nonet", "Playing background music", "動作", ""])
def test_labels_that_stand_for_something(label):
    assert not is_nothing(label)


@pytest.mark.parametrize("key", ["url", "fps", "id", "lab", "segment_ids", "sub", "taxonomy"])
def test_short_and_distant_keys_are_no_misspellings(key):
    check_keys({key: ["x"]}, ("segment", "label", "subset", "annotations"), "here")
    check_keys({key: "x"}, ("segment", "label", "subset", "annotations"), "here")
