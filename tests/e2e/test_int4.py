"""The class int4 from the command line: made, held to fp32, one bit pattern, damaged, of other widths, taken along, stored."""
import json
import os
import shutil
import subprocess
import sys
import unittest

import numpy as np

from command import LONG, ROOT, SANITIZED, WEIGHTS, CommandTest
from folders import tiny

TEXTS = ["the cat sat on the mat", "a dog sleeps", "interest rates rose again", "x " * 60]


class Int4(CommandTest):
    def setUp(self):
        super().setUp()
        self.folder = os.path.join(self.cwd, "tiny")
        subprocess.run([sys.executable, os.path.join(ROOT, "tools", "make-tiny-model"), self.folder, "--hidden", "64", "--heads", "2",
                        "--intermediate", "416"], check=True, stdout=subprocess.DEVNULL)
        self.file = os.path.join(self.folder, "model.int4.safetensors")

    def embed(self, *flags):
        return self.quern("embed", "--model", "./tiny", "--format", "f32", *flags, *TEXTS)

    def quantize(self):
        return self.ok("model", "quantize", "--precision", "int4", "--force", "--json", "./tiny").json

    def test_life(self):
        self.refused(4, "no int4 weights yet; quern model quantize --precision int4 makes", "embed", "--model", "./tiny", "--precision", "int4", "x")
        made = self.quantize()
        self.assertEqual((made["precision"], made["bytes"]), ("int4", os.path.getsize(self.file)))
        first = self.embed("--precision", "int4")
        self.assertEqual(first.code, 0, first.message)
        for flags in (["--cpu", "scalar"], ["--cpu", "amxplain"], ["--cpu", "avx2"], ["--threads", "2"], ["--batch", "1"]):
            self.assertEqual(self.embed("--precision", "int4", *flags).out, first.out, flags)
        fp32 = self.embed("--precision", "fp32")
        self.assertEqual(self.embed().out, fp32.out)  # auto never takes it
        near = (np.frombuffer(fp32.out, "<f4") * np.frombuffer(first.out, "<f4")).reshape(len(TEXTS), -1).sum(axis=1)
        self.assertTrue((near > 0.9).all() and (near < 0.99999).any(), near)
        with open(self.file, "rb") as f:
            bytes_ = f.read()
        self.quantize()  # again: the same file
        with open(self.file, "rb") as f:
            self.assertEqual(f.read(), bytes_)
        info = self.ok("model", "info", "--json", "./tiny").json
        self.assertEqual((info["int8"], info["int4"]["calibration"], "int4" in info["precisions"]), (None, made["checksum"], True))
        self.ok("model", "import", "./tiny", "--name", "tiny", "--models", "shelf")
        listed = self.ok("model", "list", "--json", "--models", "shelf").json["models"][0]
        self.assertEqual((listed["name"], listed["int8_bytes"], listed["int4_bytes"]), ("tiny", 0, made["bytes"]))
        self.assertRegex(self.ok("model", "list", "--models", "shelf").out.decode(), r"(?m)^tiny .*, int4$")

    def test_beside_int8(self):
        self.ok("model", "quantize", "--force", "./tiny")
        self.quantize()
        eight = os.path.join(self.folder, "model.int8.safetensors")
        self.assertLess(os.path.getsize(self.file), 0.8 * os.path.getsize(eight))
        prints = {p: self.ok("embed", "--model", "./tiny", "--precision", p, "x").lines[0]["fingerprint"] for p in ("fp32", "fp16", "int8", "int4")}
        self.assertEqual(len(set(prints.values())), 4)
        os.replace(eight, self.file)
        self.refused(1, "of the class int8; quern model quantize --precision int4 makes", "embed", "--model", "./tiny", "--precision", "int4", "x")
        with open(self.file, "rb") as f:
            data = bytearray(f.read())
        header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
        data[8 + int.from_bytes(data[:8], "little") + header["version"]["data_offsets"][0]] = 66
        with open(self.file, "wb") as f:
            f.write(data)
        self.refused(1, "its version is 66; this quern reads 67 (quern model quantize --precision int4)",
                     "embed", "--model", "./tiny", "--precision", "int4", "x")

    def test_what_is_made(self):  # what is computed with elsewhere says nothing of it
        for precision in ("fp32", "int4", "auto"):
            made = self.quern("model", "quantize", "--force", "--json", "./tiny", env={"QUERN_PRECISION": precision})
            self.assertEqual((made.code, made.json["precision"]), (0, "int8"), made.message)
        self.write("quern.ini", "precision = fp16\n")
        self.assertEqual(self.ok("model", "quantize", "--force", "--json", "./tiny", "--config", "quern.ini").json["precision"], "int8")
        self.assertFalse(os.path.exists(self.file))
        self.assertEqual(self.ok("model", "quantize", "--force", "--json", "./tiny", "--precision", "auto").json["precision"], "int8")

    def test_damage(self):
        self.quantize()
        with open(self.file, "r+b") as f:
            f.seek(-2000, os.SEEK_END)
            byte = f.read(1)
            f.seek(-2000, os.SEEK_END)
            f.write(bytes([byte[0] ^ 1]))
        self.refused(1, "(quern model quantize --precision int4)", "embed", "--model", "./tiny", "--precision", "int4", "x")
        self.assertEqual(self.embed().code, 0)

    def test_other_widths_and_words(self):
        self.refused(1, "multiples of 32", "model", "quantize", "--precision", "int4", "--force", self.model)
        self.refused(1, "quantised to int8 or int4", "model", "quantize", "--precision", "bf16", "./tiny")

    def test_shelf_and_store(self):
        self.quantize()
        self.ok("model", "import", "./tiny", "--name", "four")
        self.ok("model", "verify", "four")
        self.add_texts(TEXTS)
        self.ok("fill", "--model", "four", "--precision", "int4")
        hits = self.ok("search", "--model", "four", "--json", "a dog sleeps").json["hits"]  # auto: the class of what stands there
        self.assertEqual(hits[0]["key"], "1")
        self.ok("verify", "--model", "four", "--all", "--cpu", "scalar")
        self.assertEqual(self.quern("search", "--model", "four", "--precision", "fp32", "a dog sleeps").code, 1)

    def test_what_is_kept(self):
        """A model that misses the gate by a little keeps matrices in bytes until it passes: the report names them, the file has them."""
        shape = ["--hidden", "96", "--heads", "3", "--layers", "12", "--intermediate", "96", "--pooling", "cls", "--seed", "1"]
        tiny(os.path.join(self.cwd, "deep"), *shape)
        made = self.ok("model", "quantize", "--json", "--precision", "int4", "./deep").json
        with open(os.path.join(self.cwd, "deep", "model.int4.safetensors"), "rb") as f:
            tensors = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        four = {name[:-5] for name in tensors if name.endswith(".step")}
        kept = {name[:-7] for name in tensors if name.endswith((".query.weight", ".key.weight", ".up.weight", ".down.weight"))} - four
        self.assertTrue(made["passed"] and made["cosine_worst"] >= 0.98, made)
        self.assertTrue(kept and len(kept) <= 24, made)
        self.assertEqual(sorted(made["kept"]), sorted(kept))
        one, two = (self.ok("embed", "--model", "./deep", "--precision", "int4", "--cpu", cpu, "--format", "f32", *TEXTS).out
                    for cpu in ("scalar", "avx2"))
        self.assertEqual(one, two)


if LONG and WEIGHTS and not SANITIZED:  # the real model takes half a minute
    class MiniLM(CommandTest):
        def test_passes_the_gate(self):
            shutil.copytree(WEIGHTS, os.path.join(self.cwd, "minilm"), symlinks=False)
            made = self.ok("model", "quantize", "--json", "--precision", "int4", "./minilm", timeout=500).json
            self.assertTrue(made["passed"] and made["cosine_worst"] >= 0.98, made)
            self.assertEqual(len(made["kept"]), 1, made)
            self.assertLess(made["bytes"], 7 << 20)


if __name__ == "__main__":
    unittest.main(verbosity=0)
