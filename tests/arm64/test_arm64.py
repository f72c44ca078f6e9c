"""The whole command, cross-built for arm64 and run by qemu as three processors, beside the native one: the same vectors,
the same quantised file, and one store between the two, in which either finds the other's vectors true to the bit."""
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.environ["QUERN_ROOT"], "tests", "e2e"))
from command import BIN, LONG, NO_WEIGHTS, WEIGHTS, CommandTest

NATIVE, EMULATOR = os.environ["QUERN_NATIVE"], os.environ["QUERN_EMULATOR"].split()
# What qemu is told to be: what that processor's kernels are called, in fp32 and in int8.
PROCESSORS = {"max": ("neon", "i8mm"), "cortex-a76": ("neon", "dotprod"), "cortex-a72": ("neon", "neon")}
TEXTS = ["the cat sat on the mat", "a dog sleeps", "interest rates rose again", "x " * 40, "Ein Käse, zwei Käse"]


class Arm64(CommandTest):
    def run_as(self, command, *args, cpu="max"):
        done = subprocess.run([*command, *map(str, args)], capture_output=True, cwd=self.cwd, timeout=300,
                              env=self.environment(QEMU_CPU=cpu, QUERN_MODEL=self.model))
        self.assertEqual(done.returncode, 0, "%s\n%s" % (args, done.stderr.decode("utf-8", "replace")))
        return done.stdout

    def arm64(self, *args, **how):
        return self.run_as([*EMULATOR, BIN], *args, **how)

    def native(self, *args):
        return self.run_as([NATIVE], *args)

    def quantized(self, who, name):
        self.native("model", "import", self.model, "--name", name)
        who("model", "quantize", "--force", name)
        with open(os.path.join(self.folder, "data/quern/models", name, "model.int8.safetensors"), "rb") as file:
            return file.read()

    def test_vectors_and_quantised_file(self):
        file = self.quantized(self.native, "n")
        if LONG:  # minutes of emulation
            self.assertEqual(self.quantized(self.arm64, "a"), file)
        for precision in ("fp32", "fp16", "int8"):
            embed = ("embed", "--model", "n", "--precision", precision, "--format", "f32")
            want = self.native(*embed, *TEXTS)
            for cpu in PROCESSORS:
                self.assertEqual(self.arm64(*embed, *TEXTS, cpu=cpu), want, (precision, cpu))
            for flags in (["--cpu", "scalar"], ["--cpu", "neon"], ["--threads", "3"], ["--batch", "1"]):
                self.assertEqual(self.arm64(*embed, *flags, *TEXTS), want, (precision, flags))

    @unittest.skipIf(NO_WEIGHTS, "QUERN_SKIP_MODEL_TESTS is set")
    def test_published_weights(self):
        self.native("model", "import", WEIGHTS, "--name", "published")
        self.native("model", "quantize", "published")
        for precision, cpus in (("fp32", ["max"]), ("int8", PROCESSORS)):
            embed = ("embed", "--model", "published", "--precision", precision, "--format", "f32", *TEXTS[:3])
            want = self.native(*embed)
            for cpu in cpus:
                self.assertEqual(self.arm64(*embed, cpu=cpu), want, (precision, cpu))

    def test_one_store(self):
        for name, text in (("a.txt", TEXTS[0]), ("b.txt", TEXTS[1])):
            self.write(name, text)
        self.arm64("add", "a.txt")
        self.arm64("fill")
        self.native("add", "b.txt")
        self.native("fill")
        for who in (self.native, self.arm64):
            who("verify")  # embeds again and compares bits: fails where one differs
        hits = [who("search", "--json", "a sleeping dog") for who in (self.native, self.arm64)]
        self.assertEqual(*hits)
        self.assertIn(b"b.txt", hits[0])

    def test_doctor(self):
        for cpu, kernels in PROCESSORS.items():
            said = self.arm64("doctor", cpu=cpu).decode()
            self.assertIn("arm64; scalar neon", said)
            for name in kernels:
                self.assertIn(name, said)


if __name__ == "__main__":
    unittest.main(verbosity=2)
