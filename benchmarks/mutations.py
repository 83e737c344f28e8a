"""Mutations of the content of files that keep most of a format's structure.

Random bytes are refused by the first check of a reader. These mutations change one number, name or
part at a time, and keep checksums and lengths right where that is needed to come further.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from io import BytesIO
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], bytes]
"""Changes the content of a file at random."""


@dataclass(frozen=True)
class Number:
    """An integer in a file: its position, its size (1, 2, 4 or 8 bytes) and its byte order."""

    at: int
    size: int
    order: str = "<"


_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_TEXTS = (
    "", " ", "0", "-1", "nan", "inf", "-inf", "1e999", "1e-320", "0x10", "1_000", "9" * 400,
    "4294967296", "1000000", "2147483648", "1e6", "0.5", "1,5", "true", "null", "None", "{", "}",
    "[]", "\x00", "\x1b[31m", "\x07", "\u202e", "é", "𝔘", "x" * 300, "..", "/dev/zero", "a\nb",
    "\t", "%s", "{0}", "\ufeff",
)  # fmt: skip
"""Words in place of a word of a text."""
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 255, 65536, 10**6, 2**31, 2**63, -(10**30), 10**400, 0.5,
    1e308, 1e-320, float("nan"), float("inf"), -float("inf"), "", "0", "nan", "name", "\x1b[2J",
    "a\nb", "\x00", "\ud800", "é" * 200, "../up", [], {}, [[]], [None], [1], {"": 0}, [0] * 300,
    {"name": "linear"}, "@deep@", "@deep table@",
)  # fmt: skip
"""Values in place of a value of a JSON or YAML file."""
_DEPTH = 20_000
_NAMES = ("", "\x1b[31mred", "../../up", "/abs", "a\nb", "é", "x" * 300, "\ud800", "0")


def by_chance(*mutations: Mutation) -> Mutation:
    """Return a mutation that applies one of several; one that is listed twice is twice as likely.

    A mutation that cannot be applied, because the content was mutated before, flips bits.
    """

    def mutate(content: bytes, rng: Random) -> bytes:
        try:
            changed = rng.choice(mutations)(content, rng)
        except (struct.error, IndexError, ValueError, KeyError, zlib.error, zipfile.BadZipFile):
            changed = flipped(content, rng)
        return flipped(changed, rng) if rng.random() < 0.05 else changed

    return mutate


def flipped(content: bytes, rng: Random) -> bytes:
    """Flip up to four bits."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4) if content else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def rearranged(content: bytes, rng: Random) -> bytes:
    """Cut off, remove, repeat, insert, overwrite or append a run of bytes."""
    first, last = sorted(rng.randint(0, len(content)) for _ in range(2))
    last = min(last, first + rng.choice((1, 2, 4, 8, 64, 1 << 20)))
    run = content[first:last]
    fill = rng.choice((b"\0", b"\xff", b" ", b"A")) * len(run)
    return rng.choice(
        (
            content[:first],
            content[:first] + content[last:],
            content[:last] + run + content[last:],
            content[:first] + rng.randbytes(rng.choice((1, 4, 100))) + content[first:],
            content[:first] + fill + content[last:],
            content + rng.choice((b"\0", run)) * rng.choice((1, 2, 100)),
        )
    )


def numbers_changed(find: Callable[[bytes], Iterator[Number]]) -> Mutation:
    """Return a mutation that replaces one or two of the integers that `find` yields."""

    def mutate(content: bytes, rng: Random) -> bytes:
        changed = bytearray(content)
        numbers = list(find(content))
        for _ in range(rng.choice((1, 1, 1, 2))):
            number = rng.choice(numbers)
            code = number.order + _FORMATS[number.size]
            (old,) = struct.unpack_from(code, content, number.at)
            whole = 1 << 8 * number.size
            value = rng.choice(
                (
                    0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 16, 255, 256, 1000, 65535, 65536, 10**6,
                    2**31 - 1, 2**31, 2**32 - 1, 2**40, whole - 1, whole - 2, whole // 2, old + 1,
                    old - 1, old * 2, old // 2, old + 256, len(content), len(content) - 1,
                    len(content) + 1, rng.choice(numbers).at, rng.choice(numbers).at,
                    rng.randrange(max(len(content), 1)), rng.randrange(whole),
                )
            )  # fmt: skip
            struct.pack_into(code, changed, number.at, value % whole)
        return bytes(changed)

    return mutate


def any_numbers(content: bytes) -> Iterator[Number]:
    """Yield every number of 1, 2, 4 and 8 bytes at a multiple of its size."""
    for size in _FORMATS:
        for at in range(0, len(content) - size + 1, size):
            yield Number(at, size)


def tiff_numbers(content: bytes) -> Iterator[Number]:
    """Yield the numbers of the directories of a TIFF or BigTIFF, and the first ones they point to.

    The pointers from page to page are yielded three times, so that they are changed more often.
    """
    order = ">" if content[:2] == b"MM" else "<"
    is_big = struct.unpack_from(order + "H", content, 2)[0] == 43
    count_code, word, entry_bytes = ("Q", 8, 20) if is_big else ("H", 4, 12)
    count_bytes = struct.calcsize(count_code)
    pointer = 8 if is_big else 4
    seen: set[int] = set()
    while True:
        for _ in range(3):
            yield Number(pointer, word, order)
        at = struct.unpack_from(order + _FORMATS[word], content, pointer)[0]
        if not 8 <= at <= len(content) - count_bytes or at in seen:
            return
        seen.add(at)
        yield Number(at, count_bytes, order)
        n_entries = struct.unpack_from(order + count_code, content, at)[0]
        entries_end = at + count_bytes + n_entries * entry_bytes
        for entry in range(at + count_bytes, entries_end, entry_bytes):
            yield Number(entry, 2, order)
            yield Number(entry + 2, 2, order)
            yield Number(entry + 4, word, order)
            yield Number(entry + 4 + word, word, order)
            (value,) = struct.unpack_from(order + _FORMATS[word], content, entry + 4 + word)
            for inside in range(value, min(value + 16, len(content) - word), word):
                yield Number(inside, word, order)
        pointer = entries_end


def zip_numbers(content: bytes) -> Iterator[Number]:
    """Yield the numbers of all local headers, of the central directory and of its end."""
    fields = {
        b"PK\3\4": (30, (4, 6, 8, 26, 28), (14, 18, 22)),
        b"PK\1\2": (46, (8, 10, 28, 30, 32, 34), (16, 20, 24, 38, 42)),
        b"PK\5\6": (22, (4, 6, 8, 10, 20), (12, 16)),
    }
    for signature, (length, short, long) in fields.items():
        for found in re.finditer(re.escape(signature), content):
            if found.start() + length <= len(content):
                yield from (Number(found.start() + at, 2) for at in short)
                yield from (Number(found.start() + at, 4) for at in long)


def matlab_numbers(content: bytes) -> Iterator[Number]:
    """Yield the numbers of the tags, flags and dimensions of a MATLAB 5 file."""
    order = ">" if content[126:128] == b"MI" else "<"
    yield Number(124, 2, order)
    at = 128
    while at + 8 <= len(content):
        kind, size = struct.unpack_from(order + "II", content, at)
        for inside in range(at, min(at + (96 if kind == 14 else 8), len(content) - 4), 4):
            yield Number(inside, 4, order)
            yield Number(inside, 2, order)
        at += 8 + size


def leading_numbers(length: int, order: str = "<") -> Callable[[bytes], Iterator[Number]]:
    """Return a function that yields the numbers of 2 and 4 bytes in a header of some bytes."""

    def find(content: bytes) -> Iterator[Number]:
        for at in range(0, min(length, len(content) - 4), 2):
            yield Number(at, 4, order)
            yield Number(at, 2, order)

    return find


def text_mutated(content: bytes, rng: Random) -> bytes:
    """Change a word, a line or the encoding of a text."""
    text = content.decode("utf-8", "surrogateescape")
    words = [found.span() for found in re.finditer(r"[\w.+-]+", text)]
    numbers = [found.span() for found in re.finditer(r"[\d.]+", text)]
    lines = text.splitlines(keepends=True) or [""]
    line = rng.randrange(len(lines))
    kind = rng.randrange(12)
    if kind < 5 and words:
        first, last = rng.choice(numbers if kind < 3 and numbers else words)
        text = text[:first] + rng.choice(_TEXTS) + text[last:]
    elif kind == 5:
        text = "".join(lines[:line] + lines[line + 1 :])
    elif kind == 6:
        text = "".join(lines[: line + 1] + lines[line:])
    elif kind == 7:
        other = rng.randrange(len(lines))
        lines[line], lines[other] = lines[other], lines[line]
        text = "".join(lines)
    elif kind == 8:
        at = rng.randint(0, len(text))
        text = text[:at] + rng.choice(_TEXTS) + text[at:]
    elif kind == 9:
        at = rng.randint(0, len(text))
        text = text[:at] + rng.choice("{[(<\"'=,;:") * rng.choice((1, _DEPTH)) + text[at:]
    elif kind == 10:
        lines[line] *= 1000
        text = "".join(lines)
    else:
        encoding = rng.choice(("utf-16", "utf-8-sig", "utf-32", "latin-1"))
        return text.encode("utf-8", "surrogateescape").decode("latin-1").encode(encoding)
    return text.encode("utf-8", "surrogateescape")


def json_mutated(content: bytes, rng: Random) -> bytes:
    """Change, remove or rename one or two values of a JSON file."""
    return _dump(tree_mutated(json.loads(content), rng), rng)


def yaml_mutated(content: bytes, rng: Random) -> bytes:
    """Change a value of a YAML file, as JSON, which is YAML, or use what JSON has not."""
    import yaml

    tree = yaml.safe_load(content)
    if rng.random() < 0.7:
        return _dump(tree_mutated(tree, rng), rng)
    key = rng.choice([*tree])
    laughs = "".join(
        f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 9)}]\n" for level in range(1, 10)
    )
    value = rng.choice(
        (
            '!!python/object/apply:os.system ["false"]', "&a [*a]", "&a {b: *a}", "*nowhere",
            "!!binary x", "2001-02-30", "2001-01-01", "1:60:60", "0x", "0b2", ".inf", ".nan", "~",
            "- -", "!!set {a}", "!!int x", "!!float ''", "!!timestamp 9999-99-99", "%YAML 9", "'",
            '"\\ud800"', '"\\x1b[31m"', "1" * 5000, "[" * _DEPTH, "{a: " * _DEPTH, "? x", "<<: 3",
            "!<tag:yaml.org,2002:str> x", "!!omap [1]", "!!pairs {a: 1}", "@", "`", "\t- a",
        )
    )  # fmt: skip
    rest = "".join(f"{name}: {json.dumps(each)}\n" for name, each in tree.items() if name != key)
    if rng.random() < 0.05:
        return f"l0: &l0 [a]\n{laughs}{rest}{key}: *l9\n".encode()
    return f"{rest}{key}: {value}\n".encode("utf-8", "surrogatepass")


def tree_mutated(tree: Any, rng: Random) -> Any:
    """Change, remove, repeat or rename one or two values of nested lists and tables."""
    tree = {"": deepcopy(tree)}
    for _ in range(rng.choice((1, 1, 1, 2))):
        parent, key = rng.choice(list(_places(tree)))
        old = parent[key]
        kind = rng.randrange(10)
        if kind < 5 or parent is tree:
            parent[key] = deepcopy(rng.choice(_VALUES))
        elif kind < 7 and isinstance(old, int | float) and not isinstance(old, bool):
            parent[key] = rng.choice((-old, old + 1, old * 10, old * 10**6, old / 7, str(old)))
        elif kind == 7:
            del parent[key]
        elif isinstance(parent, list):
            parent.insert(key, deepcopy(rng.choice(parent)))
        else:
            parent[rng.choice((*_NAMES, *map(str, parent)))] = parent.pop(key)
    return tree[""]


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each list or table with each of its indices or keys."""
    keys: Sequence[Any] = range(len(tree)) if isinstance(tree, list) else [*tree]
    for key in keys:
        yield tree, key
        if isinstance(tree[key], list | dict):
            yield from _places(tree[key])


def _dump(tree: Any, rng: Random) -> bytes:
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, 2)))
    text = text.replace('"@deep@"', "[" * _DEPTH + "]" * _DEPTH)
    text = text.replace('"@deep table@"', '{"a":' * _DEPTH + "0" + "}" * _DEPTH)
    return text.encode("utf-8", "surrogatepass")


def npy_mutated(content: bytes, rng: Random) -> bytes:
    """Change the text of the header of a .npy file, whose stated length stays right."""
    (length,) = struct.unpack_from("<H", content, 8)
    header, pixels = content[10 : 10 + length], content[10 + length :]
    kind = rng.randrange(4)
    if kind == 0:
        descr = rng.choice(
            ("|O", "<f2", ">u2", "|b1", "<c16", "<M8[s]", "<U4", "|S0", "<V8", "<f16", "x", "<i99",
             "|V2147483647", "[('a','<u2')]", "<u2,<u2", "O8", "<U999999999")
        )  # fmt: skip
        header = re.sub(rb"'descr': '[^']*'", f"'descr': {descr!r}".encode(), header)
    elif kind == 1:
        shape = rng.choice(
            ("()", "(0,)", "(-1,)", "(504,)", "(6, 84)", "(6, 7, 12, 1)", "(10**9, 10**9, 9)",
             "(1000000000, 1000000000, 1000000000)", "(6, 7, 6)", "(6, 7, 12.0)", "(True, 7, 12)",
             "(6, 7, -12)", "(9223372036854775808, 1, 1)", "(4294967296, 4294967296, 1)", "6",
             "(0, 4294967296, 4294967296)", "(1,) * 40", "(" + "1," * 70 + ")", "(" * 3000)
        )  # fmt: skip
        header = re.sub(rb"'shape': \([^)]*\)", f"'shape': {shape}".encode(), header)
    elif kind == 2:
        header = header.replace(b"False", rng.choice((b"True", b"0", b"None", b"'C'", b"[]")))
    else:
        header = text_mutated(header, rng)
    return content[:8] + struct.pack("<H", len(header) % 65536) + header + pixels


def zip_rebuilt(entries: Mutation) -> Mutation:
    """Return a mutation that changes, removes, repeats or renames an entry of a zip file."""

    def mutate(content: bytes, rng: Random) -> bytes:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            files = [(each.filename, archive.read(each)) for each in archive.infolist()]
        kind = rng.randrange(8)
        at = rng.randrange(len(files))
        name, data = files[at]
        if kind < 5:
            files[at] = name, entries(data, rng)
        elif kind == 5:
            del files[at]
        elif kind == 6:
            files.append((name, entries(data, rng)))
        else:
            folder, slash, last = name.rpartition("/")
            names = (*_NAMES, *(each for each, _ in files))
            suffix = rng.choice(("", ".npy"))
            new = rng.choice(names).encode("utf-8", "replace").decode() + suffix
            files[at] = rng.choice((new, folder + slash + new)) or last, data
        target = BytesIO()
        method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        method = rng.choice((method, method, method, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2))
        with zipfile.ZipFile(target, "w", method) as archive:
            for name, data in files:
                archive.writestr(zipfile.ZipInfo(name), data, method)
        return target.getvalue()

    return mutate


def matlab_mutated(content: bytes, rng: Random) -> bytes:
    """Change the numbers of an array in a MATLAB 5 file, compressed as it was or not at all."""
    order = ">" if content[126:128] == b"MI" else "<"
    elements = []
    at = 128
    while at + 8 <= len(content):
        kind, size = struct.unpack_from(order + "II", content, at)
        elements.append((kind, content[at + 8 : at + 8 + size]))
        at += 8 + size
    chosen = rng.randrange(len(elements))
    kind, data = elements[chosen]
    if kind == 15:
        inner = zlib.decompress(data)
        inner = rng.choice((numbers_changed(leading_numbers(96, order)), rearranged))(inner, rng)
        data = zlib.compress(inner)
    else:
        data = numbers_changed(leading_numbers(88, order))(data, rng)
    elements[chosen] = kind, data
    if rng.random() < 0.1:
        elements.append(elements[chosen])
    whole = (struct.pack(order + "II", kind, len(data)) + data for kind, data in elements)
    return content[:128] + b"".join(whole)


def png_mutated(content: bytes, rng: Random) -> bytes:
    """Change, remove, repeat or add a chunk of a PNG file, whose checksums stay right."""
    chunks = []
    at = 8
    while at + 12 <= len(content):
        (size,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    chosen = rng.randrange(len(chunks))
    kind, data = chunks[chosen]
    action = rng.randrange(6)
    if action == 0:
        size = struct.pack(">II", *(rng.choice((0, 1, 6, 10, 2**31 - 1, 20_000)) for _ in "wh"))
        depth = bytes((rng.choice((1, 2, 4, 8, 16, 3)), rng.choice((0, 2, 3, 4, 6, 7)), 0, 0))
        chunks[0] = b"IHDR", size + depth + bytes((rng.choice((0, 0, 1, 2)),))
    elif action == 1:
        del chunks[chosen]
    elif action == 2:
        chunks.insert(rng.randint(1, len(chunks)), chunks[chosen])
    elif action == 3:
        extra = rng.choice(
            ((b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 24))), (b"tEXt", b"a\0" + b"\x1b" * 99),
             (b"PLTE", b"\0" * 7), (b"tRNS", b"\0" * 300), (b"acTL", struct.pack(">II", 2**31, 0)),
             (b"iCCP", b"a\0\0x"), (b"gAMA", b""), (b"eXIf", b"MM\0*" + b"\xff" * 20))
        )  # fmt: skip
        chunks.insert(rng.randint(1, len(chunks)), extra)
    elif kind == b"IDAT":
        raw = rearranged(zlib.decompress(data), rng)
        chunks[chosen] = kind, rng.choice((zlib.compress(raw), rearranged(data, rng)))
    else:
        chunks[chosen] = kind, rearranged(data, rng)
    return content[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def safetensors_mutated(content: bytes, rng: Random) -> bytes:
    """Change the header, the JSON text in it, or the tensors of a safetensors file.

    The checksum is removed in most cases, as files of earlier versions have none.
    """
    (length,) = struct.unpack_from("<Q", content, 0)
    table = json.loads(content[8 : 8 + length])
    if rng.random() < 0.9:
        table["__metadata__"].pop("crc32", None)
    data = bytearray(content[8 + length :])
    tensors = [name for name in table if name != "__metadata__"]
    kind = rng.randrange(10)
    if kind < 5:
        key = next(key for key in table["__metadata__"] if key != "crc32")
        inner = _dump(tree_mutated(json.loads(table["__metadata__"][key]), rng), rng)
        table["__metadata__"][key] = inner.decode("utf-8", "surrogatepass")
    elif kind == 5:
        table = tree_mutated(table, rng)
    elif kind == 6:
        _reshape(table[rng.choice(tensors)], rng)
    elif kind == 7:
        first, last = table[rng.choice(tensors)]["data_offsets"]
        pattern = rng.choice(
            (b"\xff", b"\0", b"\0\0\x80\x7f", b"\xff\xff\x7f\x7f", rng.randbytes(4))
        )
        data[first:last] = (pattern * (last - first))[: last - first]
    elif kind == 8:
        return numbers_changed(leading_numbers(8))(content, rng)
    else:
        one, two = rng.choice(tensors), rng.choice(tensors)
        table[one], table[two] = table[two], table[one]
    header = _dump(table, rng)
    return struct.pack("<Q", len(header)) + header + bytes(data)


def _reshape(entry: dict[str, Any], rng: Random) -> None:
    """Change shape or type of a tensor so that its size in bytes stays right."""
    if rng.random() < 0.3:
        same = {"F32": "I32", "I32": "F32", "F64": "I64", "I64": "F64", "U8": "BOOL", "F16": "BF16"}
        entry["dtype"] = same.get(entry["dtype"], "U8")
        return
    size = 1
    for length in entry["shape"]:
        size *= length
    shapes = ([size], [1, size], [size, 1], [1, *entry["shape"]], entry["shape"][::-1])
    entry["shape"] = rng.choice(shapes)


def tiff_described(
    description: bytes, change: Mutation, write: Callable[[bytes], bytes]
) -> Mutation:
    """Return a mutation that writes a TIFF anew, with a changed image description."""
    return lambda _, rng: write(change(description, rng).replace(b"\0", b""))


def hdf5_rebuilt(content: bytes, rng: Random) -> bytes:
    """Write an HDF5 file anew, with unusual datasets, links, attributes and storage."""
    import h5py
    import numpy as np

    def dataset(file: h5py.File, name: str) -> None:
        kind = rng.randrange(12)
        if kind == 0:
            shape = tuple(rng.choice((0, 1, 6, 10**9, 2**40)) for _ in range(rng.choice((1, 3, 3))))
            file.create_dataset(name, shape, "u2", chunks=tuple(min(max(n, 1), 8) for n in shape))
        elif kind == 1:
            chunk = rng.choice((1, 8, 512))
            file.create_dataset(
                name, (chunk * 4,) * 3, "u2", chunks=(chunk,) * 3, fillvalue=7, compression="gzip"
            )
        elif kind == 2:
            types = ("f2", "f8", ">i8", "?", "c16", "S5", "V3", [("a", "u2")], "<u2")
            file.create_dataset(name, data=np.zeros((6, 7, 12), rng.choice(types)))
        elif kind == 3:
            file.create_dataset(name, (6, 7, 12), h5py.string_dtype())
        elif kind == 4:
            file[name] = h5py.SoftLink(rng.choice((f"/{name}", "/nowhere", "/")))
        elif kind == 5:
            file[name] = h5py.ExternalLink(rng.choice(("cube.h5", "none.h5", "/dev/zero")), "/cube")
        elif kind == 6:
            place = rng.choice(("/etc/passwd", "none.raw", "../up.raw", "/dev/zero"))
            file.create_dataset(name, (6, 7, 12), "u2", external=[(place, 0, 1008)])
        elif kind == 7:
            layout = h5py.VirtualLayout((6, 7, 12), "u2")
            source = rng.choice((".", "cube.h5", "none.h5", "/etc/passwd"))
            layout[:] = h5py.VirtualSource(source, rng.choice(("cube", name)), (6, 7, 12), "u2")
            file.create_virtual_dataset(name, layout)
        elif kind == 8:
            file[name] = file["/"]
        elif kind == 9:
            file[name] = h5py.Empty("u2") if rng.random() < 0.5 else 3
        elif kind == 10:
            file[name + "/a" * rng.choice((1, 30, 2000))] = 1
        else:
            extra = {"compression": rng.choice(("gzip", "lzf")), "fletcher32": rng.random() < 0.5}
            pixels = np.arange(504, dtype="u2").reshape(6, 7, 12)
            file.create_dataset(name, data=pixels, chunks=(3, 7, 6), **extra)

    target = BytesIO()
    with h5py.File(target, "w", libver=rng.choice(("earliest", "latest"))) as file:
        names = ["cube", "wavelengths", "a/b", "\x1b[31m", "nm", "é" * 200]
        for name in rng.sample(names, rng.randint(1, 3)):
            dataset(file, name)
            item = None
            with suppress(RuntimeError):  # a link to itself
                item = file.get(name)
            if isinstance(item, h5py.Dataset):
                for key in ("scale_factor", "_FillValue", "wavelengths", "units", "MATLAB_class"):
                    value = rng.choice((np.nan, "x", b"\xff", [], [1.5, 2], 0, h5py.Empty("f4")))
                    if rng.random() < 0.5:
                        item.attrs[key] = value
    return target.getvalue()
