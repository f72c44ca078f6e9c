"""What the tests that compare token ids share: strings in many scripts, hostile ones among them; the
reference's reading of ill-formed bytes; and the comparison, token for token and offset for offset.
"""
import codecs
import json
import os
import random
import struct
import subprocess
import tempfile
import unittest

import numpy

DUMP = os.path.join(os.environ["QUERN_BUILD"], "tests", "tokenize_dump")
LONG = os.environ.get("QUERN_LONG") == "1"
SEED = int(os.environ.get("QUERN_SEED", "20261121"))


def bad_bytes(error):
    """The replacement rule of Python's own "replace", which also notes where it was used."""
    bad_bytes.spans.append((error.start, error.end))
    return "\ufffd", error.end


codecs.register_error("quern_test", bad_bytes)


def decode(raw):
    """(text as the reference sees it, byte offset of each character and of the end)."""
    bad_bytes.spans = []
    text = raw.decode("utf-8", "quern_test")
    assert text == raw.decode("utf-8", "replace")
    if len(text) == len(raw):
        return text, None
    code_points = numpy.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    sizes = (1 + (code_points >= 0x80).astype(int) + (code_points >= 0x800) + (code_points >= 0x10000))
    starts = numpy.concatenate([[0], numpy.cumsum(sizes)])
    for start, end in bad_bytes.spans:  # in order: everything before is right by now
        i = int(numpy.searchsorted(starts, start))
        starts[i + 1:] += (end - start) - 3
    assert starts[-1] == len(raw), (raw, starts)
    return text, starts


def spread(encoding, starts):
    offsets = numpy.array(encoding.offsets, dtype=int).reshape(-1, 2)
    return offsets if starts is None else starts[offsets]


def dump(folder, texts, how):
    with tempfile.TemporaryDirectory() as tmp:
        given, got = os.path.join(tmp, "in"), os.path.join(tmp, "out")
        with open(given, "wb") as f:
            for raw in texts:
                f.write(struct.pack("<I", len(raw)) + raw)
        run = subprocess.run([DUMP, folder, str(how), given, got], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return numpy.fromfile(got, dtype="<u4"), run.stdout.strip()


class Parity(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory()
        self.addCleanup(self.tmp.cleanup)
        self.folders = 0

    def folder(self, **files):
        """A model folder with these files; "." is written "__"."""
        self.folders += 1
        path = os.path.join(self.tmp.name, str(self.folders))
        os.mkdir(path)
        for name, content in files.items():
            with open(os.path.join(path, name.replace("__", ".")), "w", encoding="utf-8", newline="") as f:
                f.write(content if isinstance(content, str) else json.dumps(content))
        return path

    def same(self, folder, reference, texts, max_tokens=0, plain=False):
        """Compares all texts (bytes); returns the tokenizer's hash."""
        out, digest = dump(folder, texts, "plain" if plain else max_tokens)
        seen = [decode(raw) for raw in texts]
        at = 0
        full = None
        if max_tokens:
            full = [len(e.ids) for e in reference.encode_batch([t for t, _ in seen])]
            reference.enable_truncation(max_length=max_tokens)
        for base in range(0, len(texts), 1000):
            part = [text for text, _ in seen[base:base + 1000]]
            for i, want in enumerate(reference.encode_batch(part, add_special_tokens=not plain), base):
                n, all_of_them = int(out[at]), int(out[at + 1])
                rows = out[at + 2:at + 2 + 3 * n].reshape(n, 3).astype(numpy.int64)
                at += 2 + 3 * n
                expected = full[i] if full else len(want.ids)
                offsets = spread(want, seen[i][1])
                if all_of_them != expected or rows[:, 0].tolist() != want.ids or not (rows[:, 1:] == offsets).all():
                    self.fail(f"{texts[i][:400]!r}\n want {want.ids[:60]} {want.tokens[:60]}\n"
                              f"      {offsets[:60].tolist()} full {expected}\n"
                              f" got  {rows[:60, 0].tolist()}\n      {rows[:60, 1:].tolist()} full {all_of_them}")
        if max_tokens:
            reference.no_truncation()
        self.assertEqual(at, len(out))
        return digest


# ---- strings ----

SCRIPTS = [
    [*range(0x61, 0x7B)] * 2 + [*range(0x41, 0x5B)] + [*range(0x30, 0x3A)],
    [*range(0xC0, 0x250)], [*range(0x1E00, 0x1F00)], [*range(0x370, 0x400)], [*range(0x1F00, 0x2000)],
    [*range(0x400, 0x530)], [*range(0x530, 0x590)], [*range(0x590, 0x600)], [*range(0x600, 0x700)],
    [*range(0x900, 0x980)], [*range(0x980, 0xA00)], [*range(0xB80, 0xC00)], [*range(0xD80, 0xE00)],
    [*range(0xE00, 0xE80)], [*range(0xF00, 0x1000)], [*range(0x1100, 0x1200)], [*range(0xAC00, 0xD7B0)],
    [*range(0x3040, 0x3100)], [*range(0x4E00, 0x9FFF)], [*range(0x3400, 0x3500)], [*range(0xF900, 0xFB00)],
    [*range(0x20000, 0x20100), *range(0x2B810, 0x2B930), *range(0x2F800, 0x2FA20)],
    [*range(0x1F300, 0x1F650), *range(0x1F900, 0x1FA00), 0x200D, 0xFE0F, *range(0x1F3FB, 0x1F400)],
    [*range(0x1D100, 0x1D200)], [*range(0x10400, 0x10450)], [*range(0x1E900, 0x1E960)],
    [*range(0x1C80, 0x1C90), *range(0xA7C0, 0xA7E0), *range(0x8D0, 0x900), *range(0x1E000, 0x1E030)],
]
MARKS = [*range(0x300, 0x370), 0x302E, 0x302F, 0x1B44, 0x1BAA, 0x1BF2, 0x5B0, 0x64B, 0x93C, 0x94D, 0xE38,
         0x1D165, 0x1D16D, 0x1D1AA, 0x20D0, 0x20DD, 0x34F, 0x345, 0xF71, 0xF73]
ODD = [0, 1, 7, 9, 10, 11, 12, 13, 0x1C, 0x1F, 0x7F, 0x80, 0x85, 0xA0, 0xAD, 0x200B, 0x200C, 0x200D, 0x200E,
       0x2028, 0x2029, 0x202F, 0x2060, 0x3000, 0xFEFF, 0xFFFD, 0xFFFE, 0xE000, 0xE0001, 0x378, 0x10FFFF, 0x1680]
ENGLISH = ("the quick brown fox jumps over lazy dogs embedding vectors tokenization unbelievable résumé naïve "
           "Straße İstanbul ΣΊΣΥΦΟΣ Ⅷ ﬁne ａｂｃ internationalisation don't e-mail 3.14 C++ #tag @user").split()
SPECIALS = ["[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]", "[sep]", "[SEP", "[[SEP]]", "[ SEP ]", "[unused5]"]


def word(rng):
    kind = rng.random()
    if kind < 0.25:
        return rng.choice(ENGLISH)
    if kind < 0.30:
        return rng.choice(SPECIALS)
    script = rng.choice(SCRIPTS)
    out = []
    for _ in range(rng.choice([1, 1, 2, 3, 4, 6, 9, 14])):
        out.append(chr(rng.choice(script)))
        if rng.random() < 0.15:
            out += [chr(rng.choice(MARKS)) for _ in range(rng.choice([1, 1, 2, 3, 5, 40]))]
        if rng.random() < 0.03:
            out.append(chr(rng.choice(ODD)))
        if rng.random() < 0.01:
            out.append(chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])))
    return "".join(out)


def string(rng):
    words = [word(rng) for _ in range(rng.choice([0, 1, 2, 3, 5, 8, 13, 21]))]
    joints = [" ", " ", " ", "", "  ", "\t\n", "-", "\u3000", "/", "\u2014", chr(rng.choice(ODD))]
    raw = "".join(w + rng.choice(joints) for w in words).encode()
    if rng.random() < 0.1 and raw:  # damage some bytes, or cut inside a sequence
        raw = bytearray(raw)
        for _ in range(rng.randrange(1, 4)):
            raw[rng.randrange(len(raw))] = rng.choice([0xFF, 0xC0, 0xE2, 0xED, 0xF0, 0xF4, 0x80, rng.randrange(256)])
        raw = bytes(raw[:rng.randrange(len(raw) + 1)]) if rng.random() < 0.3 else bytes(raw)
    return raw


FIXED = [b"", b" ", b"\t\r\n  \x0b", b"\0", b"a\0b", b"\xff", b"ab\xffcd", b"\xe2\x82", b"\xed\xa0\x80x", b"\xf4\x90\x80\x80",
         b"[CLS][SEP][MASK]", b"x[SEP]y", b"[SEP", b"a" * 99, b"a" * 100, b"a" * 101, b"ab " * 3000, b"x" * 10000,
         "é".encode() * 100, ("e\u0301" * 100).encode(), ("e\u0301" * 101).encode(), "한".encode() * 33,
         "한".encode() * 34, ("x\u0301" * 5000).encode(), ("a" + "\u0301\u302e\u0323" * 40).encode(),
         ("a" + "\u302e\u1b44" * 60).encode(), "e\u0301e\u0301".encode(), "\U0001d160\U0001d16d\u0301".encode(),
         "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪".encode(), "\u0301".encode(), "\u302e".encode(), "\U0002b820\U0002b920".encode(),
         "\u0f73\u0f71\u0344\u302e".encode(), ("中" * 5000).encode(), b"!" * 1000, "\u200b\u200d".encode(),
         # White space around a text belongs to it: nobody strips it first.
         b" x ", b"\n x", b"x\n", "\u00a0x\u00a0".encode(), "\u3000x\u3000".encode(), b"  \n", "\u00a0".encode(), "\u3000 ".encode()]
