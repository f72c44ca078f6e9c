"""Static tables as model2vec writes them: the mean of the rows of a text's tokens, with weights and a mapping where there are some, against
the reference's own formula in float64; what is damaged, and the command around them."""
import json
import os
import shutil
import struct
import subprocess
import sys
import unittest

import numpy as np
from tokenizers import Tokenizer

from command import CommandTest
from folders import embed, make_tiny

TEXTS = ["a", "kolor", "Banana bern, zan 12!", "gut gut gut", "[UNK] lan 🦉 ban", "mor ben kan ver dis " * 40, "Über\tdas  Wetter."]


def write(folder, tensors, config, modules=None):
    """tensors: name -> (dtype's name, array as stored)."""
    module = make_tiny()
    os.makedirs(folder, exist_ok=True)
    module.tokenizer_files(folder, module.vocabulary(1003), 70)
    header, blobs, at = {}, [], 0
    for name, (dtype, values) in tensors.items():
        blob = values.tobytes()
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    module.write_json(folder, "config.json", config)
    if modules:
        module.write_json(folder, "modules.json", [{"idx": i, "name": str(i), "path": path, "type": "sentence_transformers.models." + kind}
                                                   for i, (kind, path) in enumerate(modules)])


def reference(folder, text, rows, weights=None, mapping=None, unit=True):
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    unknown = tokenizer.token_to_id("[UNK]")
    ids = [i for i in tokenizer.encode(text, add_special_tokens=False).ids if i != unknown][:512]
    v = rows[mapping[ids] if mapping is not None else ids].astype(np.float64)
    v = (v * weights[ids][:, None] if weights is not None else v).mean(0)
    return v / np.linalg.norm(v) if unit else v


class Static(CommandTest):
    random = np.random.RandomState(3)
    rows = random.standard_normal((1003, 50)).astype("<f4")

    def compare(self, folder, dtype, rows, weights=None, mapping=None, unit=True):
        got, message = embed(folder, TEXTS)
        self.assertIsNotNone(got, message)
        for text, v in zip(TEXTS, got.astype(np.float64)):
            want = reference(folder, text, rows, weights, mapping, unit)
            cosine = v @ want / np.linalg.norm(v) / np.linalg.norm(want)
            self.assertGreaterEqual(cosine, 1 - 1e-12, text)
            self.assertLessEqual(np.abs(v - want).max(), 1e-6 * max(1, np.linalg.norm(want)), text)
        for level in ("scalar", "avx2,scalar"):
            self.assertEqual(embed(folder, TEXTS, cpu=level)[0].tobytes(), got.tobytes(), level)
        many, _ = embed(folder, TEXTS * 60)
        self.assertEqual(many.tobytes(), got.tobytes() * 60)

    def test_types(self):
        half = self.rows.astype("<f2")
        bits = (self.rows.view("<u4") >> 16).astype("<u2")
        for dtype, stored, rows in (("F32", self.rows, self.rows), ("F16", half, half),
                                    ("BF16", bits, (bits.astype("<u4") << 16).view("<f4"))):
            folder = os.path.join(self.cwd, dtype)
            write(folder, {"embeddings": (dtype, stored)}, {"model_type": "model2vec", "normalize": True, "hidden_dim": 9})
            self.compare(folder, dtype, rows)

    def test_weights_and_mapping(self):
        folder = os.path.join(self.cwd, "m")
        weights = np.abs(self.random.standard_normal(1003)).astype("<f4")
        mapping = self.random.randint(0, 100, 1003)
        modules = [("StaticEmbedding", "."), ("Normalize", "1_Normalize")]
        write(folder, {"mapping": ("I64", mapping.astype("<i8")), "embeddings": ("F32", self.rows[:100]), "weights": ("F32", weights)},
              {"embedding_dtype": "float32", "normalize": True}, modules)
        self.compare(folder, "F32", self.rows[:100], weights, mapping)
        write(folder, {"embedding.weight": ("F32", self.rows[:100]), "mapping": ("I32", mapping.astype("<i4"))},
              {"embedding_dtype": "float32"}, modules[:1])
        self.compare(folder, "F32", self.rows[:100], None, mapping, unit=False)

    def nested(self, name, normalize=True, kind="sentence_transformers.models.StaticEmbedding", path="0_StaticEmbedding", change=None):
        """As sentence-transformers saves a model of one StaticEmbedding: no config.json, table and tokenizer in the module's folder."""
        folder = os.path.join(self.cwd, name)
        inner = os.path.join(folder, path)
        write(inner, {"embedding.weight": ("F32", self.rows)}, {})
        for extra in ("config.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
            os.remove(os.path.join(inner, extra))
        modules = [{"idx": 0, "name": "0", "path": path, "type": kind}]
        if normalize:
            modules.append({"idx": 1, "name": "1", "path": "1_Normalize", "type": "sentence_transformers.models.Normalize"})
        with open(os.path.join(folder, "modules.json"), "w") as file:
            json.dump(modules, file)
        with open(os.path.join(folder, "config_sentence_transformers.json"), "w") as file:
            json.dump({"prompts": {}, "default_prompt_name": None, "__version__": {"sentence_transformers": "3.3.0"}}, file)
        if change:
            with open(os.path.join(inner, "tokenizer.json"), encoding="utf-8") as file:
                content = json.load(file)
            content.update(change)
            with open(os.path.join(inner, "tokenizer.json"), "w", encoding="utf-8") as file:
                json.dump(content, file)
        return folder

    def held(self, folder, texts, unit, inner="0_StaticEmbedding"):
        """To the reference: the mean of all tokens' rows, the unknown one's too, of as many as its tokenizer keeps."""
        tokenizer = Tokenizer.from_file(os.path.join(folder, inner, "tokenizer.json"))
        tokenizer.no_padding()
        got, message = embed(folder, texts)
        self.assertIsNotNone(got, message)
        for text, v in zip(texts, got.astype(np.float64)):
            want = self.rows[tokenizer.encode(text, add_special_tokens=False).ids].astype(np.float64).mean(0)
            want /= np.linalg.norm(want)
            np.testing.assert_allclose(v / np.linalg.norm(v), want, atol=5e-6, err_msg=text)
        return got

    def test_nested(self):
        plain = self.held(self.nested("plain", False), TEXTS + ["[UNK]", "lan gut kolor " * 250], False)
        for kind in ("sentence_transformers.models.static_embedding.StaticEmbedding",
                     "sentence_transformers.sentence_transformer.modules.static_embedding.StaticEmbedding"):
            folder = self.nested("n%d" % len(kind), True, kind)
            self.assertEqual(self.held(folder, TEXTS, True).shape, plain[:len(TEXTS)].shape)
        info = self.ok("model", "info", folder, "--json").json
        self.assertEqual((info["family"], info["dimensions"], info["weights_file"]), ("static", 50, "model.safetensors"))
        self.ok("model", "import", folder, "--name", "nested", "--dimension", 50)
        self.assertIn("nested", [m["name"] for m in self.ok("model", "list", "--json").json["models"]])
        self.ok("model", "verify", "nested")
        self.assertEqual(self.ok("model", "info", "nested", "--json").json["fingerprint"], info["fingerprint"])
        with open(os.path.join(folder, "0_StaticEmbedding", "model.safetensors"), "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\x01")
        self.assertNotEqual(self.ok("model", "info", folder, "--json").json["fingerprint"], info["fingerprint"])

    def test_nested_truncation(self):
        cut = {"max_length": 5, "strategy": "LongestFirst", "stride": 0}
        folder = self.nested("cut", change={"truncation": dict(cut, direction="Right")})
        self.assertEqual(self.ok("model", "info", folder, "--json").json["max_sequence_length"], 5)
        self.held(folder, ["kolor ban", "gut"], True)
        self.refused(1, "reads 5", "embed", "lan gut ban kolor mor ben", "--model", folder)
        got = np.frombuffer(self.ok("embed", "lan gut ban kolor mor ben kan", "--model", folder, "--format", "f32", "--truncate").out, "<f4")
        want = self.held(folder, ["lan"], True)
        self.assertEqual(got.shape, want[0].shape)
        folder = self.nested("left", change={"truncation": dict(cut, direction="Left")})
        self.refused(1, "keeps the end of a long text", "embed", "a", "--model", folder)

    def test_nested_refused(self):
        folder = self.nested("r", path="0_Transformer", kind="sentence_transformers.models.Transformer")
        self.refused(4, "no config.json beside it", "embed", "a", "--model", folder)
        folder = self.nested("out", path="..x/../0_StaticEmbedding")
        self.refused(1, "leads out of", "embed", "a", "--model", folder)
        folder = self.nested("none")
        os.remove(os.path.join(folder, "0_StaticEmbedding", "tokenizer.json"))
        self.refused(4, "neither tokenizer.json", "embed", "a", "--model", folder)
        folder = self.nested("beside")
        with open(os.path.join(folder, "config.json"), "w") as file:
            file.write('{"model_type":"model2vec"}')
        self.refused(1, "only the model's own folder", "embed", "a", "--model", folder)

    def test_command(self):
        folder = os.path.join(self.cwd, "static")
        write(folder, {"embeddings": ("F32", self.rows)}, {"model_type": "model2vec", "normalize": True, "max_length": 20, "is_matryoshka": True})
        self.ok("model", "import", folder, "--name", "table", "--dimension", 50)
        self.refused(1, "50 dimensions, not the 51", "model", "import", folder, "--name", "no", "--dimension", 51)
        info = self.ok("model", "info", "table", "--json").json
        self.assertEqual((info["family"], info["dimensions"], info["max_sequence_length"], info["layers"]), ("model2vec", 50, 20, 0))
        got = np.frombuffer(self.ok("embed", "kolor ban", "--model", "table", "--format", "f32", "--dimensions", 7).out, "<f4")
        want = reference(folder, "kolor ban", self.rows[:, :7])
        np.testing.assert_allclose(got, want, atol=1e-6)
        ids = self.ok("tokenize", "--json", "[UNK] kolor 🦉", "--model", "table").json["tokens"]
        self.assertNotIn("[CLS]", ids)
        self.assertNotIn("[UNK]", ids)
        self.refused(1, "no token that the model has a row for", "embed", "🦉", "--model", "table")
        self.refused(1, "reads 20", "embed", "lan " * 30, "--model", "table")
        cut = np.frombuffer(self.ok("embed", "lan " * 30, "--model", "table", "--format", "f32", "--truncate").out, "<f4")
        np.testing.assert_allclose(cut, reference(folder, "lan " * 20, self.rows), atol=1e-6)
        self.refused(1, "nothing to quantise", "model", "quantize", "table")
        self.write("in.jsonl", "".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in enumerate(TEXTS[:4] + ["mor ben kan. " * 60, "🦉"])))
        self.ok("add", "in.jsonl", "--id-field", "id")
        filled = self.ok("fill", "--model", "table", "--json").json
        self.assertEqual((filled["empty"], filled["failed"]), (1, 0), filled)  # the owl
        self.assertEqual(self.ok("search", "kolor", "--model", "table", "--json").json["hits"][0]["key"], "1")
        self.ok("verify", "--model", "table")

    def test_unknown(self):
        """The name of the unknown token in a text: model2vec drops it, wordllama takes its row; a BPE over characters is no other."""
        rows = self.random.standard_normal((270, 9)).astype("<f4")
        vocab = ["<unk>", "a", "b", "ab", "\u2581", "\u2581a"] + [f"<0x{i:02X}>" for i in range(256)]
        model = {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": {n: i for i, n in enumerate(vocab)},
                 "merges": ["a b", "\u2581 a"]}
        for kind in ("model2vec", "wordllama"):
            folder = os.path.join(self.cwd, kind)
            write(folder, {"embedding.weight": ("F32", rows[:len(vocab)])}, {"model_type": kind, "normalize": True})
            with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as file:
                json.dump({"model": model, "pre_tokenizer": None, "normalizer": {"type": "Sequence", "normalizers": [
                    {"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
                    
                    "added_tokens": [dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False) | {"id": 0, "content": "<unk>", "special": True}]}, file)
            for name in ("tokenizer_config.json", "vocab.txt"):
                if os.path.exists(os.path.join(folder, name)):
                    os.remove(os.path.join(folder, name))
            texts, tokenizer = ["ab", "abab c<unk>b", "\u4e2d"], Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
            got, message = embed(folder, texts)
            self.assertIsNotNone(got, message)
            for text, v in zip(texts, got):
                ids = [i for i in tokenizer.encode(text, add_special_tokens=False).ids if i or kind == "wordllama"]
                want = rows[ids].astype(np.float64).mean(0)
                np.testing.assert_allclose(v, want / np.linalg.norm(want), atol=1e-6)

    def test_wordllama(self):
        """The package's own table, held to its own vectors."""
        code = """if 1:
            import json, os, sys, numpy, wordllama
            texts = json.load(sys.stdin)
            package = os.path.dirname(wordllama.__file__)
            model = wordllama.WordLlama.load(cache_dir=package, disable_download=True)
            numpy.save(sys.argv[1], model.embed(texts, norm=True))
            print(package)
        """
        out = os.path.join(self.cwd, "want.npy")
        texts = TEXTS[:4] + ["<unk> said</s>", "\u4e2d\u6587 \U0001f600 na\u00efve", "  two  blanks ", "Prepend \u2581 it", "a" * 3000]
        run = subprocess.run([sys.executable, "-c", code, out], input=json.dumps(texts), capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        package, folder = run.stdout.split()[-1], os.path.join(self.cwd, "package")
        os.makedirs(folder)
        shutil.copy(os.path.join(package, "weights", "l2_supercat_256.safetensors"), os.path.join(folder, "model.safetensors"))
        shutil.copy(os.path.join(package, "tokenizers", "l2_supercat_tokenizer_config.json"), os.path.join(folder, "tokenizer.json"))
        with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
            json.dump({"model_type": "wordllama", "normalize": True}, file)
        got, message = embed(folder, texts)
        self.assertIsNotNone(got, message)
        for text, v, want in zip(texts, got.astype(np.float64), np.load(out).astype(np.float64)):
            self.assertGreaterEqual(v @ want / np.linalg.norm(v) / np.linalg.norm(want), 1 - 1e-9, text)

    def test_damaged(self):
        folder, good = os.path.join(self.cwd, "bad"), {"embeddings": ("F32", self.rows)}
        config = {"model_type": "model2vec"}
        infinite = self.rows.copy()
        infinite[:] = np.inf
        cases = [({"embeddings": ("I8", self.rows.astype("i1"))}, "not of type F32"), ({"embeddings": ("F32", self.rows[0])}, "no shape"),
                 ({"other": ("F32", self.rows)}, "\"embeddings\" is missing"), ({"embeddings": ("F32", self.rows[:500])}, "1003 ids"),
                 ({"embeddings": ("F32", infinite)}, "not finite"), ({"embeddings": ("F32", self.rows * 0)}, "zero"),
                 (dict(good, weights=("F32", self.rows[:, 0][:7])), "one number"), (dict(good, weights=("F32", infinite[:, 0])), "NaN or infinity"),
                 ({"weights": ("F64", np.ones(1003)), **good}, "one number"),
                 ({"mapping": ("I64", np.full(1003, 1003)), **good}, "row that is not there"), ({"mapping": ("I64", np.full(1003, -1)), **good}, "row that is not"),
                 ({"mapping": ("I64", np.zeros((1003, 1), "<i8")), **good}, "list of whole numbers"), (dict(good, mapping=("I8", np.zeros(1003, "i1"))), "list of whole")]
        for tensors, part in cases:
            write(folder, tensors, config)
            got, message = embed(folder, ["kolor"])
            self.assertIsNone(got, part)
            self.assertIn(part, message)
        for modules, part in (([("Transformer", "")], "Transformer in a model of type model2vec"), ([("StaticEmbedding", "0_StaticEmbedding")], "0_StaticEmbedding"),
                              ([("StaticEmbedding", "."), ("Dense", "1_Dense")], "Dense in a model")):
            write(folder, good, config, modules)
            self.assertIn(part, embed(folder, ["kolor"])[1])
        write(folder, good, {"model_type": "model2vec", "max_length": 0})
        self.assertIn("max_length is 0", embed(folder, ["kolor"])[1])


if __name__ == "__main__":
    unittest.main()
