"""The C ABI from another language: the shared library through ctypes, as a binding would use it."""
import ctypes as c
import json
import os
import struct
import sys
import unittest

if os.environ.get("QUERN_SKIP_MODEL_TESTS"):
    print("skipped: QUERN_SKIP_MODEL_TESTS is set, no weights wanted")
    sys.exit(77)


class Error(c.Structure):
    _fields_ = [("status", c.c_int32), ("subject", c.c_int32), ("detail", c.c_int64), ("code", c.c_char_p),
                ("retry_ms", c.c_int32), ("msg", c.c_char * 484)]


class Str(c.Structure):
    _fields_ = [("ptr", c.c_char_p), ("len", c.c_size_t)]


def text(data: bytes) -> Str:
    return Str(data, len(data))  # the length is given: NUL inside is text like any other


def load():
    lib = c.CDLL(os.path.join(os.environ["QUERN_BUILD"], "libquern.so"))
    p, pp, err = c.c_void_p, c.POINTER(c.c_void_p), c.POINTER(Error)
    lib.quern_model_open.argtypes = [pp, c.c_char_p, p, err]
    lib.quern_model_free.argtypes = [p]
    lib.quern_embedder_from_model.argtypes = [pp, p, p, err]
    lib.quern_embedder_free.argtypes = [p]
    lib.quern_embedder_dimensions.argtypes = [p]
    lib.quern_embedder_dimensions.restype = c.c_uint32
    lib.quern_embed.argtypes = [p, c.POINTER(Str), c.c_size_t, p, c.POINTER(c.c_float), c.c_size_t, p, err]
    lib.quern_embed_json.argtypes = [p, Str, p, pp, err]
    lib.quern_free.argtypes = [p]
    lib.quern_version_string.restype = c.c_char_p
    lib.quern_vector_from_blob.argtypes = [c.c_char_p, c.c_size_t, c.POINTER(c.c_float), c.c_size_t, err]
    return lib


class Binding(unittest.TestCase):
    def setUp(self):
        self.lib, self.err = load(), Error()

    def check(self, rc):
        self.assertEqual(rc, 0, self.err.msg.decode())

    def open(self):
        model, embedder = c.c_void_p(), c.c_void_p()
        self.check(self.lib.quern_model_open(c.byref(model), os.environ["QUERN_TEST_MODEL"].encode(), None, self.err))
        self.check(self.lib.quern_embedder_from_model(c.byref(embedder), model, None, self.err))
        self.lib.quern_model_free(model)  # the embedder holds it
        return embedder

    def embed(self, embedder, data):
        dim = self.lib.quern_embedder_dimensions(embedder)
        out = (c.c_float * dim)()
        self.check(self.lib.quern_embed(embedder, text(data), 1, None, out, dim, None, self.err))
        return bytes(out)

    def test_two_instances_one_bit_pattern(self):
        a, b = self.open(), self.open()
        data = "one\0two, müde".encode()
        self.assertEqual(self.lib.quern_embedder_dimensions(a), 384)
        self.assertEqual(self.embed(a, data), self.embed(b, data))
        self.assertNotEqual(self.embed(a, data), self.embed(a, b"another text"))
        # NUL is dropped by the model's normaliser and must not end the text
        self.assertEqual(self.embed(a, data), self.embed(a, "onetwo, müde".encode()))
        self.lib.quern_embedder_free(a)
        self.assertEqual(len(self.embed(b, data)), 4 * 384)  # the other lives on
        self.lib.quern_embedder_free(b)

    def test_json(self):
        e, out = self.open(), c.c_void_p()
        self.check(self.lib.quern_embed_json(e, text(b"hello\0world"), None, c.byref(out), self.err))
        answer = json.loads(c.string_at(out).decode())
        self.lib.quern_free(out)
        self.assertEqual(len(answer["embedding"]), 384)
        self.assertEqual(answer["truncated"], False)
        self.assertGreater(answer["inference_ms"], 0)
        self.assertEqual(len(answer["fingerprint"]), 64)
        floats = struct.pack("<384f", *answer["embedding"])
        self.assertEqual(floats, self.embed(e, b"hello\0world"))  # the text form reads back as the same bits
        self.lib.quern_embedder_free(e)

    def test_errors_say_what(self):
        model = c.c_void_p(1)
        rc = self.lib.quern_model_open(c.byref(model), b"/no/such/model", None, self.err)
        self.assertEqual(rc, -4)
        self.assertIsNone(model.value)
        self.assertIn(b"/no/such/model", self.err.msg)
        v = (c.c_float * 3)()
        self.assertEqual(self.lib.quern_vector_from_blob(b"12345", 5, v, 3, self.err), -6)
        self.assertIn(b"5 bytes", self.err.msg)
        self.assertIn(b"12", self.err.msg)

    def test_version(self):
        self.assertRegex(self.lib.quern_version_string().decode(), r"^\d+\.\d+\.\d+$")


if __name__ == "__main__":
    unittest.main()
