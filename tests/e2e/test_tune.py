"""tune: what it writes has been measured, stays within what was asked, and leaves the rest of a file as it was."""
import os
import signal
import stat
import subprocess
import time
import unittest

from command import BIN, SANITIZED, CommandTest

SET = ["threads", "batch", "cache-entries", "cache-bytes"]


def children_of(path):
    with open(path) as f:
        return f.read()


class Tune(CommandTest):
    def read(self, name):
        with open(os.path.join(self.cwd, name)) as f:
            return f.read()

    def tune(self, *args):
        return self.ok("tune", "--measurement-time", "60ms", "--json", *args).json

    def test_presets(self):
        fast = self.tune("--preset", "high-performance")
        self.assertEqual(list(fast["settings"]), SET)
        self.assertTrue(all(t["holds"] for t in fast["tried"]))
        self.assertGreater(fast["measured"]["texts_per_second"], 0)
        self.assertGreater(fast["measured"]["latency_ms"], 0)
        self.assertGreater(fast["measured"]["peak_bytes"], 1 << 20)
        os.symlink("real.ini", os.path.join(self.cwd, "quern.ini"))  # a link stays one
        self.write("quern.ini", "batch = 8\ncache-entries = 50\ncache-bytes = 2M\nthreads = 1\n")
        small = self.tune("--preset", "low-memory", "--write", "quern.ini")
        self.assertEqual(os.readlink(os.path.join(self.cwd, "quern.ini")), "real.ini")
        self.assertEqual(len(self.read("real.ini").splitlines()), 4)
        self.assertEqual(small["before"], {"threads": 1, "batch": 8, "cache-entries": 50, "cache-bytes": 2 << 20})
        for name, value in small["settings"].items():
            self.assertLessEqual(value, small["before"][name], name)
        text = self.ok("tune", "--measurement-time", "60ms", "--preset", "low-memory").out.decode()
        self.assertRegex(text, r"# measured: \d+ texts/s, [\d.]+ ms for one, [\d.]+ MB at most\nthreads = 1\nbatch = [48]")

    @unittest.skipIf(SANITIZED, "a sanitizer's memory is not quern's")
    def test_what_is_written_holds(self):
        asked = 64 << 20
        path = self.write("my.ini", "# mine\nbatch = 7 ; seven\napi-key = sk-secret\n  threads=9\n\n[far]\nmodel = openai:text-embedding-3-small\nbatch = 3")
        os.chmod(path, 0o600)
        told = self.tune("--memory", "64M", "--rate", "1", "--latency", "20s", "--write", "my.ini")
        self.assertLessEqual(told["measured"]["peak_bytes"], asked)
        s = told["settings"]
        mib = s["cache-bytes"] / (1 << 20)
        self.assertEqual(self.read("my.ini"), "# mine\nbatch = %d\napi-key = sk-secret\nthreads = %d\n\ncache-entries = %d\ncache-bytes = %dM\n[far]\n"
                         "model = openai:text-embedding-3-small\nbatch = 3" % (s["batch"], s["threads"], s["cache-entries"], mib))
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(sorted(os.listdir(self.cwd)), ["my.ini"])
        self.assertEqual(self.tune("--memory", "64M", "--write", "new.ini", "--config", "my.ini")["before"], s)
        self.assertEqual(len(self.read("new.ini").splitlines()), 4)
        # a fill under it stays within what was asked, its documents and its cache with it
        self.write("in.csv", "id,text\n" + "".join("%d,%s\n" % (i, "ban lan gut kolor " * (1 + i % 60)) for i in range(1500)))
        self.ok("add", "in.csv", "--config", "my.ini")
        fill = subprocess.Popen([BIN, "fill", "--config", "my.ini", "--cache", "yes", "--quiet"], cwd=self.cwd, env=self.environment(QUERN_MODEL=self.model))
        _, status, usage = os.wait4(fill.pid, 0)
        fill.returncode = status
        self.assertEqual(status, 0)
        self.assertLessEqual(usage.ru_maxrss * 1024, asked)

    def test_out_of_reach(self):
        self.write("quern.ini", "batch = 5\n")
        how = ("tune", "--measurement-time", "30ms", "--json", "--write", "quern.ini")
        answer = self.refused(1, "the least memory is ", *how, "--memory", "1M")
        self.assertEqual(answer.error["code"], "out_of_reach")
        self.refused(1, "(asked: 1000000000)", *how, "--rate", "1e9", "--memory", "2G")
        self.refused(1, "; the lowest latency is ", *how, "--rate", "1e9", "--latency", "1h")
        self.assertEqual(self.read("quern.ini"), "batch = 5\n")

    def test_refused(self):
        self.refused(2, "tune: to what?", "tune")
        self.refused(1, "is hosted", "tune", "--preset", "low-memory", "--model", "openai:text-embedding-3-small")
        self.refused(2, "--preset", "tune", "--preset", "small")
        self.write("quern.ini", "model = house\n[house]\nmodel = %s\nbatch = 1000\n" % self.model)  # which is never chosen
        self.refused(2, "says otherwise about batch, and wins", "tune", "--preset", "high-performance", "--measurement-time", "30ms", "--write", "quern.ini", model=False)
        self.assertIn("batch = 1000\n", self.read("quern.ini"))
        self.refused(1, "cannot write", "tune", "--preset", "low-memory", "--measurement-time", "30ms", "--write", "nowhere/quern.ini")
        self.refused(4, "", "tune", "--preset", "low-memory", "--model", "no-such-model")
        for file in ("/dev/null", self.cwd):
            self.refused(2, "not a file", "tune", "--preset", "low-memory", "--write", file)
        self.assertEqual(os.listdir(self.cwd), ["quern.ini"])

    def test_an_estimate(self):
        self.ok("model", "import", self.model, "--name", "tiny")
        told = self.ok("model", "info", "tiny", "--estimate", "20000", "--json").json
        n = told["estimate"]
        self.assertEqual(list(n), ["texts", "weights_bytes", "cache_bytes", "vector_bytes", "indexed_bytes", "seconds"])
        bytes_ = 20000 * told["dimensions"] * 4
        self.assertEqual([n["texts"], n["weights_bytes"], n["vector_bytes"], n["indexed_bytes"]], [20000, told["bytes"], bytes_, 2 * bytes_])
        self.assertTrue(10000 * told["dimensions"] * 4 < n["cache_bytes"] <= 64 << 20)
        self.assertTrue(0 < n["seconds"] < 2000, n)
        self.assertNotIn("estimate", self.ok("model", "info", "tiny", "--json").json)
        self.assertRegex(self.ok("model", "info", "tiny", "--estimate", "1000000").out.decode(), "for 1000000 texts: weights .* at [0-9]+ short texts a second\n$")
        self.refused(2, "--estimate", "model", "info", "tiny", "--estimate", "0")

    def test_interrupted(self):
        process = subprocess.Popen([BIN, "tune", "--preset", "high-performance", "--measurement-time", "60s", "--write", "quern.ini"], cwd=self.cwd,
                                   env=self.environment(QUERN_MODEL=self.model), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        measuring = "/proc/%d/task/%d/children" % (process.pid, process.pid)
        for _ in range(1000 if os.path.exists(measuring) else 70):
            if os.path.exists(measuring) and children_of(measuring):
                break
            time.sleep(0.01)
        time.sleep(0.1)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)  # whoever measures for it holds the pipes, too
        self.assertEqual((process.returncode, out), (130, b""))
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(os.listdir(self.cwd), [])


if __name__ == "__main__":
    unittest.main()
