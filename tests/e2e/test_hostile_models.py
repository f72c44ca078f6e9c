"""Model folders that are torn, damaged or lying: each is refused in one line that names the file (and
for the weights the tensor and a byte), or it works and gives finite vectors. Never a crash, a hang or a
read past the end: the suite runs this under the sanitizers too.
"""
import json
import os
import random
import shutil
import struct
import subprocess
import tempfile
import unittest

import numpy as np

from folders import embed, tiny

LONG = os.environ.get("QUERN_LONG") == "1"
TEXTS = ["banana kolor", "a"]
FILES = ["config.json", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "tokenizer.json",
         "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "model.safetensors"]
REQUIRED = {"config.json", "1_Pooling/config.json", "model.safetensors"}


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.good = os.path.join(cls.scratch.name, "good")
        tiny(cls.good, "--length", 24)
        cls.n = 0

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def copy(self):
        type(self).n += 1
        folder = os.path.join(self.scratch.name, "m%d" % self.n)
        shutil.copytree(self.good, folder)
        self.addCleanup(shutil.rmtree, folder)
        return folder

    def refused(self, folder, *parts):
        vectors, message = embed(folder, TEXTS)
        self.assertIsNone(vectors, "accepted: " + parts[0])
        for part in parts:
            self.assertIn(part, message)
        self.assertEqual(message.count("\n"), 1, message)
        self.assertLess(len(message), 560)

    def sane(self, folder, name):
        vectors, message = embed(folder, TEXTS)
        if vectors is None:
            self.assertEqual(message.count("\n"), 1, message)
        else:
            self.assertTrue(np.isfinite(vectors).all(), name)
        return vectors

    def header(self, folder):
        with open(os.path.join(folder, "model.safetensors"), "rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
            return header, file.read()

    def put(self, folder, header, data):
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(os.path.join(folder, "model.safetensors"), "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text + data)

    def test_good(self):
        vectors, message = embed(self.good, TEXTS)
        self.assertIsNotNone(vectors, message)
        vectors, message = embed(self.good, [b"\xff\xfe"])
        self.assertIsNone(vectors)  # invalid UTF-8 in a text is refused unless replacing is asked for
        self.assertIn("EFORMAT", message)

    def test_absent(self):
        for name in sorted(REQUIRED):
            folder = self.copy()
            os.remove(os.path.join(folder, name))
            self.refused(folder, "ENOTFOUND", name)
        folder = self.copy()
        os.remove(os.path.join(folder, "tokenizer.json"))
        self.assertIsNotNone(self.sane(folder, "vocab.txt alone"))
        os.remove(os.path.join(folder, "vocab.txt"))
        self.refused(folder, "ENOTFOUND")
        self.refused(folder + "-nowhere", "ENOTFOUND")

    def test_not_files(self):
        for name in FILES:
            folder = self.copy()
            path = os.path.join(folder, name)
            os.remove(path)
            os.mkdir(path)
            self.sane(folder, name)
            os.rmdir(path)
            os.symlink("/dev/zero", path)
            self.sane(folder, name)
            os.remove(path)
            os.mkfifo(path)
            self.sane(folder, name)

    def test_torn(self):
        for name in FILES:
            folder = self.copy()
            path = os.path.join(folder, name)
            size = os.path.getsize(path)
            for cut in sorted({0, 1, 7, 8, 9, size // 3, size // 2, size - 9, size - 2} & set(range(size))):
                shutil.copyfile(os.path.join(self.good, name), path)
                os.truncate(path, cut)
                if name in REQUIRED:
                    self.refused(folder, "EFORMAT", name)
                else:
                    self.sane(folder, "%s at %d" % (name, cut))

    def test_longer(self):
        folder = self.copy()
        with open(os.path.join(folder, "model.safetensors"), "ab") as file:
            file.write(b"x")
        self.refused(folder, "EFORMAT", "model.safetensors", "byte")

    def test_tensors(self):
        header, data = self.header(self.good)
        last = list(header)[-1]
        for name in [k for k in header if k != "__metadata__"]:
            folder = self.copy()
            shape = header[name]["shape"]
            other = {"shape": shape[::-1]} if len(shape) == 2 and shape[0] != shape[1] else {"shape": [1] + shape}
            self.put(folder, dict(header, **{name: dict(header[name], **other)}), data)
            self.refused(folder, "EFORMAT", name, "byte")
            self.put(folder, dict(header, **{name: dict(header[name], dtype="I32")}), data)
            self.refused(folder, "EFORMAT", name)
            renamed = {("x." + k if k == name else k): v for k, v in header.items()}
            self.put(folder, renamed, data)
            self.refused(folder, "EFORMAT", name)
            begin, end = header[name]["data_offsets"]
            self.put(folder, dict(header, **{name: dict(header[name], data_offsets=[begin + 4, end + 4])}), data)
            self.refused(folder, "EFORMAT", "byte", *([name] if name == last else []))

    def test_rotary_tensors(self):
        """Each tensor of the last layer and around the layers: gone, of another shape, not finite. In the short form a third."""
        for n, family in enumerate(("modernbert", "nomic_bert", "qwen3")):
            folder = os.path.join(self.scratch.name, family)
            tiny(folder, "--family", family, "--hidden", 12, "--heads", 2, "--head-dim", 8, "--layers", 2, "--intermediate", 10, "--biases")
            self.assertIsNotNone(self.sane(folder, family))
            header, data = self.header(folder)
            for i, name in enumerate(header):
                if name == "__metadata__" or ".0." in name or not LONG and i % 3 != n:
                    continue
                without = {k: v for k, v in header.items() if k != name}
                without["unused"] = header[name]
                self.put(folder, without, data)
                self.refused(folder, 'tensor "%s" is missing' % name)
                shape = header[name]["shape"]
                self.put(folder, {**header, name: {**header[name], "shape": shape[::-1] if len(set(shape)) == 2 else [1] + shape}}, data)
                self.refused(folder, 'tensor "%s"' % name, "shape")
                at = header[name]["data_offsets"][1] - 4
                self.put(folder, header, data[:at] + b"\0\0\xc0\x7f" + data[at + 4:])
                if "embed" not in name or "norm" in name:  # a row of words is looked at when it is used
                    self.refused(folder, name, "NaN")
            self.put(folder, header, data)

    def test_settings_of_families(self):
        """What config.json alone decides is in the fingerprint; what is not computed here is refused."""
        plain = {"num_attention_heads": 3, "layer_norm_eps": 0.0625, "num_hidden_layers": 1}
        for family, changes in (("bert", plain), ("roberta", {**plain, "pad_token_id": 0}), ("xlm-roberta", {**plain, "pad_token_id": 0}),
                                ("mpnet", {"layer_norm_eps": 0.0625, "num_hidden_layers": 1, "pad_token_id": 0}), ("distilbert", {"n_heads": 3, "n_layers": 1}),
                                ("t5", {"layer_norm_epsilon": 0.0625, "num_layers": 1}),
                                ("nomic_bert", {"rotary_emb_base": 99.0, "layer_norm_epsilon": 0.0625, "n_head": 3, "n_layer": 1}),
                                ("modernbert", {"global_rope_theta": 99.0, "local_attention": 6, "norm_eps": 0.0625}),
                                ("qwen3", {"rope_theta": 99.0, "rms_norm_eps": 0.0625, "num_hidden_layers": 1})):
            folder = os.path.join(self.scratch.name, family + "-settings")
            tiny(folder, "--family", family, "--hidden", 12, "--heads", 2, "--layers", 2, "--intermediate", 10, "--length", 20,
                 *(("--head-dim", 8) if family in ("modernbert", "qwen3") else ()))
            path = os.path.join(folder, "config.json")
            with open(path, encoding="utf-8") as file:
                config = json.load(file)
            seen = set()
            for change in [{}] + [{k: v} for k, v in changes.items()]:
                with open(path, "w", encoding="utf-8") as file:
                    json.dump({**config, **change}, file)
                done = subprocess.run([os.environ["QUERN_BIN"], "embed", "--model", folder, "ban gut kolor"], capture_output=True, text=True, check=True)
                seen.add(json.loads(done.stdout)["fingerprint"])
            self.assertEqual(len(seen), 1 + len(changes), family)
            with open(path, "w", encoding="utf-8") as file:  # a default that is spelt out says nothing new
                json.dump({**config, "hidden_dropout_prob": 0.5, **({"pad_token_id": 1} if "pad_token_id" in changes else {})}, file)
            done = subprocess.run([os.environ["QUERN_BIN"], "embed", "--model", folder, "ban gut kolor"], capture_output=True, text=True, check=True)
            self.assertIn(json.loads(done.stdout)["fingerprint"], seen)
            if family == "qwen3":
                for change in ({"is_causal": False}, {"use_bidirectional_attention": True}):
                    with open(path, "w", encoding="utf-8") as file:
                        json.dump({**config, **change}, file)
                    self.refused(folder, "config.json", *change)

    def test_numbers(self):
        cases = {"hidden_size": [0, -1, 79, 81, 160, 2**31, 2**64, 1e300, "80", None, [80], True],
                 "num_attention_heads": [0, 3, 80 * 2, 2**32 + 5], "num_hidden_layers": [0, 2**32 + 3, 4, 255],
                 "intermediate_size": [0, 199, 2**63], "vocab_size": [0, 5, 1004, 2**40],
                 "max_position_embeddings": [0, 1, 25, 2**33], "type_vocab_size": [0, 3, -2],
                 "layer_norm_eps": [0, -1e-12, "1e-12", 1e9], "hidden_act": ["relu", "gelu_new", 5],
                 "model_type": ["gpt2", "llama", "", 7], "position_embedding_type": ["relative_key"],
                 "is_decoder": [True]}
        with open(os.path.join(self.good, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        for key, values in cases.items():
            for value in values:
                folder = self.copy()
                with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
                    json.dump(dict(config, **{key: value}), file)
                if isinstance(value, str) and key in ("hidden_act", "model_type") or key == "is_decoder":
                    self.refused(folder, "EUNSUPPORTED", "config.json", key)
                else:
                    self.refused(folder, "EFORMAT" if key != "position_embedding_type" else "EUNSUPPORTED")

    def test_fewer_layers_than_weights(self):
        """Tensors that the configuration has no place for change nothing that is computed: allowed."""
        folder = self.copy()
        header, data = self.header(folder)
        header["pooler.dense.extra"] = {"dtype": "F32", "shape": [1], "data_offsets": [len(data), len(data) + 4]}
        self.put(folder, header, data + b"\0\0\0\0")
        self.assertIsNotNone(self.sane(folder, "extra tensor"))

    def test_not_finite(self):
        header, data = self.header(self.good)
        begin, end = header["encoder.layer.1.output.dense.bias"]["data_offsets"]
        for value in (float("nan"), float("inf"), 3e38):
            folder = self.copy()
            self.put(folder, header, data[:begin] + struct.pack("<f", value) * ((end - begin) // 4) + data[end:])
            vectors = self.sane(folder, "weights of %r" % value)
            if value != 3e38:
                self.assertIsNone(vectors)

    def test_vocabulary(self):
        """Token ids that the embedding table does not have are never looked up."""
        folder = self.copy()
        path = os.path.join(folder, "tokenizer.json")
        with open(path, encoding="utf-8") as file:
            tokenizer = json.load(file)
        for ids in (5000, 2**31, 2**32, 2**64, -1, 1.5, None, "7"):
            tokenizer["model"]["vocab"]["banan"] = ids
            with open(path, "w", encoding="utf-8") as file:
                json.dump(tokenizer, file)
            vectors, _ = embed(folder, ["banana"])
            self.assertIsNone(vectors, ids)

    def test_flips(self):
        """Seeded damage: bytes changed, runs removed and doubled, in every file."""
        draw = random.Random(7)
        for name in FILES:
            folder = self.copy()
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                good = file.read()
            reach = min(len(good), 6000)  # the weights' own bytes may be anything: the header is what counts
            for _ in range(200 if LONG else 12):
                bad = bytearray(good)
                for _ in range(draw.randrange(1, 4)):
                    if not bad:
                        break
                    at = draw.randrange(max(1, min(reach, len(bad) - 1)))
                    kind = draw.randrange(4)
                    if kind == 0:
                        bad[at] ^= 1 << draw.randrange(8)
                    elif kind == 1:
                        bad[at:at + draw.randrange(1, 30)] = b""
                    elif kind == 2:
                        bad[at:at] = bad[at:at + draw.randrange(1, 30)]
                    else:
                        bad[at:at + 1] = draw.choice([b"-1", b"99999999999999999999", b"[[[[", b'"', b"\\ud800", b"\xff"])
                with open(path, "wb") as file:
                    file.write(bad)
                self.sane(folder, name)


if __name__ == "__main__":
    unittest.main()
