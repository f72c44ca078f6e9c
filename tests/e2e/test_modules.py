"""What stands behind the transformer: Dense modules through import, hashes and fingerprints; --dimensions; --dimension and --pooling of an import."""
import json
import os
import shutil
import unittest
import zipfile

import numpy as np

from command import CommandTest
from folders import tiny

TEXTS = ["kolor ban", "gut mor lan per", "a"]


class Modules(CommandTest):
    def vectors(self, model, *flags):
        got = self.ok("embed", *TEXTS, "--model", model, "--format", "f32", *flags).out
        return np.frombuffer(got, "<f4").reshape(len(TEXTS), -1).astype(np.float64)

    def fingerprint(self, model, *flags):
        (line, *_) = self.ok("embed", "a", "--model", model, "--format", "jsonl", *flags).lines
        return line["fingerprint"]

    def folder_of(self, name, *arguments):
        folder = os.path.join(self.cwd, name)
        tiny(folder, *arguments)
        return folder

    def test_dimensions(self):
        whole, cut = self.vectors(self.model), self.vectors(self.model, "--dimensions", 24)
        want = whole[:, :24] / np.linalg.norm(whole[:, :24], axis=1, keepdims=True)
        np.testing.assert_allclose(cut, want, atol=1e-6)
        raw = self.vectors(self.model, "--no-normalize")
        np.testing.assert_array_equal(self.vectors(self.model, "--no-normalize", "--dimensions", 24), raw[:, :24])
        np.testing.assert_array_equal(self.vectors(self.model, "--dimensions", 80), whole)
        prints = [self.fingerprint(self.model, *flags) for flags in ((), ("--dimensions", 24), ("--dimensions", 48), ("--dimensions", 80))]
        self.assertEqual(len(set(prints)), 3)
        self.assertEqual(prints[0], prints[3])
        refused = self.quern("embed", "a", "--model", self.model, "--dimensions", 25)
        self.assertEqual(refused.code, 1, refused.message)
        self.assertIn("25 of its 80 dimensions", refused.message)
        self.assertIn("24, 48", refused.message)
        np.testing.assert_allclose(self.vectors(self.model, "--dimensions", 25, "--force-dimensions")[:, :24].sum(),
                                   (whole[:, :24] / np.linalg.norm(whole[:, :25], axis=1, keepdims=True)).sum(), atol=1e-4)
        self.assertIn("81 dimensions are asked for, the model gives 80", self.quern("embed", "a", "--model", self.model, "--dimensions", 81,
                                                                                    "--force-dimensions").message)

    def test_lower_case(self):
        """do_lower_case of sentence_bert_config.json: nothing is left to do for a tokenizer that lower-cases; another is refused."""
        folder = self.folder_of("lower")
        want = self.vectors(folder)
        for name, change in (("sentence_bert_config.json", lambda c: c.update(do_lower_case=True)), ("tokenizer.json", None)):
            with open(os.path.join(folder, name)) as f:
                content = json.load(f)
            if change:
                change(content)
            else:
                content["normalizer"]["lowercase"] = False
            with open(os.path.join(folder, name), "w") as f:
                json.dump(content, f)
            if change:
                np.testing.assert_array_equal(self.vectors(folder), want)
        refused = self.quern("embed", "a", "--model", folder)
        self.assertNotEqual(refused.code, 0)
        self.assertIn("do_lower_case is true", refused.message)

    def test_generations(self):
        with open(os.path.join(self.cwd, "in.jsonl"), "w") as f:
            f.write("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in enumerate(TEXTS)))
        self.ok("add", "in.jsonl", "--id-field", "id")
        self.ok("fill", "--model", self.model, "--dimensions", 24)
        found = self.ok("search", "kolor ban", "--model", self.model, "--dimensions", 24, "--json").json["hits"]
        self.assertEqual(found[0]["key"], "0")
        for refused in (self.quern("search", "kolor", "--model", self.model), self.quern("similar", 0, "--model", self.model),
                        self.quern("verify", "--model", self.model, "--dimensions", 48)):
            self.assertNotEqual(refused.code, 0)
            self.assertIn("(dimension differs)", refused.message)
        self.ok("verify", "--model", self.model, "--dimensions", 24)

    def test_dense_travels(self):
        folder = self.folder_of("dense", "--dense", "33:tanh,17:identity:unit", "--seed", 4)
        want = self.vectors(folder)
        self.assertEqual(want.shape, (3, 17))
        self.ok("model", "import", folder, "--name", "of-folder", "--dimension", 17)
        archive = os.path.join(self.cwd, "model.zip")
        with zipfile.ZipFile(archive, "w") as z:
            z.writestr("some/model/2_Dense/", b"")  # packers list folders, too
            for root, _, files in os.walk(folder):
                for name in files:
                    path = os.path.join(root, name)
                    z.write(path, os.path.join("some", "model", os.path.relpath(path, folder)))
        self.ok("model", "import", archive, "--name", "of-zip")
        for name in ("of-folder", "of-zip"):
            np.testing.assert_array_equal(self.vectors(name), want)
            self.assertEqual(self.fingerprint(name), self.fingerprint(folder))
            info = self.ok("model", "info", name, "--json").json
            self.assertEqual((info["dimensions"], info["dense_modules"]), (17, 2))
            self.ok("model", "verify", name)
        stored = os.path.join(self.folder, "data", "quern", "models", "of-zip", "4_Dense", "model.safetensors")
        with open(stored, "r+b") as f:
            f.seek(-1, 2)
            last = f.read(1)[0]
            f.seek(-1, 2)
            f.write(bytes([last ^ 1]))
        refused = self.quern("model", "verify", "of-zip")
        self.assertEqual(refused.code, 1)
        self.assertIn("4_Dense/model.safetensors", refused.message)
        self.assertNotEqual(self.quern("embed", "a", "--model", "of-zip").code, 0)  # its hash is part of the fingerprint

    def test_dense_decides(self):
        """Other weights, another activation or another order are another fingerprint, and other vectors."""
        seen, vectors = set(), []
        for i, (dense, seed) in enumerate((("33:tanh", 4), ("33:identity", 4), ("33:tanh:unit", 4), ("33:tanh", 5))):
            folder = self.folder_of("d%d" % i, "--dense", dense, "--seed", 4)
            if seed == 5:
                shutil.copy(os.path.join(self.folder_of("other", "--dense", dense, "--seed", 5), "2_Dense", "model.safetensors"),
                            os.path.join(folder, "2_Dense", "model.safetensors"))
            seen.add(self.fingerprint(folder))
            vectors.append(self.vectors(folder).tobytes())
        self.assertEqual((len(seen), len(set(vectors))), (4, 4))

    def test_dense_refused(self):
        folder = self.folder_of("bad", "--dense", "33:tanh")
        path = os.path.join(folder, "2_Dense", "model.safetensors")
        with open(path, "rb") as f:
            whole = f.read()
        for data, part in ((whole.replace(b"linear.bias", b"linear.bxas"), "linear.bias"), (whole[:-4] + b"\0\0\x80\x7f", "NaN or infinity"),
                           (whole.replace(b"[33,80]", b"[80,33]"), "linear.weight"), (whole[:-1], "2_Dense")):
            with open(path, "wb") as f:
                f.write(data)
            refused = self.quern("embed", "a", "--model", folder)
            self.assertEqual(refused.code, 1 if "2_Dense" in refused.message else 0, refused.message)
            self.assertIn(part, refused.message)
        os.remove(path)
        self.assertIn("2_Dense", self.quern("embed", "a", "--model", folder).message)

    def test_import_says(self):
        bare = self.folder_of("bare")
        os.remove(os.path.join(bare, "modules.json"))
        shutil.rmtree(os.path.join(bare, "1_Pooling"))
        refused = self.quern("model", "import", bare, "--name", "unsaid", "--dimension", 81)
        self.assertEqual(refused.code, 1, refused.message)
        self.assertIn("80", refused.message)
        self.assertIn("81", refused.message)
        self.assertEqual(self.quern("model", "info", "unsaid").code, 4)  # nothing was published
        self.assertEqual(self.quern("model", "import", bare, "--name", "unsaid", "--pooling", "sum").code, 2)
        self.ok("model", "import", bare, "--name", "unsaid", "--pooling", "max", "--dimension", 80)
        info = self.ok("model", "info", "unsaid", "--json").json
        self.assertEqual((info["pooling"], info["pooling_origin"]), ("max", "modules.json"))
        self.ok("model", "verify", "unsaid")
        stated = self.folder_of("stated", "--pooling", "max")
        np.testing.assert_array_equal(self.vectors("unsaid"), self.vectors(stated))
        refused = self.quern("model", "import", stated, "--name", "stated", "--pooling", "cls")
        self.assertEqual(refused.code, 1)
        self.assertIn("pooling max, cls was asked for", refused.message)
        self.ok("model", "import", stated, "--name", "stated", "--pooling", "max")


if __name__ == "__main__":
    unittest.main()
