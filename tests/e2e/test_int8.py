"""The int8 class from the command line: made, held to fp32, part of the fingerprint, damaged, forced, stored."""
import json
import os
import shutil
import unittest

import numpy as np

from command import LONG, ROOT, SANITIZED, WEIGHTS, CommandTest
from folders import make_tiny, tiny

TEXTS = ["the cat sat on the mat", "a dog sleeps", "interest rates rose again", "", "x " * 150]


def rows(answer, dim):
    return np.frombuffer(answer.out, "<f4").reshape(-1, dim)


def damage(path):
    with open(path, "r+b") as f:
        f.seek(-2000, os.SEEK_END)
        byte = f.read(1)
        f.seek(-2000, os.SEEK_END)
        f.write(bytes([byte[0] ^ 1]))


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
        for flags in (["--cpu", "scalar"], ["--cpu", "amxplain"], ["--cpu", "avx2"], ["--threads", "2"], ["--batch", "1"]):
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
        damage(self.file)
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

    def test_store(self):
        self.ok("model", "quantize", "--force", "./tiny")
        self.add_texts([t or "ban" for t in TEXTS])
        self.ok("fill", "--model", "./tiny", "--precision", "int8")
        hits = self.ok("search", "--model", "./tiny", "--precision", "int8", "--json", "a dog sleeps").json["hits"]
        self.assertEqual(hits[0]["key"], "1")
        self.ok("verify", "--model", "./tiny", "--precision", "int8", "--all")
        self.assertEqual(self.ok("search", "--model", "./tiny", "--json", "a dog sleeps").json["hits"], hits)
        other = self.quern("search", "--model", "./tiny", "--precision", "fp32", "a dog sleeps")  # a query in the other class meets no vectors of this one
        self.assertEqual(other.code, 1, other.out)


class Long(CommandTest):
    """To either side of the lengths between which attention is in integers; with a bias by distance, too."""

    LENGTHS = (63, 64, 65, 511, 512, 513)

    def test_one_pattern_near_fp32(self):
        for family in ("bert", "mpnet"):
            folder = os.path.join(self.cwd, family)
            tiny(folder, "--family", family, "--length", 520, "--layers", 2)
            self.ok("model", "quantize", "--force", folder)
            texts = [" ".join("abcdefghij"[(i * i + n) % 10] for i in range(n - 2)) for n in self.LENGTHS]
            told = self.ok("embed", "--model", folder, "--precision", "int8", *texts).lines
            self.assertEqual([line["tokens"] for line in told], list(self.LENGTHS))
            common = ("embed", "--model", folder, "--format", "f32")
            first = self.ok(*common, "--precision", "int8", *texts)
            for flags in (["--cpu", "scalar"], ["--cpu", "avx2"], ["--threads", "2", "--batch", "2"]):
                self.assertEqual(self.ok(*common, "--precision", "int8", *flags, *texts).out, first.out, (family, flags))
            near = (rows(self.ok(*common, "--precision", "fp32", *texts), 80) * rows(first, 80)).sum(axis=1)
            self.assertGreater(near.min(), 0.999, (family, near))


class Families(CommandTest):
    """Gated blocks, ReLU, norms in front, keys that heads share: through the gate, one bit pattern, near to transformers' vectors.
    By every table and in every shape: tests/unit/encoder/test_encoder_families.c."""

    def made(self, *arguments):
        tiny(os.path.join(self.cwd, "model"), *arguments)
        made = self.ok("model", "quantize", "--json", "./model").json
        self.assertTrue(made["passed"], made)  # no --force

    def embed(self, texts, *flags):
        return self.ok("embed", "--model", "./model", "--format", "f32", "--truncate", *flags, *texts)

    def test_transformers(self):
        """tests/golden/families.json: what transformers gives in float64, by tools/make-golden-families."""
        with open(os.path.join(ROOT, "tests", "golden", "families.json")) as file:
            golden = json.load(file)
        for arguments, want in list(zip(golden["models"], golden["vectors"]))[0 if LONG else 1::1 if LONG else 2]:
            self.made(*arguments)
            first = self.embed(golden["texts"], "--precision", "int8")
            for flags in (["--cpu", "scalar"], ["--threads", "2", "--batch", "1"]):
                self.assertEqual(self.embed(golden["texts"], "--precision", "int8", *flags).out, first.out, (arguments, flags))
            self.assertEqual(self.embed(golden["texts"]).out, first.out)  # auto
            cosines = (rows(first, len(want[0])) * np.array(want)).sum(axis=1)
            self.assertGreater(cosines.min(), 0.999, arguments)
            self.assertLess(cosines.min(), 1 - 1e-7, arguments)

    def test_nomic(self):
        """Its fp32 is held to a reference in test_fidelity."""
        self.made("--family", "nomic_bert", "--hidden", 72, "--heads", 4, "--layers", 1)
        pair = [rows(self.embed(TEXTS[:3], "--precision", p), 72) for p in ("fp32", "int8")]
        self.assertGreater((pair[0] * pair[1]).sum(axis=1).min(), 0.999)

    def test_below_the_gate(self):
        """One inner channel far above the others takes the codes of its piece: refused, nothing written."""
        options = tiny(os.path.join(self.cwd, "model"), "--family", "t5", "--gated", "--layers", 1)
        path = os.path.join(self.cwd, "model", "model.safetensors")
        module = make_tiny()
        values = module.t5_tensors(options)
        values["encoder.block.0.layer.1.DenseReluDense.wi_1.weight"][3] *= 3000
        values["encoder.block.0.layer.1.DenseReluDense.wo.weight"][:, 3] /= 3000
        module.write_safetensors(path, values, "f32")
        self.refused(1, "int8 is too far from fp32", "model", "quantize", "./model")
        self.assertFalse(os.path.exists(os.path.join(self.cwd, "model", "model.int8.safetensors")))


class Shelf(CommandTest):
    """The file is the model's as the others are: listed, verified, shown, taken along."""

    def quantized(self, name):
        self.ok("model", "import", self.model, "--name", name)
        return self.ok("model", "quantize", "--force", "--json", name).json, os.path.join(self.folder, "data/quern/models", name)

    def listed(self, name):
        return next(m for m in self.ok("model", "list", "--json").json["models"] if m["name"] == name)

    def shown(self, name):
        return self.ok("model", "info", "--json", name).json["int8"]

    def test_info_and_verify(self):
        self.ok("model", "import", self.model, "--name", "one")
        self.assertIsNone(self.shown("one"))
        self.assertEqual(self.listed("one")["int8_bytes"], 0)
        made, folder = self.quantized("one")
        shown = self.shown("one")
        self.assertEqual((shown["calibration"], shown["bytes"], shown["passed"]), (made["checksum"], made["bytes"], made["passed"]))
        self.assertAlmostEqual(shown["cosine_worst"], made["cosine_worst"], 5)
        listed = self.listed("one")
        self.assertEqual(listed["int8_bytes"], made["bytes"])
        self.assertGreater(listed["bytes"], made["bytes"])
        self.assertRegex(self.ok("model", "list").out.decode(), r"(?m)^one .*, int8$")
        self.assertIn(made["checksum"], self.ok("model", "info", "one").out.decode())
        with open(os.path.join(folder, "quern-manifest.json")) as f:
            self.assertEqual(json.load(f)["files"]["model.int8.safetensors"]["size"], made["bytes"])
        self.ok("model", "verify", "one")
        self.ok("model", "quantize", "--force", "one")
        self.ok("model", "verify", "one")
        damage(os.path.join(folder, "model.int8.safetensors"))
        self.refused(1, "model.int8.safetensors", "model", "verify", "one")
        self.refused(1, "damaged", "model", "info", "one")
        os.remove(os.path.join(folder, "model.int8.safetensors"))
        self.refused(4, "quern model quantize", "model", "verify", "one")
        # a file that the manifest does not list, as an earlier quern made it
        made, folder = self.quantized("two")
        with open(os.path.join(folder, "quern-manifest.json")) as f:
            manifest = json.load(f)
        del manifest["files"]["model.int8.safetensors"]
        with open(os.path.join(folder, "quern-manifest.json"), "w") as f:
            json.dump(manifest, f)
        self.ok("model", "verify", "two")
        damage(os.path.join(folder, "model.int8.safetensors"))
        self.refused(1, "damaged", "model", "verify", "two")

    def test_import_takes_it_along(self):
        made, folder = self.quantized("source")
        self.ok("model", "import", folder, "--name", "copy")
        self.assertEqual(self.shown("copy")["calibration"], made["checksum"])
        self.ok("model", "verify", "copy")
        archive = shutil.make_archive(os.path.join(self.cwd, "packed"), "zip", folder)
        self.ok("model", "import", archive, "--name", "unpacked")
        self.assertEqual(self.shown("unpacked"), self.shown("copy"))
        self.ok("model", "import", self.model, "--name", "late")  # the same model, without; then it comes
        self.assertIsNone(self.shown("late"))
        self.ok("model", "import", folder, "--name", "late")
        self.assertEqual(self.shown("late"), self.shown("copy"))
        self.ok("model", "verify", "late")
        self.ok("model", "import", self.model, "--name", "late")
        self.assertEqual(self.shown("late"), self.shown("copy"))
        self.ok("model", "remove", "--yes", "late")
        self.assertFalse(os.path.exists(folder.replace("source", "late")))
        # what is damaged or another model's refuses the import
        bad = os.path.join(self.cwd, "bad")
        shutil.copytree(folder, bad)
        damage(os.path.join(bad, "model.int8.safetensors"))
        self.refused(1, "damaged", "model", "import", bad, "--name", "ill")
        shutil.copy(os.path.join(folder, "model.int8.safetensors"), bad)
        with open(os.path.join(bad, "model.safetensors"), "r+b") as f:
            f.seek(-4, os.SEEK_END)
            f.write(np.float32(0.25).tobytes())
        self.refused(1, "other weights", "model", "import", bad, "--name", "ill")
        self.refused(4, "no model", "model", "info", "ill")

    def test_a_repaired_model_keeps_it(self):
        made, folder = self.quantized("repaired")
        with open(os.path.join(folder, "vocab.txt"), "ab") as f:
            f.write(b"extra\n")
        self.refused(1, "vocab.txt", "model", "verify", "repaired")
        self.ok("model", "import", self.model, "--name", "repaired")
        self.assertEqual(self.shown("repaired")["calibration"], made["checksum"])
        self.ok("model", "verify", "repaired")
        damage(os.path.join(folder, "model.int8.safetensors"))  # and is not kept where it is what was damaged
        self.ok("model", "import", self.model, "--name", "repaired")
        self.assertIsNone(self.shown("repaired"))
        self.ok("model", "verify", "repaired")


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
