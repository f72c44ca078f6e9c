"""The int8 class from the command line: made, held to fp32, part of the fingerprint, damaged, forced, stored."""
import json
import os
import shutil
import unittest

import numpy as np

from command import SANITIZED, WEIGHTS, CommandTest

TEXTS = ["the cat sat on the mat", "a dog sleeps", "interest rates rose again", "", "x " * 150]


def rows(answer, dim):
    return np.frombuffer(answer.out, "<f4").reshape(-1, dim)


class Tiny(CommandTest):
    """A small model with random weights: fast, and far from any trained one."""

    def setUp(self):
        super().setUp()
        self.folder = os.path.join(self.cwd, "tiny")
        shutil.copytree(self.model, self.folder)
        self.file = os.path.join(self.folder, "model.int8.safetensors")

    def embed(self, *flags):
        return self.quern("embed", "--model", "./tiny", "--format", "f32", *flags, *TEXTS[:4])

    def test_life(self):
        answer = self.embed("--precision", "int8")
        self.assertEqual((answer.code, answer.out), (4, b""))
        self.assertIn("quern model quantize", answer.message)
        before = self.ok("model", "info", "--json", "./tiny").json["fingerprint"]
        made = self.ok("model", "quantize", "--force", "--json", "./tiny").json
        self.assertEqual(made["precision"], "int8")
        self.assertEqual(made["bytes"], os.path.getsize(self.file))
        now = self.ok("model", "info", "--json", "./tiny").json["fingerprint"]
        self.assertEqual(now != before, made["passed"])
        first = self.embed("--precision", "int8")
        self.assertEqual(first.code, 0, first.message)
        for flags in (["--cpu", "scalar"], ["--cpu", "avx2"], ["--threads", "2"], ["--batch", "1"]):
            self.assertEqual(self.embed("--precision", "int8", *flags).out, first.out, flags)
        fp32 = self.embed("--precision", "fp32")
        self.assertEqual(self.embed("--precision", "auto").out, first.out if made["passed"] else fp32.out)
        self.assertNotEqual(fp32.out, first.out)
        near = (rows(fp32, 80) * rows(first, 80)).sum(axis=1)
        self.assertGreater(near.min(), 0.9)
        prints = [self.ok("embed", "--model", "./tiny", "--precision", p, "x").lines[0]["fingerprint"] for p in ("fp32", "int8")]
        self.assertEqual(prints[0], before)
        self.assertNotEqual(prints[0], prints[1])
        with open(self.file, "rb") as f:
            bytes_ = f.read()
        self.ok("model", "quantize", "--force", "./tiny")  # again: the same file
        with open(self.file, "rb") as f:
            self.assertEqual(f.read(), bytes_)
        self.assertEqual([n for n in os.listdir(self.folder) if n.startswith("model.int8") or "tmp" in n], ["model.int8.safetensors"])

    def test_gate(self):
        answer = self.quern("model", "quantize", "--json", "./tiny")
        if answer.code == 0:  # these random weights passed
            self.assertTrue(answer.json["passed"])
            return
        self.assertEqual(answer.code, 1)
        self.assertIn("--force", answer.message)
        self.assertFalse(os.path.exists(self.file))

    def test_damage_and_other_weights(self):
        self.ok("model", "quantize", "--force", "./tiny")
        with open(self.file, "r+b") as f:
            f.seek(-2000, os.SEEK_END)
            byte = f.read(1)
            f.seek(-2000, os.SEEK_END)
            f.write(bytes([byte[0] ^ 1]))
        answer = self.embed("--precision", "int8")
        self.assertEqual((answer.code, answer.out), (1, b""))
        self.assertIn("damaged", answer.message)
        self.ok("model", "quantize", "--force", "./tiny")
        weights = os.path.join(self.folder, "model.safetensors")
        with open(weights, "r+b") as f:
            f.seek(-4, os.SEEK_END)
            f.write(np.float32(0.25).tobytes())
        answer = self.embed("--precision", "int8")
        self.assertEqual((answer.code, answer.out), (1, b""))
        self.assertIn("other weights", answer.message)
        self.assertEqual(self.embed().code, 0)

    def test_others_are_not_built(self):
        for precision in ("bf16", "fp16", "int4"):
            answer = self.embed("--precision", precision)
            self.assertEqual(answer.code, 1)
            self.assertIn("%s is not built" % precision, answer.message)

    def test_store(self):
        self.ok("model", "quantize", "--force", "./tiny")
        self.write("in.jsonl", "\n".join(json.dumps({"id": i, "text": t or "ban"}) for i, t in enumerate(TEXTS)))
        self.ok("add", "in.jsonl")
        self.ok("fill", "--model", "./tiny", "--precision", "int8")
        hits = self.ok("search", "--model", "./tiny", "--precision", "int8", "--json", "a dog sleeps").json["hits"]
        self.assertEqual(hits[0]["key"], "1")
        self.ok("verify", "--model", "./tiny", "--precision", "int8", "--all")
        self.assertEqual(self.ok("search", "--model", "./tiny", "--json", "a dog sleeps").json["hits"], hits)
        other = self.quern("search", "--model", "./tiny", "--precision", "fp32", "a dog sleeps")  # a query in the other class meets no vectors of this one
        self.assertEqual(other.code, 1, other.out)


@unittest.skipIf(SANITIZED, "the real model takes too long under a sanitizer")
@unittest.skipUnless(WEIGHTS, "no weights")
class MiniLM(CommandTest):
    def test_passes_the_gate(self):
        folder = os.path.join(self.cwd, "minilm")
        shutil.copytree(os.environ["QUERN_TEST_MODEL"], folder, symlinks=False)
        made = self.ok("model", "quantize", "--json", "./minilm").json
        self.assertTrue(made["passed"])
        self.assertGreaterEqual(made["cosine_mean"], 0.9995)
        self.assertGreaterEqual(made["cosine_worst"], 0.997)
        self.assertGreaterEqual(made["ranking"], 0.95)
        self.assertEqual(self.ok("embed", "--model", "./minilm", "x").lines[0]["precision"], "int8")  # what auto is now
        one, two = (self.ok("embed", "--model", "./minilm", "--precision", p, "--format", "f32", *TEXTS) for p in ("fp32", "int8"))
        self.assertGreater((rows(one, 384) * rows(two, 384)).sum(axis=1).min(), 0.99)


if __name__ == "__main__":
    unittest.main()
