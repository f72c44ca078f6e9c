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
    """{name: array} of a file."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    header.pop("__metadata__", None)
    types = {name: dtype for dtype, name in TYPES.items()}
    return {name: np.frombuffer(data[slice(*e["data_offsets"])], types[e["dtype"]]).reshape(e["shape"])
            for name, e in header.items()}


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
    entries = {stem + "/data.pkl": data, stem + "/byteorder": order}
    entries.update(("%s/data/%s" % (stem, key), t.data) for key, t in seen.items())
    entries.update({stem + "/version": b"3\n"}, **dict(extra))
    with zipfile.ZipFile(out, "w") as z:
        for name, text in entries.items():  # ZipInfo: no time of day in it
            z.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED)
    return out.getvalue()


def torch_legacy(tensors, value=None, little=True):
    """As torch.save before 1.6, or with _use_new_zipfile_serialization=False."""
    data, seen = pickled(state_dict(tensors) if value is None else value, legacy=True)
    sizes = {"protocol_version": 1001, "little_endian": little, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = [pickle.dumps(v, protocol=2) for v in (0x1950a86a20f9469cfc6c, 1001, sizes)]
    keys = sorted(seen)
    out = b"".join(head) + data + pickle.dumps(keys, protocol=2)
    return out + b"".join(struct.pack("<q", seen[k].numel) + seen[k].data for k in keys)


# ---- GGUF ----

GGUF_LAYER = {"attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
              "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
              "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm"}
GGUF_REST = {"embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
             "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm"}
GGUF_TYPES = {"f32": 0, "f16": 1, "q8_0": 8, "bf16": 30}


def gguf_name(name):
    """llama.cpp's name of a published tensor; any other stays."""
    stem, _, ending = name.rpartition(".")
    if stem in GGUF_REST:
        return "%s.%s" % (GGUF_REST[stem], ending)
    parts = stem.split(".", 3)
    if parts[:2] == ["encoder", "layer"] and parts[3] in GGUF_LAYER:
        return "blk.%s.%s.%s" % (parts[2], GGUF_LAYER[parts[3]], ending)
    return name


def q8_0(values):
    """(blocks, the values that they stand for), as ggml quantises."""
    rows = values.astype("<f4").reshape(-1, 32)
    scale = (np.abs(rows).max(axis=1) / np.float32(127)).astype("<f2")
    wide = scale.astype("<f4")[:, None]
    whole = np.where(wide > 0, np.rint(rows / np.where(wide > 0, wide, 1)), 0).clip(-127, 127).astype("i1")
    blocks = b"".join(s.tobytes() + r.tobytes() for s, r in zip(scale, whole))
    return blocks, (whole.astype("<f4") * wide).reshape(values.shape)


def gguf_text(text):
    text = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(text)) + text


def gguf_array(kind, values):
    """One of texts (8), or of numbers: int32 (5), fp32 (6), bytes (0)."""
    data = b"".join(map(gguf_text, values)) if kind == 8 else struct.pack("<%d%s" % (len(values), {5: "i", 6: "f", 0: "B"}[kind]), *values)
    return struct.pack("<IQ", kind, len(values)) + data


def gguf_alone(config, model, tokens, kinds, pooling=1, **more):
    """The key-values of a file that stands alone, by config.json's settings: {key: (type, bytes)}. more: names under tokenizer.ggml,
    with an int, a bool or (type, bytes)."""
    u32 = lambda n: (4, struct.pack("<I", n))
    pairs = {"general.architecture": (8, gguf_text("bert")), "general.name": (8, gguf_text("x")),
             "bert.block_count": u32(config["num_hidden_layers"]), "bert.context_length": u32(config["max_position_embeddings"]),
             "bert.embedding_length": u32(config["hidden_size"]), "bert.feed_forward_length": u32(config["intermediate_size"]),
             "bert.attention.head_count": u32(config["num_attention_heads"]),
             "bert.attention.layer_norm_epsilon": (6, struct.pack("<f", config["layer_norm_eps"])),
             "bert.attention.causal": (7, b"\0"), "bert.pooling_type": u32(pooling), "tokenizer.ggml.model": (8, gguf_text(model)),
             "tokenizer.ggml.tokens": (9, gguf_array(8, tokens)), "tokenizer.ggml.token_type": (9, gguf_array(5, kinds))}
    for name, value in more.items():
        value = (7, bytes([value])) if isinstance(value, bool) else u32(value) if isinstance(value, int) else value
        pairs["tokenizer.ggml." + name.replace("__", ".")] = value
    return pairs


def gguf_word_pieces(vocab, special):
    """(tokens, kinds) as llama.cpp's converter writes a WordPiece vocabulary."""
    shown = lambda w: w if w in special else w[2:] if w.startswith("##") else "\u2581" + w
    return [shown(w) for w in vocab], [3 if w in special else 1 for w in vocab]


def gguf(tensors, dtype="f32", pairs=None, version=3, alignment=32, names=gguf_name, types=None):
    """Matrices in `dtype`, vectors in fp32. pairs: [(key, type, bytes of the value)] instead of the usual."""
    usual = [("general.architecture", 8, gguf_text("bert")), ("bert.block_count", 4, struct.pack("<I", 3)),
             ("bert.attention.layer_norm_epsilon", 6, struct.pack("<f", 1e-12)), ("bert.attention.causal", 7, b"\0"),
             ("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + gguf_text("[PAD]") + gguf_text("a")),
             ("tokenizer.ggml.scores", 9, struct.pack("<IQ2f", 6, 2, 0, 1))]
    pairs = usual if pairs is None else pairs
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs))
    head += b"".join(gguf_text(k) + struct.pack("<I", t) + v for k, t, v in pairs)
    data = b""
    for name, value in tensors.items():
        kind = dtype if value.ndim == 2 else "f32"
        if kind == "q8_0":
            blob = q8_0(value)[0]
        elif kind == "bf16":
            blob = (value.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        else:
            blob = value.astype({"f32": "<f4", "f16": "<f2"}[kind]).tobytes()
        head += gguf_text(names(name)) + struct.pack("<I", value.ndim) + struct.pack("<%dQ" % value.ndim, *value.shape[::-1])
        head += struct.pack("<IQ", (types or {}).get(name, GGUF_TYPES[kind]), len(data))
        data += blob + b"\0" * (-len(blob) % alignment)
    return head + b"\0" * (-len(head) % alignment) + data


# ---- ONNX ----

def varint(n):
    n &= (1 << 64) - 1
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def proto(*fields):
    """A message of (number, value): int, float, text, bytes; a list is packed integers."""
    out = b""
    for number, value in fields:
        if isinstance(value, bool) or isinstance(value, int):
            out += varint(number << 3) + varint(int(value))
        elif isinstance(value, float):
            out += varint(number << 3 | 5) + struct.pack("<f", value)
        else:
            value = b"".join(map(varint, value)) if isinstance(value, list) else value
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def onnx_tensor(name, value, **more):
    kind = {"<f4": 1, "<f2": 10, "<i8": 7, "|i1": 3, "|u1": 2}[value.dtype.newbyteorder("<").str]
    data = [(4, value.tobytes())] if more.get("float_data") else [(9, value.tobytes())]
    if more.get("int32_data"):
        data = [(5, [int(v) for v in value.reshape(-1)])]
    if "outside" in more:  # (a list of bytes so far, the name of the file)
        blob, location = more["outside"]
        entries = (("location", location), ("offset", str(len(blob))), ("length", str(value.nbytes)))
        data = [(13, proto((1, k), (2, v))) for k, v in entries] + [(14, 1)]
        blob += value.tobytes()
    return proto((1, list(value.shape)), (2, kind), (8, name), *data, *more.get("extra", ()))


def quantised(rows, how, one=False):
    """Codes, a scale and a zero for each row; or one for all of them."""
    scale = (np.abs(rows).max(1) / 127).astype("<f4")
    scale = np.full_like(scale, scale.max()) if one else scale
    scale[scale == 0] = 1
    codes = np.round(rows / scale[:, None]).clip(-127, 127).astype("|i1")
    if how == "cast":
        return codes, scale, np.zeros(len(rows), "|i1")
    return (codes.astype("<i8") + 128).astype("|u1"), scale, np.full(len(rows), 128, "|u1")


def unquantised(rows, how, one=False):
    codes, scale, zero = quantised(rows, how, one)
    return (codes.astype("<i8") - zero[:, None].astype("<i8")).astype("<f4") * scale[:, None]


class Graph:
    """Nodes in order; each call gives its output's name."""

    def __init__(self):
        self.nodes, self.stored, self.n = [], [], 0

    outside = None  # (bytearray, file name): where tensors' data goes from now on

    block = {}  # what DequantizeLinear says of blocks
    codes = None  # how matrices and tables are stored: "cast", "zero", "linear", or "dynamic" as onnxruntime.quantization.quantize_dynamic makes them

    def coded(self, name, value):
        """8-bit codes with a scale for each output of a matrix and each row of a table, and the nodes that undo it."""
        axis = 1 if name.startswith("onnx::") else 0
        codes, scale, zero = quantised(value if axis == 0 else value.T, Graph.codes)
        put = lambda what, v: self.plain(name + what, v)
        if Graph.codes == "linear":
            return self.node("DequantizeLinear", put("_q", codes if axis == 0 else np.ascontiguousarray(codes.T)), put("_s", scale), put("_z", zero),
                             axis=axis, out=name, **Graph.block)
        wide = lambda v: v[:, None] if axis == 0 else v[None]
        x = self.node("Cast", put("_q", codes if axis == 0 else np.ascontiguousarray(codes.T)), to=1)
        if Graph.codes == "zero":
            x = self.node("Sub", x, self.node("Cast", put("_z", wide(zero)), to=1))
        return self.node("Mul", x, put("_s", wide(scale)), out=name)

    def keep(self, name, value, **more):
        if Graph.codes and Graph.codes != "dynamic" and value.ndim == 2 and value.dtype == np.dtype("<f4"):
            return self.coded(name, value)
        return self.plain(name, value, **more)

    def plain(self, name, value, **more):
        if Graph.outside and value.nbytes > 64:
            more["outside"] = Graph.outside
        self.stored.append(onnx_tensor(name, value, **more))
        return name

    def node(self, op, *inputs, name=None, domain="", out=None, **attributes):
        self.n += 1
        out = out or "v%d" % self.n
        attribute = lambda k, v: proto((1, k), *([(2, v), (20, 1)] if isinstance(v, float) else
                                                  [(3, v), (20, 2)] if isinstance(v, int) else
                                                  [(4, v), (20, 3)] if isinstance(v, str) else
                                                  [(5, v), (20, 4)] if isinstance(v, bytes) else
                                                  [(8, i) for i in v] + [(20, 7)]))
        self.nodes.append(proto(*[(1, i) for i in inputs], (2, out), (3, name or "node_%d" % self.n), (4, op), (7, domain),
                                *[(5, attribute(k, v)) for k, v in attributes.items()]))
        return out

    def outputs(self, op, n, *inputs):
        """A node with several results."""
        names = ["%s_%d" % (self.node(op, *inputs), i) for i in range(n)]
        self.nodes[-1] = proto(*[(1, i) for i in inputs], *[(2, o) for o in names], (3, "node_%d" % self.n), (4, op))
        return names

    def integer_product(self, x, matrix, scale_zero=None):
        """x times a matrix [inputs, outputs], both as integers."""
        codes, scale, zero = quantised(np.ascontiguousarray(matrix.T), "zero")
        scale, zero = (scale, zero) if scale_zero is None else scale_zero
        put = lambda v, **more: self.plain("q%d" % len(self.stored), np.ascontiguousarray(v), **more)
        small, scales, zeros = self.outputs("DynamicQuantizeLinear", 3, x)
        product = self.node("MatMulInteger", small, put(codes.T), zeros, put(zero, int32_data=True))
        return self.node("Mul", self.node("Cast", product, to=1), self.node("Mul", scales, put(scale, float_data=True)))

    def coded_rows(self, name, table, index):
        """Rows of a table of codes, and then what they stand for."""
        codes, scale, zero = quantised(table, "zero", one=True)
        rows = self.node("Gather", self.plain(name + "_q", codes), index)
        return self.node("DequantizeLinear", rows, self.plain(name + "_s", scale[0].reshape(())), self.plain(name + "_z", zero[0].reshape(()), int32_data=True))

    def constant(self, value):
        return self.node("Constant", value=onnx_tensor("", np.asarray(value)))

    def model(self, inputs, outputs, *opsets):
        """Inputs are whole numbers, outputs floats (or a name and a type), of any shape."""
        value = lambda name, kind: value(*name) if isinstance(name, tuple) else proto((1, name), (2, proto((1, proto((1, kind))))))
        graph = proto(*[(1, n) for n in self.nodes], (2, "graph"), *[(5, t) for t in self.stored],
                      *[(11, value(i, 7)) for i in inputs], *[(12, value(o, 1)) for o in outputs])
        return proto((1, 8), (2, "test"), (7, graph), *[(8, proto((1, domain), (2, n))) for domain, n in opsets or (("", 17),)])


def pool(g, x, how, changed=lambda where, value: value):
    """One row of a text's: "mean", "sqrt", "sum", "cls", "last", "max", "plain" (a mean that knows no mask), "median" (nobody's); "_unit" behind it: of length 1."""
    how, _, unit = how.partition("_")
    axis, last = g.constant(np.array([1], "<i8")), g.constant(np.array([-1], "<i8"))
    mask = g.node("Cast", g.node("Unsqueeze", "attention_mask", last), to=1)
    if how in ("mean", "sqrt", "sum"):
        n = g.node("Clip", g.node("ReduceSum", mask, axis, keepdims=0), g.constant(np.array(1e-9, "<f4")))
        x = g.node("ReduceSum", g.node("Mul", x, mask), axis, keepdims=0)
        x = x if how == "sum" else g.node("Div", x, g.node("Sqrt", n) if how == "sqrt" else n)
    elif how in ("cls", "last"):
        x = g.node("Gather", x, g.constant(np.array(0 if how == "cls" else -1, "<i8")), axis=1)
    elif how == "max":
        none = g.node("Equal", mask, g.constant(np.array(0, "<f4")))
        x = g.node("ReduceMax", g.node("Where", none, g.constant(np.array(-1e9, "<f4")), x), axes=[1], keepdims=0)
    elif how == "plain":
        x = g.node("ReduceMean", x, axes=[1], keepdims=0)
    else:
        x = g.node("Slice", x, g.constant(np.array([1], "<i8")), g.constant(np.array([2], "<i8")), axis)
    x = changed("pooled", x)
    if not unit:
        return x
    return g.node("Div", x, changed("length", g.node("Clip", g.node("ReduceL2", x, axes=[1], keepdims=1), g.constant(np.array(1e-12, "<f4")))))


def onnx(tensors, layers=3, heads=5, style="fused", types="input", names=True, end="state", change=None, lies=()):
    """An encoder as exporters write it, which ONNX Runtime runs ("spelt"). style: "fused" (LayerNormalization, Gelu), "spelt" (of single operations),
    "gemm" (Gemm over matrices as published), "turned" (Transpose of them). types: "input", "constant" as where there
    is no such input, or "folded" into the positions. names: stored under the published names where the graph keeps them. end: "state", or
    "mean", "cls", … with an "_unit" behind it (below). change(graph, where, value) may put something else in a value's place, lies another number in
    that of a constant."""
    g, lies = Graph(), dict(lies)
    true = lambda what, value: lies.get(what, value)
    changed = lambda where, value: change(g, where, value) or value if change else value
    keep = lambda name, value: g.keep(name if names else "t%d" % len(g.stored), np.ascontiguousarray(value))
    number = lambda what, value: g.constant(np.array(true(what, value), "<f4"))
    one, half = number("one", 1), number("half", 0.5)
    root = number("root", (len(tensors["embeddings.LayerNorm.bias"]) // heads) ** 0.5)
    first, across = (g.constant(np.array([v], "<i8")) for v in (0, 1))
    length = g.node("Slice", g.node("Shape", "input_ids"), g.constant(np.array([1], "<i8")), g.constant(np.array([2], "<i8")))

    def norm(x, where):
        gamma, beta = (keep("m.%sLayerNorm.%s" % (where, e), tensors["%sLayerNorm.%s" % (where, e)]) for e in ("weight", "bias"))
        if style != "spelt":
            more = {"epsilon": true("epsilon", 1e-12)} if true("epsilon", 0) is not None else {}
            return g.node("LayerNormalization", x, gamma, beta, axis=true("norm axis", -1), **more, **true("norm", {}))
        off = g.node("Sub", x, g.node("ReduceMean", x, axes=[true("mean axis", -1)]))
        variance = g.node("ReduceMean", g.node("Pow", off, number("two", 2)), axes=[true("variance axis", -1)])
        spread = g.node("Sqrt", g.node("Add", variance, number("epsilon", 1e-12)))
        return g.node("Add", g.node("Mul", g.node("Div", off, spread), gamma), beta)

    def linear(x, where):
        matrix, bias = tensors[where + ".weight"], keep("m.%s.bias" % where, tensors[where + ".bias"])
        if Graph.codes == "dynamic":
            return changed(where, g.node("Add", g.integer_product(x, matrix.T), bias))
        if style == "gemm":
            return changed(where, g.node("Gemm", x, keep("m.%s.weight" % where, matrix), bias, transB=1, alpha=true("alpha", 1.0)))
        if style == "turned":
            turned = g.node("Transpose", keep("m.%s.weight" % where, matrix), perm=[1, 0])
        else:
            turned = changed("matrix of " + where, g.keep("onnx::MatMul_%d" % g.n, np.ascontiguousarray(matrix.T)))
        product = g.node("MatMul", x, turned)
        return changed(where, g.node("Add", bias, product) if style == "spelt" else g.node("Add", product, bias))

    def split(x, perm):
        return g.node("Transpose", g.node("Reshape", x, g.constant(np.array([0, 0, true("heads", heads), -1], "<i8"))), perm=true("perm", perm))

    coded = lambda what, index: g.coded_rows("m.embeddings.%s.weight" % what, tensors["embeddings.%s.weight" % what], index)
    table = coded if Graph.codes == "dynamic" else lambda what, index: g.node("Gather", keep("m.embeddings.%s.weight" % what, tensors["embeddings.%s.weight" % what]), index)
    places = np.arange(len(tensors["embeddings.position_embeddings.weight"]), dtype="<i8")[None]
    begin, until = first, length
    if true("start", 0):
        begin = g.constant(np.array([lies["start"]], "<i8"))
        until = g.node("Add", length, begin)
    places = g.node("Slice", g.keep("ids", places), begin, until, across)
    kinds = "token_type_ids" if types == "input" else g.node("Expand", g.constant(np.full((1, 1), true("type", 0), "<i8")), length)
    x = table("word_embeddings", "input_ids")
    if types == "folded":  # the one type added to the positions
        both = tensors["embeddings.position_embeddings.weight"] + tensors["embeddings.token_type_embeddings.weight"][:1]
        x = g.node("Add", x, g.node("Slice", g.keep("places", both), begin, until))
    else:
        x = g.node("Add", g.node("Add", x, table("token_type_embeddings", kinds)), table("position_embeddings", places))
    x = norm(changed("embeddings", x), "embeddings.")
    mask = g.node("Mul", g.node("Sub", number("mask", 1), g.node("Cast", "attention_mask", to=1)), g.constant(np.array(-1e9, "<f4")))
    mask = changed("mask", g.node("Unsqueeze", mask, g.constant(np.array([1, 2], "<i8"))))
    for i in range(layers):
        layer = "encoder.layer.%d." % i
        q, k, v = (linear(x, layer + "attention.self." + part) for part in ("query", "key", "value"))
        scores = g.node("MatMul", split(q, [0, 2, 1, 3]), split(k, [0, 2, 3, 1]))
        scores = g.node("Add", changed(layer + "scores", g.node(true("scale by", "Div"), scores, root)), mask)
        context = g.node("MatMul", g.node("Softmax", scores, **({"axis": true("softmax axis", -1)} if true("softmax axis", 0) is not None else {})), split(v, [0, 2, 1, 3]))
        context = g.node("Reshape", g.node("Transpose", context, perm=true("join", [0, 2, 1, 3])), g.constant(np.array([0, 0, -1], "<i8")))
        x = norm(g.node("Add", linear(context, layer + "attention.output.dense"), x), layer + "attention.output.")
        wide = linear(x, layer + "intermediate.dense")
        if style == "spelt":
            gate = g.node("Add", g.node("Erf", g.node(true("erf by", "Div"), wide, number("root of two", 2 ** 0.5))), one)
            wide = g.node("Mul", g.node("Mul", wide, gate), half)
        else:
            wide = g.node("Gelu", wide)
        x = norm(g.node("Add", linear(changed(layer + "active", wide), layer + "output.dense"), x), layer + "output.")
    if end != "state":
        x = pool(g, x, end, changed)
    return g.model(["input_ids", "attention_mask"] + ["token_type_ids"] * (types == "input"), [x])


def onnx_fused(tensors, layers=3, heads=5, style="packed", change=None, end="state"):
    """An encoder of operations that stand for several. style: "packed" (EmbedLayerNormalization, Attention, SkipLayerNormalization and BiasGelu, as
    onnxruntime.transformers.optimizer writes them), "many" (MultiHeadAttention with a packed bias, Gelu of com.microsoft), "separate" (the same without
    one), "scaled" (FusedMatMul), "opset23" and "apart" (ONNX's own Attention of rows, and of heads that lie apart). change(op, inputs, attributes): what stands in a node's place."""
    g = Graph()
    n = len(tensors["embeddings.LayerNorm.bias"])
    new = lambda value: g.plain("t%d" % len(g.stored), np.ascontiguousarray(value))
    whole = lambda *v: g.constant(np.array(v, "<i8"))
    of = lambda *names: [new(tensors[name]) for name in names]

    def node(op, *inputs, domain="com.microsoft", **attributes):
        inputs, attributes = change(g, op, list(inputs), dict(attributes)) if change else (inputs, attributes)
        return g.node(op, *inputs, domain=domain, **attributes)

    def norm(x, skip, where, bias=None):
        more = of(bias) if bias else []
        return node("SkipLayerNormalization", x, skip, *of(where + "LayerNorm.weight", where + "LayerNorm.bias"), *more, epsilon=1e-12)

    def product(x, where, bias=True):
        x = g.node("MatMul", x, new(tensors[where + ".weight"].T))
        return g.node("Add", x, *of(where + ".bias")) if bias else x

    tables = ["embeddings.%s.weight" % t for t in ("word_embeddings", "position_embeddings", "token_type_embeddings")]
    ids, types, mask = (g.node("Cast", name, to=6) for name in ("input_ids", "token_type_ids", "attention_mask"))
    x = node("EmbedLayerNormalization", ids, types, *of(*tables, "embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias"), mask, epsilon=1e-12)
    lengths = "%s_mask" % x
    g.nodes[-1] += proto((2, lengths))
    for i in range(layers):
        layer = "encoder.layer.%d." % i
        three = [layer + "attention.self." + part for part in ("query", "key", "value")]
        bias = new(np.concatenate([tensors[t + ".bias"] for t in three]))
        if style == "packed":
            context = node("Attention", x, new(np.concatenate([tensors[t + ".weight"].T for t in three], axis=1)), bias,
                           lengths if i % 2 else mask, num_heads=heads)
        elif style in ("many", "separate"):
            packed = style == "many"
            context = node("MultiHeadAttention", *(product(x, t, not packed) for t in three), bias if packed else "", lengths, num_heads=heads)
        elif style == "opset23":
            truth = [g.node("Cast", g.node("Unsqueeze", "attention_mask", whole(1, axis)), to=9) for axis in (2, 3)]
            truth = g.node("And", *truth)
            context = node("Attention", *(product(x, t) for t in three), truth, domain="", q_num_heads=heads, kv_num_heads=heads)
        else:
            apart = lambda v: g.node("Transpose", g.node("Reshape", v, whole(0, 0, heads, n // heads)), perm=[0, 2, 1, 3])
            if style == "scaled":
                q, k, v = (apart(product(x, t)) for t in three)
                context = g.node("MatMul", g.node("Softmax", node("FusedMatMul", q, k, alpha=(n // heads) ** -0.5, transB=1), axis=-1), v)
            else:
                context = node("Attention", *(apart(product(x, t)) for t in three), domain="", scale=(n // heads) ** -0.5)
            context = g.node("Reshape", g.node("Transpose", context, perm=[0, 2, 1, 3]), whole(0, 0, -1))
        x = norm(product(context, layer + "attention.output.dense", False), x, layer + "attention.output.", layer + "attention.output.dense.bias")
        wide = layer + "intermediate.dense"
        active = (node("BiasGelu", product(x, wide, False), *of(wide + ".bias")) if style == "packed" else node("Gelu", product(x, wide)))
        x = norm(x, product(active, layer + "output.dense"), layer + "output.")
    if end != "state":
        x = pool(g, x, end)
    return g.model(["input_ids", "attention_mask", "token_type_ids"], [x], ("", 23 if style in ("opset23", "apart") else 17), ("com.microsoft", 1))
