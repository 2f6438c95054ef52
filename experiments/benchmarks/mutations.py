"""What the fuzzers share: sound bytes, messages, JSON, arrays and archives, changed at random.

Every function draws from the generator that it is given, and from nothing else.
"""

import io
import json
import pathlib
import random
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Rng = random.Random

# -- bytes and numbers

NUMBERS = [0, 1, -1, 2, 7, 8, 2**7, 2**15, 2**24, 2**31 - 1, -(2**31), 2**32, 2**53, 2**63 - 1]
FLOATS = [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e-45, -1.0, 3e38, -3e38, 1e30]
NAMES = ["", "cpmn", "rgb", "detect", "score", "x" * 3000, "\u0000", "é\u2028", "../../x", "%s{0}"]


def mutated(rng: Rng, whole: bytes) -> bytes:
    """Bytes flipped, taken out, doubled, put in, cut off."""
    data = bytearray(whole)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 2, 4, 8, 100)))
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at:end]
        elif kind == 2:
            data[at:at] = data[at:end]
        elif kind == 3:
            data[at:at] = rng.randbytes(end - at)
        elif kind == 4:
            data[at:end] = rng.choice((b"\xff", b"\x00", b"\x7f", b"\x80")) * (end - at)
        elif rng.random() < 0.2:
            del data[at:]
    return bytes(data)


# -- messages


def _varint(number: int) -> bytes:
    number &= 2**64 - 1
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        number |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            break
    return number, at


def fields(message: bytes) -> list[tuple[int, bytes]]:
    """Tags and values of a message's fields, as they are written; lengths are left out.

    Raises:
      ValueError: if it is no message.
    """
    found, at = [], 0
    try:
        while at < len(message):
            tag, at = _read_varint(message, at)
            if tag & 7 == 2:
                size, at = _read_varint(message, at)
                end = at + size
            elif tag & 7 == 0:
                _, end = _read_varint(message, at)
            else:
                end = at + {1: 8, 5: 4}[tag & 7]
            if end > len(message) or tag < 8:
                raise ValueError("no message")
            found.append((tag, message[at:end]))
            at = end
    except LookupError as error:
        raise ValueError("no message") from error
    return found


def written(parts: list[tuple[int, bytes]]) -> bytes:
    """The message of :func:`fields`."""
    return b"".join(
        _varint(tag) + (_varint(len(value)) if tag & 7 == 2 else b"") + value
        for tag, value in parts
    )


def with_fields_mutated(rng: Rng, message: bytes, other: bytes = b"") -> bytes:
    """Fields doubled, left out, changed, exchanged or taken of another message, at any depth."""
    try:
        parts = fields(message)
    except ValueError:
        return mutated(rng, message)
    if not parts:
        return rng.randbytes(rng.randrange(8))
    at = rng.randrange(len(parts))
    tag, value = parts[at]
    kind = rng.randrange(10)
    if kind == 0:
        del parts[at]
    elif kind == 1:
        parts[at:at] = [parts[at]] * rng.choice((1, 2, 50))
    elif kind == 2:
        rng.shuffle(parts)
    elif kind == 3:
        parts[at] = (rng.randrange(1, 30) << 3 | tag & 7, value)
    elif kind == 4 and other:
        parts[at:at] = fields(other)
    elif tag & 7 == 2 and value:
        parts[at] = tag, with_fields_mutated(rng, value, other)
    elif tag & 7 == 0:
        parts[at] = tag, _varint(rng.choice(NUMBERS))
    else:
        parts[at] = tag, mutated(rng, value)
    return written(parts)


# -- JSON

LITERALS = [
    "NaN", "-Infinity", "1e999", "-1e-999", "1" * 5000, "1.5", "-0", "true", "null", '""', "[]",
    "{}", "[[]]", '"\\ud800"', '"x"', '{"b64": "AAAA"}', '{"b64": "!"}', '{"b64": 1}', "16777217",
    "2147483648", "[" * 3000 + "]" * 3000, "[" * 200000, '{"a":' * 900 + "1" + "}" * 900, "NULL",
    '{"a":1,"a":2}', "[1,]", "01", "\u00e9", "'a'", "[[[1]]]", "[" + "1," * 5000 + "1]",
]  # fmt: skip


# What else a file may hold; the server's numbers are of its own tensors.
FILE_LITERALS = [
    *LITERALS, "1e308", "-1e308", "5e-324", "1e39", "1e-39", "0", "-1", "0.5", "9" * 300, '"nan"',
    '"inf"', '"1e400"', '"a\\nb"', '"a\\u2028b"', '"\\u0000"', '"1_0"', '"٣"', '"."', '".."',
    f'"{"9" * 5000}"', f'"{"x" * 3000}"', '"Dive"', '"jump"', '"Background"', "[0, 1]", "[1, 1]",
    "[1e308, 1e308]", "[-5, 2]", "[[0, 1]]", '{"label": "Dive"}', "[" + "[0,1]," * 3000 + "[0,1]]",
]  # fmt: skip
TEXTS = [
    "", "nan", "inf", "-inf", "1e308", "5e-324", "1e39", "1e-39", "-1", "0", "1e400", "9" * 300,
    "9" * 5000, "x", "Dive", "1_0", "٣", "１", "²", "é", "true", "\u0000", '"', "'", "a|b", "|",
    "..", "../x", "\r", "\ufeff", "\u2028", "None", "0x10", "1,5", "#", "--help", "--flagfile=x",
    "{}", "%s", "video", "label", "x" * 200000, "a" * 3000, "training", "2147483648", "\x85",
]  # fmt: skip
OBJECTS: list[Any] = [
    None, float("nan"), float("inf"), -1, 0, 0.5, 1e308, 5e-324, 2**70, "", "x" * 3000, b"\xff",
    "\ud800", [], [[]], [1], [1, 2], [[1, 2]], True, (1, 2), "a\nb", "Dive", b"Jump", np.float64(3),
    np.array(["a"]), np.array([[1.0, 2.0]]), np.zeros((2, 0)), {"a": 1}, 1j,
]  # fmt: skip


def mutated_value(rng: Rng, value: object, literals: Sequence[str] = LITERALS) -> object:
    """A value of JSON with something in it replaced by ``@N``, which stands for a literal."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(sorted(value))
        changed = dict(value)
        kind = rng.random()
        if kind < 0.08:
            del changed[name]
        elif kind < 0.16:
            changed[rng.choice(NAMES)] = changed.pop(name)
        elif kind < 0.22:
            changed[rng.choice((*NAMES, "inputs", "instances"))] = value[name]
        else:
            changed[name] = mutated_value(rng, value[name], literals)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        kind = rng.random()
        if kind < 0.1:
            return value[:at] + value[at + 1 :]
        if kind < 0.2:
            return value[:at] + [value[at]] * rng.choice((2, 3, 40)) + value[at:]
        return [*value[:at], mutated_value(rng, value[at], literals), *value[at + 1 :]]
    return f"@{rng.randrange(len(literals))}"


def json_text(value: object, literals: Sequence[str] = LITERALS) -> str:
    """The text of what :func:`mutated_value` gave."""
    return re.sub(r'"@(\d+)"', lambda found: literals[int(found[1])], json.dumps(value))


# -- arrays and archives

DTYPES = ["<f4", "<f4", "<f2", "<f8", ">f4", "<i8", "|b1", "<f16", "|O", "<U9", "<M8[s]", "|V4"]
DTYPES += ["<c8", "|S0", "<f3", "x" * 200, "<i4"]
SHAPES = ["(40, 8)", "(40, 16)", "(0, 8)", "(-1, 8)", "(40,)", "()", "(2**40, 8)", "(40, 8, 1)"]
SHAPES += [
    f"({10**30}, 8)",
    f"({2**62}, 8)",
    "[40, 8]",
    "(True, 8)",
    "(40.0, 8)",
    "None",
    "(1,) * 9",
]


def lying_npy(rng: Rng, content: bytes) -> bytes:
    """A `.npy` file of an array's bytes after a header that they know nothing of."""
    order, rest = rng.choice(("True", "False", "3")), rng.choice(("", "", "", "x", "((((" * 200))
    text = f"{{'descr': '{rng.choice(DTYPES)}', 'fortran_order': {order}, "
    header = f"{text}'shape': {rng.choice(SHAPES)}, {rest}}}".encode()
    size = rng.choice((len(header), len(header), len(header) - 3, 0, 65535))
    version = rng.choice((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", size)
    return b"\x93NUMPY" + version + length + header + content


def lying_zip(rng: Rng, archive: bytes) -> bytes:
    """An archive whose directory and members' heads lie."""
    whole = bytearray(archive)
    at = whole.find(rng.choice((b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")))
    for _ in range(rng.choice((1, 3))):
        field = at + rng.randrange(4, 46)
        whole[field : field + 4] = struct.pack("<I", rng.choice(NUMBERS) % 2**32)
    return bytes(whole)


def _as_npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def mutated_npy(rng: Rng, data: bytes) -> bytes:
    """A sound `.npy` file, of numbers, text or objects, with other ones in it or another header."""
    array = np.load(io.BytesIO(data), allow_pickle=True)  # our own
    if rng.random() < 0.3:
        return lying_npy(rng, data[data.index(b"\n") + 1 :])
    if array.dtype.kind == "O" or rng.random() < 0.1:
        items = list(array)
        at = rng.randrange(len(items))
        if isinstance(items[at], np.ndarray):
            items[at] = _mutated_array(rng, items[at])
        else:
            items = _filled(mutated_value(rng, items, OBJECTS))
        if not isinstance(items, list):
            return _as_npy(np.array(items, object))
        objects = np.empty(len(items), object)
        objects[:] = items
        return _as_npy(objects)
    return _as_npy(_mutated_array(rng, array))


def _filled(value: object) -> Any:
    """The objects that stand in what :func:`mutated_value` gave."""
    if isinstance(value, list):
        return [_filled(item) for item in value]
    found = re.fullmatch(r"@(\d+)", value) if isinstance(value, str) else None
    return OBJECTS[int(found[1])] if found else value


def _mutated_array(rng: Rng, array: np.ndarray) -> np.ndarray:
    """Another type, shape or value."""
    kind = rng.randrange(5)
    if kind == 0 and array.dtype.kind == "f":
        array = array.astype(rng.choice(("f8", "f2", ">f4", "i8", "?", "c8", "S3", "U3", "O")))
    elif kind == 1:
        shapes = (array.T, array[:0], array[:1], array[..., :1], array.ravel(), array[None])
        array = np.ascontiguousarray(rng.choice(shapes))
    elif kind == 2:
        array = np.asfortranarray(array)
    elif array.dtype.kind in "fiu" and array.size:
        array = array.astype(rng.choice((np.float32, np.float64)))
        for _ in range(rng.choice((1, 3))):
            with np.errstate(over="ignore"):
                array.flat[rng.randrange(array.size)] = rng.choice((*FLOATS, 1e308, 5e-324))
    else:
        text = [rng.choice([str(item), *TEXTS[:20]]) for item in array.ravel().tolist()]
        array = np.array(text or ["x"])
    return array


def mutated_h5(rng: Rng, data: bytes) -> bytes:
    """An `.h5` file with bytes changed, or with other things in it."""
    if rng.random() < 0.5:
        return mutated(rng, data)
    import h5py

    file = io.BytesIO(data)
    with h5py.File(file, "r+") as content:
        names: list[str] = []
        content.visit(names.append)
        name = rng.choice(names)
        kind = rng.randrange(9)
        if kind == 0 and isinstance(content[name], h5py.Dataset):
            values = _mutated_array(rng, content[name][()])
            del content[name]
            content[name] = values.astype("S") if values.dtype.kind in "UO" else values
        elif kind == 1:
            content[rng.choice(("more", "a/b/c/d", "é", "new\nline", "x" * 3000))] = [[1.0, 2.0]]
        elif kind == 2:
            shape = rng.choice(((10**9, 100), (2**40, 8), (18, 2**28)))
            del content[name]
            content.create_dataset(name, shape, "f4", chunks=(1, 4))
        elif kind == 3:
            del content[name]
            content[name] = rng.choice((h5py.SoftLink("/"), h5py.SoftLink("/gone")))
        elif kind == 4:
            del content[name]
            content[name] = h5py.ExternalLink(rng.choice(("/etc/passwd", "one.h5")), "/rgb")
        elif kind == 5:
            del content[name]
            content[name] = rng.choice(("text", 1.0, [b"a", b"b"], h5py.Empty("f4"), [[True]]))
        elif kind == 6:
            del content[name]
        elif kind == 7:
            content.create_dataset("table", (18,), [("a", "f4"), ("b", "i2")])
        else:
            content[f"{name}_loop"] = content["/"]
    return file.getvalue()


def mutated_npz(rng: Rng, data: bytes) -> bytes:
    """An `.npz` file whose directory lies, or with other members."""
    kind = rng.randrange(4)
    if kind == 0:
        return mutated(rng, data)
    if kind == 1:
        return lying_zip(rng, data)
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as archive:
        for name in old.namelist():
            content = old.read(name)
            if rng.random() < 0.5:
                content = mutated_npy(rng, content)
            if rng.random() < 0.3:
                name = rng.choice((*NAMES[:5], "new\nline.npy", "../x.npy", "x", "a/b.npy"))
            method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
            for _ in range(rng.choice((1, 1, 1, 0, 2))):
                archive.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


# -- JSON files and tables


def mutated_json(rng: Rng, data: bytes) -> bytes:
    """A file of JSON with other values, with keys doubled, in another encoding."""
    value: object = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = mutated_value(rng, value, FILE_LITERALS)
    text = json_text(value, FILE_LITERALS)
    keys = list(re.finditer(r'"[^"\\]*": ', text))
    if keys and rng.random() < 0.1:
        found = rng.choice(keys)
        more = rng.choice((f"{found[0]}0, {found[0]}", '"\\ud800": ', '"a\\nb": ', '"": '))
        text = text[: found.start()] + more + text[found.end() :]
    encoding = rng.choice(("utf-8",) * 20 + ("utf-8-sig", "utf-16", "utf-16-le"))
    return text.encode(encoding, "replace")


def mutated_table(rng: Rng, data: bytes) -> bytes:
    """Lines of text with other fields, names and separators."""
    lines = data.decode().split("\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines))
        mark = next((mark for mark in ",=| " if mark in lines[at]), ",")
        fields_ = lines[at].split(mark)
        place = rng.randrange(len(fields_))
        kind = rng.randrange(12)
        if kind <= 5:
            fields_[place] = rng.choice(TEXTS)
        elif kind == 6:
            del fields_[place]
        elif kind == 7:
            fields_[place:place] = [fields_[place]] * rng.choice((1, 2, 300))
        elif kind == 8:
            rng.shuffle(fields_)
        elif kind == 9:
            mark = rng.choice((";", "\t", "|", "  ", ", ", ""))
        lines[at] = mark.join(fields_)
        if kind == 10:
            lines[at:at] = [rng.choice(lines)] * rng.choice((1, 2, 300))
        elif kind == 11:
            rng.choice((rng.shuffle, list.pop))(lines)
            lines = lines or [""]
    text = rng.choice(("\n",) * 10 + ("\r\n", "\r", "\u2028", "")).join(lines)
    return text.encode(rng.choice(("utf-8",) * 20 + ("utf-8-sig", "utf-16", "latin-1")), "replace")


# -- records


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC = _crc_table()


def checksum(data: bytes) -> bytes:
    """The masked CRC-32C that TFRecord files hold."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def framed(record: bytes, length: int | None = None) -> bytes:
    """A record as TFRecord files have it; it may say another length, with a checksum that fits."""
    head = struct.pack("<Q", (len(record) if length is None else length) % 2**64)
    return head + checksum(head) + record + checksum(record)


def unframed(data: bytes) -> list[bytes]:
    """The records of a sound file."""
    records, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        records.append(data[at + 12 : at + 12 + size])
        at += size + 16
    return records


def mutated_records(rng: Rng, data: bytes) -> bytes:
    """A TFRecord file with records changed, doubled, left out, or of a length that is a lie."""
    records = unframed(data)
    at, length = rng.randrange(len(records)), None
    kind = rng.randrange(8)
    if kind == 0:
        del records[at]
    elif kind == 1:
        records[at:at] = [records[at]] * rng.choice((1, 3))
    elif kind == 2:
        length = rng.choice((*NUMBERS, len(records[at]) + 1, len(records[at]) - 1, 2**40))
    elif kind == 3:
        records[at] = rng.choice((b"", b"\x00", rng.randbytes(40), mutated(rng, records[at])))
    else:
        for _ in range(rng.choice((1, 1, 2, 5))):
            records[at] = with_fields_mutated(rng, records[at], rng.choice(records))
    return b"".join(
        framed(record, length if place == at else None) for place, record in enumerate(records)
    )


# -- any file


def mutated_file(rng: Rng, name: str, data: bytes) -> bytes:
    """A sound file, changed as files of its kind are."""
    suffix = pathlib.PurePath(name).suffix
    if not data or rng.random() < 0.12:
        return mutated(rng, data)
    return MUTATIONS.get(suffix, mutated if suffix else mutated_table)(rng, data)


MUTATIONS: dict[str, Callable[[Rng, bytes], bytes]] = {
    ".json": mutated_json,
    ".npy": mutated_npy,
    ".npz": mutated_npz,
    ".h5": mutated_h5,
    ".tfrecord": mutated_records,
    **dict.fromkeys((".csv", ".txt", ".lst", ".flags"), mutated_table),
}
