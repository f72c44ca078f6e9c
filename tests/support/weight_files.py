"""Writers of the formats that weights come in, for tests: a dictionary of names and numpy arrays to files.
Small and by hand, so that a test can write what no library would: each takes what it needs to lie."""
import json
import os
import struct

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
