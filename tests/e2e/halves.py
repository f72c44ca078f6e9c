"""What the tests of the classes that round weights to 16 bits share: a few texts, their vectors, and how near they are."""
import struct

from command import CommandTest

TEXTS = ["the cat sat on the mat", "a dog sleeps", "interest rates rose again"]


class HalvesTest(CommandTest):
    def floats(self, *flags):
        data = self.ok("embed", "--format", "f32", *flags, *TEXTS).out
        return struct.unpack("<%df" % (len(data) // 4), data)

    def row(self, precision, *flags):
        return self.ok("embed", "--precision", precision, *flags, "x").lines[0]

    def near(self, fp32, other, least):
        n = len(fp32) // len(TEXTS)
        self.assertEqual(len(other), len(fp32))
        for i in range(0, len(fp32), n):
            self.assertGreater(sum(a * b for a, b in zip(fp32[i:i + n], other[i:i + n])), least)
