"""The class fp16 from the command line: nearly fp32, the same bits however it is computed, a class and a generation of its own."""
import unittest

from halves import TEXTS, HalvesTest


class Fp16(HalvesTest):
    def test_vectors(self):
        here = self.row("fp16")
        self.assertEqual(here["precision"], "fp16")
        first, fp32 = self.floats("--precision", "fp16"), self.floats("--precision", "fp32")
        for flags in (["--cpu", "scalar"], ["--threads", "2"], ["--batch", "1"]):
            self.assertEqual(self.floats("--precision", "fp16", *flags), first, flags)
        self.assertEqual(self.row("fp16", "--cpu", "scalar")["fingerprint"], here["fingerprint"])
        self.assertNotEqual(self.row("fp32")["fingerprint"], here["fingerprint"])
        self.assertNotEqual(fp32, first)
        self.assertEqual(self.floats(), fp32)  # what auto is
        self.near(fp32, first, 0.99999)

    def test_store(self):
        self.add_texts(TEXTS)
        self.ok("fill", "--precision", "fp32")
        self.ok("fill", "--precision", "fp16")  # another generation
        self.assertEqual(self.ok("status", "--json").json["sources"][0]["done"], 3)
        hits = self.ok("search", "--json", "a dog sleeps").json["hits"]  # auto: the class of what stands there
        self.assertEqual(hits[0]["key"], "1")
        self.ok("verify", "--all", "--cpu", "scalar")
        self.assertEqual(self.quern("search", "--precision", "fp32", "a dog sleeps").code, 1)


if __name__ == "__main__":
    unittest.main(verbosity=0)
