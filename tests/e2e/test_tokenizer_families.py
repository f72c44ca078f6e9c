"""Byte-level BPE and unigram models token for token and offset for offset the same as the reference, the PyPI package
`tokenizers`, over generated strings in many scripts, hostile ones among them.

The vocabularies are trained here, at test time, on generated text of the same kind and on the
documentation of this project: small, but real merges. What surrounds them (normaliser, expressions,
added tokens, processors) is that of the published models. QUERN_LONG=1 runs more strings.
"""
import base64
import functools
import io
import json
import os
import random
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import token_strings as strings
from token_strings import FIXED, LONG, SEED, Parity

STRINGS = 40000 if LONG else 300
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+")
LLAMA = QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def lines(count=2500):
    """What the vocabularies are trained on."""
    rng = random.Random(7)
    docs = os.path.join(os.environ["QUERN_ROOT"], "docs")
    for name in sorted(os.listdir(docs)):
        if name.endswith(".md"):
            with open(os.path.join(docs, name), encoding="utf-8") as f:
                yield from f
    for _ in range(count):
        yield strings.string(rng).decode("utf-8", "replace")


def train(tokenizer, size, **more):
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, min_frequency=2,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **more)
    tokenizer.train_from_iterator(lines(), trainer)
    return tokenizer


def words(expression, **byte_level):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(expression), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False, **byte_level)])


@functools.cache
def trained_roberta():
    t = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    return train(t, 3000, special_tokens=["<s>", "<pad>", "</s>", "<unk>"]).to_str()


def roberta(prefix=False, trim=True):
    t = Tokenizer.from_str(trained_roberta())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    for name in ("<s>", "<pad>", "</s>", "<unk>"):  # as in the published file
        t.add_special_tokens([AddedToken(name, normalized=True, special=True)])
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False, special=True)])
    t.post_processor = processors.RobertaProcessing(("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>")),
                                                    add_prefix_space=prefix, trim_offsets=trim)
    return t


@functools.cache
def trained_qwen(expression, size):
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = words(expression)
    t.decoder = decoders.ByteLevel()
    return train(t, size).to_str()


def qwen(expression=QWEN, size=4000):
    t = Tokenizer.from_str(trained_qwen(expression, size))
    t.add_special_tokens([AddedToken(n, normalized=False, special=True) for n in ("<|endoftext|>", "<|im_start|>")])
    t.add_tokens([AddedToken("<tool_call>", normalized=False, special=False)])
    end = t.token_to_id("<|endoftext|>")
    t.post_processor = processors.Sequence([
        processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        processors.TemplateProcessing(single="$A <|endoftext|>", pair="$A $B", special_tokens=[("<|endoftext|>", end)])])
    return t


def modernbert():
    """RoBERTa's words, BERT's marks; runs of blanks are tokens, found in the normalised text."""
    t = Tokenizer.from_str(trained_roberta())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)])
    t.add_tokens([AddedToken(name, normalized=True) for name in ("|||IP_ADDRESS|||", "\n\n ", "\u00a0")])
    t.add_special_tokens([AddedToken(n, normalized=False, special=True) for n in ("[UNK]", "[CLS]", "[SEP]", "[PAD]")])
    t.add_special_tokens([AddedToken("[MASK]", lstrip=True, normalized=False, special=True)])
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[
        (n, t.token_to_id(n)) for n in ("[CLS]", "[SEP]")])
    return t


SPACED = ["<mask>", " <mask> ", "<s>", "</s>x", "<|endoftext|>", " <tool_call>\n", "<|im_start|>user\n", "'s", "'S", "'ſ", "'ll", "'LL",
          "I'm", "we'RE", "12345", " 12 345", "  x", "\n\n x", " \n ", "\r\n", "\t\tfoo", "\u00a0\u00a0y", "x\u3000", "a  ", "...\n\n",
          "e\u0301", "\u1100\u1161\u11a8", "\u0958", "\u212b", "\ufb1d", "q\u0323\u0307", "\u0344", "\uac00\u11a8", "\u09c7\u09be",
          "\u0b47\u0300\u0b3e", "a\u0345\u0301", "\U0001d15e", "\u0dd9\u0dcf\u0dca", "\u03b1\u0313\u0301\u0345", "\u0915\u093c", "\u2126"]


def texts(count, seed):
    rng = random.Random(SEED + seed)
    out = list(FIXED) + [s.encode() for s in SPACED]
    for _ in range(count):
        raw = strings.string(rng)
        if rng.random() < 0.4:
            parts = [rng.choice(SPACED) for _ in range(rng.randrange(1, 8))]
            parts.insert(rng.randrange(len(parts) + 1), raw.decode("utf-8", "replace"))
            raw = "".join(parts).encode()
        out.append(raw)
    return out


# ---- unigram ----

def fields(raw):
    """(number, value) of a protobuf message, enough for a SentencePiece model."""
    def varint(at):
        value = shift = 0
        while True:
            value |= (raw[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if raw[at - 1] < 128:
                return value, at
    at = 0
    while at < len(raw):
        key, at = varint(at)
        if key & 7 == 2:
            size, at = varint(at)
            yield key >> 3, raw[at:at + size]
            at += size
        elif key & 7 == 5:
            yield key >> 3, struct.unpack_from("<f", raw, at)[0]
            at += 4
        else:
            value, at = varint(at)
            yield key >> 3, value


@functools.cache
def spm(rule="nmt_nfkc", size=4000, byte_fallback=False, **more):
    """The bytes of a trained model."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([l.replace("\0", "")[:400] for l in lines(300)]), model_writer=out, vocab_size=size,
        model_type="unigram", normalization_rule_name=rule, byte_fallback=byte_fallback, character_coverage=0.98,
        hard_vocab_limit=False, minloglevel=2, num_threads=1, **more)
    return out.getvalue()


def read_spm(raw):
    """([(piece, score, type)], charsmap)"""
    pieces, charsmap = [], b""
    for number, value in fields(raw):
        if number == 1:
            piece = {1: b"", 2: 0.0, 3: 1, **dict(fields(value))}
            pieces.append((piece[1].decode(), piece[2], piece[3]))
        elif number == 3:
            charsmap = dict(fields(value)).get(2, b"")
    return pieces, charsmap


def unigram(raw, pieces=None, unk=0, fallback=False, scheme="always", split=True, white=True, strip=False, blanks=None,
            specials=("<s>", "</s>", "<pad>", "<unk>"), single="<s> $A </s>", normalized=("<unk>", "<mask>"), extra=()):
    made, charsmap = read_spm(raw)
    vocab = pieces or [(p, s) for p, s, _ in made]
    vocab += [(n, 0.0) for n in specials if n not in dict(vocab)]
    t = Tokenizer(models.Unigram(vocab, unk, fallback))
    steps = [normalizers.Precompiled(charsmap)]
    if strip:
        steps.append(normalizers.Strip(left=False, right=True))
    if blanks is not None:
        steps.append(normalizers.Replace(Regex(" {2,}"), blanks))
    t.normalizer = normalizers.Sequence(steps) if len(steps) > 1 else steps[0]
    meta = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme=scheme, split=split)
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), meta]) if white else meta
    t.add_special_tokens([AddedToken(n, normalized=n in normalized, special=True) for n in specials])
    if not extra:
        t.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized="<mask>" in normalized, special=True)])
    t.add_special_tokens([AddedToken(n, lstrip=True, rstrip=True, normalized=False, special=True) for n in extra])
    t.post_processor = processors.TemplateProcessing(
        single=single, pair="$A $B", special_tokens=[(n, t.token_to_id(n)) for n in ("<s>", "</s>") if n in single])
    return t


MAPPED = ["\uff21\uff42", "\uff45\u0301", "\u2460", "\ufb01n", "\u00bd", "\u3392", "\u200b", "\u200d\u200d", "\u2581", "\u2581\u2581x", "a\u0340\u0301",
          "\u0958\u0301", "\u0915\u094d\u0958\u0301", "\r\n", "\r", "\x01\x02", "\u00ad", "\ufdfa", "\u1100\u1161", "\uff76\uff9e", "\u32a8\ufe0f",
          "\u00a9\u200d\U0001f600", "\u00ae\ufe0f", "\u0600a", "\u0344", "\u0300", "\u2163\u0301", "   ", "\u3000\u3000", "<mask>", " <unk>", "\u2581<s>"]


def mapped_texts(count, seed):
    rng = random.Random(SEED + seed)
    out = [s.encode() for s in MAPPED] + texts(count // 2, seed + 1)
    for _ in range(count):
        parts = [rng.choice(MAPPED) if rng.random() < 0.5 else strings.word(rng) for _ in range(rng.randrange(1, 9))]
        out.append(rng.choice(["", " ", ""]).join(parts).encode())
    return out


class Family(Parity):
    def check(self, reference, texts, **more):
        folder = self.folder(tokenizer__json=json.loads(reference.to_str()))
        digest = self.same(folder, reference, texts, **more)
        self.same(folder, reference, texts[:600], plain=True)
        for most in (1, 2, 5, 64):
            if most > reference.num_special_tokens_to_add(False):
                self.same(folder, reference, texts[:300], max_tokens=most)
        return folder, digest

    def refused(self, folder, says):
        with self.assertRaises(AssertionError) as caught:
            strings.dump(folder, [b"x"], 0)
        self.assertIn(says, str(caught.exception))

    def refused_when_changed(self, base, cases):
        for change, says in cases:
            spec = json.loads(json.dumps(base))
            change(spec)
            with self.subTest(says=says):
                self.refused(self.folder(tokenizer__json=spec), says)


class Unigram(Family):
    def test_like_xlm_roberta(self):
        self.check(unigram(spm()), mapped_texts(STRINGS * 2, 100))

    def test_like_t5(self):
        for blanks in (" ", "\u2581"):
            with self.subTest(blanks=blanks):
                self.check(unigram(spm(), white=False, strip=True, blanks=blanks, single="$A </s>"), mapped_texts(STRINGS, 101))

    def test_schemes(self):
        for scheme in ("first", "never", "always"):
            for split in (True, False):
                for white in (True, False):
                    with self.subTest(scheme=scheme, split=split, white=white):
                        self.check(unigram(spm(), scheme=scheme, split=split, white=white), mapped_texts(STRINGS // 8, 102))

    def test_byte_fallback(self):
        raw = spm(byte_fallback=True)
        self.check(unigram(raw, fallback=True), mapped_texts(STRINGS, 103))
        part = [(p, s) for p, s, _ in read_spm(raw)[0] if p != "<0xE4>"]
        self.check(unigram(raw, part, fallback=True), mapped_texts(STRINGS // 4, 104))

    def test_other_map(self):
        self.check(unigram(spm("nfkc_cf")), mapped_texts(STRINGS, 105))

    def test_scores(self):
        """Ties, scores of many digits, unknown characters that are pieces together, long words."""
        rng = random.Random(SEED)
        letters = "abcde"
        for kind in range(4):
            pieces = {"<unk>": 0.0, "\u2581": -2.0}
            while len(pieces) < 80:
                piece = "".join(rng.choice(letters + "\u2581") for _ in range(rng.randrange(1, 6)))
                pieces[piece] = [-float(rng.randrange(1, 4)), -rng.random() * 9, -rng.randrange(1, 9) / 10, rng.random() - 0.5][kind]
            pieces["xy"] = -90.0
            t = unigram(spm(), list(pieces.items()), split=bool(kind % 2), white=kind < 2)
            made = ["".join(rng.choice(letters * 3 + "xyz  ") for _ in range(rng.randrange(60))).encode() for _ in range(STRINGS)]
            made += [b"xyxyx" * 300, b"abcde" * 3000]
            with self.subTest(kind=kind):
                self.check(t, made)

    def test_every_code_point(self):
        """Alone, before and after what joins to it: the map, and the groups that it is looked up by."""
        t = unigram(spm(), split=False, white=False)
        some = range(0x110000) if LONG else [*range(0x3400), *range(0xA000, 0xAC80, 3), *range(0xD7A0, 0xD800), *range(0xF900, 0x10000),
                                             *range(0x10A00, 0x11F60, 3), *range(0x1D100, 0x1D200), *range(0x1F000, 0x1FB00, 2),
                                             *range(0xE0000, 0xE0200)]
        points = [chr(c) for c in some if not 0xD800 <= c <= 0xDFFF]
        made = []
        for i in range(0, len(points), 16):
            part = points[i:i + 16]
            made.append(" ".join(f"{c} a{c}\uff45 \uff45{c}\u0301 {c}\u0340\u0301" for c in part).encode())
            made.append(" ".join(f"\u0958{c}\u0340 \u00bd{c} \u0915\u094d{c}\u0340\u0301 \u1100{c}\u0340\u0301 \u2764\u200d{c}\u0340\u0300"
                                 for c in part).encode())
        self.same(self.folder(tokenizer__json=json.loads(t.to_str())), t, made)

    def spiece(self, raw, config, name="spiece.model"):
        folder = self.folder(tokenizer_config__json=config)
        with open(os.path.join(folder, name), "wb") as f:
            f.write(raw)
        return folder

    def test_spiece_model_of_xlm_roberta(self):
        raw = spm()
        pieces = [(p, s) for p, s, _ in read_spm(raw)[0]]
        self.assertEqual([p for p, _ in pieces[:3]], ["<unk>", "<s>", "</s>"])
        pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)] + pieces[3:] + [("<mask>", 0.0)]
        t = unigram(raw, pieces, unk=3, white=False, strip=True, blanks="\u2581", normalized=())
        folder = self.spiece(raw, {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512}, "sentencepiece.bpe.model")
        self.same(folder, t, mapped_texts(STRINGS, 106))

    def test_spiece_model_of_t5(self):
        raw = spm(pad_id=0, eos_id=1, unk_id=2, bos_id=-1, user_defined_symbols="<tool>")
        extra = [f"<extra_id_{i}>" for i in range(99, -1, -1)]
        for legacy in (True, False):
            pieces = [(p, s) for p, s, _ in read_spm(raw)[0]] + [(n, 0.0) for n in extra]
            t = unigram(raw, pieces, unk=2, white=False, strip=True, blanks="\u2581", specials=("<pad>", "</s>", "<unk>"), single="$A </s>",
                        normalized=(), extra=extra, scheme="always" if legacy else "first")
            t.add_tokens([AddedToken("<tool>", normalized=False, special=False)])
            made = mapped_texts(STRINGS // 2, 107) + [b"a <extra_id_0> <extra_id_1>b <tool>  <extra_id_99>", b"<extra_id_7>"]
            self.same(self.spiece(raw, {"tokenizer_class": "T5Tokenizer", "legacy": legacy}), t, made)

    def test_spiece_model_refused_by_name(self):
        def field(number, value):
            def varint(n):
                return bytes([n & 127 | 128]) + varint(n >> 7) if n > 127 else bytes([n])
            if isinstance(value, float):
                return varint(number << 3 | 5) + struct.pack("<f", value)
            if isinstance(value, int):
                return varint(number << 3) + varint(value)
            return varint(number << 3 | 2) + varint(len(value)) + value

        def piece(text, score=-1.0, kind=1):
            return field(1, field(1, text) + field(2, score) + field(3, kind))

        pieces = b"".join(piece(n, 0.0, k) for n, k in ((b"<pad>", 3), (b"</s>", 3), (b"<unk>", 2))) + piece(b"a")
        good = pieces + field(2, field(40, 2))
        config = {"tokenizer_class": "T5Tokenizer"}
        strings.dump(self.spiece(good, config), [b"a"], 0)
        for raw, change, says in [
                (good + piece(b"a"), {}, "there twice"), (good + piece(b"b", float("nan")), {}, "not finite"), (good + piece(b"b", float("inf")), {}, "not finite"),
                (good + piece(b"\xff"), {}, "not UTF-8"), (good + piece(b""), {}, "empty"), (good + piece(b"b", kind=6), {}, "type that is not"),
                (good + piece(b"b\0"), {}, "a NUL"), (good + field(2, b""), {}, "second trainer_spec"), (good[:-5], {}, "no trainer_spec"), (good[:-4], {}, "cut off"), (good[:-3], {}, "behind the end"),
                (good + b"\x0b", {}, "wire type"), (good + b"\x00", {}, "without number"), (good + b"\xff" * 12, {}, "more than 64 bits"),
                (good + field(1, 7), {}, "wrong wire type"), (good + field(1, field(2, 7)), {}, "wrong wire type"),
                (good + field(3, field(3, 0)), {}, "dummy prefix"), (good + field(3, field(2, b"abc")), {}, "its size"), (piece(b"a") + field(2, field(40, 0)), {}, "not in the vocabulary"),
                (pieces + field(2, field(3, 2)), {}, "not unigram"), (pieces + field(2, field(40, 200)), {}, "unk_id"),
                (pieces + field(2, field(35, 1)), {}, "byte_fallback"), (good, {"tokenizer_class": "XLMRobertaTokenizer"}, "begin with"),
                (good, {"tokenizer_class": "RobertaTokenizer"}, "has other files"), (good, {"extra_ids": 2000}, "extra_ids"),
                (good, {"add_prefix_space": False}, "add_prefix_space"), (good, {"eos_token": None}, "no eos_token"), (b"", {}, "no trainer_spec"), (field(2, b""), {"extra_ids": 0}, "no piece has")]:
            with self.subTest(says=says, raw=raw[-20:]):
                self.refused(self.spiece(raw, {**config, **change}), says)

    def test_refused_by_name(self):
        base = json.loads(unigram(spm()).to_str())
        vocab = base["model"]["vocab"]
        meta = base["pre_tokenizer"]["pretokenizers"][1]
        cases = [
            (lambda s: s["model"].update(unk_id=None), "unk_id"), (lambda s: s["model"].update(unk_id=len(vocab)), "unk_id"),
            (lambda s: s["model"].update(vocab=vocab + vocab[5:6]), "there twice"), (lambda s: s["model"].update(vocab=[["a"]]), "without a score"),
            (lambda s: s["model"].update(vocab=[["a", 1, 2]]), "more than a score"), (lambda s: s["model"].update(vocab=[["a", "b"]]), "at byte"),
            (lambda s: s["model"].update(vocab=[["x" * 2000, 1.0]]), "longer than 1024"), (lambda s: s["model"].update(vocab={"a": 0}), "another's"),
            (lambda s: s["model"].update(merges=[]), "'merges'"), (lambda s: s["model"].update(type="BPE"), "another's vocabulary"),
            (lambda s: s["normalizer"].update(precompiled_charsmap="A"), "not base64"), (lambda s: s["normalizer"].update(precompiled_charsmap="AAA="), "its size"),
            (lambda s: s["normalizer"].update(precompiled_charsmap=base64.b64encode(b"\3\0\0\0abc\0\0").decode()), "its trie"),
            (lambda s: s.update(normalizer={"type": "Sequence", "normalizers": [s["normalizer"]] * 2}), "second precompiled"),
            (lambda s: s.update(normalizer={"type": "Replace", "pattern": {"Regex": "\\s"}, "content": ""}), "expression"),
            (lambda s: s.update(normalizer={"type": "Replace", "pattern": {"String": ""}, "content": ""}), "not one expression"),
            (lambda s: s.update(normalizer={"type": "Replace", "pattern": {"String": "x" * 17}, "content": ""}), "16 characters"),
            (lambda s: s.update(pre_tokenizer={"type": "WhitespaceSplit"}), "Metaspace"),
            (lambda s: s.update(pre_tokenizer={**meta, "replacement": "_"}), "U+2581"),
            (lambda s: s.update(pre_tokenizer={**meta, "prepend_scheme": "last"}), "'last'"),
            (lambda s: s.update(pre_tokenizer={"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": False}), "add_prefix_space"),
        ]
        self.refused_when_changed(base, cases)


class Bpe(Family):
    def test_roberta(self):
        for prefix in (False, True):
            for trim in (True, False):
                with self.subTest(prefix=prefix, trim=trim):
                    self.check(roberta(prefix, trim), texts(STRINGS, prefix * 2 + trim))

    def test_qwen(self):
        self.check(qwen(), texts(STRINGS * 2, 10))

    def test_three_digits(self):
        self.check(qwen(LLAMA), texts(STRINGS, 11))

    def test_long_words(self):
        """More than a short word's symbols: the heap and the scan agree with the reference."""
        rng = random.Random(SEED)
        long = [b"a" * 20000, b"ab" * 9000, "中文字".encode() * 4000, "é".encode() * 5000, b" " * 5000, b"\n" * 5000 + b"x"]
        for _ in range(STRINGS // 4):
            long.append("".join(rng.choice("theinganدесть漢字") for _ in range(rng.randrange(20, 120))).encode())
        for reference in (roberta(), qwen()):
            self.check(reference, long)

    def test_modernbert(self):
        rng = random.Random(SEED + 4)
        parts = [" ", "  ", "   ", " " * 23, " " * 50, "\n", "\n\n  ", "\u00a0", "\u3000", "[MASK]", " [MASK]", "x", "  x", "|||IP_ADDRESS|||", "e\u0301", "\u212b",
                 "[SEP]", "def f():", "\t"]
        made = ["".join(rng.choice(parts) for _ in range(rng.randrange(12))).encode() for _ in range(STRINGS)]
        self.check(modernbert(), texts(STRINGS, 13) + made + [b"\xff  \xff", b"  \xe2\x82  ", b" " * 4000])

    def test_added_tokens(self):
        t = qwen(size=1000)
        for i, (name, kind) in enumerate([("<both>", dict(lstrip=True, rstrip=True)), ("<one>", dict(single_word=True)),
                                          ("one", dict(single_word=True, normalized=True)), ("<left>", dict(lstrip=True)),
                                          ("<right>", dict(rstrip=True, normalized=True)), ("r\u00e9", dict(normalized=True)),
                                          ("A\u030a", dict(normalized=True)), ("中文", dict(normalized=False)), ("<b", {})]):
            t.add_tokens([AddedToken(name, special=False, **{"normalized": bool(i % 2), **kind})])
        rng = random.Random(SEED + 3)
        parts = ["<both>", "<one>", "one", "<left>", "<right>", "re\u0301", "r\u00e9", "\u00c5", "A\u030a", "\u212b", "中文", "中", "<b", "<", " ",
                 "  ", "\u3000", "\x85", "\n", "word", "é", "\u0301", "_", "\u200d", "\u0660", "\U0001f600", "<|endoftext|>"]
        made = ["".join(rng.choice(parts) for _ in range(rng.randrange(12))).encode() for _ in range(STRINGS)]
        made += [b"\xffone", b"one\xff", b"one\xe2\x82", b"\xe2\x82<both>  \xff", b" \xff <both>", b"<both>\x80", b"\x80<both>\x80\x80one\x80"]
        self.check(t, made)

    def test_ways_of_writing(self):
        """Pairs or strings, missing keys, ignore_merges, no cut, no post-processor: same or as the reference."""
        base = json.loads(qwen(size=1500).to_str())
        some = texts(STRINGS // 4, 12)
        _, digest = self.check(Tokenizer.from_str(json.dumps(base)), some)

        def joined(s):
            s["model"]["merges"] = [" ".join(m) for m in s["model"]["merges"]]

        def untyped(s):
            del s["model"]["type"]

        for change in (joined, untyped):
            spec = json.loads(json.dumps(base))
            change(spec)
            folder = self.folder(tokenizer__json=spec)
            self.assertEqual(self.same(folder, Tokenizer.from_str(json.dumps(spec)), some[:200]), digest)

        def whole(s):
            s["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": False}

        def ignore(s):
            s["model"]["ignore_merges"] = True
            s["model"]["merges"] = s["model"]["merges"][:300]

        def bare(s):
            s["post_processor"] = s["normalizer"] = None

        def nested(s):
            s["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFC"}]}

        for change in (whole, ignore, bare, nested):
            spec = json.loads(json.dumps(base))
            change(spec)
            with self.subTest(change=change.__name__):
                self.check(Tokenizer.from_str(json.dumps(spec)), some)

    def classic(self, reference, config, **files):
        """vocab.json, merges.txt and tokenizer_config.json of a tokenizer."""
        model = json.loads(reference.to_str())["model"]
        merges = "#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in model["merges"])
        return self.folder(vocab__json=model["vocab"], merges__txt=merges, tokenizer_config__json=config, **files)

    def test_vocab_json_and_merges_txt(self):
        some = texts(STRINGS // 2, 13)
        for prefix in (False, True):
            t = roberta(prefix)
            mask = {"content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}
            extra = {str(t.token_to_id("<mask>")): {**mask, "special": True}}
            folder = self.classic(t, {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": prefix,
                                      "added_tokens_decoder": extra, "model_max_length": 512},
                                  special_tokens_map__json={"cls_token": "<s>", "mask_token": mask})
            self.same(folder, t, some)
        t = qwen()
        t.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
        extra = {str(i): {"content": a.content, "normalized": a.normalized, "special": a.special}
                 for i, a in t.get_added_tokens_decoder().items()}
        folder = self.classic(t, {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": extra, "unk_token": None,
                                  "eos_token": "<|im_start|>", "pad_token": "<|endoftext|>"})
        self.same(folder, t, some)

    def test_refused_by_name(self):
        base = json.loads(qwen(size=600).to_str())

        def model(**change):
            return lambda s: s["model"].update(change)

        cases = [
            (model(byte_fallback=True), "byte_fallback"), (model(dropout=0.1), "dropout"),
            (model(end_of_word_suffix="</w>"), "end_of_word_suffix"), (model(continuing_subword_prefix="##"), "continuing"),
            (model(merges=["a"]), "two parts"), (model(merges=[["a"]]), "two parts"), (model(merges=[["a", "b", "c"]]), "two parts"),
            (model(merges=["q \u0001"]), "parts is not in the vocabulary"), (model(merges=["~ }"]), "together are not"),
            (model(merges=base["model"]["merges"][:1] * 2), "there twice"), (lambda s: (model(vocab={"a": 0}, merges=[])(s), s.update(added_tokens=[], post_processor=None)), "not a byte-level BPE"),
            (lambda s: s.update(pre_tokenizer={"type": "Whitespace"}), "'Whitespace'"),
            (lambda s: s.update(pre_tokenizer={"type": "BertPreTokenizer"}), "does not end in ByteLevel"),
            (lambda s: s.update(normalizer={"type": "NFKC"}), "'NFKC'"),
            (lambda s: s["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex="x"), "expression 'x'"),
            (lambda s: s["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed"), "'Removed'"),
            (lambda s: s["pre_tokenizer"]["pretokenizers"][0].update(invert=True), "of these parts"),
            (lambda s: s["added_tokens"].append({"id": s["added_tokens"][-1]["id"] + 1, "content": "\u212b", "single_word": False,
                                                 "lstrip": False, "rstrip": False, "normalized": True, "special": False})
             or s["added_tokens"].append({**s["added_tokens"][-1], "content": "A\u030a", "id": s["added_tokens"][-1]["id"] + 1}),
             "another one once normalised"),
        ]
        self.refused_when_changed(base, cases)
        t = roberta()
        for config, more, says in [({}, {}, "no tokenizer_class"), ({"tokenizer_class": "CLIPTokenizer"}, {}, "'CLIPTokenizer'"),
                                   ({"tokenizer_class": "RobertaTokenizer", "cls_token": None}, {}, "no cls_token"),
                                   ({"tokenizer_class": "RobertaTokenizer", "cls_token": "<s>"},
                                    {"special_tokens_map__json": {"cls_token": "</s>"}}, "is not the one of"),
                                   ({"tokenizer_class": "RobertaTokenizer"}, {"added_tokens__json": {}}, "convert the model"),
                                   ({"tokenizer_class": "RobertaTokenizer"}, {"merges__txt": "a b c\n"}, "two parts"),
                                   ({"tokenizer_class": "RobertaTokenizer"}, {"merges__txt": "a\n"}, "two parts")]:
            with self.subTest(says=says):
                folder = self.classic(t, config)
                for name, content in more.items():
                    with open(os.path.join(folder, name.replace("__", ".")), "w", encoding="utf-8") as f:
                        f.write(content if isinstance(content, str) else json.dumps(content))
                self.refused(folder, says)


@functools.cache
def trained_llama():
    """Characters, merges over them, and every byte to fall back on: llama's own order of ids."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    t.train_from_iterator(lines(), trainers.BpeTrainer(vocab_size=2500, show_progress=False, min_frequency=2, limit_alphabet=400))
    spec = json.loads(t.to_str())["model"]
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    names += [n for n in sorted(spec["vocab"], key=spec["vocab"].get) if n != "\0"]
    return {n: i for i, n in enumerate(names)}, [tuple(m) for m in spec["merges"]]


def llama(scheme=None, split=False, **more):
    """scheme: of a Metaspace; without one the normaliser does what it would do."""
    vocab, merges = trained_llama()
    t = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True, **more))
    if scheme:
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    else:
        t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    t.add_special_tokens([AddedToken(n, normalized=False, special=True) for n in ("<unk>", "<s>", "</s>")])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return t


class Llama(Family):
    def check(self, reference, texts, whole=False):
        reference = Tokenizer.from_str(reference.to_str())  # whose added tokens know the normaliser
        if whole:
            super().check(reference, texts)
        else:
            self.same(self.folder(tokenizer__json=json.loads(reference.to_str())), reference, texts)

    def test_normalizer(self):
        self.check(llama(), texts(STRINGS, 20), whole=True)

    def test_metaspace(self):
        for scheme in ("first", "never", "always"):
            for split in (True, False):
                with self.subTest(scheme=scheme, split=split):
                    self.check(llama(scheme, split), texts(STRINGS // 4, 21))

    def test_parts(self):
        some = texts(STRINGS // 4, 22)
        t = llama(ignore_merges=True)
        self.check(t, some)
        t = llama()
        t.normalizer = normalizers.Replace(" ", "\u2581\u2581")
        self.check(t, some)
        t.normalizer = None
        self.check(t, some)
        t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Prepend("a\u0301\u2581"), normalizers.Strip(right=True)])
        self.check(t, some + [b"", b" ", b"\xff"])

    def test_added_tokens(self):
        rng = random.Random(SEED + 5)
        t = llama()
        t.add_tokens([AddedToken("<tool>", normalized=False, lstrip=True), AddedToken("one", normalized=True), AddedToken("\u00e9t", normalized=True),
                      AddedToken("<w>", normalized=False, single_word=True, rstrip=True)])
        parts = ["<tool>", "one", " one", "\u2581one", "\u00e9t", "<w>", " ", "  ", "\u2581", "x", "</s>", "<unk>", "\u4e2d", "\x00"]
        self.check(t, ["".join(rng.choice(parts) for _ in range(rng.randrange(12))).encode() for _ in range(STRINGS)] + [b"one", b"\xffone"])

    def test_unigram_without_words(self):
        t = unigram(spm(byte_fallback=True), fallback=True)
        t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        t.pre_tokenizer = None
        self.check(t, texts(STRINGS // 2, 23))

    def test_long_words(self):
        long = [b"a" * 20000, b"the end. " * 3000, "\u4e2d\u6587\u5b57".encode() * 4000, "\U0001f600".encode() * 2000, b" " * 5000, b"\n" * 5000 + b"x"]
        self.check(llama(), long)

    def test_refused_by_name(self):
        base = json.loads(llama().to_str())

        def without(s):
            del s["model"]["vocab"]["<0xE4>"]

        cases = [(without, "byte 0xE4 has no piece"), (lambda s: s["model"].update(byte_fallback=False), "without byte_fallback"),
                 (lambda s: s["normalizer"]["normalizers"][0].update(prepend=""), "Prepend of nothing"),
                 (lambda s: s["normalizer"]["normalizers"][0].update(prepend="x" * 17), "16 characters"),
                 (lambda s: s["normalizer"]["normalizers"][0].pop("prepend"), "without 'prepend'"),
                 (lambda s: s.update(pre_tokenizer={"type": "WhitespaceSplit"}), "byte_fallback")]
        self.refused_when_changed(base, cases)


if __name__ == "__main__":
    print("seed", SEED, "tokenizers", tokenizers.__version__)
    assert tokenizers.__version__ == "0.22.2", "the reference is pinned"
    unittest.main()
