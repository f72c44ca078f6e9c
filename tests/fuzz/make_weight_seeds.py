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
    put("torch", "compressed.bin", files.torch_zip(some, compress=True))


torch_seeds()
