"""The formats that weights come in: whichever a folder has, the vectors are those of its safetensors file to
the bit; of several the first in the order of docs/formats.md is read; and what is torn, lies or is no tensor
is refused in one line. Files are written by tests/support/weight_files.py.
"""
import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from collections import OrderedDict

import numpy as np

from folders import embed, tiny

sys.path.insert(0, os.path.join(os.environ["QUERN_ROOT"], "tests", "support"))
import weight_files as files  # noqa: E402

import test_tokenizer_families as families  # noqa: E402 (its reference tokenizers)

LONG = os.environ.get("QUERN_LONG") == "1"
TEXTS = ["banana kolor", "a", "the ins and outs of it"]
SINGLE = "model.safetensors"


class Formats(unittest.TestCase):
    n = 0
    SHAPE = ()

    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.good = os.path.join(cls.scratch.name, "good")
        tiny(cls.good, "--length", 24, *cls.SHAPE)
        cls.tensors = files.read_safetensors(os.path.join(cls.good, SINGLE))
        cls.vectors, message = embed(cls.good, TEXTS)
        assert cls.vectors is not None, message


    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def folder(self, weights=()):
        """A copy of the model without weights, and with the files given."""
        Formats.n += 1
        folder = os.path.join(self.scratch.name, "m%d" % Formats.n)
        shutil.copytree(self.good, folder, ignore=shutil.ignore_patterns(SINGLE))
        self.addCleanup(shutil.rmtree, folder)
        for name, data in dict(weights).items():
            self.put(folder, name, data)
        return folder

    def put(self, folder, name, data):
        os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)

    def same(self, folder):
        vectors, message = embed(folder, TEXTS)
        self.assertIsNotNone(vectors, message)
        self.assertEqual(vectors.tobytes(), self.vectors.tobytes())

    def refused(self, folder, *parts):
        vectors, message = embed(folder, TEXTS)
        self.assertTrue(vectors is None, "accepted: " + str(parts))
        for part in parts:
            self.assertIn(part, message)
        self.assertEqual(message.count("\n"), 1, message)
        self.assertLess(len(message), 560)

    def info_text(self, folder, *flags):
        done = subprocess.run([os.environ["QUERN_BIN"], "model", "info", folder, *flags], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def info(self, folder):
        return json.loads(self.info_text(folder, "--json"))

    def damaged(self, folder, name, good, rounds):
        """Seeded damage to a file: refused in one line, or finite vectors."""
        draw = random.Random(name)
        reach = min(len(good), 6000)
        for cut in sorted({0, 1, 3, 4, 8, 9, len(good) // 3, len(good) // 2, len(good) - 9, len(good) - 1}):
            self.put(folder, name, good[:cut])
            self.refused(folder)
        for _ in range(rounds * (20 if LONG else 1)):
            bad = bytearray(good)
            for _ in range(draw.randrange(1, 4)):
                at = draw.randrange(reach) if draw.random() < 0.5 else len(bad) - 1 - draw.randrange(min(reach, len(bad)))
                kind = draw.randrange(4)
                if kind == 0:
                    bad[at] ^= 1 << draw.randrange(8)
                elif kind == 1:
                    bad[at:at + draw.randrange(1, 30)] = b""
                elif kind == 2:
                    bad[at:at] = bad[at:at + draw.randrange(1, 30)]
                else:
                    bad[at:at + 8] = draw.choice([b"\xff" * 8, b"\0" * 8, b"\xff\xff\xff\x7f" * 2, b"\x80" * 8])
            self.put(folder, name, bad)
            vectors, message = embed(folder, TEXTS)
            if vectors is None:
                self.assertEqual(message.count("\n"), 1, message)
            else:
                self.assertTrue(np.isfinite(vectors).all())


class Names(Formats):
    def test_gamma_and_beta(self):
        """As the first BERT checkpoints call them, and under the prefix of a model with a head."""
        old = {"bert." + k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
               for k, v in self.tensors.items()}
        self.same(self.folder({SINGLE: files.safetensors(old)}))
        both = dict(old, **{"bert.embeddings.LayerNorm.weight": old["bert.embeddings.LayerNorm.gamma"]})
        self.refused(self.folder({SINGLE: files.safetensors(both)}), "EFORMAT", "two of this name")


class Sharded(Formats):
    INDEX = "model.safetensors.index.json"

    def shards(self, n=3):
        folder = self.folder()
        return folder, files.write_sharded(folder, self.tensors, n)

    def test_same(self):
        for n in (1, 3, 40):
            self.same(self.shards(n)[0])
        folder, _ = self.shards()
        shutil.copyfile(os.path.join(self.good, SINGLE), os.path.join(folder, SINGLE))
        os.remove(os.path.join(folder, "model-00002-of-00003.safetensors"))
        self.same(folder)  # the single file comes first

    def test_info(self):
        folder, _ = self.shards(2)
        lines = b""
        for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
            with open(os.path.join(folder, name), "rb") as file:
                lines += b"%s  %s\n" % (hashlib.sha256(file.read()).hexdigest().encode(), name.encode())
        info = self.info(folder)
        self.assertEqual((info["weights_format"], info["weights_file"]), ("safetensors", self.INDEX))
        self.assertEqual(info["weights_sha256"], hashlib.sha256(lines).hexdigest())
        shutil.copyfile(os.path.join(self.good, SINGLE), os.path.join(folder, SINGLE))
        info = self.info(folder)
        with open(os.path.join(folder, SINGLE), "rb") as file:
            self.assertEqual(info["weights_sha256"], hashlib.sha256(file.read()).hexdigest())
        self.assertEqual(info["weights_file"], SINGLE)

    def test_index_lies(self):
        first, second, third = ("model-0000%d-of-00003.safetensors" % i for i in (1, 2, 3))
        name = "encoder.layer.1.output.dense.bias"
        folder, index = self.shards()
        path = os.path.join(folder, self.INDEX)

        def told(where, *parts):
            files.put_json(path, dict(index, weight_map=where))
            self.refused(folder, self.INDEX, *parts)

        where = index["weight_map"]
        other = {first: second, second: third, third: first}[where[name]]
        told(dict(where, **{name: other}), "EFORMAT", name, "byte")
        told({k: v for k, v in where.items() if k != name}, "EFORMAT", name, "not in the index")
        told(dict(where, extra=first), "EFORMAT", "extra")
        told(dict(where, **{"a\0b": first}), "EFORMAT")
        told({}, "EFORMAT")
        told([], "EFORMAT")
        for bad in ("../" + first, "/" + first, "", ".", ".." , "x/" + first, "model.bin", 5, None, "a" * 200 + ".safetensors"):
            told(dict(where, extra=bad), "EFORMAT")
        told({name: "f%d.safetensors" % i for i, name in enumerate(where)}, "EFORMAT", "40")
        for text in ("", "{", "[]", "{}", '{"weight_map":{"a":"model-00001-of-00003.safetensors"}} x',
                     '{"weight_map":{},"weight_map":{}}'):
            self.put(folder, self.INDEX, text.encode())
            self.refused(folder, "EFORMAT", self.INDEX)
        self.put(folder, self.INDEX, b'{"weight_map":{%s}}' % b",".join(
            b'"%s":"%s"' % (k.encode(), v.encode()) for k, v in list(where.items()) + [(name, where[name])]))
        self.refused(folder, "EFORMAT", name, "twice")

    def test_shards_lie(self):
        second = "model-00002-of-00003.safetensors"
        folder, index = self.shards()
        kept = {k: v for k, v in self.tensors.items() if index["weight_map"][k] == second}
        name = next(iter(self.tensors))
        os.remove(os.path.join(folder, second))
        self.refused(folder, "ENOTFOUND", second)
        self.put(folder, second, files.safetensors(dict(kept, **{name: self.tensors[name]})))
        self.refused(folder, "EFORMAT", name, second)  # in two files
        self.put(folder, second, files.safetensors(dict(kept, more=self.tensors[name])))
        self.refused(folder, "EFORMAT", "more", "not in the index")
        short = dict(list(kept.items())[1:])
        self.put(folder, second, files.safetensors(short))
        self.refused(folder, "EFORMAT", next(iter(kept)))

    def test_damaged(self):
        folder, _ = self.shards()
        with open(os.path.join(folder, self.INDEX), "rb") as file:
            self.damaged(folder, self.INDEX, file.read(), 20)


class Torch(Formats):
    NAME = "pytorch_model.bin"
    WRITERS = (files.torch_zip, files.torch_legacy)

    def test_same(self):
        folder = self.folder()
        for write in self.WRITERS:
            self.put(folder, self.NAME, write(self.tensors))
            self.same(folder)
            info = self.info(folder)
            self.assertEqual((info["weights_format"], info["weights_file"]), ("pytorch", self.NAME))
        half = {k: v.astype("<f2") for k, v in self.tensors.items()}
        single = self.folder({SINGLE: files.safetensors(half)})
        wanted, message = embed(single, TEXTS)
        self.assertIsNotNone(wanted, message)
        for write in self.WRITERS:
            self.put(folder, self.NAME, write(half))
            vectors, message = embed(folder, TEXTS)
            self.assertIsNotNone(vectors, message)
            self.assertEqual(vectors.tobytes(), wanted.tobytes())

    def test_shapes_of_storages(self):
        """Parameters, transposed matrices, several tensors in one storage, integers, an empty tensor."""
        name = "encoder.layer.0.intermediate.dense.weight"
        rows, columns = self.tensors[name].shape
        names = list(self.tensors)
        both = np.concatenate([self.tensors[n].ravel() for n in names[:3]])
        cuts = np.cumsum([0] + [self.tensors[n].size for n in names[:3]])
        state = dict(self.tensors)
        for n, at in zip(names[:3], cuts):
            state[n] = files.Tensor(both, "all", offset=int(at), shape=self.tensors[n].shape)
        state[name] = files.Parameter(files.Tensor(np.ascontiguousarray(self.tensors[name].T), "t",
                                                   shape=(rows, columns), stride=(1, rows)))
        state["embeddings.position_ids"] = np.arange(24, dtype="<i8")[None]
        state["none"] = files.Tensor(np.zeros(0, "<f4"), "e", shape=(0, 7))
        for write in self.WRITERS:
            self.same(self.folder({self.NAME: write(state)}))

    def test_sharded(self):
        folder = self.folder()
        files.write_sharded(folder, self.tensors, 3, "pytorch_model", "bin", files.torch_zip)
        self.same(folder)
        self.put(folder, SINGLE, b"torn")
        self.refused(folder, "EFORMAT", SINGLE)  # a damaged file that comes first is not passed over

    def test_code_is_refused(self):
        class Evil:
            def __init__(self, function, *arguments):
                self.what = function, arguments

            def __reduce__(self):
                return self.what

        target = os.path.join(self.scratch.name, "evil")
        folder = self.folder()
        cases = [(Evil(os.system, "touch " + target), "system"), (Evil(eval, "1"), "eval"), (Evil(getattr, 1, "real"), "getattr"),
                 ({1, 2}, "set"), (np.float32(1), "numpy"), (OrderedDict, "no dictionary"),
                 (Evil(OrderedDict, [("a", 1)]), "OrderedDict"), (object(), "object"), (complex(1, 2), "complex")]
        for value, word in cases:
            for write in self.WRITERS:
                self.put(folder, self.NAME, write({}, value=value))
                self.refused(folder, "EFORMAT", self.NAME, "byte", word)
                self.put(folder, self.NAME, write(dict(self.tensors, bad=value)))
                self.refused(folder, "EFORMAT", "byte")
        self.assertFalse(os.path.exists(target))
        for value in (1, None, "text", 1.5, [], (), {}, True, b"bytes", {"a": {}}):
            for write in self.WRITERS:
                self.put(folder, self.NAME, write(dict(self.tensors, bad=value)))
                self.refused(folder, "EFORMAT", "byte")
        for value in (1, [], {}, {"a": 1}, {1: files.Tensor(np.zeros(1, "<f4"), "0")},
                      {"model": dict(files.state_dict(self.tensors))}):
            for write in self.WRITERS:
                self.put(folder, self.NAME, write({}, value=value))
                self.refused(folder, "EFORMAT")

    def test_tensors_lie(self):
        name = "encoder.layer.0.output.dense.bias"
        data = self.tensors[name]
        n = data.size
        T = lambda **k: files.Tensor(data, "k", **k)
        lies = [T(offset=1), T(offset=-1), T(offset=2**62), T(shape=(n + 1,)), T(shape=(2**40, 2**40)), T(shape=(-1,)),
                T(shape=(2**63,)), T(shape=(n,), stride=(2,)), T(shape=(n,), stride=(0,)), T(shape=(n,), stride=(1, 1)),
                T(shape=(4, 4), stride=(1, 5)), T(shape=[n]), T(shape=(1,) * 9, stride=(1,) * 9), T(kind="Double"),
                T(kind="Half", shape=(2 * n,)), T(function="_rebuild_tensor"), files.Tensor(data, "")]
        folder = self.folder()
        for lie in lies:
            for write in self.WRITERS:
                self.put(folder, self.NAME, write(dict(self.tensors, **{name: lie})))
                self.refused(folder, "EFORMAT", "byte")
        two = dict(self.tensors)
        two[name], two["other"] = files.Tensor(data, "k"), files.Tensor(data[:5], "k")
        for write in self.WRITERS:  # one storage, described twice
            self.put(folder, self.NAME, write(two))
            self.refused(folder, "EFORMAT", "byte")
        self.put(folder, self.NAME, files.torch_legacy(self.tensors) + b"x")
        self.refused(folder, "EFORMAT", "behind the last")
        self.put(folder, self.NAME, files.torch_legacy(self.tensors, little=False))
        self.refused(folder, "EFORMAT", "little")

    def test_archives_lie(self):
        folder = self.folder()
        cases = [(dict(compress=True), "compressed"), (dict(order=b"big"), "little"),
                 (dict(extra={"pytorch_model/constants.pkl": b"x"}), "TorchScript"),
                 (dict(extra={"other/data.pkl": b"x"}), "two data.pkl")]
        for how, word in cases:
            self.put(folder, self.NAME, files.torch_zip(self.tensors, **how))
            self.refused(folder, "EFORMAT", word, "byte")
        for bad in (b"", b"PK", b"PK\3\4", b"\x80\2.", b"\x80\4\x95", b"hello", b"PK\5\6" + b"\0" * 18):
            self.put(folder, self.NAME, bad)
            self.refused(folder, "EFORMAT", self.NAME, "byte")
        for protocol in (0, 1, 3, 4):
            data, _ = files.pickled(files.state_dict({}), protocol=protocol)
            self.put(folder, self.NAME, files.torch_zip({}, value={}).replace(files.pickled({})[0], data[:5]))
            self.refused(folder, "EFORMAT")

    def test_damaged(self):
        folder = self.folder()
        for write in self.WRITERS:
            self.damaged(folder, self.NAME, write(self.tensors), 20)


class Onnx(Formats):
    NAME = "model.onnx"

    def test_same(self):
        folder = self.folder()
        for style in ("fused", "spelt", "gemm", "turned"):
            for types in ("input", "constant", "folded"):
                for names in (True, False):
                    self.put(folder, self.NAME, files.onnx(self.tensors, style=style, types=types, names=names,
                                                           end="state" if names else "mean"))
                    self.same(folder)
        info = self.info(folder)
        self.assertEqual((info["weights_format"], info["weights_file"]), ("onnx", self.NAME))
        self.put(folder, "onnx/model.onnx", b"torn")
        self.same(folder)
        shutil.copyfile(os.path.join(folder, self.NAME), os.path.join(folder, "onnx/model.onnx"))
        os.remove(os.path.join(folder, self.NAME))
        self.same(folder)
        self.assertEqual(self.info(folder)["weights_file"], "onnx/model.onnx")

    FUSED = ("packed", "many", "separate", "scaled", "opset23", "apart")

    def test_operations_that_stand_for_several(self):
        folder = self.folder()
        for style in self.FUSED:
            self.put(folder, self.NAME, files.onnx_fused(self.tensors, style=style))
            with self.subTest(style=style):
                self.same(folder)
        os.remove(os.path.join(folder, "modules.json"))
        self.put(folder, self.NAME, files.onnx_fused(self.tensors, end="cls_unit"))
        info = self.info(folder)
        self.assertEqual((info["pooling"], info["pooling_origin"]), ("cls", "onnx"))

    def test_fused_numbers_lie(self):
        """Every input and attribute of such an operation that could change a number."""
        folder = self.folder()

        def told(style, at, *parts, code="EUNSUPPORTED", inputs=None, **attributes):
            def change(g, op, given, said):
                if op == at:
                    inputs(g, given) if inputs else None
                    said.update(attributes)
                return given, said
            self.put(folder, self.NAME, files.onnx_fused(self.tensors, style=style, change=change))
            with self.subTest(style=style, at=at, attributes=attributes):
                self.refused(folder, code, *parts)

        def put(i, value):
            def at(g, given):
                given += [""] * (i + 1 - len(given))
                given[i] = value(g) if callable(value) else g.constant(value)
            return at

        attention = {"packed": "Attention", "many": "MultiHeadAttention", "separate": "MultiHeadAttention", "opset23": "Attention", "apart": "Attention"}
        zeros, ramp = np.zeros((1, 1, 1, 24), "<f4"), np.arange(24, dtype="<f4").reshape(1, 1, 1, 24)
        for style, op in attention.items():
            told(style, op, op, "times 0.5;", scale=0.5)
            told(style, op, op, "times -0.25;", scale=-0.25)
            told(style, op, op, "times nan;", scale=float("nan"))
        for style in ("packed", "many", "separate"):
            told(style, attention[style], "unidirectional", unidirectional=1)
            told(style, attention[style], "heads", num_heads=7)
            told(style, attention[style], "heads", num_heads=0)
            told(style, attention[style], "heads", num_heads=-5)
            told(style, attention[style], "num_attention_heads", num_heads=10, scale=80 ** -0.5 * 10 ** 0.5, code="EMISMATCH")
            told(style, attention[style], "has a past, or adds to its scores", inputs=put(5, zeros))
            mask = 3 if style == "packed" else 4
            for value in (np.array([2], "<i4"), np.zeros((1, 24), "<i4"), np.array([3, 1], "<i4"), ramp):
                if value.dtype.kind == "i":
                    value = value.astype("<i8")
                told(style, attention[style], "a mask", inputs=put(mask, value))
        told("scaled", "FusedMatMul", "Softmax", "times 0.5;", alpha=0.5)
        told("scaled", "FusedMatMul", "FusedMatMul", transB=0)
        for switch in ("transA", "transBatchA", "transBatchB"):
            told("scaled", "FusedMatMul", switch, **{switch: 1})
        told("packed", "Attention", "do_rotary", do_rotary=1)
        told("packed", "Attention", "qkv_hidden_sizes", qkv_hidden_sizes=[80, 80, 80])
        told("packed", "Attention", "has a past", inputs=put(4, zeros))
        told("packed", "Attention", "packed weights", inputs=put(1, np.zeros((80, 80), "<f4")))
        told("packed", "Attention", "packed weights", inputs=put(2, np.zeros(80, "<f4")))
        told("packed", "Attention", "no rows of 79", inputs=put(1, np.zeros((79, 240), "<f4")))
        told("many", "MultiHeadAttention", "biases", inputs=put(3, np.zeros(80, "<f4")))
        told("separate", "MultiHeadAttention", "second bias", inputs=put(3, np.zeros(240, "<f4")))
        for style in ("opset23", "apart"):
            told(style, "Attention", "is_causal", is_causal=1)
            told(style, "Attention", "softcap", softcap=30.0)
            told(style, "Attention", "times 0", scale=0.0)
            told(style, "Attention", "has a past", inputs=put(4, zeros))
            for value in (ramp, zeros + 1, np.zeros((1, 1, 1, 24), "|u1")):
                told(style, "Attention", "a mask", inputs=put(3, (lambda g: g.node("Cast", g.constant(value), to=9)) if value.dtype == np.dtype("|u1") else value))
        told("opset23", "Attention", "heads of", kv_num_heads=1)
        told("apart", "Attention", "rows of queries", q_num_heads=5, kv_num_heads=5)
        for op in ("SkipLayerNormalization", "EmbedLayerNormalization"):
            told("packed", op, "epsilon", epsilon=1e-3)
        told("packed", "SkipLayerNormalization", "SkipLayerNormalization", inputs=put(4, zeros))
        told("packed", "SkipLayerNormalization", "SkipLayerNormalization", inputs=put(1, np.zeros(80, "<f4")))
        told("packed", "EmbedLayerNormalization", "positions than from 0", inputs=put(8, np.arange(1, 25, dtype="<i8").reshape(1, 24)))
        told("packed", "EmbedLayerNormalization", "token types other than 0", inputs=put(1, np.array([[1]], "<i8")))
        told("packed", "BiasGelu", "BiasGelu", inputs=put(1, np.zeros((1, 96), "<f4")))
        self.put(folder, self.NAME, files.onnx_fused(self.tensors).replace(b"\x22\x08BiasGelu", b"\x22\x08FastGelu"))
        self.refused(folder, "EUNSUPPORTED", "FastGelu", "another function")
        self.put(folder, self.NAME, files.onnx_fused(self.tensors).replace(b"com.microsoft", b"com.macrosoft"))
        self.refused(folder, "EUNSUPPORTED", "no result of the graph")

    def test_another_graph(self):
        """What is no encoder is refused by the name of the node."""
        folder = self.folder()

        def told(where, change, *parts, **how):
            self.put(folder, self.NAME, files.onnx(self.tensors, change=lambda g, w, v: change(g, v) if w == where else None, **how))
            self.refused(folder, "EUNSUPPORTED", self.NAME, "byte", *parts)

        odd = lambda op, **more: lambda g, v: g.node(op, v, name="the odd one", **more)
        layer = "encoder.layer.1."
        for where in ("embeddings", layer + "attention.self.query", layer + "scores", layer + "active", layer + "output.dense"):
            for op, more in (("Tanh", {}), ("Relu", {}), ("Sigmoid", {}), ("QuantizeLinear", {}),
                             ("FastGelu", {"domain": "com.microsoft"}), ("Gelu", {"approximate": "tanh"})):
                told(where, odd(op, **more), "the odd one", op)
        other = lambda g, v: g.node("Add", v, g.keep("more", np.ones(80, "<f4")))
        told(layer + "attention.self.key", other, "Add")
        told("pooled", lambda g, v: g.node("Gemm", v, g.keep("dense", np.ones((80, 80), "<f4"))), "behind", end="mean")
        told(layer + "scores", lambda g, v: "nobody's", "nothing before it")

    def test_numbers_lie(self):
        """A graph whose numbers are not the encoder's would have other vectors: each is refused, with its node and the number."""
        folder = self.folder()
        layer = "encoder.layer.1."

        def told(style, lies, *parts, change=None, types="input", code="EUNSUPPORTED"):
            hook = change and (lambda g, w, v: change[1](g, v) if w == change[0] else None)
            self.put(folder, self.NAME, files.onnx(self.tensors, style=style, types=types, lies=lies, change=hook))
            with self.subTest(style=style, lies=lies, where=change and change[0]):
                self.refused(folder, code, *parts)

        node = lambda op, *more, **how: lambda g, v: g.node(op, v, *[m if isinstance(m, str) else g.constant(np.array(m, "<f4")) for m in more],
                                                            name="the odd one", **how)
        for style in ("spelt", "fused"):  # the scale of scores: another, none, turned round, one for each column, unknown
            told(style, {"root": 3}, "Softmax", "0.3333")
            told(style, {"root": 1}, "Softmax", "times 1;")
            told(style, {"scale by": "Mul"}, "Softmax", "times 4;")
            told(style, {"root": 0}, "Div", "not one known number")
            told(style, {}, "the odd one", "Mul", "not one known number", change=(layer + "scores", node("Mul", [1, 2])))
            told(style, {}, "the odd one", "not one known number", change=(layer + "attention.self.query", node("Mul", np.linspace(1, 2, 80))))
            told(style, {}, "Softmax", "times 0.5;", change=(layer + "attention.self.key", node("Mul", 2)))
            told(style, {}, "values that are times 3", change=(layer + "attention.self.value", node("Mul", 3)))
            told(style, {}, "times 2", change=(layer + "output.dense", node("Mul", 2)))
            told(style, {"softmax axis": 2}, "Softmax", "axis 2")
            told(style, {"softmax axis": -2}, "Softmax", "axis -2")
            # masks: one that hides nothing from nobody, a slope of distances, a causal one
            told(style, {"mask": 2}, "Add", "adds -1e+09")
            slope = lambda g, v: g.node("Add", v, g.node("Cast", g.node("Unsqueeze", "attention_mask", g.constant(np.array([1, 2], "<i8"))), to=1), name="slope")
            told(style, {}, "Add", "adds 1 to the scores", change=("mask", slope))

            def alibi(g, v):
                n = g.node("Squeeze", g.node("Slice", g.node("Shape", "input_ids"), g.constant(np.array([1], "<i8")), g.constant(np.array([2], "<i8"))))
                places = g.node("Range", g.constant(np.array(0, "<i8")), n, g.constant(np.array(1, "<i8")))
                return g.node("Cast", g.node("Sub", g.node("Unsqueeze", places, g.constant(np.array([0], "<i8"))),
                                             g.node("Unsqueeze", places, g.constant(np.array([1], "<i8")))), to=1)
            told(style, {}, "Add", "not known to be a mask", change=("mask", lambda g, v: g.node("Add", v, alibi(g, v))))
            low, high = (lambda g: g.constant(np.array(-1e9, "<f4"))), (lambda g: g.constant(np.array(0, "<f4")))
            told(style, {}, "Add", "not known to be a mask",
                 change=("mask", lambda g, v: g.node("Add", v, g.node("Where", g.node("Greater", alibi(g, v), high(g)), low(g), high(g)))))
            # a window that only a long text meets
            told(style, {}, "Add", "not known to be a mask",
                 change=("mask", lambda g, v: g.node("Add", v, g.node("Where", g.node("Greater", alibi(g, v), g.constant(np.array(20, "<f4"))), low(g), high(g)))))
            told(style, {"heads": 4}, "heads")
            # rows and the same in another axis: each with each
            told(style, {}, "Add", "than either", change=(layer + "output.dense", lambda g, v: g.node("Reshape", v, g.constant(np.array([-1, 1, 80], "<i8")))))
            told(style, {"perm": [0, 2, 3, 1]}, "heads")
            told(style, {"join": [0, 1, 2, 3]}, "rows")
            told(style, {"start": 1}, "positions from 0")
            told(style, {"start": 1}, "rows of a table", types="folded")
            told(style, {"type": 1}, "all of type 0", types="constant")
            told(style, {}, "Cast", "type 6", change=(layer + "active", node("Cast", to=6)))
            told(style, {}, "Cast", "type 10", change=("matrix of " + layer + "output.dense", node("Cast", to=10)))
            told(style, {}, "the odd one", "training", change=(layer + "active", lambda g, v: g.node("Dropout", v, g.constant(np.array(0.1, "<f4")), g.constant(np.array(1, "|u1")), name="the odd one")))
        told("spelt", {"one": 2}, "Add", "adds 2")
        told("spelt", {"half": 1}, "GELU times 1 before it")
        told("spelt", {"root of two": 1}, "Erf", "times 1;")
        told("spelt", {"erf by": "Mul"}, "Erf", "times 1.41421;")
        told("spelt", {"two": 3}, "Pow", "exponent 3")
        told("spelt", {"two": [2] * 79 + [3]}, "Pow", "not one known number")
        told("spelt", {"mean axis": 1}, "ReduceMean", "last axis")
        told("spelt", {"variance axis": 1}, "ReduceMean", "last axis")
        told("fused", {"norm axis": 1}, "LayerNormalization", "axis 1")
        told("fused", {"norm": {"stash_type": 16}}, "LayerNormalization", "type 16")
        told("gemm", {"alpha": 0.5}, "Gemm", "alpha")
        for style in ("spelt", "fused"):
            told(style, {"epsilon": 1e-3}, "layer_norm_eps", "0.001", code="EMISMATCH")
        told("fused", {"epsilon": None}, "layer_norm_eps", "1e-05", code="EMISMATCH")
        for style in ("spelt", "fused"):
            self.put(folder, self.NAME, files.onnx(self.tensors, style=style, heads=10))
            self.refused(folder, "EMISMATCH", "num_attention_heads", "10")
            for axis in (3, -1, None):  # said in other words
                self.put(folder, self.NAME, files.onnx(self.tensors, style=style, lies={"softmax axis": axis, "norm axis": 2, "epsilon": 1e-7}))
                self.same(folder)

    def test_pooling_of_the_graph(self):
        """Without modules.json a graph that pools is believed, and one that does so in nobody's way is refused."""
        folder, plain = self.folder(), self.folder()
        for where in (folder, plain):
            for name in ("modules.json", "1_Pooling"):
                path = os.path.join(where, name)
                shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
        self.put(folder, self.NAME, files.onnx(self.tensors))
        self.assertEqual((self.info(folder)["pooling"], self.info(folder)["pooling_origin"]), ("mean", "assumed"))
        said = {"mean": "mean", "plain": "mean", "cls": "cls", "last": "lasttoken", "max": "max", "sqrt": "mean_sqrt_len"}
        for how, name in said.items():
            for unit in ("", "_unit"):
                self.put(folder, self.NAME, files.onnx(self.tensors, style="spelt", end=how + unit))
                with self.subTest(how=how + unit):
                    info = self.info(folder)
                    self.assertEqual(info["pooling_origin"], "onnx")
                    if how == "sqrt" and unit:
                        name = "mean"  # of length 1 they are the same
                    self.assertEqual(info["pooling"], name)
        self.put(folder, self.NAME, files.onnx(self.tensors, end="sum_unit"))
        self.assertEqual(self.info(folder)["pooling"], "mean")
        for how in ("sum", "median", "median_unit"):
            self.put(folder, self.NAME, files.onnx(self.tensors, end=how))
            self.refused(folder, "EUNSUPPORTED", "modules.json", "--pooling")
            self.put(plain, self.NAME, files.onnx(self.tensors, end=how))
            for name in ("modules.json", "1_Pooling/config.json"):
                os.makedirs(os.path.dirname(os.path.join(plain, name)), exist_ok=True)
                shutil.copyfile(os.path.join(self.good, name), os.path.join(plain, name))
            self.same(plain)  # there the modules say it
        self.put(folder, self.NAME, files.onnx(self.tensors, end="mean", change=lambda g, w, v: g.node("Tanh", v, name="squash") if w == "pooled" else None))
        self.refused(folder, "EUNSUPPORTED", "--pooling")
        few, many = (lambda g: g.constant(np.array(1e-12, "<f4"))), (lambda g: g.constant(np.array(5, "<f4")))
        for length in (lambda g, v: g.node("Max", v, few(g), many(g)), lambda g, v: g.node("Clip", v, few(g), many(g)),
                       lambda g, v: g.node("Clip", v, few(g), g.node("Cosh", many(g)))):  # the last: of a number that is not known here
            self.put(folder, self.NAME, files.onnx(self.tensors, end="mean_unit", change=lambda g, w, v: length(g, v) if w == "length" else None))
            self.refused(folder, "EUNSUPPORTED", "--pooling")
        for length in (lambda g, v: g.node("Max", v, few(g)), lambda g, v: g.node("Clip", v, few(g), "")):
            self.put(folder, self.NAME, files.onnx(self.tensors, end="mean_unit", change=lambda g, w, v: length(g, v) if w == "length" else None))
            self.assertEqual(self.info(folder)["pooling"], "mean")

    def test_tensors_lie(self):
        folder = self.folder()
        name = "encoder.layer.1.output.dense"
        swapped = dict(self.tensors)
        a, b = ("encoder.layer.1.attention.self.%s.bias" % p for p in ("query", "key"))

        def keep_as(where, called, **more):
            g_keep = files.Graph.keep
            files.Graph.keep = lambda g, n, v, **k: g_keep(g, called if n == where else n, v, **(more if n == where else k))
            try:
                return files.onnx(self.tensors, style="gemm")
            finally:
                files.Graph.keep = g_keep

        self.put(folder, self.NAME, keep_as("m.%s" % a, "m.%s" % b.replace("layer.1", "layer.2")))
        self.refused(folder, "EFORMAT", "twice")
        self.put(folder, self.NAME, keep_as("m.%s" % a, "m.encoder.layer.9.attention.self.query.bias"))
        self.refused(folder, "EUNSUPPORTED", "m.encoder.layer.9", "wants another", "byte")
        where = "m.%s.weight" % name
        self.put(folder, self.NAME, keep_as(where, where, float_data=True))
        self.same(folder)
        for extra, word in (((13, files.proto((1, "location"), (2, "x.data"))), "another file"), ((1, 7), "sizes")):
            self.put(folder, self.NAME, keep_as(where, where, extra=[extra]))
            self.refused(folder, "EUNSUPPORTED", *([name, word] if extra[0] != 1 else []))
        self.put(folder, self.NAME, keep_as(where, where, extra=[(14, 1)]))
        self.refused(folder, "EUNSUPPORTED", "beside the graph")
        self.put(folder, self.NAME, keep_as(where, where, extra=[(9, b"more")]))
        self.refused(folder, "EFORMAT", "two pieces")
        del swapped[name + ".bias"]
        swapped[name + ".bias"] = np.zeros(81, "<f4")
        self.put(folder, self.NAME, files.onnx(swapped))
        self.refused(folder, "EFORMAT", name, "81")
        self.put(folder, self.NAME, files.onnx(self.tensors, layers=2))
        self.refused(folder, "EFORMAT", "encoder.layer.2.", "missing")

    def outside(self, location="model.onnx_data", **how):
        """A graph whose tensors lie in a file beside it, and that file."""
        blob = bytearray()
        files.Graph.outside = (blob, location)
        try:
            return files.onnx(self.tensors, **how), bytes(blob)
        finally:
            files.Graph.outside = None

    def test_data_beside_the_graph(self):
        for front in ("", "onnx/"):
            graph, data = self.outside()
            folder = self.folder({front + "model.onnx": graph, front + "model.onnx_data": data})
            self.same(folder)
            info = self.info(folder)
            self.assertEqual(info["weights_file"], front + "model.onnx")
            lines = "".join("%s  %s\n" % (hashlib.sha256(b).hexdigest(), front + n)
                            for n, b in (("model.onnx", graph), ("model.onnx_data", data)))
            self.assertEqual(info["weights_sha256"], hashlib.sha256(lines.encode()).hexdigest())
            self.put(folder, front + "model.onnx_data", data[:-3])
            self.refused(folder, "EUNSUPPORTED", "behind the end of its file")
            os.remove(os.path.join(folder, front + "model.onnx_data"))
            self.refused(folder, "model.onnx_data")
        for location in ("../model.onnx_data", "/etc/passwd", "a/b", "..", "x\\y", "x" * 200, "\x01", "c:x"):
            folder = self.folder({"model.onnx": self.outside(location)[0]})
            self.refused(folder, "EUNSUPPORTED", "beside the graph")
        self.refused(self.folder({"model.onnx": self.outside("model.onnx")[0]}), "in the graph itself")
        graph, data = self.outside()
        for old, new in ((b"\x12\x010", b"\x12\x01-"), (b"\x12\x010", b"\x12\x01x")):
            self.assertIn(old, graph)
            self.refused(self.folder({"model.onnx": graph.replace(old, new, 1), "model.onnx_data": data}), "EFORMAT", "no number")

    def test_a_file_of_nothing_beside_the_graph(self):
        """It has a name and a hash like others; what should lie in it is missed by name."""
        def change(g, where, value):
            if not any(b"nothing" in t for t in g.stored):
                g.stored.append(files.onnx_tensor("nothing", np.zeros(0, "<f4"), outside=(bytearray(), "model.nothing")))
        graph = files.onnx(self.tensors, change=change)
        folder = self.folder({"model.onnx": graph, "model.nothing": b""})
        self.same(folder)
        lines = "".join("%s  %s\n" % (hashlib.sha256(b).hexdigest(), n) for n, b in (("model.nothing", b""), ("model.onnx", graph)))
        self.assertEqual(self.info(folder)["weights_sha256"], hashlib.sha256(lines.encode()).hexdigest())
        graph, data = self.outside()
        folder = self.folder({"model.onnx": graph, "model.onnx_data": b""})
        self.refused(folder, "EUNSUPPORTED", "behind the end of its file")

    def test_codes(self):
        """Quantised weights are those of the numbers that they stand for, to the bit."""
        folder, plain = self.folder(), self.folder()
        for how in ("cast", "zero", "linear"):
            self.put(plain, SINGLE, files.safetensors({n: files.unquantised(t, how) if t.ndim == 2 else t for n, t in self.tensors.items()}))
            wanted = embed(plain, TEXTS)[0]
            for style in ("spelt", "gemm", "turned"):
                files.Graph.codes = how
                try:
                    self.put(folder, self.NAME, files.onnx(self.tensors, style=style))
                finally:
                    files.Graph.codes = None
                with self.subTest(how=how, style=style):
                    vectors, message = embed(folder, TEXTS)
                    self.assertIsNotNone(vectors, message)
                    self.assertEqual(vectors.tobytes(), wanted.tobytes())
            self.assertNotEqual(wanted.tobytes(), self.vectors.tobytes())
        one = lambda name: name.startswith("embeddings.")
        self.put(plain, SINGLE, files.safetensors({n: files.unquantised(t, "zero", one(n)) if t.ndim == 2 else t for n, t in self.tensors.items()}))
        wanted = embed(plain, TEXTS)[0]
        for style in ("spelt", "fused"):  # as quantize_dynamic makes them: the weights are these, the activations stay in the class
            files.Graph.codes = "dynamic"
            try:
                self.put(folder, self.NAME, files.onnx(self.tensors, style=style))
            finally:
                files.Graph.codes = None
            vectors, message = embed(folder, TEXTS)
            self.assertIsNotNone(vectors, message)
            self.assertEqual(vectors.tobytes(), wanted.tobytes())
        with open(os.path.join(folder, self.NAME), "rb") as file:
            dynamic = file.read()
        for old, new in ((b"MatMulInteger", b"MatMulInteges"), (b"DynamicQuantizeLinear", b"DynamicQuantizeLineas")):
            self.put(folder, self.NAME, dynamic.replace(old, new))
            self.refused(folder, "EUNSUPPORTED", new.decode())
        self.damaged(folder, self.NAME, dynamic, 8)
        files.Graph.codes = "linear"
        try:
            graph = files.onnx(self.tensors, style="turned")
        finally:
            files.Graph.codes = None
        for size in (0, 16):  # 0: none
            files.Graph.codes, files.Graph.block = "linear", {"block_size": size}
            try:
                for style in ("gemm", "turned", "spelt"):
                    self.put(folder, self.NAME, files.onnx(self.tensors, style=style))
                    if size:
                        self.refused(folder, "EUNSUPPORTED", "DequantizeLinear")
                    else:
                        self.assertIsNotNone(embed(folder, TEXTS)[0], style)
            finally:
                files.Graph.codes, files.Graph.block = None, {}
        self.put(folder, self.NAME, graph.replace(b"DequantizeLinear", b"EequantizeLinear"))
        self.refused(folder, "EUNSUPPORTED", "EequantizeLinear")
        self.damaged(folder, self.NAME, graph, 12)

    def test_no_model(self):
        folder = self.folder()
        for bad in (b"", b"\0", b"\x3a\xff\xff\xff\xff\x0f", b"\xff" * 20, files.proto((7, b"")), files.proto((7, b""), (7, b"")),
                    files.proto((25, b"x")), files.proto((7, files.proto((15, b"x")))), files.proto((7, files.proto((1, 5)))), b"hello"):
            self.put(folder, self.NAME, bad)
            self.refused(folder, self.NAME, "byte")

    def test_damaged(self):
        folder = self.folder()
        for style in ("spelt", "gemm"):
            self.damaged(folder, self.NAME, files.onnx(self.tensors, style=style), 12)
        for style in self.FUSED:
            self.damaged(folder, self.NAME, files.onnx_fused(self.tensors, style=style), 6)


class Gguf(Formats):
    NAME = "model-any.gguf"
    SHAPE = ("--hidden", 64, "--heads", 4, "--intermediate", 96)  # rows of whole blocks

    def test_same(self):
        folder = self.folder({self.NAME: files.gguf(self.tensors)})
        self.same(folder)
        info = self.info(folder)
        self.assertEqual((info["weights_format"], info["weights_file"]), ("gguf", self.NAME))
        self.put(folder, self.NAME, files.gguf(self.tensors, version=2))
        self.same(folder)
        self.put(folder, "pytorch_model.bin", files.torch_zip(self.tensors))
        self.put(folder, "other.gguf", b"")
        self.same(folder)
        os.remove(os.path.join(folder, "pytorch_model.bin"))
        self.refused(folder, "EINVAL", self.NAME, "other.gguf")

    def test_types(self):
        """What a type holds is what a safetensors file of those values gives."""
        narrow = {"f16": lambda v: v.astype("<f2").astype("<f4"), "q8_0": lambda v: files.q8_0(v)[1],
                  "bf16": lambda v: (v.view("<u4") & np.uint32(0xffff0000)).view("<f4")}
        for dtype, round_ in narrow.items():
            held = {k: np.ascontiguousarray(round_(np.ascontiguousarray(v))) if v.ndim == 2 else v for k, v in self.tensors.items()}
            wanted, message = embed(self.folder({SINGLE: files.safetensors(held)}), TEXTS)
            self.assertIsNotNone(wanted, message)
            vectors, message = embed(self.folder({self.NAME: files.gguf(self.tensors, dtype)}), TEXTS)
            self.assertIsNotNone(vectors, message)
            self.assertEqual(vectors.tobytes(), wanted.tobytes(), dtype)
            self.assertGreater((vectors * self.vectors).sum(axis=1).min(), 0.99)

    def test_lies(self):
        folder = self.folder()
        good = files.gguf(self.tensors)
        text = files.gguf_text
        name = "encoder.layer.1.output.dense.bias"

        def told(data, *parts):
            self.put(folder, self.NAME, data)
            self.refused(folder, self.NAME, "byte", *parts)

        told(files.gguf(self.tensors, pairs=[("general.architecture", 8, text("llama"))]), "EUNSUPPORTED", "llama")
        bert = ("general.architecture", 8, text("bert"))
        for pairs in ([], [bert, bert], [("general.architecture", 4, b"\0" * 4)], [bert, ("k", 13, b"")],
                      [bert, ("k", 9, struct.pack("<IQ", 9, 1))], [bert, ("k", 9, struct.pack("<IQ", 4, 2**62))],
                      [bert, ("k", 9, struct.pack("<IQ", 8, 2**60))], [bert, ("k", 8, struct.pack("<Q", 2**63))],
                      [bert, ("bert.attention.causal", 7, b"\1")], [bert, ("general.alignment", 4, struct.pack("<I", 3))],
                      [bert, ("general.alignment", 4, struct.pack("<I", 0))], [bert, ("general.alignment", 8, text(""))],
                      [bert, ("general.alignment", 4, struct.pack("<I", 64))]):
            told(files.gguf(self.tensors, pairs=pairs), "EFORMAT")
        for number, called in ((2, "Q4_0"), (12, "Q4_K"), (14, "Q6_K"), (99, "99")):
            told(files.gguf(self.tensors, types={name: number}), "EUNSUPPORTED", called, "ffn_down.bias")
        for number in (1, 8, 30):
            told(files.gguf(self.tensors, types={name: number}), "EFORMAT")
        told(files.gguf(dict(self.tensors, **{"blk.0.attn_q_norm.weight": self.tensors[name]})), "EUNSUPPORTED", "attn_q_norm")
        told(files.gguf(dict(self.tensors, **{"blk.00.attn_q.weight": self.tensors[name]})), "EUNSUPPORTED")
        told(files.gguf(dict(self.tensors, **{"blk.1.ffn_down.bias": self.tensors[name]})), "EFORMAT", "two of this name")
        told(files.gguf({k: v for k, v in self.tensors.items() if k != name}) + b"x", "EFORMAT")
        told(good + b"x", "EFORMAT", "behind")
        for version in (0, 1, 4, 1 << 24):
            told(files.gguf(self.tensors, version=version), "EUNSUPPORTED", "version")
        told(b"GGML" + good[4:], "EFORMAT")
        told(good[:8] + struct.pack("<Q", 2**63) + good[16:], "EFORMAT")
        self.put(folder, self.NAME, files.gguf({k: v for k, v in self.tensors.items() if k != name}))
        self.refused(folder, "EFORMAT", name)  # missing
        self.put(folder, self.NAME, files.gguf(dict(self.tensors, **{"cls.weight": self.tensors[name]})))
        self.same(folder)

    def test_damaged(self):
        self.damaged(self.folder(), self.NAME, files.gguf(self.tensors, "q8_0"), 25)


SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class GgufAlone(Formats):
    """A file without anything beside it: named itself, or alone in a folder."""
    NAME = "model-any.gguf"
    SHAPE = Gguf.SHAPE

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with open(os.path.join(cls.good, "config.json")) as f:
            cls.config = json.load(f)
        with open(os.path.join(cls.good, "vocab.txt"), encoding="utf-8") as f:
            cls.vocab = f.read().splitlines()

    def pairs(self, **more):
        ids = {w: i for i, w in enumerate(self.vocab)}
        usual = dict(bos_token_id=ids["[CLS]"], eos_token_id=ids["[SEP]"], seperator_token_id=ids["[SEP]"], padding_token_id=ids["[PAD]"],
                     unknown_token_id=ids["[UNK]"], mask_token_id=ids["[MASK]"], add_bos_token=True, add_eos_token=True,
                     normalizer__lowercase=True)
        return files.gguf_alone(self.config, "bert", *files.gguf_word_pieces(self.vocab, SPECIAL), **{**usual, **more})

    def alone(self, pairs, **more):
        folder = tempfile.mkdtemp(dir=self.scratch.name)
        self.addCleanup(shutil.rmtree, folder)
        self.put(folder, self.NAME, files.gguf(self.tensors, pairs=[(k, t, v) for k, (t, v) in pairs.items()], **more))
        return folder

    def test_same(self):
        folder = self.alone(self.pairs())
        self.same(folder)
        file = os.path.join(folder, self.NAME)
        self.same(file)
        wanted, info = self.info(self.good), self.info(file)
        self.assertEqual(info["tokenizer_sha256"], wanted["tokenizer_sha256"])
        self.assertEqual((info["pooling"], info["pooling_origin"], info["weights_file"]), ("mean", "gguf", self.NAME))
        self.assertRegex(self.info_text(file), r"(?m)^int8 +none$")  # and no word of how to make it, for it cannot be made
        self.assertEqual(self.info(folder)["fingerprint"], info["fingerprint"])
        self.put(folder, "other.gguf", b"")
        self.same(file)
        self.refused(folder, "ENOTFOUND", "config.json")
        self.put(folder, "config.json", b"{}")  # of the folder, which was not named
        self.same(file)

    def test_pooling(self):
        for number, name in ((2, "cls"), (3, "lasttoken")):
            pairs = self.pairs()
            pairs["bert.pooling_type"] = (4, struct.pack("<I", number))
            folder = self.alone(pairs)
            self.assertEqual(self.info(folder)["pooling"], name)
        for number in (0, 4, 99):
            pairs["bert.pooling_type"] = (4, struct.pack("<I", number))
            self.refused(self.alone(pairs), "EUNSUPPORTED", "bert.pooling_type is none of mean (1)")

    def test_command(self):
        folder = self.alone(self.pairs())
        for arguments, message in ((("embed", "a", "--precision", "int8"), "stands alone has no quantised weights"),
                                   (("embed", "a", "--backend", "ort"), "leave the backend native")):
            done = subprocess.run([os.environ["QUERN_BIN"], *arguments, "--model", os.path.join(folder, self.NAME)], capture_output=True,
                                  text=True)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(message, done.stderr)
        for command, message in (("quantize", "no place for quantised weights"), ("import", "read where it lies")):
            done = subprocess.run([os.environ["QUERN_BIN"], "model", command, os.path.join(folder, self.NAME)], capture_output=True, text=True)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(message, done.stderr)
        self.assertEqual(os.listdir(folder), [self.NAME])

    def test_refused_by_name(self):
        """What is missing, twice, of another type, unknown, or shows another tokenizer."""
        def told(change, *parts):
            pairs = self.pairs()
            change(pairs)
            self.refused(self.alone(pairs), *parts)

        for key in ("bert.block_count", "bert.context_length", "bert.embedding_length", "bert.feed_forward_length", "bert.attention.head_count",
                    "bert.attention.layer_norm_epsilon", "bert.pooling_type", "tokenizer.ggml.model", "tokenizer.ggml.tokens",
                    "tokenizer.ggml.token_type", "tokenizer.ggml.unknown_token_id"):
            told(lambda p: p.pop(key), "EUNSUPPORTED", "no " + key)
            told(lambda p: p.update({key: (5, b"\0" * 4)}), "EFORMAT", key + " has another type")
        told(lambda p: p.update({"bert.attention.head_count_kv": (4, struct.pack("<I", 1))}), "EUNSUPPORTED", "head_count_kv")
        told(lambda p: p.update({"bert.rope.freq_base": (6, b"\0" * 4)}), "EUNSUPPORTED", "bert.rope.freq_base", "not known")
        told(lambda p: p.update({"tokenizer.ggml.normalizer.form": (7, b"\1")}), "EUNSUPPORTED", "normalizer.form", "not known")
        told(lambda p: p.update({"tokenizer.ggml.add_bos_token": (7, b"\0")}), "EUNSUPPORTED", "add_bos_token is false")
        told(lambda p: p.update({"tokenizer.ggml.add_eos_token": (7, b"\0")}), "EUNSUPPORTED", "add_eos_token is false")
        told(lambda p: p.update({"tokenizer.ggml.add_bos_token": (7, b"\2")}), "EFORMAT", "truth value")
        told(lambda p: p.update({"tokenizer.ggml.cls_token_id": (4, struct.pack("<I", 0))}), "EUNSUPPORTED", "bos_token_id")
        told(lambda p: p.update({"tokenizer.ggml.unknown_token_id": (4, struct.pack("<I", 10**6))}), "EUNSUPPORTED", "is no token")
        told(lambda p: p.update({"bert.vocab_size": (4, struct.pack("<I", 7))}), "EUNSUPPORTED", "bert.vocab_size")
        for model in ("llama", "rwkv", "no_vocab", ""):
            told(lambda p: p.update({"tokenizer.ggml.model": (8, files.gguf_text(model))}), "EUNSUPPORTED", "tokenizer.ggml.model is none of")
        for model, missing in (("gpt2", "tokenizer.ggml.pre"), ("t5", "does not begin with <s>")):
            def other(p):
                p["tokenizer.ggml.model"] = (8, files.gguf_text(model))
                p.pop("tokenizer.ggml.normalizer.lowercase")
            told(other, "EUNSUPPORTED", missing)
            told(lambda p: p.update({"tokenizer.ggml.model": (8, files.gguf_text(model))}), "EUNSUPPORTED", "normalizer.lowercase is true")

    def test_tokens(self):
        """The vocabulary: kinds that the file does not explain, and pieces that show other ways."""
        tokens, kinds = files.gguf_word_pieces(self.vocab, SPECIAL)
        plain = kinds.index(1)

        def told(token, kind, *parts, **more):
            pairs = self.pairs(**more)
            pairs["tokenizer.ggml.tokens"] = (9, files.gguf_array(8, [token if i == plain else t for i, t in enumerate(tokens)]))
            pairs["tokenizer.ggml.token_type"] = (9, files.gguf_array(5, [kind if i == plain else k for i, k in enumerate(kinds)]))
            if "normalizer__lowercase" in more:
                pairs.pop("tokenizer.ggml.normalizer.lowercase")
            self.refused(self.alone(pairs), *parts)

        for kind in (0, 4, 6, 7, -1):
            told("\u2581x", kind, "EUNSUPPORTED", "token_type")
        told("\u2581\u4e2d\u6587", 1, "EUNSUPPORTED", "ideographs")
        told("\u2581", 1, "EFORMAT", "empty")
        told("", 1, "EFORMAT", "empty")
        told(b"\xff", 1, "EFORMAT", "UTF-8")
        told("\u2581Xa", 1, "EUNSUPPORTED", "is not lower-case", normalizer__lowercase=True)
        told("\u2581\u00e9", 1, "EUNSUPPORTED", "is not lower-case", normalizer__lowercase=True)
        told("\u2581" + self.vocab[plain + 1], 1, "EFORMAT")  # twice
        pairs = self.pairs()
        pairs["tokenizer.ggml.token_type"] = (9, files.gguf_array(5, kinds[1:]))
        self.refused(self.alone(pairs), "EUNSUPPORTED", "token_type is not one for each token")

    def test_cased(self):
        pairs = self.pairs(normalizer__lowercase=False)
        with open(os.path.join(self.good, "tokenizer.json")) as f:
            wanted = json.load(f)
        folder = self.folder({SINGLE: files.safetensors(self.tensors)})
        for accents in (None, True):
            if accents:
                pairs["tokenizer.ggml.normalizer.strip_accents"] = (7, b"\1")
            wanted["normalizer"].update(lowercase=False, strip_accents=accents)
            self.put(folder, "tokenizer.json", json.dumps(wanted).encode())
            self.assertEqual(self.info(self.alone(pairs))["tokenizer_sha256"], self.info(folder)["tokenizer_sha256"])

    def other(self, reference, model, tokens, kinds, **more):
        """The tokenizer of the file is that of the reference's tokenizer.json, by its hash."""
        tensors = dict(self.tensors)
        rows = tensors["embeddings.word_embeddings.weight"]
        tensors["embeddings.word_embeddings.weight"] = np.resize(rows, (len(tokens), rows.shape[1]))
        config = dict(self.config, vocab_size=len(tokens))
        folder = self.folder({SINGLE: files.safetensors(tensors), "config.json": json.dumps(config).encode(),
                              "tokenizer.json": reference.to_str().encode()})
        pairs = files.gguf_alone(config, model, tokens, kinds, **more)
        alone = tempfile.mkdtemp(dir=self.scratch.name)
        self.addCleanup(shutil.rmtree, alone)
        self.put(alone, self.NAME, files.gguf(tensors, pairs=[(k, t, v) for k, (t, v) in pairs.items()]))
        self.assertEqual(self.info(alone)["tokenizer_sha256"], self.info(folder)["tokenizer_sha256"])
        wanted, message = embed(folder, TEXTS)
        self.assertIsNotNone(wanted, message)
        vectors, message = embed(alone, TEXTS)
        self.assertIsNotNone(vectors, message)
        self.assertEqual(vectors.tobytes(), wanted.tobytes())

    def test_byte_level(self):
        made = json.loads(families.roberta().to_str())
        for token in made["added_tokens"]:  # as in the published file
            token["normalized"] = False
            made["model"]["vocab"][token["content"]] = token["id"]
        reference = families.Tokenizer.from_str(json.dumps(made))
        vocab = reference.get_vocab()
        tokens = sorted(vocab, key=vocab.get)
        special = {t["content"] for t in made["added_tokens"]}
        ids = {n: vocab[t] for n, t in (("bos_token_id", "<s>"), ("eos_token_id", "</s>"), ("mask_token_id", "<mask>"))}
        merges = [m if isinstance(m, str) else " ".join(m) for m in made["model"]["merges"]]
        for pre in ("roberta-bpe", "gpt-2"):
            self.other(reference, "gpt2", tokens, [3 if t in special else 1 for t in tokens], pre=(8, files.gguf_text(pre)),
                       merges=(9, files.gguf_array(8, merges)), **ids)

    def test_unigram(self):
        raw = families.spm()
        made, charsmap = families.read_spm(raw)
        pieces = [(n, 0.0) for n in ("<s>", "<pad>", "</s>", "<unk>")] + [(p, s) for p, s, _ in made[3:]] + [("<mask>", 0.0)]
        reference = families.unigram(raw, list(pieces), unk=3, white=False, strip=True, blanks="\u2581", normalized=())
        tokens, scores = [p for p, _ in pieces], [s for _, s in pieces]
        kinds = [3, 3, 3, 2] + [1] * (len(pieces) - 5) + [3]
        more = dict(bos_token_id=0, eos_token_id=2, mask_token_id=len(pieces) - 1, scores=(9, files.gguf_array(6, scores)),
                    precompiled_charsmap=(9, files.gguf_array(0, charsmap)), add_space_prefix=True)
        self.other(reference, "t5", tokens, kinds, **more)
        tokens[-1], kinds[-1], scores[-1] = "[PAD%d]" % len(pieces), 5, -10000.0  # as from a SentencePiece model, which has no mask
        self.other(reference, "t5", tokens, kinds, **dict(more, scores=(9, files.gguf_array(6, scores))))

    def test_damaged(self):
        folder = self.alone(self.pairs())
        with open(os.path.join(folder, self.NAME), "rb") as f:
            self.damaged(folder, self.NAME, f.read(), 40)


if __name__ == "__main__":
    unittest.main()
