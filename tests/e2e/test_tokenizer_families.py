"""Byte-level BPE token for token and offset for offset the same as the reference, the PyPI package
`tokenizers`, over generated strings in many scripts, hostile ones among them.

The vocabularies are trained here, at test time, on generated text of the same kind and on the
documentation of this project: small, but real merges. What surrounds them (normaliser, expressions,
added tokens, processors) is that of the published models. QUERN_LONG=1 runs more strings.
"""
import functools
import json
import os
import random
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import token_strings as strings
from token_strings import FIXED, LONG, SEED, Parity

STRINGS = 40000 if LONG else 800
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+")
LLAMA = QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def lines():
    """What the vocabularies are trained on."""
    rng = random.Random(7)
    docs = os.path.join(os.environ["QUERN_ROOT"], "docs")
    for name in sorted(os.listdir(docs)):
        if name.endswith(".md"):
            with open(os.path.join(docs, name), encoding="utf-8") as f:
                yield from f
    for _ in range(2500):
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


class Bpe(Parity):
    def check(self, reference, texts, **more):
        folder = self.folder(tokenizer__json=json.loads(reference.to_str()))
        digest = self.same(folder, reference, texts, **more)
        self.same(folder, reference, texts[:600], plain=True)
        for most in (1, 2, 5, 64):
            if most > reference.num_special_tokens_to_add(False):
                self.same(folder, reference, texts[:300], max_tokens=most)
        return folder, digest

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
        for change, says in cases:
            spec = json.loads(json.dumps(base))
            change(spec)
            with self.subTest(says=says):
                with self.assertRaises(AssertionError) as caught:
                    strings.dump(self.folder(tokenizer__json=spec), [b"x"], 0)
                self.assertIn(says, str(caught.exception))
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
                with self.assertRaises(AssertionError) as caught:
                    strings.dump(folder, [b"x"], 0)
                self.assertIn(says, str(caught.exception))


if __name__ == "__main__":
    print("seed", SEED, "tokenizers", tokenizers.__version__)
    assert tokenizers.__version__ == "0.22.2", "the reference is pinned"
    unittest.main()
