"""Token for token and offset for offset the same as the reference, the PyPI package `tokenizers`.

Expected ids are made here, at test time. Three parts: generated strings in many scripts through the
real vocabulary; every code point, in contexts that show each step of the normaliser, through
vocabularies in which every result has an id of its own (with a real vocabulary an unknown word hides
what became of it); and the settings and ways of writing a tokenizer down, one by one.

QUERN_LONG=1 runs more strings and all 16 combinations of the normaliser's settings.
"""
import json
import os
import random
import sys
import unittest

if os.environ.get("QUERN_SKIP_MODEL_TESTS") == "1":
    print("skipped: QUERN_SKIP_MODEL_TESTS=1, and the vocabulary is the model's")
    sys.exit(77)

import tokenizers

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from token_strings import FIXED, LONG, SEED, Parity, decode, dump, string

MODEL = os.environ["QUERN_TEST_MODEL"]
STRINGS = 100000 if LONG else 20000
FLAGS = ["clean_text", "handle_chinese_chars", "strip_accents", "lowercase"]


def load_json():
    with open(os.path.join(MODEL, "tokenizer.json"), encoding="utf-8") as f:
        spec = json.load(f)
    spec["truncation"] = spec["padding"] = None
    return spec


class Strings(Parity):
    def test_generated(self):
        rng = random.Random(SEED)
        texts = FIXED + [string(rng) for _ in range(STRINGS)]
        reference = tokenizers.Tokenizer.from_str(json.dumps(load_json()))
        self.same(MODEL, reference, texts)
        some = texts[:3000]
        self.same(MODEL, reference, some, plain=True)
        for max_tokens in (2, 3, 7, 128):
            self.same(MODEL, reference, some, max_tokens=max_tokens)

    def test_every_setting(self):
        """Pieces for single characters, so that hardly any word is unknown; all settings."""
        rng = random.Random(SEED + 1)
        texts = FIXED + [string(rng) for _ in range(STRINGS // 10)]
        whole = "".join(decode(raw)[0] for raw in texts)
        for setting in range(16):
            flags = {name: bool(setting >> i & 1) for i, name in enumerate(FLAGS)}
            spec, reference = char_tokenizer(whole, flags)
            with self.subTest(**flags):
                self.same(self.folder(tokenizer__json=spec), reference, texts)


def char_tokenizer(text, flags, max_chars=100):
    """A tokenizer in which each character of `text`, as it is and normalised, is a piece."""
    spec = load_json()
    spec["normalizer"].update(flags)
    normal = tokenizers.normalizers.BertNormalizer(**flags).normalize_str(text)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    for ch in sorted((set(text) | set(normal)) - {"\0"}):  # a piece with a NUL is refused
        pieces += [ch, "##" + ch]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    spec["model"].update(vocab=vocab, max_input_chars_per_word=max_chars)
    for token in spec["added_tokens"]:
        token["id"] = vocab[token["content"]]
    for name, token in spec["post_processor"]["special_tokens"].items():
        token["ids"] = [vocab[name]]
    return spec, tokenizers.Tokenizer.from_str(json.dumps(spec))


# ---- every code point ----

class CodePoints(Parity):
    def check(self, flags):
        """Each of the 1,112,064: inside a word, alone, and between two marks that NFD would swap. In the short form each
        sixteenth where nothing is assigned but private use."""
        count = 0
        for block in range(0, 0x110000, 0x8000):
            step = 1 if LONG or block < 0x38000 or block == 0xE0000 else 16
            points = [c for c in range(block, block + 0x8000, step) if not 0xD800 <= c <= 0xDFFF]
            count += len(points)
            texts = []
            for i in range(0, len(points), 32):
                part = [chr(c) for c in points[i:i + 32]]
                texts.append("".join(f"a{ch}b " for ch in part).encode())
                if block < 0x20000 or block == 0xE0000:  # beyond lie no marks
                    texts.append("".join(f"{ch} a\u302e{ch}\u1b44 a\u0301{ch}\u0327\u302e " for ch in part).encode())
            whole = "".join(map(chr, points)) + "ab\u302e\u1b44\u0301\u0327"
            spec, reference = char_tokenizer(whole, flags)
            self.same(self.folder(tokenizer__json=spec), reference, texts)
        self.assertEqual(count, 1112064 if LONG else 313344)

    def test_uncased(self):
        self.check(dict.fromkeys(FLAGS, True))

    def test_cased(self):
        self.check(dict(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False))

    def test_other_settings(self):
        for setting in range(16) if LONG else (6,):  # short: CJK spacing and stripped accents alone
            flags = {name: bool(setting >> i & 1) for i, name in enumerate(FLAGS)}
            with self.subTest(**flags):
                self.check(flags)


# ---- ways of writing it down ----

class Files(Parity):
    def texts(self):
        rng = random.Random(SEED + 2)
        return FIXED + [string(rng) for _ in range(1500)]

    def reference(self, change):
        spec = load_json()
        change(spec)
        return spec, tokenizers.Tokenizer.from_str(json.dumps(spec))

    def vocab_txt(self, **config):
        vocab = load_json()["model"]["vocab"]
        lines = "".join(piece + "\n" for piece in sorted(vocab, key=vocab.get))
        return self.folder(vocab__txt=lines, tokenizer_config__json=config)

    def test_vocab_txt(self):
        def published(name):
            with open(os.path.join(MODEL, name), encoding="utf-8") as f:
                return f.read()

        spec, reference = self.reference(lambda s: None)
        digest = self.same(self.folder(tokenizer__json=spec), reference, self.texts())
        for folder in [
            self.folder(vocab__txt=published("vocab.txt"), tokenizer_config__json=published("tokenizer_config.json"),
                        special_tokens_map__json=published("special_tokens_map.json")),
            self.vocab_txt(),
            self.vocab_txt(do_lower_case=True, strip_accents=None, model_max_length=1e30, unk_token="[UNK]",
                           cls_token={"__type": "AddedToken", "content": "[CLS]", "lstrip": False}),
        ]:
            self.assertEqual(self.same(folder, reference, self.texts()), digest)
        self.assertEqual(dump(MODEL, [], 0)[1], digest)

    def test_vocab_txt_settings(self):
        for lower in (True, False):
            for strip in (None, True, False):
                for cjk in (True, False):
                    def change(spec):
                        spec["normalizer"].update(lowercase=lower, strip_accents=strip, handle_chinese_chars=cjk)
                    spec, reference = self.reference(change)
                    with self.subTest(lower=lower, strip=strip, cjk=cjk):
                        folder = self.vocab_txt(do_lower_case=lower, strip_accents=strip, tokenize_chinese_chars=cjk)
                        a = self.same(folder, reference, self.texts()[:600])
                        b = self.same(self.folder(tokenizer__json=spec), reference, self.texts()[:600])
                        self.assertEqual(a, b)

    def test_post_processors(self):
        def bert(spec):
            spec["post_processor"] = {"type": "BertProcessing", "sep": ["[SEP]", 102], "cls": ["[CLS]", 101]}

        def none(spec):
            spec["post_processor"] = None

        def long_template(spec):
            names = ["[CLS]", "[MASK]", None, "[SEP]", "[SEP]", "[PAD]"]
            spec["post_processor"]["single"] = [
                {"SpecialToken": {"id": n, "type_id": 0}} if n else {"Sequence": {"id": "A", "type_id": 0}}
                for n in names]
            for name, i in (("[MASK]", 103), ("[PAD]", 0)):
                spec["post_processor"]["special_tokens"][name] = {"id": name, "ids": [i], "tokens": [name]}

        for change in (bert, none, long_template):
            spec, reference = self.reference(change)
            folder = self.folder(tokenizer__json=spec)
            self.same(folder, reference, self.texts()[:500])
            self.same(folder, reference, self.texts()[:500], max_tokens=9)

    def test_like_mpnet(self):
        """RobertaProcessing around a WordPiece: white space that <mask> takes is no part of its place."""
        def change(spec):
            spec["post_processor"] = {"type": "RobertaProcessing", "sep": ["[SEP]", 102], "cls": ["[CLS]", 101],
                                      "trim_offsets": True, "add_prefix_space": False}
            for i, (name, left, right) in enumerate([("<mask>", True, False), ("<end>", False, True), ("<both>", True, True)]):
                spec["added_tokens"].append({"id": 30522 + i, "content": name, "lstrip": left, "rstrip": right,
                                             "single_word": False, "normalized": False, "special": True})

        spec, reference = self.reference(change)
        rng = random.Random(SEED + 4)
        parts = ["<mask>", "<end>", "<both>", " ", "  ", "\u3000", "\n", "word", "é", "[SEP]"]
        texts = ["".join(rng.choice(parts) for _ in range(rng.randrange(10))).encode() for _ in range(2000)]
        self.same(self.folder(tokenizer__json=spec), reference, texts + self.texts()[:300])

    def test_normalised_tokens(self):
        """As MPNet's <unk>: looked for when the text has been cleaned, stripped and lower-cased."""
        def change(spec):
            for i, content in enumerate(["<unk>", "[Ab1]", "<<x>", "<pad>"]):
                spec["added_tokens"].append({"id": 30522 + i, "content": content, "lstrip": False, "rstrip": False, "single_word": False,
                                             "normalized": content not in ("<<x>", "<pad>"), "special": True})

        rng = random.Random(SEED + 5)
        parts = ["<unk>", "<", "unk", ">", "<UNK>", "<ünk>", "u", "nk", "\u0301", "\x00", "\u200b", " ", "\u3000", "\u00a0", "[", "ab1", "AB1", "]", "[ab", "<<x>",
                 "<pad>", "<pad", "中", "\u01c5", "word"]
        texts = ["".join(rng.choice(parts) for _ in range(rng.randrange(10))).encode() for _ in range(4000)]
        for lower in (True, False):
            def with_case(spec):
                change(spec)
                spec["normalizer"]["lowercase"] = lower
            spec, reference = self.reference(with_case)
            self.same(self.folder(tokenizer__json=spec), reference, texts)
            self.same(self.folder(tokenizer__json=spec), reference, texts[:500], max_tokens=5)

    def test_added_tokens(self):
        def change(spec):
            for i, (content, left, right) in enumerate([("<both>", True, True), ("<left>", True, False),
                                                        ("<right>", False, True), ("<b", False, False),
                                                        ("中文", False, False), ("ÀB", True, True)]):
                spec["added_tokens"].append({"id": 30522 + i, "content": content, "lstrip": left, "rstrip": right,
                                             "single_word": False, "normalized": False, "special": i % 2 == 0})

        spec, reference = self.reference(change)
        rng = random.Random(SEED + 3)
        parts = ["<both>", "<left>", "<right>", "<b", "<", "<bot", "中文", "中", "ÀB", "àb", " ", "  ", "\u3000", "\u2003",
                 "\x85", "\x0b", "\t", "word", "é", "\u0301", "[SEP]"]
        texts = ["".join(rng.choice(parts) for _ in range(rng.randrange(12))).encode() for _ in range(4000)]
        self.same(self.folder(tokenizer__json=spec), reference, texts)

    def test_model_settings(self):
        def words(spec):
            spec["model"]["max_input_chars_per_word"] = 5

        def none(spec):
            spec["model"]["max_input_chars_per_word"] = 0

        def many(spec):
            spec["model"]["max_input_chars_per_word"] = 4096

        def prefix(spec):
            spec["model"]["continuing_subword_prefix"] = "un"

        def no_prefix(spec):
            spec["model"]["continuing_subword_prefix"] = ""

        def no_normalizer(spec):
            spec["normalizer"] = None

        def untyped(spec):
            del spec["model"]["type"]

        for change in (words, none, many, prefix, no_prefix, no_normalizer, untyped):
            with self.subTest(change=change.__name__):
                spec, reference = self.reference(change)
                self.same(self.folder(tokenizer__json=spec), reference, self.texts()[:500])


if __name__ == "__main__":
    print("seed", SEED, "tokenizers", tokenizers.__version__)
    assert tokenizers.__version__ == "0.22.2", "the reference is pinned"
    unittest.main()
