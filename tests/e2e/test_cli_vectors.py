"""embed, tokenize, similarity, model, bench and doctor, with a tiny model; streams, memory, interruption."""
import base64
import io
import json
import os
import signal
import struct
import subprocess
import threading
import time
import unittest

import numpy as np

from command import BIN, LONG, NO_WEIGHTS, SANITIZED, WEIGHTS, CommandTest

FIELDS = ["index", "embedding", "tokens", "truncated", "inference_ms", "model", "fingerprint", "precision"]


class Embed(CommandTest):
    def test_fields_and_formats_agree(self):
        texts = ["kolor ban", "gut, gut!", "中文 é", ""]
        lines = self.ok("embed", *texts).lines
        self.assertEqual([list(line) for line in lines], [FIELDS] * 4)
        for line in lines:  # each has its share of the time, to the microsecond
            self.assertGreaterEqual(line["inference_ms"], 0)
            self.assertEqual(line["inference_ms"], round(line["inference_ms"], 3))
        self.assertGreater(sum(line["inference_ms"] for line in lines), 0)
        self.assertEqual([line["index"] for line in lines], [0, 1, 2, 3])
        rows = np.array([line["embedding"] for line in lines], dtype="<f4")
        self.assertEqual(rows.shape, (4, 80))
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
        raw = rows.tobytes()  # the text of a float reads back as the same bits
        self.assertEqual(self.ok("embed", "--format", "f32", *texts).out, raw)
        again, formatted = (self.ok("embed", *how, *texts).json for how in (["--json"], ["--format", "json"]))
        for line in lines + again + formatted:
            line.pop("inference_ms")
        self.assertEqual(again, lines)
        self.assertEqual(formatted, lines)
        encoded = [base64.b64decode(line["embedding"]) for line in self.ok("embed", "--format", "base64", *texts).lines]
        self.assertEqual(b"".join(encoded), raw)
        stdin = "\n".join(texts) + "\n"
        for how in ({"stdin": stdin}, {}):
            npy = self.ok("embed", "--format", "npy", *([] if how else texts), **how).out
            array = np.load(io.BytesIO(npy))
            self.assertEqual((array.shape, array.dtype.str), ((4, 80), "<f4"))
            self.assertEqual(array.tobytes(), raw)

    def test_no_input(self):
        self.assertEqual(self.ok("embed").out, b"")
        self.assertEqual(self.ok("embed", "--json").json, [])
        self.assertEqual(np.load(io.BytesIO(self.ok("embed", "--format", "npy").out)).shape, (0, 80))

    def test_lines_of_standard_input(self):
        lines = self.ok("embed", stdin="one\n\nthree").lines
        self.assertEqual([line["tokens"] for line in lines], [self.ok("embed", t).lines[0]["tokens"] for t in ("one", "", "three")])

    def test_settings_do_not_change_bits(self):
        texts = ["kolor ban %d" % i for i in range(50)]
        first = self.ok("embed", "--format", "f32", *texts).out
        for flags in (["--batch", "1"], ["--batch", "7", "--threads", "2"], ["--cpu", "scalar"], ["--threads", "1"],
                      ["--as", "document"]):
            self.assertEqual(self.ok("embed", "--format", "f32", *flags, *texts).out, first, flags)

    def test_no_normalize(self):
        row = np.frombuffer(self.ok("embed", "--format", "f32", "--no-normalize", "kolor").out, "<f4")
        unit = np.frombuffer(self.ok("embed", "--format", "f32", "kolor").out, "<f4")
        self.assertGreater(abs(np.linalg.norm(row) - 1), 1e-3)
        np.testing.assert_allclose(row / np.linalg.norm(row), unit, atol=1e-6)

    def test_long_texts(self):
        long = "ban " * 200
        answer = self.quern("embed", stdin="one\ntwo\n%s\nthree\n" % long)
        self.assertEqual(answer.code, 1)
        self.assertRegex(answer.message, r"^quern: standard input, line 3: \d+ tokens, the model reads 70; --truncate cuts it\n$")
        self.assertEqual([line["index"] for line in answer.lines], [0, 1])  # those before it are there
        cut = self.ok("embed", "--truncate", long).lines[0]
        self.assertEqual((cut["tokens"], cut["truncated"]), (70, True))
        self.assertFalse(self.ok("embed", "--truncate", "ban").lines[0]["truncated"])
        self.refused(1, "argument 2", "similarity", "a", long)
        self.ok("similarity", "--truncate", "a", long)

    def test_invalid_utf8(self):
        answer = self.quern("embed", stdin=b"good\nb\xc3\x28\n")
        self.assertEqual(answer.code, 1)
        self.assertIn("standard input, line 2, byte 1: not UTF-8 (0xC3)", answer.message)
        self.assertEqual(len(answer.lines), 1)
        mended = self.ok("embed", "--invalid-utf8", "replace", "--format", "f32", stdin=b"b\xffc\n").out
        self.assertEqual(mended, self.ok("embed", "--format", "f32", stdin="b\ufffdc\n").out)

    def test_jsonl_passes_fields_through(self):
        rows = ['{"id": 12345678901, "text": "ban", "x": {"a": [1.10, null]}}', "", ' { "text":"kol\\u0000or" } ',
                '{"text": "é", "index": "mine", "weight": 0.1}']
        answer = self.ok("embed", "--jsonl", stdin="\n".join(rows))
        self.assertTrue(answer.out.startswith(b'{"id": 12345678901, "text": "ban", "x": {"a": [1.10, null]},"index":0,'))
        lines = answer.lines
        self.assertEqual([line["index"] for line in lines], [0, 1, 2])
        self.assertEqual(lines[1]["text"], "kol\0or")
        self.assertEqual((lines[2]["weight"], lines[2]["text"]), (0.1, "é"))
        again = self.ok("tokenize", "--jsonl", "--json", stdin=answer.out).lines  # results are input again
        self.assertEqual([line["embedding"] for line in again], [line["embedding"] for line in lines])

    def test_jsonl_that_lies(self):
        deep = '{"text": "a", "x": %s1%s}' % ("[" * 100, "]" * 100)
        for line, saying in [("[1]", "not an object"), ("{}", 'there is no "text"'), ('{"text": 5}', "not a string"),
                             ('{"text": "a"', "line 2, byte"), ('{"text": "a", "text": "b"}', "duplicate"),
                             ('{"text": "\\ud800"}', "line 2"), (deep, "deep"), ('{"text": "a"} x', "line 2")]:
            answer = self.quern("embed", "--jsonl", stdin='{"text": "fine"}\n%s\n' % line)
            self.assertEqual(answer.code, 1, line)
            self.assertIn("standard input, line 2", answer.message)
            self.assertIn(saying, answer.message)
            self.assertEqual(len(answer.lines), 1)

    def test_a_line_without_end(self):
        answer = self.quern("tokenize", stdin=b"x" * (17 << 20))
        self.assertEqual(answer.code, 1)
        self.assertIn("line 1: over 16777216 bytes", answer.message)


class Streams(CommandTest):
    def start(self, *args):
        return subprocess.Popen([BIN, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                cwd=self.cwd, env=self.environment(QUERN_MODEL=self.model))

    def test_results_come_before_the_input_ends(self):
        for args in (["embed", "--jsonl"], ["tokenize", "--jsonl", "--json"]):
            with self.start(*args) as p:
                for i in range(5):
                    p.stdin.write(b'{"text": "ban %d"}\n' % i)
                    p.stdin.flush()
                    self.assertEqual(json.loads(p.stdout.readline())["index"], i)  # would hang if it waited for more
                p.stdin.write(b'{"text": "half')
                p.stdin.flush()
                p.stdin.write(b' a line"}')
                p.stdin.close()
                self.assertEqual(json.loads(p.stdout.readline())["text"], "half a line")
                self.assertEqual(p.wait(20), 0)

    def test_order_is_kept(self):
        n = 3000
        rows = "".join('{"text": "%s", "n": %d}\n' % ("ban " * (i * 7 % 23), i) for i in range(n))
        lines = self.ok("embed", "--jsonl", "--threads", "2", stdin=rows).lines
        self.assertEqual([(line["n"], line["index"]) for line in lines], [(i, i) for i in range(n)])

    def test_interrupted_at_the_terminal(self):
        for args in (["embed"], ["tokenize"]):
            with self.start(*args) as p:
                p.stdin.write(b"one\n")
                p.stdin.flush()
                self.assertTrue(p.stdout.readline())
                start = time.monotonic()
                p.send_signal(signal.SIGINT)
                self.assertEqual(p.wait(10), 130)
                self.assertLess(time.monotonic() - start, 10 if SANITIZED else 1)
                p.stdin.close()

    def peak(self, lines):
        """Most resident bytes while so many lines go through tokenize."""
        with self.start("tokenize", "--jsonl", "--json") as p:
            drain = threading.Thread(target=lambda: [None for _ in iter(lambda: p.stdout.read(1 << 16), b"")])
            drain.start()
            block = b"".join(b'{"text": "ban kolor %d", "id": %d}\n' % (i, i) for i in range(1000))
            for _ in range(lines // 1000):
                p.stdin.write(block)
            p.stdin.flush()
            with open("/proc/%d/status" % p.pid) as status:
                peak = next(int(row.split()[1]) for row in status if row.startswith("VmHWM"))
            p.stdin.close()
            drain.join()
            self.assertEqual(p.wait(60), 0)
        return peak * 1024

    @unittest.skipIf(SANITIZED, "a sanitizer keeps freed memory")
    def test_memory_is_constant(self):
        few, many = self.peak(10000), self.peak(1000000 if LONG else 200000)
        self.assertLessEqual(many - few, 2 << 20)

    def peak_of_embed(self, model, precision, threads, count, limit):
        """Most resident bytes of a job of so many texts, short ones and long ones; None: the limit was too low, and it says so."""
        letters = "abcdefghijklmnopqrstuvwxyz"  # three of them are words enough to come by much of a vocabulary
        lines = [" ".join(letters[i % 26] + letters[k % 26] + letters[(i + k) // 7 % 26] for k in range(1 + i * 7919 % (180 if i % 5 == 0 else 24))) + "\n"
                 for i in range(count)]
        with self.start("embed", "--model", model, "--precision", precision, "--threads", str(threads), "--memory-limit",
                        str(limit), "--format", "f32", "--truncate") as p:
            def feed():
                try:
                    p.stdin.write("".join(lines).encode())
                    p.stdin.flush()
                except BrokenPipeError:
                    pass
            feeder = threading.Thread(target=feed)
            feeder.start()
            got, wanted = 0, count * self.ok("model", "info", model, "--json").json["dimensions"] * 4
            while got < wanted and (part := p.stdout.read1(1 << 16)):
                got += len(part)
            peak = None
            if got == wanted:
                with open("/proc/%d/status" % p.pid) as status:
                    peak = next(int(row.split()[1]) << 10 for row in status if row.startswith("VmHWM"))
            feeder.join()
            try:
                p.stdin.close()
            except BrokenPipeError:
                pass
            self.assertEqual(p.wait(60), 0 if peak else 1)
        return peak

    @unittest.skipIf(SANITIZED, "a sanitizer's memory is its own")
    def test_peak_of_10000_texts(self):
        """Weights and 64 MiB a thread at the most, and never more than the limit."""
        models = [(self.model, "fp32"), (self.model, "int8")] + ([] if NO_WEIGHTS else [(WEIGHTS, "fp32")] + [(WEIGHTS, "int8")] * LONG)
        for model, precision in models:
            size = os.path.getsize(os.path.join(model, "model.safetensors"))
            if precision == "int8":
                self.ok("model", "import", model, "--name", "peak")
                self.ok("model", "quantize", "peak", "--force")
                model = "peak"
            for threads in (1, 2) if LONG else (2,):
                with self.subTest(model=model, precision=precision, threads=threads):
                    limit = 192 << 20
                    peak = self.peak_of_embed(model, precision, threads, 10000 if LONG else 100, limit)
                    self.assertIsNotNone(peak)
                    self.assertLessEqual(peak, size + threads * (64 << 20))
                    self.assertLessEqual(peak, limit)
                    self.assertIsNone(self.peak_of_embed(model, precision, threads, 10, 4 << 20))
            if precision == "int8":
                self.ok("model", "remove", "peak", "--yes")

    @unittest.skipIf(SANITIZED, "a sanitizer needs memory of its own")
    def test_memory_limit(self):
        self.ok("embed", "--memory-limit", "256M", "x")
        answer = self.refused(1, "out of memory", "embed", "--memory-limit", "1M", "x")
        self.assertIn("the memory limit is 1M", answer.message)


class Others(CommandTest):
    def test_tokenize(self):
        from tokenizers import Tokenizer
        theirs = Tokenizer.from_file(os.path.join(self.model, "tokenizer.json"))
        texts = ["Kolor, ban!", "über", "ban " * 500, ""]
        lines = self.ok("tokenize", "--json", *texts).lines
        for text, line in zip(texts, lines):
            self.assertEqual(list(line), ["index", "ids", "tokens", "offsets"])
            want = theirs.encode(text)
            self.assertEqual((line["ids"], line["tokens"]), (want.ids, want.tokens))
            for token, (start, end) in zip(line["tokens"], line["offsets"]):
                self.assertLessEqual(end, len(text.encode()))
        self.assertEqual(self.ok("tokenize", texts[0]).out.decode().split(), lines[0]["tokens"])

    def test_chunk(self):
        text = "ban kolor gut. " * 30 + "\u00e9 ban"
        lines = self.ok("chunk", "--json", "--max-length", "16", "--overlap", "4", text, " ", "ban").lines
        self.assertEqual(list(lines[0]), ["index", "chunks", "truncated", "dropped_bytes"])
        self.assertEqual([len(line["chunks"]) for line in lines[1:]], [0, 1])
        end = 0
        for i, chunk in enumerate(lines[0]["chunks"]):
            self.assertEqual(list(chunk), ["chunk", "start", "end", "char_start", "char_end", "tokens", "text"])
            self.assertEqual(chunk["chunk"], i)
            self.assertEqual(text.encode()[chunk["start"]:chunk["end"]].decode(), chunk["text"])
            self.assertEqual(text[chunk["char_start"]:chunk["char_end"]], chunk["text"])
            self.assertEqual(chunk["tokens"], self.ok("embed", chunk["text"]).lines[0]["tokens"])
            self.assertLessEqual(chunk["tokens"], 16)
            self.assertLessEqual(chunk["start"], end + 1)  # no gap but a blank
            end = chunk["end"]
        self.assertEqual(end, len(text.encode()))
        self.assertFalse(lines[0]["truncated"])
        cut = self.ok("chunk", "--json", "--max-length", "16", "--max-chunks", "2", "--jsonl",
                      stdin=json.dumps({"text": text, "id": 7}).encode()).lines[0]
        self.assertEqual((cut["id"], cut["truncated"], len(cut["chunks"])), (7, True, 2))
        self.assertEqual(cut["dropped_bytes"], len(text.encode()) - cut["chunks"][1]["end"])
        plain = self.ok("chunk", "--max-length", "16", "--max-chunks", "1", text).out.decode().splitlines()
        self.assertRegex(plain[0], r"^0\.0  bytes 0-\d+  \d+ tokens  ban kolor")
        self.assertRegex(plain[1], r"^0     \d+ bytes dropped$")
        clean = self.ok("chunk", "--json", "--prepare", "html,whitespace", "<p>ban <b>gut</b></p> <p>lan</p>").lines[0]["chunks"]
        self.assertEqual([(c["start"], c["end"], c["text"]) for c in clean], [(0, 12, "ban gut\n\nlan")])
        pages = self.ok("chunk", "--json", "--max-length", "16", "--max-chunks", "9", "ban " * 40 + "\f" + "gut " * 40).lines[0]["chunks"]
        self.assertEqual((pages[0]["page"], pages[-1]["page"]), (1, 2))
        self.refused(2, "no step", "chunk", "--prepare", "htm", text)
        self.refused(2, "over half of the window", "chunk", "--max-length", "16", "--overlap", "9", text)

    def test_similarity(self):
        answer = self.ok("similarity", "--json", "ban kolor", "gut").json
        self.assertEqual(list(answer), ["similarity", "dot", "distance", "angle", "model", "fingerprint"])
        a, b = (np.array(line["embedding"]) for line in self.ok("embed", "ban kolor", "gut").lines)
        self.assertAlmostEqual(answer["similarity"], float(a @ b), 5)
        self.assertAlmostEqual(answer["distance"], float(np.linalg.norm(a - b)), 5)
        self.assertTrue(self.ok("similarity", "ban kolor", "gut").out.startswith(b"similarity %.4f\n" % answer["similarity"]))
        self.assertEqual(self.ok("similarity", "ban", "ban", "--quiet").out, b"similarity 1.0000\n")

    def test_similarity_matrix(self):
        texts = ["ban", "kolor", "gut gut"]
        answer = self.ok("similarity", "--matrix", "--json", *texts).json
        m = np.array(answer["similarity"])
        self.assertEqual((answer["texts"], m.shape), (texts, (3, 3)))
        np.testing.assert_allclose(m, m.T, atol=1e-6)
        np.testing.assert_allclose(np.diag(m), 1, atol=1e-6)
        rows = self.ok("similarity", "--matrix", stdin="\n".join(texts)).out.decode().splitlines()
        np.testing.assert_allclose([[float(x) for x in row.split()] for row in rows], m, atol=1e-4)

    def test_shelf(self):
        self.assertEqual(self.ok("model", "list", "--json").json["models"], [])
        self.ok("model", "import", self.model, "--name", "odd")
        self.assertEqual([m["name"] for m in self.ok("model", "list", "--json").json["models"]], ["odd"])
        info = self.ok("model", "info", "odd", "--json").json
        for field in ("name", "family", "dimensions", "max_sequence_length", "pooling", "prompts", "precisions",
                      "parameters", "bytes", "weights_sha256", "tokenizer_sha256", "fingerprint"):
            self.assertIn(field, info)
        self.assertEqual((info["name"], info["dimensions"], info["max_sequence_length"]), ("odd", 80, 70))
        self.assertEqual(info["fingerprint"], self.ok("embed", "--model", "odd", "x").lines[0]["fingerprint"])
        self.assertIn(b"dimensions           80", self.ok("model", "info", "odd").out)
        self.ok("model", "verify", "odd")
        with open(os.path.join(info["path"], "config.json"), "ab") as file:
            file.write(b" ")
        self.refused(1, "config.json", "model", "verify", "odd")
        self.assertEqual(self.quern("doctor", "--model", "odd").code, 1)
        self.refused(2, "give --yes", "model", "remove", "odd")
        self.ok("model", "remove", "odd", "--yes")
        self.refused(4, "odd", "model", "remove", "odd", "--yes")
        self.refused(1, "offline", "model", "pull", "all-MiniLM-L6-v2", "--offline")

    def test_auto_pull_is_off_unless_asked(self):
        nowhere = "http://127.0.0.1:9"
        self.refused(4, "quern model pull", "embed", "--model", "all-MiniLM-L6-v2", "--model-url", nowhere, "x")
        answer = self.quern("embed", "--model", "all-MiniLM-L6-v2", "--model-url", nowhere, "--auto-pull", "yes",
                            "--timeout", "1s", "x")
        self.assertEqual(answer.code, 1)
        self.assertIn("127.0.0.1", answer.message)
        self.refused(4, "quern model pull", "embed", "--model", "all-MiniLM-L6-v2", "--model-url", nowhere, "--offline", "x",
                     env={"QUERN_AUTO_PULL": "yes"})

    def test_bench(self):
        names = lambda *args: [r["name"] for r in self.ok("bench", "--measurement-time", "1ms", "--json", *args).json["results"]]
        self.assertEqual(names(), ["tokenize", "embed.short", "embed.long", "similarity"])  # no store here
        self.assertEqual(names("--only", "similarity,tokenize"), ["tokenize", "similarity"])
        self.ok("bench", "--only", "tokenize", "--measurement-time", "50ms", "--save-baseline", "mine")
        path = os.path.join(self.cwd, "quern-bench-mine.json")
        with open(path, "rb") as file:
            kept = json.load(file)
        figure = self.ok("bench", "--only", "tokenize", "--measurement-time", "50ms", "--baseline", "mine", "--json",
                         "--max-regression", "99").json["results"][0]
        self.assertAlmostEqual(figure["change_percent"], 100 * (figure["best"] / kept["results"][0]["best"] - 1), 1)
        kept["results"][0]["best"] *= 1000
        with open(path, "w") as file:
            json.dump(kept, file)
        answer = self.quern("bench", "--only", "tokenize", "--measurement-time", "5ms", "--baseline", "mine")
        self.assertEqual(answer.code, 1)
        self.assertIn("slower than the baseline", answer.message)
        self.write("quern-bench-bad.json", "{nonsense")
        self.assertEqual(self.quern("bench", "--only", "tokenize", "--measurement-time", "1ms", "--baseline", "bad").code, 1)
        self.assertEqual(self.quern("bench", "--only", "search", "--measurement-time", "1ms").code, 4)

    def test_doctor(self):
        report = self.ok("doctor", "--json").json
        self.assertEqual(report["findings"], 0)
        self.assertTrue({"configuration", "processor", "kernels", "model", "store"} <= {c["check"] for c in report["checks"]})
        answer = self.quern("doctor", "--model", "nothing-here", "--json")
        self.assertEqual((answer.code, answer.json["findings"]), (1, 1))
        self.assertIn(b"scalar", self.ok("doctor", "--cpu", "scalar").out)
        self.write("quern.db", "this is no database, whatever its name says\n" * 40)
        self.assertEqual(self.quern("doctor").code, 1)

    @unittest.skipIf(NO_WEIGHTS, "QUERN_SKIP_MODEL_TESTS is set, no weights wanted")
    def test_published_model(self):
        near, far = (self.ok("similarity", "--model", WEIGHTS, "--json", "a cat sleeps", other).json["similarity"]
                     for other in ("a kitten naps", "interest rates rise"))
        self.assertGreater(near, 0.6)
        self.assertLess(far, 0.2)
        self.assertEqual(self.ok("embed", "--model", WEIGHTS, "--truncate", "word " * 400).lines[0]["tokens"], 256)


if __name__ == "__main__":
    if NO_WEIGHTS:
        print("skipped: test_published_model (QUERN_SKIP_MODEL_TESTS is set)")
    unittest.main()
