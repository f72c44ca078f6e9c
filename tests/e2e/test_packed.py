"""Packed images: int8 weights kept as they are packed. Whatever is wrong with one, the vectors are the same."""
import json
import os
import shutil
import struct
import subprocess
import time
import unittest

from command import BIN, CommandTest, SANITIZED
from test_precision import rejudge

TEXTS = ["the cat sat on the mat", "a dog sleeps", "interest rates rose again"]


class Packed(CommandTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.made = False

    def setUp(self):
        super().setUp()
        self.cache = os.path.join(self.cwd, "cache")
        self.packed = os.path.join(self.cache, "quern", "packed")
        if not type(self).made:
            self.ok("model", "import", self.model, "--name", "tiny")
            self.ok("model", "quantize", "--force", "tiny")
            type(self).made = True
        self.want = self.embed("--packed-limit", "0").out
        self.assertFalse(os.path.exists(self.cache))

    def environment(self, **env):
        return {**super().environment(**env), "XDG_CACHE_HOME": self.cache}

    def embed(self, *flags, **how):
        return self.ok("embed", "--model", "tiny", "--precision", "int8", "--format", "f32", *flags, *TEXTS, **how)

    def images(self):
        return sorted(os.listdir(self.packed)) if os.path.isdir(self.packed) else []

    def same(self, *flags, says=b""):
        answer = self.embed(*flags)
        self.assertEqual(answer.out, self.want)
        self.assertEqual(answer.err, says)

    def maps(self, *flags):
        """Of a process that has embedded a text and waits for the next."""
        p = subprocess.Popen([BIN, "embed", "--model", "tiny", "--precision", "int8", *flags], cwd=self.cwd, env=self.environment(),
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            p.stdin.write(b"one\n" * 33)
            p.stdin.flush()
            p.stdout.readline()
            with open("/proc/%d/maps" % p.pid) as f:
                return [line for line in f if ".image" in line]
        finally:
            for name in self.images():  # deleted while it is mapped
                os.remove(os.path.join(self.packed, name))
            p.stdin.write(b"two\n")
            p.stdin.close()
            rest = p.stdout.read()
            p.stdout.close()
            self.assertEqual(p.wait(), 0)
            self.assertIn(b'"embedding"', rest)

    def test_made_once_and_mapped(self):
        self.same()
        (name,) = self.images()
        path = os.path.join(self.packed, name)
        self.assertRegex(name, r"^[0-9a-f]{64}\.image$")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.assertEqual(os.stat(self.packed).st_mode & 0o777, 0o700)
        before = os.stat(path)
        os.utime(path, (1, 1))
        self.same()
        self.assertEqual(os.stat(path).st_ino, before.st_ino)
        self.assertGreater(os.stat(path).st_mtime, 1)  # it was used
        self.same("--mmap", "no")
        for flags in (["--cpu", "scalar"], ["--cpu", "avx2"]):  # one for each kind of kernels that packs another way
            self.same(*flags)
            self.same(*flags)
        self.same()
        self.assertTrue(self.maps())
        self.embed()
        self.assertFalse(self.maps("--mmap", "no"))

    @unittest.skipIf(SANITIZED, "a sanitizer has threads of its own")
    def test_threads(self):
        """As many compute as are asked for: seen in /proc while a process waits for its next text. One bit pattern."""
        seen = []
        for n in (1, 2, 3):
            with subprocess.Popen([BIN, "embed", "--jsonl", "--model", "tiny", "--threads", str(n)], cwd=self.cwd, env=self.environment(),
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
                p.stdin.write(b'{"text":"ban"}\n')
                p.stdin.flush()
                p.stdout.readline()
                seen.append(len(os.listdir("/proc/%d/task" % p.pid)))
                p.stdin.close()
                p.stdout.read()
            self.assertEqual(p.returncode, 0)
        self.assertEqual([n - seen[0] for n in seen], [0, 1, 2])
        for n in (2, 3):
            self.assertEqual(self.embed("--threads", str(n)).out, self.embed("--threads", "1").out)

    def test_fp32_keeps_none(self):
        self.ok("embed", "--model", "tiny", "--precision", "fp32", "x")
        self.assertEqual(self.images(), [])

    def test_whatever_is_wrong_with_it(self):
        self.same()
        (name,) = self.images()
        path = os.path.join(self.packed, name)
        with open(path, "rb") as f:
            whole = f.read()
        for at in (0, 8, 12, 20, 90, 95, 100, 110, 4096, 5000, len(whole) // 2, len(whole) - 1):
            with open(path, "r+b") as f:
                f.seek(at)
                f.write(bytes([whole[at] ^ 4]))
            self.same()
            with open(path, "rb") as f:
                self.assertEqual(f.read() == whole, True, at)
        for bad in (b"", whole[:4095], whole[:4096], whole[:-1], whole + b"x", b"x" * len(whole)):
            with open(path, "wb") as f:
                f.write(bad)
            self.same()
        os.chmod(path, 0o666)  # anybody may have written it
        self.same()
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        shutil.move(path, path + ".elsewhere")
        os.symlink(path + ".elsewhere", path)
        self.same()
        self.assertFalse(os.path.islink(path))
        os.remove(path)
        os.mkdir(path)
        self.embed()
        os.rmdir(path)
        self.same()

    def test_of_other_weights_under_its_name(self):
        self.same()
        (name,) = self.images()
        self.ok("model", "import", self.model, "--name", "other")
        self.ok("model", "quantize", "--force", "other")
        rejudge(os.path.join(self.folder, "data/quern/models/other/model.int8.safetensors"), ranking=0.25)  # another calibration
        self.ok("embed", "--model", "other", "--precision", "int8", "x")
        (other,) = [n for n in self.images() if n != name]
        shutil.copy(os.path.join(self.packed, other), os.path.join(self.packed, name))
        self.same()

    def spoil(self, path, tensor):
        """Turns bits of a tensor, behind the back of the manifest. Returns what was there."""
        st = os.stat(path)
        with open(path, "rb") as f:
            whole = f.read()
        (header,) = struct.unpack("<Q", whole[:8])
        at = 8 + header + next(t["data_offsets"][0] for name, t in sorted(json.loads(whole[8:8 + header]).items()) if tensor in name)
        with open(path, "r+b") as f:
            f.seek(at + 2)
            f.write(bytes([whole[at + 2] ^ 8]))
        os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))
        return whole, st

    def restore(self, path, whole, st):
        with open(path, "r+b") as f:
            f.write(whole)
        os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))

    def test_numbers_that_nobody_verified(self):
        self.same()
        (name,) = self.images()
        image = os.path.join(self.packed, name)
        numbers = os.path.join(self.folder, "data/quern/models/tiny/model.int8.safetensors")
        args = ["embed", "--model", "tiny", "--precision", "int8", "--format", "f32", *TEXTS]
        for tensor, usable in (("weight", False), ("smooth", True), ("smooth", False), ("fidelity", True)):
            with self.subTest(tensor=tensor, usable=usable):
                self.same()
                if not usable:
                    with open(image, "r+b") as f:
                        f.seek(5000)
                        f.write(b"no image")
                was = self.spoil(numbers, tensor)
                try:
                    self.refused(1, "checksum", *args)
                finally:
                    self.restore(numbers, *was)
                self.assertEqual(self.images(), [name])  # and nothing was kept
        self.same()

    def test_nowhere_to_keep_it(self):
        os.makedirs(os.path.dirname(self.packed))
        self.write("cache/quern/packed", "no folder")
        answer = self.embed()
        self.assertEqual(answer.out, self.want)
        self.assertEqual(answer.message.count("\n"), 1, answer.message)
        self.assertIn("packed at every start", answer.message)

    def test_bounded(self):
        self.same()
        (first,) = self.images()
        size = os.path.getsize(os.path.join(self.packed, first))
        old = os.path.join(self.packed, ".%s.1-1.tmp" % first)
        for name, age in ((old, 7200), (old.replace("1-1", "1-2"), 0), (os.path.join(self.packed, "mine.txt"), 7200)):
            with open(name, "w") as f:
                f.write("half")
            os.utime(name, (time.time() - age,) * 2)
        for i in range(3):
            path = os.path.join(self.packed, "%064x.image" % i)
            with open(path, "wb") as f:
                f.write(b"x" * size)
            os.utime(path, (time.time() - 1000 + i,) * 2)
        os.remove(os.path.join(self.packed, first))
        self.same("--packed-limit", str(max(3 * size, 1)))
        left = self.images()
        self.assertEqual([n for n in left if n.endswith(".image")], sorted(["%064x.image" % 1, "%064x.image" % 2, first]))
        self.assertFalse(os.path.exists(old))
        self.assertEqual(len(left), 5)  # what is young or no image stays
        os.remove(os.path.join(self.packed, first))
        self.same("--packed-limit", "1K")  # larger than all that may be kept
        self.assertNotIn(first, self.images())

    def test_many_at_once(self):
        args = [BIN, "embed", "--model", "tiny", "--precision", "int8", "--format", "f32", *TEXTS]
        for _ in range(3):
            shutil.rmtree(self.cache, True)
            running = [subprocess.Popen(args, cwd=self.cwd, env=self.environment(), stdout=subprocess.PIPE) for _ in range(4)]
            time.sleep(0.005)
            running[0].kill()
            for p in running[1:]:
                self.assertEqual(p.communicate()[0], self.want)
                self.assertEqual(p.returncode, 0)
            running[0].communicate()
        self.same()


if __name__ == "__main__":
    unittest.main()
