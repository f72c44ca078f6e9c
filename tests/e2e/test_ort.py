"""--backend ort: exported graphs run by ONNX Runtime, the library of PyPI's package: near the native vectors, one text's vector
whatever is beside it, what a graph may ask for and give, threads, devices, and a library that is not there."""
import glob
import json
import os
import shutil
import struct
import subprocess
import sys
import time
import unittest

PYTHON = os.environ.get("QUERN_TEST_PYTHON", "")
if os.environ.get("QUERN_TEST_ORT") == "0":
    print("built without ONNX Runtime")
    sys.exit(77)
if PYTHON and os.path.exists(PYTHON) and os.path.realpath(sys.prefix) != os.path.realpath(os.path.dirname(os.path.dirname(PYTHON))):
    os.execv(PYTHON, [PYTHON] + sys.argv)

sys.path.insert(0, os.path.join(os.environ["QUERN_ROOT"], "tests", "support"))
try:
    import numpy as np
    import weight_files as files
    import onnxruntime
except ImportError as e:
    print("no Python with onnxruntime (tools/test-env): %s" % e)
    sys.exit(77)
from command import BIN, CommandTest, NO_WEIGHTS, WEIGHTS

LIBRARY = sorted(glob.glob(os.path.join(os.path.dirname(onnxruntime.__file__), "capi", "libonnxruntime.so*")))[0]
ORT = ("--backend", "ort", "--ort-library", LIBRARY)
TEXTS = ["ban", "a cat sat on the mat", "gut " * 9, "bo", "du! do?", "interest rates", "ban gut do re mi fa so la ti do", "x"]


class Graphs(CommandTest):
    """A folder like the tiny model's with a graph in place of its weights."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.tensors = {n: np.frombuffer(d, "<f4").reshape(s) for n, (k, s, d) in cls.read(cls.model).items() if k == "F32"}

    @staticmethod
    def read(folder):
        with open(os.path.join(folder, "model.safetensors"), "rb") as f:
            data = f.read()
        (n,) = struct.unpack("<Q", data[:8])
        return {name: (t["dtype"], t["shape"], data[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]])
                for name, t in json.loads(data[8:8 + n]).items() if name != "__metadata__"}

    def exported(self, graph, name="model.onnx", folder="exported"):
        folder = os.path.join(self.cwd, folder)
        shutil.rmtree(folder, True)
        shutil.copytree(self.model, folder)
        os.remove(os.path.join(folder, "model.safetensors"))
        os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
        with open(os.path.join(folder, name), "wb") as f:
            f.write(graph)
        return folder

    def encoder(self, style="spelt", **how):
        return files.onnx(self.tensors, style=style, **how)

    def vectors(self, folder, *args, texts=TEXTS, **how):
        out = self.ok("embed", "--model", folder, "--format", "f32", *args, stdin="\n".join(texts), **how).out
        return np.frombuffer(out, "<f4").reshape(len(texts), -1)

    def near(self, a, b, least=0.99999):
        self.assertEqual(a.shape, b.shape)
        self.assertGreaterEqual((a * b).sum(1).min(), least)


class Vectors(Graphs):
    def test_near_the_native_ones(self):
        native = self.vectors(self.model)
        for how in ({}, {"types": "constant"}, {"types": "folded", "names": False}):
            with self.subTest(how):
                self.near(self.vectors(self.exported(self.encoder(**how)), *ORT), native)
        self.near(self.vectors(self.exported(self.encoder(), "onnx/model.onnx"), *ORT), native)

    def test_alone_or_among_others(self):
        """The same bits whatever the batch, the order and the threads of texts."""
        folder = self.exported(self.encoder())
        all_at_once = self.vectors(folder, *ORT, "--threads", 2)
        self.assertTrue(np.array_equal(all_at_once, self.vectors(folder, *ORT, "--threads", 1, "--batch", 1)))
        self.assertTrue(np.array_equal(all_at_once[::-1], self.vectors(folder, *ORT, texts=TEXTS[::-1])))

    def test_pooling_and_lengths_are_ours(self):
        folder = self.exported(self.encoder())
        raw = self.vectors(folder, *ORT, "--no-normalize")
        self.assertGreater(np.abs((raw * raw).sum(1) - 1).min(), 0.01)
        with open(os.path.join(folder, "1_Pooling", "config.json")) as f:
            pooling = json.load(f)
        pooling.update(pooling_mode_mean_tokens=False, pooling_mode_cls_token=True)
        with open(os.path.join(folder, "1_Pooling", "config.json"), "w") as f:
            json.dump(pooling, f)
        cls = self.vectors(folder, *ORT)
        self.assertLess((cls * self.vectors(self.model)).sum(1).max(), 0.9999)
        os.rename(os.path.join(self.model, "1_Pooling"), os.path.join(self.cwd, "kept"))
        try:
            shutil.copytree(os.path.join(folder, "1_Pooling"), os.path.join(self.model, "1_Pooling"))
            self.near(cls, self.vectors(self.model))
        finally:
            shutil.rmtree(os.path.join(self.model, "1_Pooling"))
            os.rename(os.path.join(self.cwd, "kept"), os.path.join(self.model, "1_Pooling"))

    def test_a_family_that_is_not_known(self):
        """Nothing but the graph and a tokenizer is needed."""
        folder = self.exported(self.encoder())
        native = self.vectors(self.model)
        with open(os.path.join(folder, "config.json"), "w") as f:
            json.dump({"model_type": "deberta-v3"}, f)
        self.refused(1, "deberta-v3", "embed", "x", "--model", folder)
        self.near(self.vectors(folder, *ORT), native)
        self.near(self.vectors(folder, "--backend", "auto", "--ort-library", LIBRARY), native)
        answer = self.refused(1, "deberta-v3", "embed", "x", "--model", folder, "--backend", "auto", "--ort-library", "/none")
        self.assertIn("with ONNX Runtime: ", answer.message)
        self.ok("model", "import", folder, "--name", "graph", *ORT)
        self.near(self.vectors("graph", *ORT), native)
        self.refused(1, "deberta-v3", "model", "import", folder, "--name", "other")
        self.ok("model", "remove", "graph", "--yes")
        os.remove(os.path.join(folder, "config.json"))
        self.near(self.vectors(folder, *ORT), native)

    def test_auto_is_native_where_that_reads(self):
        folder = self.exported(self.encoder())
        info = self.ok("model", "info", folder, "--backend", "auto", "--json").json
        self.assertEqual((info["backend"], info["device"]), ("native", "cpu"))

    def test_fingerprint_names_the_library(self):
        folder = self.exported(self.encoder())
        one = self.ok("model", "info", folder, *ORT, "--json").json
        self.assertEqual(one["backend"], "onnxruntime " + onnxruntime.__version__)
        self.assertEqual(one["precisions"], ["graph"])
        self.assertNotEqual(one["fingerprint"], self.ok("model", "info", folder, "--json").json["fingerprint"])
        self.assertEqual(one["weights_sha256"], self.ok("model", "info", folder, "--json").json["weights_sha256"])
        levels = {level: self.ok("model", "info", folder, *ORT, "--ort-optimization", level, "--json").json["fingerprint"]
                  for level in ("disabled", "basic", "extended", "all")}
        self.assertEqual(len(set(levels.values())), 4)  # each rounds as it likes
        self.assertEqual(levels["all"], one["fingerprint"])
        self.assertEqual(self.ok("model", "info", folder, *ORT, "--device", "auto", "--json").json["fingerprint"] == one["fingerprint"],
                         "CUDAExecutionProvider" not in onnxruntime.get_available_providers())  # the device that computes, not the one asked for

    def test_data_beside_the_graph(self):
        """It is in the hash of the weights, and lies in the folder."""
        blob = bytearray()
        files.Graph.outside = (blob, "model.onnx_data")
        try:
            folder = self.exported(self.encoder())
        finally:
            files.Graph.outside = None
        with open(os.path.join(folder, "model.onnx_data"), "wb") as f:
            f.write(blob)
        self.near(self.vectors(folder, *ORT), self.vectors(self.model))
        hashes = [self.ok("model", "info", folder, *how, "--json").json["weights_sha256"] for how in (ORT, ())]
        self.assertEqual(*hashes)
        with open(os.path.join(folder, "model.onnx_data"), "r+b") as f:
            f.write(b"\1")
        self.assertNotEqual(self.ok("model", "info", folder, *ORT, "--json").json["weights_sha256"], hashes[0])
        self.ok("model", "import", folder, "--name", "beside", *ORT)
        self.vectors("beside", *ORT)
        self.ok("model", "remove", "beside", "--yes")
        os.remove(os.path.join(folder, "model.onnx_data"))
        self.assertNotEqual(self.quern("embed", "x", "--model", folder, *ORT).code, 0)
        files.Graph.outside = (bytearray(), "../model.onnx_data")
        try:
            folder = self.exported(self.encoder())
        finally:
            files.Graph.outside = None
        self.refused(1, "beside the graph", "embed", "x", "--model", folder, *ORT)

    def test_codes(self):
        """Quantised weights: the same vectors natively and by ONNX Runtime."""
        for how in ("cast", "zero", "linear"):
            files.Graph.codes = how
            try:
                folder = self.exported(self.encoder())
            finally:
                files.Graph.codes = None
            with self.subTest(how):
                exact = self.vectors(folder, *ORT, "--ort-optimization", "disabled")
                self.near(exact, self.vectors(folder))
                self.near(self.vectors(folder, *ORT), exact, 0.999)  # it may quantise what codes are multiplied with

    def test_a_store(self):
        """Filled and searched; the native engine's vectors are others."""
        folder = self.exported(self.encoder())
        self.add_texts(TEXTS)
        self.ok("fill", "--model", folder, *ORT)
        hits = self.ok("search", "ban", "--model", folder, *ORT, "--json").json["hits"]
        self.assertEqual(hits[0]["key"], "0")
        self.assertEqual(self.ok("verify", "--all", "--model", folder, *ORT, "--json").json["equal"], len(TEXTS))
        self.assertNotEqual(self.quern("search", "ban", "--model", folder).code, 0)

    @unittest.skipIf(NO_WEIGHTS or not os.path.exists(WEIGHTS), "no weights (QUERN_SKIP_MODEL_TESTS)")
    def test_real_weights(self):
        tensors = {n: np.frombuffer(d, "<f4").reshape(s) for n, (k, s, d) in self.read(WEIGHTS).items() if k == "F32"}
        folder = os.path.join(self.cwd, "minilm")
        shutil.copytree(WEIGHTS, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        with open(os.path.join(folder, "model.onnx"), "wb") as f:
            f.write(files.onnx(tensors, layers=6, heads=12, style="spelt"))
        texts = ["A cat sleeps on the sofa.", "Interest rates rose again on Tuesday.", "naïve café in 東京", "word " * 200]
        native = self.vectors(WEIGHTS, texts=texts)
        self.near(self.vectors(folder, *ORT, texts=texts), native, 0.99999)
        self.near(self.vectors(folder, texts=texts), native, 0.9999999)


class Asked(Graphs):
    """What graphs may ask for and give."""

    def table(self, more=(), result=lambda g, x: x, inputs=("input_ids", "attention_mask"), outputs=None, by="input_ids"):
        g = files.Graph()
        x = g.node("Gather", g.keep("words", self.tensors["embeddings.word_embeddings.weight"]), by)
        return g.model([*inputs, *more], outputs(g, x) if outputs else [result(g, x)])

    def told(self, saying, graph, code=1):
        return self.refused(code, saying, "embed", "x", "--model", self.exported(graph), *ORT)

    def test_inputs(self):
        self.vectors(self.exported(self.table(inputs=["input_ids"])), *ORT)
        self.vectors(self.exported(self.table(more=["token_type_ids"])), *ORT)
        self.told("asks for input position_ids", self.table(more=["position_ids"]))
        self.told("no input input_ids", self.table(by="attention_mask", inputs=["attention_mask"]))

    def test_vectors_of_whole_texts(self):
        """Two dimensions are taken as they are."""
        mean = lambda g, x: g.node("ReduceMean", x, axes=[1], keepdims=0)
        pooled = self.vectors(self.exported(self.table(result=mean)), *ORT)
        self.near(pooled, self.vectors(self.exported(self.table()), *ORT))
        info = self.ok("model", "info", self.exported(self.table(result=mean)), *ORT, "--json").json
        self.assertEqual((info["pooling"], info["pooling_origin"]), ("graph", "onnx"))
        narrow = self.table(result=lambda g, x: g.node("MatMul", mean(g, x), g.keep("down", np.eye(80, 7, dtype="<f4"))))
        self.assertEqual(self.vectors(self.exported(narrow), *ORT).shape, (len(TEXTS), 7))

    def test_modules_are_ours(self):
        """Several poolings, Dense behind them and the first dimensions, as the native engine has them of the same folder."""
        folder = self.exported(self.encoder())
        with open(os.path.join(folder, "modules.json")) as f:
            modules = json.load(f)
        modules.insert(2, {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
        for i, m in enumerate(modules):
            m["idx"] = i
        files.put_json(os.path.join(folder, "modules.json"), modules)
        with open(os.path.join(folder, "1_Pooling", "config.json")) as f:
            pooling = json.load(f)
        files.put_json(os.path.join(folder, "1_Pooling", "config.json"), {**pooling, "pooling_mode_max_tokens": True})
        os.mkdir(os.path.join(folder, "2_Dense"))
        files.put_json(os.path.join(folder, "2_Dense", "config.json"), {"in_features": 160, "out_features": 48, "bias": True,
                                                                        "activation_function": "torch.nn.modules.activation.Tanh"})
        random = np.random.RandomState(3)
        with open(os.path.join(folder, "2_Dense", "model.safetensors"), "wb") as f:
            f.write(files.safetensors({"linear.weight": random.randn(48, 160).astype("<f4"), "linear.bias": random.randn(48).astype("<f4")}))
        self.near(self.vectors(folder, *ORT), self.vectors(folder))
        self.near(self.vectors(folder, *ORT, "--dimensions", 16, "--force-dimensions"), self.vectors(folder, "--dimensions", 16, "--force-dimensions"))
        self.refused(1, "does not declare", "embed", "x", "--model", folder, *ORT, "--dimensions", 16)

    def test_which_result(self):
        def outputs(*names):
            def give(g, x):
                made = {"last_hidden_state": x, "token_embeddings": x, "sentence_embedding": g.node("ReduceMean", x, axes=[1], keepdims=0),
                        "pooler_output": g.node("ReduceMax", x, axes=[1], keepdims=0), "ids": x}
                return [g.node("Identity", made[n], out=n) for n in names]
            return self.exported(self.table(outputs=give))
        right = self.vectors(outputs("last_hidden_state"), *ORT)
        for names in (("pooler_output", "last_hidden_state"), ("sentence_embedding", "token_embeddings"), ("pooler_output", "sentence_embedding")):
            self.near(self.vectors(outputs(*names), *ORT), right)
        scores = lambda *more: self.table(outputs=lambda g, x: [g.node("ReduceMean", x, axes=[1], keepdims=0, out="logits"), *[g.node("Identity", x, out=m) for m in more]])
        self.told("logits are the scores of a classifier", scores())
        self.near(self.vectors(self.exported(scores("anything")), *ORT), right)

    def test_shapes(self):
        self.told("is 1 x 1 x 3 x 80", self.table(result=lambda g, x: g.node("Unsqueeze", x, g.constant(np.array([0], "<i8")))))
        self.told("is 3 x 80 for one text of 3 tokens", self.table(result=lambda g, x: g.node("Squeeze", x, g.constant(np.array([0], "<i8")))))
        self.told("elements of type 7", self.table(outputs=lambda g, x: [(g.node("Shape", x), 7)]))
        wide = self.table(result=lambda g, x: g.node("Concat", x, x, axis=2))
        self.told("gives 160 dimensions, the files beside it say 80", wide)

    def test_never_a_wrong_vector(self):
        """Not finite, or zero: an error that names the text."""
        words = self.tensors["embeddings.word_embeddings.weight"]
        for value, saying in ((np.nan, "not finite"), (0, "a vector that is")):
            bad = np.full_like(words, value)
            self.tensors = {**self.tensors, "embeddings.word_embeddings.weight": bad}
            self.told(saying, self.table(result=lambda g, x: x))

    def test_hostile(self):
        """ONNX Runtime's own words, in one line."""
        good = self.encoder()
        for bad in (b"", b"hello", good[:len(good) // 2], good[:-9] + b"\xff" * 9, good.replace(b"Gather", b"Father")):
            self.told("model.onnx: ", bad)
        folder = self.exported(good)
        os.remove(os.path.join(folder, "model.onnx"))
        self.refused(4, "no exported graph", "embed", "x", "--model", folder, *ORT)

    def test_precision_is_the_graphs(self):
        folder = self.exported(self.encoder())
        for precision in ("fp32", "int8"):
            self.refused(1, "leave the precision auto", "embed", "x", "--model", folder, *ORT, "--precision", precision)


class Library(Graphs):
    def test_none(self):
        folder = self.exported(self.encoder())
        self.refused(1, "no such file", "embed", "x", "--model", folder, "--backend", "ort", "--ort-library", "./no such file")
        self.refused(1, "OrtGetApiBase", "embed", "x", "--model", folder, "--backend", "ort", "--ort-library", "libsqlite3.so.0")
        self.assertEqual(self.vectors(folder).shape, (len(TEXTS), 80))  # the native engine needs none

    def test_usual_name(self):
        """As the system's linker finds it, and by the environment."""
        folder = self.exported(self.encoder())
        os.symlink(LIBRARY, os.path.join(self.cwd, "libonnxruntime.so.1"))
        if not os.path.exists("/usr/lib/x86_64-linux-gnu/libonnxruntime.so.1"):
            self.refused(1, "--ort-library", "embed", "x", "--model", folder, "--backend", "ort")
        self.ok("embed", "x", "--model", folder, "--backend", "ort", env={"LD_LIBRARY_PATH": self.cwd})
        self.ok("embed", "x", "--model", folder, env={"QUERN_BACKEND": "ort", "QUERN_ORT_LIBRARY": LIBRARY})


class Settings(Graphs):
    def threads(self, *args):
        """Threads of a process that has embedded one text and waits for the next."""
        folder = self.exported(self.encoder())
        with subprocess.Popen([BIN, "embed", "--jsonl", "--model", folder, "--threads", "1", *map(str, args)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, cwd=self.cwd, env=self.environment()) as p:
            p.stdin.write(b'{"text":"ban"}\n')
            p.stdin.flush()
            p.stdout.readline()
            n = len(os.listdir("/proc/%d/task" % p.pid))
            p.stdin.close()
            p.stdout.read()
        self.assertEqual(p.returncode, 0)
        return n

    def test_threads(self):
        native = self.threads()
        alone = self.threads(*ORT)
        self.assertLessEqual(alone, native + 1)
        self.assertEqual(self.threads(*ORT, "--intra-threads", 4) - alone, 3)  # the caller is one of them
        self.assertGreaterEqual(self.threads(*ORT, "--inter-threads", 3) - alone, 2)

    def test_optimization(self):
        """What ONNX Runtime makes of the graph rounds elsewhere; as written it rounds as written."""
        folder = self.exported(self.encoder())
        made = {level: self.vectors(folder, *ORT, "--ort-optimization", level).tobytes() for level in ("disabled", "basic", "extended", "all")}
        self.assertGreater(len(set(made.values())), 1)
        self.near(*(np.frombuffer(made[k], "<f4").reshape(len(TEXTS), -1) for k in ("disabled", "all")))

    def test_device(self):
        folder = self.exported(self.encoder())
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            self.skipTest("this ONNX Runtime has CUDA")
        for args, reason in ((ORT, "no CUDA provider"), ((), "--backend ort")):
            answer = self.ok("embed", "x", "--model", folder, "--device", "cuda", *args)
            self.assertEqual(answer.message.count("\n"), 1)
            self.assertIn("warn", answer.message)
            self.assertIn(reason, answer.message)
            self.refused(1, reason, "embed", "x", "--model", folder, "--device", "cuda", "--strict-device", *args)
            self.assertEqual(self.ok("embed", "x", "--model", folder, "--device", "auto", "--strict-device", *args).message, "")
        self.assertEqual(self.ok("model", "info", folder, *ORT, "--device", "cuda", "--json").json["device"], "cpu")
        checks = self.quern("doctor", "--model", folder, *ORT, "--json").json["checks"]
        self.assertEqual([c["message"] for c in checks if c["check"] == "device"], ["cpu, onnxruntime " + onnxruntime.__version__])


if __name__ == "__main__":
    unittest.main()
