"""Names as people write them: which keys, ids and labels are the same, and which were meant.

Names are compared here and kept as they were written. Imports no TensorFlow.
"""

import functools
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from cpmn_tf.errors import UserError

# What other files call our keys: small letters and digits alone, as :func:`_letters` leaves them.
SYNONYMS = {
    "annotations": "annotation annot annots ann anns anno annos label labels instance instances "
    "action actions activity activities event events class classes category categories tag tags "
    "segment segments timestamp timestamps interval intervals groundtruth gt gts",
    "ambiguous": "ambiguoussegments ambiguousintervals",
    "subset": "split splits set partition phase fold part datasplit usage",
    "segment": "segments seg timestamp timestamps interval time times timespan span range bbox "
    "window boundary boundaries location period",
    "start": "from begin begins t0 tstart starttime startseconds startsec startframe segment "
    "segments timestamp timestamps",
    "end": "to stop ends t1 tend endtime endseconds endsec endframe",
    "label": "labels class classname cls category categoryname action actionname activity "
    "activityname name labelname tag type event",
    "results": "result predictions prediction detections outputs",
    "score": "scores confidence conf prob probability",
}
SYNONYMS["segment"] += f" start end {SYNONYMS['start']} {SYNONYMS['end']}"
_FORMS = {
    "annotations": '[{"label": CLASS, "segment": [START, END]}]',
    "ambiguous": "[[START, END]]",
    "subset": "NAME",
    "segment": "[START, END]",
    "start": "SECONDS",
    "end": "SECONDS",
    "label": "CLASS",
    "results": "{VIDEO: [DETECTION]}",
    "score": "SCORE",
}
_EDITS = 2  # letters added, left out or replaced by which a misspelt key may differ
_SHORTEST = 4  # letters of a key that can be misspelt: `url` and `fps` are no misspellings
# Labels of what is no action, letters and digits alone.
_NOTHING = (
    "background bg none null nan na noaction noactivity noevent nolabel noclass nonaction nothing "
    "negative unlabeled unlabelled"
)


def nfc(text: str) -> str:
    """Unicode's normal form C of an id or a label: in it names are compared, wherever they are.

    macOS writes file names in form D, in which an accent is a character of its own. Names are kept
    as they were written; only comparisons go through here.

    >>> nfc("Plonge\\u0301e") == "Plongée"
    True
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _seen(name: str) -> str:
    """A name in form C without what cannot be seen, as a byte order mark or a zero-width space."""
    if name.isascii():
        return name
    return "".join(letter for letter in nfc(name) if unicodedata.category(letter) != "Cf")


def other_ids(name: str) -> set[str]:
    """How else YouTube's ids are written: with ``v_`` before them, or without."""
    return {f"v_{name}", name.removeprefix("v_")} - {name}


def plain_id(name: str) -> str:
    """What two ids have in common that differ by blanks around or between words alone."""
    return " ".join(_seen(name).split())


def plain_label(name: str) -> str:
    """What two labels, or subsets, have in common that differ by blanks or case alone."""
    return "".join(_seen(name).split()).casefold()


def alike(names: Iterable[str], plain: Callable[[str], str]) -> Iterator[str]:
    """Says of each name which one before it ``plain`` makes the same, both in quotes."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(plain(name), name)
        if other != name:
            same = nfc(other) == nfc(name)  # these two would read the same
            how = "Unicode's form" if same else "blanks" if plain is plain_id else "blanks or case"
            pair = f"{other!a} and {name!a}" if same else f"{other!r} and {name!r}"
            yield f"{pair} differ by {how} alone; write one of them everywhere"


def spelled(
    names: tuple[str, ...], known: Iterable[str], plain: Callable[[str], str], what: str
) -> tuple[str, ...]:
    """The names as ``known`` spells those that are the same in form C.

    Raises:
      UserError: that begins with ``what``, if two names differ by what ``plain`` takes away.
    """
    if names == tuple(known) or not set(names).difference(known):  # nearly always
        return names
    spelling = {nfc(name): name for name in known}
    result = tuple(spelling.setdefault(nfc(name), name) for name in names)
    for text in alike(spelling.values(), plain):
        raise UserError(f"{what} {text}")
    return result


def is_ambiguous(label: str) -> bool:
    """Whether a label marks intervals that the THUMOS14 protocol leaves out."""
    return label.strip().lower() == "ambiguous"


def is_nothing(label: str) -> bool:
    """Whether a label stands for no action, as `Background` and `no action` do."""
    return _letters(label) in _NOTHING.split()


def check_keys(entry: Mapping[str, Any], names: tuple[str, ...], what: str) -> None:
    """Looks for the keys that were meant where ``entry`` has none of one of the ``names``.

    A key is taken for one that is missing if it is a synonym, is misspelt, or holds what the
    missing one would hold. All other keys pass.

    Raises:
      UserError: that begins with ``what`` and names both keys.
    """
    others = entry.keys() - {"duration", "fps", *names}
    for name in names if others else ():
        if entry.get(name):
            continue
        for key in entry:  # in the file's order
            if key in others and _is_meant(key, entry[key], name, name in entry):
                raise UserError(
                    f'{what} has no "{name}", but {key!r}; write "{name}": {_FORMS[name]}, '
                    f"or remove {key!r}"
                )


def _is_meant(key: str, value: Any, name: str, empty: bool) -> bool:
    """Whether ``key`` was meant to be ``name``, which is missing, or there but ``empty``."""
    if name == "annotations" and _holds_instances(value, empty):
        return True
    if name == "segment" and _is_pair(value):
        return True
    if empty:  # as of a video that shows nothing; it may have YouTube's tags all the same
        return name == "annotations" and bool(value) and _letters(key) in ("label", "labels")
    kind = str if name in ("label", "subset", "start", "end") else list | dict
    return _is_synonym(key, name) or (_is_misspelt(key, name) and isinstance(value, kind))


def _holds_instances(value: Any, strictly: bool) -> bool:
    """Whether a list, or a list by class, has an item of the form of an instance.

    An item may call its label and its segment otherwise, unless it is looked at ``strictly``: boxes
    of objects, too, have a category and a window.
    """
    if isinstance(value, dict):
        lists = (items for items in value.values() if isinstance(items, list))
        return any(_holds_instances(items, strictly) for items in lists)
    for item in value if isinstance(value, list) else ():
        if _is_pair(item) or (
            isinstance(item, dict)
            and ("label" in item or "segment" in item or (not strictly and _names_both(item)))
        ):
            return True
    return False


def _names_both(keys: Iterable[str]) -> bool:
    """Whether there are other keys for a label and for a segment."""
    return all(any(_is_synonym(key, name) for key in keys) for name in ("label", "segment"))


def _is_pair(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    try:
        return not any(isinstance(item, bool) or math.isnan(float(item)) for item in value)
    except (TypeError, ValueError, OverflowError):
        return False


def _letters(text: str) -> str:
    return re.sub("[^a-z0-9]", "", text.lower())


@functools.cache
def _is_synonym(key: str, name: str) -> bool:
    return _letters(key) in SYNONYMS[name].split()


@functools.cache
def _is_misspelt(key: str, name: str) -> bool:
    """Whether a key is within two edits of a name (Levenshtein), whatever its case."""
    word = _letters(key)
    if min(len(word), len(name)) < _SHORTEST or abs(len(word) - len(name)) > _EDITS:
        return False
    row = list(range(len(name) + 1))
    for place, letter in enumerate(word, 1):
        above, row[0] = row[0], place
        for column, other in enumerate(name, 1):
            above, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, above + (letter != other)),
            )
    return row[-1] <= _EDITS
