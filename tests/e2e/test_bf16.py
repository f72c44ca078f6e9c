"""The class bf16 from the command line: near fp32, the same bits however it is computed, its order of sums in the fingerprint."""
import unittest

from halves import TEXTS, HalvesTest


class Bf16(HalvesTest):
    def test_vectors(self):
        here = self.row("bf16")
        self.assertEqual(here["precision"], "bf16")
        first = self.floats("--precision", "bf16")
        for flags in (["--cpu", "scalar"], ["--threads", "2"], ["--batch", "1"]):  # AMX machines: by tiles, unlike scalar
            if flags[0] != "--cpu" or self.row("bf16", *flags)["fingerprint"] == here["fingerprint"]:
                self.assertEqual(self.floats("--precision", "bf16", *flags), first, flags)
        fp32, tiles = self.floats("--precision", "fp32"), self.floats("--precision", "bf16", "--cpu", "amxplain")
        self.assertNotEqual(fp32, first)
        self.assertEqual(self.floats(), fp32)  # what auto is
        for other in (first, tiles):
            self.near(fp32, other, 0.9995)

    def test_kinds_of_machine_do_not_meet(self):
        fp32 = self.row("fp32")["fingerprint"]
        self.assertEqual(len({fp32, *(self.row("bf16", "--cpu", cpu)["fingerprint"] for cpu in ("scalar", "amxplain"))}), 3)
        self.add_texts(TEXTS)
        self.ok("fill", "--precision", "bf16", "--cpu", "scalar")
        hits = self.ok("search", "--cpu", "scalar", "--json", "a dog sleeps").json["hits"]  # auto: the class of what stands there
        self.assertEqual(hits[0]["key"], "1")
        self.ok("verify", "--cpu", "scalar", "--all")
        self.refused(1, "another kind of machine", "fill", "--cpu", "amxplain")
        self.refused(1, "another kind of machine", "search", "--cpu", "amxplain", "a dog sleeps")
        self.assertEqual(self.ok("status", "--cpu", "scalar", "--json").json["sources"][0]["done"], 3)
        self.ok("fill", "--precision", "bf16", "--cpu", "amxplain")  # asked for in so many words


if __name__ == "__main__":
    unittest.main(verbosity=0)
