"""Writers of the formats that weights come in, for tests: a dictionary of names and numpy arrays to files.
Small and by hand, so that a test can write what no library would: each takes what it needs to lie."""
import io
import json
import os
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np

TYPES = {"<f4": "F32", "<f2": "F16", "<i8": "I64"}


def read_safetensors(path):
    """{name: array} of a file of fp32."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    header.pop("__metadata__", None)
    return {name: np.frombuffer(data[slice(*e["data_offsets"])], "<f4").reshape(e["shape"]) for name, e in header.items()}


def safetensors(tensors):
    header, blobs, at = {}, [], 0
    for name, value in tensors.items():
        blob = value.tobytes()
        header[name] = {"dtype": TYPES[value.dtype.newbyteorder("<").str], "shape": list(value.shape),
                        "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(blobs)


def write_sharded(folder, tensors, shards, stem="model", ending="safetensors", write=safetensors):
    """Cuts the tensors round robin; gives the index, which it writes too."""
    names = ["%s-%05d-of-%05d.%s" % (stem, i + 1, shards, ending) for i in range(shards)]
    where = {name: names[i % shards] for i, name in enumerate(tensors)}
    for shard in names:
        with open(os.path.join(folder, shard), "wb") as file:
            file.write(write({k: v for k, v in tensors.items() if where[k] == shard}))
    index = {"metadata": {"total_size": sum(v.nbytes for v in tensors.values())}, "weight_map": where}
    put_json(os.path.join(folder, "%s.%s.index.json" % (stem, ending)), index)
    return index


def put_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file)


# ---- PyTorch ----
# Python's own pickler, over modules that look like torch's: the opcodes are those of torch.save.

def fake_torch():
    """Modules `torch` and `torch._utils` with the names that a state dictionary needs."""
    if "torch" in sys.modules:
        return sys.modules["torch"]
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch._utils = utils
    for kind in ("Float", "Half", "BFloat16", "Double", "Long"):
        setattr(torch, kind + "Storage", type(kind + "Storage", (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_tensor"):
        function = types.FunctionType((lambda *a: None).__code__, {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(utils, name, function)
    sys.modules["torch"], sys.modules["torch._utils"] = torch, utils
    return torch


class Tensor:
    """What the pickler meets where torch has a tensor: a view of data[offset:] under a storage's key."""

    def __init__(self, array, key=None, kind=None, offset=0, shape=None, stride=None, function="_rebuild_tensor_v2"):
        self.data = np.ascontiguousarray(array).tobytes()
        self.kind = kind or {"<f4": "Float", "<f2": "Half", "<f8": "Double", "<i8": "Long"}[array.dtype.newbyteorder("<").str]
        self.numel, self.key, self.offset, self.function = array.size, key, offset, function
        self.shape = tuple(array.shape) if shape is None else shape
        steps = [int(np.prod(self.shape[i + 1:], dtype=np.int64)) for i in range(len(self.shape))]
        self.stride = tuple(steps) if stride is None else stride

    def __reduce_ex__(self, protocol):
        utils = fake_torch()._utils
        return getattr(utils, self.function), (Storage(self), self.offset, self.shape, self.stride, False, OrderedDict())


class Storage:
    def __init__(self, tensor):
        self.tensor = tensor


class Parameter:
    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce_ex__(self, protocol):
        return fake_torch()._utils._rebuild_parameter, (self.tensor, True, OrderedDict())


def state_dict(tensors):
    """An OrderedDict with _metadata, as a module's state_dict() has it; arrays become tensors."""
    state = OrderedDict((k, v if not isinstance(v, np.ndarray) else Tensor(v, str(i)))
                        for i, (k, v) in enumerate(tensors.items()))
    state._metadata = OrderedDict([("", {"version": 1}), ("embeddings", {"version": 1})])
    return state


def pickled(value, legacy=False, protocol=2):
    """(bytes, {key: Tensor}) of a value with tensors in it."""
    seen, torch = {}, fake_torch()

    class Pickler(pickle.Pickler):
        def persistent_id(self, o):
            if not isinstance(o, Storage):
                return None
            t = o.tensor
            seen[t.key] = t
            return ("storage", getattr(torch, t.kind + "Storage"), t.key, "cpu", t.numel) + ((None,) if legacy else ())

    out = io.BytesIO()
    Pickler(out, protocol=protocol).dump(value)
    return out.getvalue(), seen


def torch_zip(tensors, value=None, extra=(), compress=False, order=b"little", stem="pytorch_model"):
    """As torch.save since 1.6; `value` instead of a dictionary of the tensors."""
    data, seen = pickled(state_dict(tensors) if value is None else value)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as z:
        z.writestr(stem + "/data.pkl", data)
        z.writestr(stem + "/byteorder", order)
        for key, t in seen.items():
            z.writestr("%s/data/%s" % (stem, key), t.data)
        z.writestr(stem + "/version", b"3\n")
        for name, text in dict(extra).items():
            z.writestr(name, text)
    return out.getvalue()


def torch_legacy(tensors, value=None, little=True):
    """As torch.save before 1.6, or with _use_new_zipfile_serialization=False."""
    data, seen = pickled(state_dict(tensors) if value is None else value, legacy=True)
    sizes = {"protocol_version": 1001, "little_endian": little, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = [pickle.dumps(v, protocol=2) for v in (0x1950a86a20f9469cfc6c, 1001, sizes)]
    keys = sorted(seen)
    out = b"".join(head) + data + pickle.dumps(keys, protocol=2)
    return out + b"".join(struct.pack("<q", seen[k].numel) + seen[k].data for k in keys)
