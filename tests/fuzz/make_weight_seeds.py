"""Writes the seeds of the readers of weights into tests/fuzz/corpus: files of a few hundred bytes to a few
thousand, of every kind that the reader knows. Run it by hand after a reader learned something new."""
import hashlib
import json
import os
import sys

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
import weight_files as files  # noqa: E402


def put(subject, name, data):
    folder = os.path.join(ROOT, "tests", "fuzz", "corpus", subject)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data)


def torch_seeds():
    some = {"a": np.arange(6, dtype="<f4").reshape(2, 3), "LayerNorm.gamma": np.zeros(2, "<f2"), "i": np.arange(3, dtype="<i8")}
    turned = {"t": files.Tensor(np.arange(6, dtype="<f4"), "k", shape=(2, 3), stride=(1, 2)),
              "p": files.Parameter(files.Tensor(np.arange(4, dtype="<f4"), "q", offset=2, shape=(2,)))}
    for name, write in (("zip", files.torch_zip), ("legacy", files.torch_legacy)):
        put("torch", name + ".bin", write(some))
        put("torch", name + "-views.bin", write(turned))
        put("torch", name + "-nothing.bin", write({}))
        put("torch", name + "-code.bin", write({}, value={"a": eval}))
        put("torch", name + "-plain.bin", write({}, value={"a": [1, (2.5, None, True)], "b": -1 << 40}))
    put("torch", "call.bin", b"\x80\2ccollections\nOrderedDict\n)R.")  # before any tuple was made
    put("torch", "compressed.bin", files.torch_zip(some, compress=True))


def gguf_seeds():
    some = {"embeddings.word_embeddings.weight": np.arange(64, dtype="<f4").reshape(2, 32),
            "encoder.layer.0.output.dense.bias": np.arange(3, dtype="<f4"), "cls.weight": np.zeros((1, 32), "<f4")}
    for dtype in files.GGUF_TYPES:
        put("gguf", dtype + ".gguf", files.gguf(some, dtype))
    aligned = [("general.architecture", 8, files.gguf_text("bert")), ("general.alignment", 4, b"\x08\0\0\0")]
    put("gguf", "aligned.gguf", files.gguf(some, pairs=aligned, alignment=8, version=2))
    put("gguf", "q4.gguf", files.gguf(some, types={"cls.weight": 2}))
    config = {"num_hidden_layers": 1, "max_position_embeddings": 8, "hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2,
              "layer_norm_eps": 1e-12}
    rows = {"embeddings.word_embeddings.weight": np.zeros((2, 1), "<f4"), "embeddings.token_type_embeddings.weight": np.zeros((2, 1), "<f4")}
    flags = dict(bos_token_id=0, eos_token_id=2, unknown_token_id=3, mask_token_id=4)
    words = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]", "a", "##b", "\u4e2d"]
    alone = {"word": files.gguf_alone(config, "bert", *files.gguf_word_pieces(words, words[:5]), normalizer__lowercase=True, **flags)}
    shown = [b for b in range(256) if 33 <= b <= 126 or (161 <= b and b != 173)]  # GPT-2's alphabet
    bytes_ = [chr(b) for b in shown] + [chr(256 + i) for i in range(256 - len(shown))]
    marks = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alone["byte"] = files.gguf_alone(config, "gpt2", marks + bytes_ + ["ab"], [3] * 5 + [1] * 257, pre=(8, files.gguf_text("gpt-2")),
                                     merges=(9, files.gguf_array(8, ["a b"])), **flags)
    pieces = marks[:4] + ["\u2581a", "b", "\u2581", "[PAD7]"]
    alone["unigram"] = files.gguf_alone(config, "t5", pieces, [3, 3, 3, 2, 1, 1, 1, 5], scores=(9, files.gguf_array(6, [0.0] * 4 + [-1.5] * 4)),
                                        **{**flags, "mask_token_id": 7})
    alone["map"] = {**alone["unigram"], "tokenizer.ggml.precompiled_charsmap": (9, files.gguf_array(0, b"\4\0\0\0" + b"\0" * 8))}
    for name, pairs in alone.items():
        put("gguf", "alone-%s.gguf" % name, files.gguf(rows, pairs=[(k, t, v) for k, (t, v) in pairs.items()]))


def onnx_seeds():
    shapes = {"embeddings.word_embeddings.weight": (3, 4), "embeddings.position_embeddings.weight": (5, 4),
              "embeddings.token_type_embeddings.weight": (2, 4)}
    for where in ("embeddings.", "encoder.layer.0.attention.output.", "encoder.layer.0.output."):
        shapes.update({where + "LayerNorm.weight": (4,), where + "LayerNorm.bias": (4,)})
    for part in ("self.query", "self.key", "self.value", "output.dense"):
        shapes.update({"encoder.layer.0.attention.%s.weight" % part: (4, 4), "encoder.layer.0.attention.%s.bias" % part: (4,)})
    shapes.update({"encoder.layer.0.intermediate.dense.weight": (6, 4), "encoder.layer.0.intermediate.dense.bias": (6,),
                   "encoder.layer.0.output.dense.weight": (4, 6), "encoder.layer.0.output.dense.bias": (4,)})
    tensors = {k: np.arange(np.prod(v), dtype="<f4").reshape(v) for k, v in shapes.items()}
    for style in ("fused", "spelt", "gemm", "turned"):
        put("onnx", style + ".onnx", files.onnx(tensors, 1, 2, style, types={"gemm": "input", "turned": "folded"}.get(style, "constant"),
                                                names=style != "spelt", end="mean_unit" if style == "turned" else "state"))
    for style in ("packed", "many", "scaled", "opset23", "apart"):
        put("onnx", "fused-%s.onnx" % style, files.onnx_fused(tensors, 1, 2, style))
    for how in ("cast", "zero", "linear"):
        files.Graph.codes = how
        put("onnx", how + ".onnx", files.onnx(tensors, 1, 2, "gemm"))
    files.Graph.codes = "dynamic"
    put("onnx", "dynamic.onnx", files.onnx(tensors, 1, 2, "spelt"))
    files.Graph.codes, files.Graph.outside = None, (bytearray(), "model.onnx_data")
    put("onnx", "outside.onnx", files.onnx(tensors, 1, 2))
    files.Graph.outside = None
    put("onnx", "halves.onnx", files.onnx({k: v.astype("<f2") for k, v in tensors.items()}, 1, 2))


def quantised_seeds():
    def made(change=lambda tensors: None):
        tensors = {"fidelity": np.array([0.9999, 0.999, 0.98], "<f4")}
        for name in ("query", "key", "value", "out", "up", "down"):
            outputs, inputs = 6 if name == "up" else 4, 6 if name == "down" else 4
            tensors["layer.0.%s.scale" % name] = np.full((1, outputs), 0.01, "<f4")
            tensors["layer.0.%s.weight" % name] = np.arange(outputs * inputs).reshape(outputs, inputs).astype("i1") - 9
        for name in ("attention", "feed_forward"):
            tensors["layer.0.smooth." + name] = np.ones(4, "<f4")
        tensors.update(version=np.full(1, 4, "u1"), source=np.arange(32, dtype="u1"), architecture=np.arange(32, 64, dtype="u1"))
        change(tensors)
        digest = hashlib.sha256()
        for name in sorted(tensors):
            digest.update(name.encode() + b"\0" + tensors[name].tobytes())
        tensors["checksum"] = np.frombuffer(digest.digest(), "u1")
        header, data = {}, b""
        for name, t in sorted(tensors.items(), key=lambda nt: nt[1].dtype.itemsize, reverse=True):
            header[name] = {"dtype": {"<f4": "F32", "|i1": "I8", "|u1": "U8"}[t.dtype.str], "shape": list(t.shape),
                            "data_offsets": [len(data), len(data) + t.nbytes]}
            data += t.tobytes()
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-(8 + len(text)) % 64)
        return len(text).to_bytes(8, "little") + text + data

    def four(tensors):
        for name in ("query", "key", "value", "out", "up", "down"):
            outputs, inputs = 64 if name == "up" else 32, 64 if name == "down" else 32
            tensors["layer.0.%s.scale" % name] = np.full((1, outputs), 0.01, "<f4")
            packed = name not in ("value", "out")
            count = outputs * inputs // (2 if packed else 1)
            weight = (np.arange(count) * 7 % 251).reshape(outputs, -1)
            tensors["layer.0.%s.weight" % name] = weight.astype("u1") if packed else (weight - 125).astype("i1")
            if packed:
                tensors["layer.0.%s.step" % name] = np.where(np.arange(outputs * inputs // 32) % 2, 15, -1).reshape(outputs, -1).astype("i1")
        for name in ("attention", "feed_forward"):
            tensors["layer.0.smooth." + name] = np.ones(32, "<f4")
        tensors["version"] = np.full(1, 67, "u1")

    def gated(tensors, fours=()):
        """Of the fuzzer's third model: heads of 12 columns, 4 of queries and 2 of keys, and a gate."""
        sizes = {"query": (48, 32), "key": (24, 32), "value": (24, 32), "out": (32, 48), "up": (64, 32), "gate": (64, 32), "down": (32, 64)}
        for name, (outputs, inputs) in sizes.items():
            tensors["layer.0.%s.scale" % name] = np.full((1, outputs), 0.01, "<f4")
            count = outputs * inputs // (2 if name in fours else 1)
            weight = (np.arange(count) * 5 % 249).reshape(outputs, -1)
            tensors["layer.0.%s.weight" % name] = weight.astype("u1") if name in fours else (weight - 124).astype("i1")
            if name in fours:
                tensors["layer.0.%s.step" % name] = np.where(np.arange(outputs * inputs // 32) % 2, 2, -7).reshape(outputs, -1).astype("i1")
        for name in ("attention", "feed_forward"):
            tensors["layer.0.smooth." + name] = np.ones(32, "<f4")

    def gated_four(tensors):
        gated(tensors, ("query", "key", "up", "gate", "down"))
        tensors["version"] = np.full(1, 67, "u1")

    def gateless(tensors):
        gated(tensors)
        del tensors["layer.0.gate.scale"]

    def kept(tensors, *names):
        for name in names:
            del tensors["layer.0.%s.step" % name]
            shape = tensors["layer.0.%s.weight" % name].shape
            tensors["layer.0.%s.weight" % name] = np.ones((shape[0], 2 * shape[1]), "i1")

    def with_kept(tensors):
        four(tensors)
        kept(tensors, "query", "key", "down")

    def half_kept(tensors):
        four(tensors)
        kept(tensors, "key")

    def stepless(tensors):
        four(tensors)
        tensors["layer.0.down.step"][3, 1] = 0

    put("quantised", "whole.safetensors", made())
    put("quantised", "four.safetensors", made(four))
    put("quantised", "four-no-step.safetensors", made(stepless))
    put("quantised", "four-kept.safetensors", made(with_kept))
    put("quantised", "four-half-kept.safetensors", made(half_kept))
    put("quantised", "gated.safetensors", made(gated))
    put("quantised", "gated-four.safetensors", made(gated_four))
    put("quantised", "gated-less.safetensors", made(gateless))
    for name, change in {"negative": lambda t: t["layer.0.up.scale"].__imul__(-1), "nan": lambda t: t["layer.0.smooth.attention"].fill(np.nan),
                         "minus-128": lambda t: t["layer.0.down.weight"].fill(-128), "version": lambda t: t["version"].fill(2),
                         "judged": lambda t: t["fidelity"].fill(np.inf), "more": lambda t: t.update(more=np.ones(3, "u1")),
                         "less": lambda t: t.pop("layer.0.key.scale"), "wide": lambda t: t.update({"layer.0.out.weight": np.ones((4, 5), "i1")}),
                         "turned": lambda t: t.update({"layer.0.up.weight": np.ones((4, 6), "i1")})}.items():
        put("quantised", name + ".safetensors", made(change))


quantised_seeds()
torch_seeds()
onnx_seeds()
gguf_seeds()
