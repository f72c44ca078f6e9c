"""Writes the seeds of the readers of weights into tests/fuzz/corpus: files of a few hundred bytes to a few
thousand, of every kind that the reader knows. Run it by hand after a reader learned something new."""
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
                                                names=style != "spelt", end="pooled" if style == "turned" else "state"))
    put("onnx", "halves.onnx", files.onnx({k: v.astype("<f2") for k, v in tensors.items()}, 1, 2))


torch_seeds()
onnx_seeds()
gguf_seeds()
