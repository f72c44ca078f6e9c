"""Random-weight models of odd shape, in every stored precision and family, against BERT and its kin written out in float64.

The published model is compared with PyTorch in tests/unit/embedder/test_golden_vectors.c; here the
point is shapes and settings that no published model has, so that nothing is wired to 384/12/6.
"""
import json
import math
import os
import struct
import subprocess
import tempfile
import unittest

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from folders import embed, make_tiny, tiny

TEXTS = ["a", "kolor", "Banana bern, zan 12!", "gut gut gut", "中文 αβγ жед", "[unk] (x) ~ ü", "[UNK] lan [UNK] ban", "lan " * 30,
         "mor ben kan ver dis " * 40, "z" * 120, "Über\tdas  Wetter.", "0123456789 " * 20, "é", "per. " * 69]
ERF = np.vectorize(math.erf)


def weights(folder):
    with open(os.path.join(folder, "model.safetensors"), "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    out = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        raw = data[slice(*entry["data_offsets"])]
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        else:
            values = np.frombuffer(raw, {"F32": "<f4", "F16": "<f2"}[entry["dtype"]])
        out[name] = values.astype(np.float64).reshape(entry["shape"])
    return out


class Oracle:
    """The forward pass as the paper's reference implementation has it, one text at a time."""

    def __init__(self, folder, options):
        theirs, self.o, self.folder = weights(folder), options, folder
        self.w = self.in_berts_words(theirs, options)
        self.tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        self.tokenizer.enable_truncation(options.length)

    @staticmethod
    def in_berts_words(values, o):
        renamed = make_tiny().RENAMED.get(o.family, {})
        out = {}
        for name, value in values.items():
            name = name[len(o.prefix):].replace(renamed.get("encoder.layer.", "\0"), "encoder.layer.")
            for ours, theirs in renamed.items():
                if ours != "encoder.layer." and "." + theirs + "." in name:
                    name = name.replace("." + theirs + ".", "." + ours + ".")
                    break
            out[name] = value
        return out

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

    def norm(self, x, name):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12) * self.w[name + ".weight"] + self.w[name + ".bias"]

    def layer(self, x, name):
        heads = lambda part: self.linear(x, name + "attention.self." + part).reshape(len(x), self.o.heads, -1)
        q, k, v = (heads(part) for part in ("query", "key", "value"))
        scores = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(q.shape[2])
        if self.o.family == "mpnet":
            scores += self.biases(len(x))
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        mixed = np.einsum("hij,jhd->ihd", scores, v).reshape(x.shape)
        x = self.norm(self.linear(mixed, name + "attention.output.dense") + x, name + "attention.output.LayerNorm")
        h = self.linear(x, name + "intermediate.dense")
        h = 0.5 * h * (1 + ERF(h / math.sqrt(2)))
        return self.norm(self.linear(h, name + "output.dense") + x, name + "output.LayerNorm")

    def biases(self, n):
        """[heads, query, key], T5's buckets: by direction, each short distance its own, then by the logarithm."""
        distance = np.arange(n)[:, None] - np.arange(n)[None, :]
        far = 8 + (np.log2(np.maximum(np.abs(distance), 8) / 8) * 2 + 1e-9).astype(int)
        bucket = np.where(np.abs(distance) < 8, np.abs(distance), np.minimum(far, 15)) + 16 * (distance < 0)
        return self.w["encoder.relative_attention_bias.weight"][bucket].transpose(2, 0, 1)

    def positions(self, ids):
        if self.o.family in ("bert", "distilbert"):
            return np.arange(len(ids))
        padding = make_tiny().PADDING  # it has a vector of its own and is not counted
        counts = np.array(ids) != padding
        return np.where(counts, np.cumsum(counts) + padding, padding)

    def embed(self, text):
        ids = self.tokenizer.encode(text).ids
        w = self.w
        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][self.positions(ids)]
        if "embeddings.token_type_embeddings.weight" in w:
            x = x + w["embeddings.token_type_embeddings.weight"][0]
        x = self.norm(x, "embeddings.LayerNorm")
        for i in range(self.o.layers):
            x = self.layer(x, "encoder.layer.%d." % i)
        return self.head(x)

    def head(self, x):
        """The modules behind the transformer."""
        parts = {"cls": x[0], "max": x.max(0), "mean": x.mean(0), "mean_sqrt_len": x.sum(0) / math.sqrt(len(x)), "lasttoken": x[-1]}
        v = np.concatenate([parts[p] for p in self.o.pooling.split("+")])
        for i, _, _, activation, unit in make_tiny().denses(self.o):
            w = weights(os.path.join(self.folder, "%d_Dense" % i))
            v = w["linear.weight"] @ (v / np.linalg.norm(v) if unit else v) + w.get("linear.bias", 0)
            v = np.tanh(v) if activation == "tanh" else v
        return v if self.o.no_normalize else v / np.linalg.norm(v)


class T5(Oracle):
    """The encoder of T5: norms in front and without a mean, no biases, no scale, and the first layer's bias by distance in all."""

    @staticmethod
    def in_berts_words(values, o):
        return values

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * self.w[name + ".weight"]

    def embed(self, text):
        ids = self.tokenizer.encode(text).ids
        self.w["encoder.relative_attention_bias.weight"] = self.w["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
        x = self.w["shared.weight"][ids]
        for i in range(self.o.layers):
            attention, feed = ("encoder.block.%d.layer.%d." % (i, k) for k in (0, 1))
            y = self.norm(x, attention + "layer_norm")
            q, k, v = ((y @ self.w[attention + "SelfAttention.%s.weight" % p].T).reshape(len(x), self.o.heads, -1) for p in "qkv")
            scores = np.einsum("ihd,jhd->hij", q, k) + self.biases(len(x))
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
            x = x + np.einsum("hij,jhd->ihd", scores, v).reshape(len(x), -1) @ self.w[attention + "SelfAttention.o.weight"].T
            y = self.norm(x, feed + "layer_norm")
            if self.o.gated:  # transformers' NewGELUActivation
                g, h = (y @ self.w[feed + "DenseReluDense.wi_%d.weight" % k].T for k in (0, 1))
                h = h * 0.5 * g * (1 + np.tanh(math.sqrt(2 / math.pi) * (g + 0.044715 * g ** 3)))
            else:
                h = np.maximum(y @ self.w[feed + "DenseReluDense.wi.weight"].T, 0)
            x = x + h @ self.w[feed + "DenseReluDense.wo.weight"].T
        return self.head(self.norm(x, "encoder.final_layer_norm"))


class Rotary(Oracle):
    """ModernBERT, NomicBERT and Qwen3 as published: what tests/golden/families.json, of transformers, is compared with too."""

    @staticmethod
    def in_berts_words(values, o):
        return {name[len(o.prefix):]: value for name, value in values.items()}

    def linear(self, x, name):
        x = x @ self.w[name + ".weight"].T
        return x + self.w[name + ".bias"] if name + ".bias" in self.w else x

    def norm(self, x, name):
        if self.o.family == "qwen3":
            return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * self.w[name + ".weight"]
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + (1e-5 if self.o.family == "modernbert" else 1e-12)) * self.w[name + ".weight"]
        return x + self.w[name + ".bias"] if name + ".bias" in self.w else x

    @staticmethod
    def turn(x, base):
        n, _, depth = x.shape
        angle = np.arange(n)[:, None] * base ** (-np.arange(0, depth, 2) / depth)[None, :]
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        u, v = x[..., :depth // 2], x[..., depth // 2:]
        return np.concatenate([u * cos - v * sin, v * cos + u * sin], -1)

    def attention(self, q, k, v, base, sees):
        q, k = self.turn(q, base), self.turn(k, base)
        k, v = (np.repeat(m, q.shape[1] // k.shape[1], axis=1) for m in (k, v))
        scores = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(q.shape[2])
        i, j = np.arange(len(q))[:, None], np.arange(len(q))[None, :]
        scores = np.where(sees(i, j), scores, -np.inf)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        return np.einsum("hij,jhd->ihd", scores, v).reshape(len(q), -1)

    def fused(self, x, name):
        return np.moveaxis(self.linear(x, name).reshape(len(x), 3, self.o.heads, -1), 1, 0)

    def modernbert(self, ids):
        x = self.norm(self.w["embeddings.tok_embeddings.weight"][ids], "embeddings.norm")
        for i in range(self.o.layers):
            layer, far = "layers.%d." % i, i % self.o.every == 0
            q, k, v = self.fused(self.norm(x, layer + "attn_norm") if i else x, layer + "attn.Wqkv")
            x = x + self.linear(self.attention(q, k, v, 160000 if far else 10000,
                                               lambda i, j: far | (abs(i - j) <= self.o.window // 2)), layer + "attn.Wo")
            h, gate = np.split(self.linear(self.norm(x, layer + "mlp_norm"), layer + "mlp.Wi"), 2, -1)
            x = x + self.linear(0.5 * h * (1 + ERF(h / math.sqrt(2))) * gate, layer + "mlp.Wo")
        return self.norm(x, "final_norm")

    def nomic_bert(self, ids):
        x = self.norm(self.w["embeddings.word_embeddings.weight"][ids] + self.w["embeddings.token_type_embeddings.weight"][0], "emb_ln")
        for i in range(self.o.layers):
            layer = "encoder.layers.%d." % i
            q, k, v = self.fused(x, layer + "attn.Wqkv")
            x = self.norm(self.linear(self.attention(q, k, v, 1000, lambda i, j: i == i + 0 * j), layer + "attn.out_proj") + x, layer + "norm1")
            gate = self.linear(x, layer + "mlp.fc12")
            h = self.linear(x, layer + "mlp.fc11") * gate / (1 + np.exp(-gate))
            x = self.norm(self.linear(h, layer + "mlp.fc2") + x, layer + "norm2")
        return x

    def qwen3(self, ids):
        x = self.w["embed_tokens.weight"][ids]
        for i in range(self.o.layers):
            layer = "layers.%d." % i
            y = self.norm(x, layer + "input_layernorm")
            q, k, v = (self.linear(y, layer + "self_attn.%s_proj" % part).reshape(len(x), -1, self.o.head_dim) for part in "qkv")
            q, k = self.norm(q, layer + "self_attn.q_norm"), self.norm(k, layer + "self_attn.k_norm")
            x = x + self.linear(self.attention(q, k, v, 1000000, lambda i, j: j <= i), layer + "self_attn.o_proj")
            y = self.norm(x, layer + "post_attention_layernorm")
            gate = self.linear(y, layer + "mlp.gate_proj")
            x = x + self.linear(self.linear(y, layer + "mlp.up_proj") * gate / (1 + np.exp(-gate)), layer + "mlp.down_proj")
        return self.norm(x, "norm")

    def embed(self, text):
        return self.head(getattr(self, self.o.family)(self.tokenizer.encode(text).ids))


def byte_level(folder):
    """A RoBERTa's tokenizer, made of the texts themselves."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(vocab_size=400, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False,
                                                         initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    t.save(os.path.join(folder, "tokenizer.json"))
    return t.get_vocab_size()


def trained(folder, t, specials, spaces=()):
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=specials, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    t.train_from_iterator(TEXTS * 3, trainer)
    t.add_tokens([AddedToken(blank, normalized=True) for blank in spaces])
    t.save(os.path.join(folder, "tokenizer.json"))
    return t.get_vocab_size()


def qwens(folder):
    """A Qwen3-Embedding's: its own words, and the end token behind every text, which is pooled."""
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(words), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False),
                                            processors.TemplateProcessing("$A <|endoftext|>", special_tokens=[("<|endoftext|>", 0)])])
    return trained(folder, t, ["<|endoftext|>", "<|im_start|>"])


def moderns(folder):
    """A ModernBERT's: runs of blanks are tokens."""
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return trained(folder, t, ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"], ["    ", "  "])


def subwords(folder):
    """An XLM-R's, without the map of its normaliser."""
    t = Tokenizer(models.Unigram())
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.train_from_iterator(TEXTS * 3, trainers.UnigramTrainer(vocab_size=300, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], unk_token="<unk>",
                                                             show_progress=False))
    t.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    t.save(os.path.join(folder, "tokenizer.json"))
    return t.get_vocab_size()


def closed(folder):
    """A T5's: </s> behind a text."""
    t = Tokenizer(models.Unigram())
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.train_from_iterator(TEXTS * 3, trainers.UnigramTrainer(vocab_size=300, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>",
                                                             show_progress=False))
    t.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    t.save(os.path.join(folder, "tokenizer.json"))
    return t.get_vocab_size()


class Fidelity(unittest.TestCase):
    def compare(self, *arguments, tokenizer=None):
        with tempfile.TemporaryDirectory() as folder:
            size = ("--vocab", max(tokenizer(folder), 120)) if tokenizer else ()
            options = tiny(folder, *arguments, *size)
            if tokenizer:
                tokenizer(folder)
            oracle = (Rotary if options.family in make_tiny().ROTARY else T5 if options.family in ("t5", "mt5") else Oracle)(folder, options)
            got, message = embed(folder, TEXTS)
            self.assertIsNotNone(got, message)
            want = (make_tiny().denses(options) or [(0, 0, options.hidden * len(options.pooling.split("+")))])[-1][2]
            self.assertEqual(got.shape, (len(TEXTS), want))
            for text, v in zip(TEXTS, got.astype(np.float64)):
                want = oracle.embed(text)
                cosine = v @ want / np.linalg.norm(v) / np.linalg.norm(want)
                self.assertGreaterEqual(cosine, 0.9999999, text)
                self.assertLessEqual(np.abs(v - want).max(), 1e-5 * max(1.0, np.linalg.norm(want)), text)
            alone = np.concatenate([embed(folder, [text])[0] for text in TEXTS[::6]])  # whatever stands beside it
            self.assertEqual(alone.tobytes(), got[::6].tobytes())
            for level in ("scalar", "avx2,scalar"):  # one bit pattern at every level
                again, message = embed(folder, TEXTS, cpu=level)
                self.assertIsNotNone(again, message)
                self.assertEqual(again.tobytes(), got.tobytes(), level)
            if not options.no_normalize:
                np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)

    def test_f32(self):
        self.compare()

    def test_f16(self):
        self.compare("--dtype", "f16", "--seed", 2)

    def test_bf16(self):
        self.compare("--dtype", "bf16", "--seed", 3)

    def test_cls(self):
        self.compare("--pooling", "cls", "--seed", 4)

    def test_poolings(self):
        for i, pooling in enumerate(("max", "mean_sqrt_len", "lasttoken", "cls+mean", "cls+max+mean+mean_sqrt_len+lasttoken")):
            self.compare("--pooling", pooling, "--seed", 20 + i, "--layers", 1, *(["--no-normalize"] if i % 2 else []))

    def test_dense(self):
        self.compare("--dense", "33:tanh", "--seed", 30)
        self.compare("--dense", "500:tanh,7:identity:unit", "--no-normalize", "--seed", 31)
        self.compare("--dense", "80:identity", "--pooling", "max+mean", "--dtype", "bf16", "--seed", 32)
        self.compare("--dense", "391:tanh:unit,800:identity,64:tanh", "--hidden", 400, "--layers", 1, "--seed", 33)

    def test_raw(self):
        self.compare("--no-normalize", "--seed", 5)

    def test_roberta(self):
        self.compare("--family", "roberta", "--seed", 6)
        self.compare("--family", "xlm-roberta", "--prefix", "roberta.", "--length", 9)

    def test_whole_families(self):
        self.compare("--family", "roberta", "--seed", 9, tokenizer=byte_level)
        self.compare("--family", "xlm-roberta", "--seed", 10, tokenizer=subwords)

    def test_distilbert(self):
        self.compare("--family", "distilbert", "--seed", 7, "--dtype", "f16")
        self.compare("--family", "distilbert", "--prefix", "distilbert.", "--pooling", "cls")

    def test_t5(self):
        self.compare("--family", "t5", "--seed", 40)
        self.compare("--family", "t5", "--seed", 41, "--hidden", 72, "--heads", 3, "--head-dim", 40, "--intermediate", 500, "--length", 300,
                     "--dense", "33:identity", "--dtype", "bf16", tokenizer=closed)
        self.compare("--family", "t5", "--seed", 42, "--hidden", 33, "--heads", 1, "--head-dim", 7, "--layers", 1, "--intermediate", 5)

    def test_gated_t5(self):
        self.compare("--family", "t5", "--gated", "--seed", 43, "--hidden", 72, "--heads", 3, "--head-dim", 40, "--intermediate", 500, "--length", 300)
        self.compare("--family", "mt5", "--gated", "--seed", 44, "--hidden", 33, "--heads", 1, "--head-dim", 7, "--layers", 1, "--intermediate", 5)

    def test_mpnet(self):
        self.compare("--family", "mpnet", "--seed", 8)
        self.compare("--family", "mpnet", "--prefix", "mpnet.", "--hidden", 72, "--heads", 4, "--length", 300)

    def test_modernbert(self):
        self.compare("--family", "modernbert", "--seed", 11)
        self.compare("--family", "modernbert", "--seed", 12, "--biases", "--prefix", "model.", "--pooling", "cls", "--layers", 4, "--every", 3,
                     "--window", 70, "--length", 110, "--intermediate", 390, "--hidden", 40, "--heads", 2)

    def test_whole_rotary_families(self):
        self.compare("--family", "modernbert", "--seed", 17, "--length", 40, tokenizer=moderns)
        self.compare("--family", "qwen3", "--seed", 18, "--pooling", "lasttoken", "--length", 40, tokenizer=qwens)

    def test_nomic(self):
        self.compare("--family", "nomic_bert", "--seed", 13)
        self.compare("--family", "nomic_bert", "--seed", 14, "--biases", "--dtype", "f16", "--hidden", 72, "--heads", 4)

    def test_qwen3(self):
        self.compare("--family", "qwen3", "--seed", 15, "--pooling", "lasttoken")
        self.compare("--family", "qwen3", "--seed", 16, "--pooling", "lasttoken", "--dtype", "bf16", "--prefix", "model.", "--heads", 6, "--key-heads",
                     3, "--head-dim", 70, "--hidden", 30, "--layers", 2, "--biases", "--intermediate", 390)

    def test_prime_widths(self):
        self.compare("--hidden", 33, "--heads", 3, "--intermediate", 7, "--layers", 2, "--length", 9, "--vocab", 211)

    def test_one_head(self):
        self.compare("--hidden", 65, "--heads", 1, "--intermediate", 1, "--layers", 1, "--length", 70)

    def test_wide_heads(self):
        self.compare("--hidden", 260, "--heads", 2, "--intermediate", 531, "--layers", 2, "--length", 300)


class Rotaries(unittest.TestCase):
    """What test_encoder.c asks of BERT: the same bits for any threads and batch; and prompts, and class int8, by the command."""

    FOLDERS = (("modernbert", "--layers", 3, "--window", 60, "--length", 200, "--intermediate", 390, "--hidden", 400, "--heads", 4),
               ("nomic_bert", "--hidden", 72, "--heads", 4),
               ("qwen3", "--pooling", "lasttoken", "--heads", 6, "--key-heads", 3, "--head-dim", 130, "--hidden", 90, "--intermediate", 390))

    def run_quern(self, *arguments, texts=(), status=0):
        done = subprocess.run([os.environ["QUERN_BIN"], *map(str, arguments)], input="".join(t + "\n" for t in texts).encode(), capture_output=True)
        self.assertEqual(done.returncode, status, done.stderr.decode())
        return done.stdout if status == 0 else done.stderr.decode()

    def test_bits(self):
        for family in self.FOLDERS:
            with tempfile.TemporaryDirectory() as folder:
                tiny(folder, "--family", *family)
                embedded = lambda threads, batch, texts: self.run_quern("embed", "--model", folder, "--format", "f32", "--truncate", "--threads",
                                                                        threads, "--batch", batch, texts=texts)
                alone = embedded(1, 1, TEXTS)
                for threads, batch in ((1, 32), (2, 3), (3, 1), (5, 32)):
                    self.assertEqual(embedded(threads, batch, TEXTS), alone, (family, threads, batch))
                width = len(alone) // len(TEXTS)
                for threads in (2, 5):  # one text, shared out
                    self.assertEqual(embedded(threads, 1, TEXTS[8:9]), alone[8 * width:9 * width], family)

    def test_prompts(self):
        with tempfile.TemporaryDirectory() as folder:
            tiny(folder, "--family", "nomic_bert", "--layers", 1)
            plain = [self.run_quern("embed", "--model", folder, "--format", "f32", *more, text)
                     for more, text in (((), "lan"), (("--as", "query"), "lan"), ((), "search_query: lan"), ((), "search_document: lan"))]
            self.assertEqual(plain[0], plain[1])  # none is made up
            with open(os.path.join(folder, "config_sentence_transformers.json"), "w") as file:
                json.dump({"prompts": {"query": "search_query: ", "document": "search_document: "}}, file)
            self.assertEqual(self.run_quern("embed", "--model", folder, "--format", "f32", "--as", "query", "lan"), plain[2])
            self.assertEqual(self.run_quern("embed", "--model", folder, "--format", "f32", "lan"), plain[3])
            self.assertEqual(self.run_quern("embed", "--model", folder, "--format", "f32", "--precision", "auto", "lan"), plain[3])

    def test_transformers(self):
        """tests/golden/families.json: what transformers gives in float64, by tools/make-golden-families."""
        with open(os.path.join(os.environ["QUERN_ROOT"], "tests", "golden", "families.json")) as file:
            golden = json.load(file)
        for arguments, rows in zip(golden["models"], golden["vectors"]):
            with tempfile.TemporaryDirectory() as folder:
                tiny(folder, *arguments)
                got, message = embed(folder, golden["texts"])
                self.assertIsNotNone(got, message)
                for text, v, want in zip(golden["texts"], got.astype(np.float64), np.array(rows)):
                    self.assertGreaterEqual(v @ want / np.linalg.norm(v) / np.linalg.norm(want), 0.9999999, (arguments, text))


if __name__ == "__main__":
    unittest.main()
