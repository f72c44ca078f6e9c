"""Documents with something to be seen, from a table to a hit: on SQLite, on PostgreSQL with pgvector and without, by a stand-in that notes each
request. One vector of text and assets together and one of each asset, in the transaction of their stamp."""
import json
import os
import subprocess
import sys
import unittest

import test_sources
from command import CommandTest
from provider import vector
from test_providers import ProviderTest

HERE = os.path.dirname(os.path.abspath(__file__))
A, B, V = "https://pictures.example/a.png", "https://pictures.example/b.jpg", "https://pictures.example/v.mp4"
SIGNED = "https://user:secretword@pictures.example/s.png?X-Signature=0123456789abcdef"
VOYAGE, JINA = "voyage-vision:voyage-multimodal-3.5", "jina-vision:jina-embeddings-v4"
N = 24
setUpModule, tearDownModule = test_sources.setUpModule, test_sources.tearDownModule


def mean(*vectors):
    sums = [sum(column) for column in zip(*vectors)]
    norm = sum(s * s for s in sums) ** 0.5
    return [s / norm for s in sums]


def image(url):
    return {"kind": "image", "key": url}


class AssetTest(test_sources.Both):
    plan, told = ProviderTest.plan, ProviderTest.told
    MODEL, ALONE = VOYAGE, False  # ALONE: on SQLite only

    def setUp(self):
        if self.ALONE:
            self.dbs, self.db = ["file.db"], "file.db"
            CommandTest.setUp(self)
        else:
            super().setUp()
        server = subprocess.Popen([sys.executable, os.path.join(HERE, "provider.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = server.stdout.readline().strip()

        def stop():
            server.stdin.close()
            server.wait()
            server.stdout.close()
        self.addCleanup(stop)

    def environment(self, **env):
        env.update(QUERN_MODEL=env.get("MODEL_HERE", self.MODEL), QUERN_BASE_URL=self.url, QUERN_DIMENSIONS="24", QUERN_VECTOR_TYPE="f32", VOYAGE_API_KEY="k" * 12,
                   JINA_API_KEY="j" * 12, QUERN_CACHE="no")
        return super().environment(**env)

    def table(self, rows, *args, assets="photo, clip=video"):
        self.run_sql("CREATE TABLE items (id INTEGER PRIMARY KEY, title TEXT, photo TEXT, clip TEXT)")
        for row in rows:
            self.put(*row)
        self.ok("source", "add", "items", "--table", "items", "--key", "id", "--text", "{title}", "--assets", assets, *args)
        self.plan(faults=[], poison="", max_inputs=0)

    def put(self, key, title, photo=None, clip=None):
        said = ", ".join("NULL" if v is None else "'%s'" % v.replace("'", "''") for v in (title, photo, clip))
        self.run_sql("DELETE FROM items WHERE id = %d; INSERT INTO items VALUES (%d, %s)" % (key, key, said))

    def fill(self, *args, code=0):
        answer = self.quern("fill", "--json", *args)
        self.assertEqual(answer.code, code, answer.message)
        return answer.json

    def rows(self, key):
        """(asset, vector) of each row of a document."""
        return [(c.get("asset"), c["vector"]) for c in self.ok("vector", "get", str(key), "--source", "items", "--json").json["chunks"]]

    def holds(self, key, *expected):
        got = self.rows(key)
        self.assertEqual([asset for asset, _ in got], [asset for asset, _ in expected])
        for (asset, v), (_, right) in zip(got, expected):
            self.assertLess(max(abs(a - b) for a, b in zip(v, right)), 1e-6, asset)

    def bodies(self):
        return [e["body"] for e in self.told()["log"]]

    def failed(self):
        return {d["key"]: d["reason"] for d in self.ok("status", "--list", "failed", "--source", "items", "--json").json["documents"]}


class Long(AssetTest):
    ALONE = True

    def test_long_texts(self):
        text = " ".join("word%d" % i for i in range(400))
        for _ in self.each():
            self.table([(1, text, A)], "--keep-text", "yes", "--text-search", "yes")
            report = self.fill()
            rows = self.ok("vector", "get", "1", "--source", "items", "--json").json["chunks"]
            self.assertEqual([r.get("asset", {}).get("kind") for r in rows[:3]], ["fused", "image", None])
            self.assertGreater(len(rows), 3)
            self.assertEqual(report["chunks"], len(rows))
            for i, r in enumerate(rows):
                piece = text[r["start"]:r["end"]]
                right = vector(A, N) if i == 1 else vector(piece + " " + A if i == 0 else piece, N)
                self.assertLess(max(abs(a - b) for a, b in zip(r["vector"], right)), 1e-6, i)
            self.assertEqual(self.ok("verify", "--json").json["equal"], 1)
            hit = self.ok("search", "word399", "--mode", "text", "--json").json["hits"][0]
            self.assertEqual(hit["chunk"], len(rows) - 1)
            self.assertNotIn("asset", hit)

    def test_the_mean_of_parts(self):
        self.MODEL = JINA
        for _ in self.each():
            self.table([(1, "red door", json.dumps([A, B]))])
            self.fill()
            self.holds(1, ({"kind": "fused", "assets": 2}, mean(vector("red door", N), vector(A, N), vector(B, N))), (image(A), vector(A, N)), (image(B), vector(B, N)))
            parts = [{"text": "red door"}, {"image": A}, {"image": B}]
            self.assertEqual(self.bodies(), [{"model": "jina-embeddings-v4", "input": parts, "task": "retrieval.passage", "truncate": False, "dimensions": N,
                                              "embedding_type": "base64"}])

class Fill(AssetTest):
    ROWS = [(1, "a red door", A), (2, "plain words"), (3, "film", json.dumps([A, None, {"url": B, "key": "second"}, {"url": A, "kind": "frame", "frame": 7, "key": "f"}]), V),
            (4, "", B), (5, "", "[null]")]

    def test_rows_requests_and_hits(self):
        for _ in self.each():
            self.table(self.ROWS)
            report = self.fill()
            self.assertEqual((report["done"], report["failed"], report["empty"], report["assets"], report["assets_skipped"], report["assets_cut"]), (5, 0, 1, 6, 2, 0))
            self.holds(1, ({"kind": "fused", "assets": 1}, vector("a red door " + A, N)), (image(A), vector(A, N)))
            self.holds(2, (None, vector("plain words", N)))
            self.holds(3, ({"kind": "fused", "assets": 4}, vector(" ".join(["film", A, B, A, V]), N)), (image(A), vector(A, N)),
                       ({"kind": "image", "key": "second"}, vector(B, N)), ({"kind": "frame", "key": "f", "frame": 7}, vector(A, N)),
                       ({"kind": "video", "key": V}, vector(V, N)))
            self.holds(4, ({"kind": "fused", "assets": 1}, vector(B, N)), (image(B), vector(B, N)))
            rest = {"model": "voyage-multimodal-3.5", "input_type": "document", "truncation": False, "output_dimension": N}
            one = [dict(rest, inputs=[{"content": [{"type": "text", "text": "a red door"}, {"type": "image_url", "image_url": A}]}]),
                   dict(rest, inputs=[{"content": [{"type": "image_url", "image_url": A}]}])]
            bodies = self.bodies()
            self.assertEqual([b for b in one if b in bodies], one)
            self.assertEqual(len(bodies), 6)  # of two calls each: one fused, one of each; one of the words; one of the picture alone
            # the same search finds texts and pictures, a document once
            hits = self.ok("search", V, "--json").json["hits"]
            self.assertEqual((hits[0]["key"], hits[0]["chunk"], hits[0]["asset"], hits[0]["excerpt"]), (3, 4, {"kind": "video", "key": V}, ""))
            self.assertGreater(hits[0]["score"], 0.999)
            self.assertEqual(sorted(h["key"] for h in hits), [1, 2, 3, 4])
            hits = self.ok("search", "a red door " + A, "--json").json["hits"]
            self.assertEqual((hits[0]["key"], hits[0]["asset"], hits[0]["excerpt"]), (1, {"kind": "fused", "assets": 1}, "a red door"))
            self.assertNotIn("asset", self.ok("search", "plain words", "--json").json["hits"][0])
            self.assertIn('{"kind":"video"', self.ok("search", V).out.decode())
            # nothing more to do, and all as it should be
            self.plan()
            self.assertEqual(self.fill()["processed"], 0)
            self.assertEqual(self.bodies(), [])
            self.assertEqual(self.ok("verify", "--json").json["equal"], 4)

    def test_what_changes_is_embedded_again(self):
        for _ in self.each():
            self.table(self.ROWS)
            self.fill()
            self.put(1, "a red door", B)
            self.assertEqual(self.ok("status", "--json").json["sources"][0]["stale"], 1)
            self.assertNotIn(1, [h["key"] for h in self.ok("search", "a red door", "--json").json["hits"]])
            self.put(3, "film")
            self.put(2, "plain words", A)
            self.run_sql("DELETE FROM items WHERE id = 4")
            self.assertEqual(self.fill()["processed"], 3)
            self.holds(1, ({"kind": "fused", "assets": 1}, vector("a red door " + B, N)), (image(B), vector(B, N)))
            self.holds(3, (None, vector("film", N)))
            self.holds(2, ({"kind": "fused", "assets": 1}, vector("plain words " + A, N)), (image(A), vector(A, N)))
            if not self.sqlite:
                self.assertEqual(self.run_sql("SELECT count(*) FROM quern.assets"), [["4"]])
            # other settings are another generation
            self.ok("source", "set", "items", "--max-assets", "1")
            self.assertIn("assets", self.ok("status", "--json").json["sources"][0]["note"])
            self.put(3, "film", json.dumps([A, B]), V)
            report = self.fill()
            self.assertEqual((report["processed"], report["assets"], report["assets_cut"]), (4, 3, 2))
            self.holds(3, ({"kind": "fused", "assets": 1}, vector("film " + A, N)), (image(A), vector(A, N)))
            self.ok("source", "set", "items", "--assets", "")
            self.assertEqual(self.fill()["assets"], 0)
            self.holds(3, (None, vector("film", N)))
            if not self.sqlite:
                self.assertEqual(self.run_sql("SELECT count(*) FROM quern.assets"), [["0"]])

    def test_documents_of_its_own(self):
        """Files whose fields name what is to be seen; a URL's signature comes back with no hit, nor stays when texts do not."""
        for _ in self.each():
            self.ok("source", "add", "docs", "--text", "{text}", "--assets", "photo")
            with open(os.path.join(self.cwd, "a.jsonl"), "w") as file:
                file.write(json.dumps({"id": "1", "text": "a red door", "photo": [{"url": SIGNED}], "year": 7}))
            for keep in "yes", "no":
                self.ok("add", "a.jsonl", "--source", "docs", "--keep-text", keep)
                self.assertEqual(self.fill("--source", "docs")["done"], 1)
                answer = self.ok("search", "a red door " + SIGNED, "--source", "docs", "--json")
                self.assertEqual((answer.json["hits"][0]["asset"], answer.json["hits"][0]["properties"]), ({"kind": "fused", "assets": 1}, {"year": 7}))
                self.assertEqual(answer.json["hits"][0]["excerpt"], "a red door" if keep == "yes" else "")

    def test_forgotten_and_worked(self):
        for _ in self.each():
            self.table(self.ROWS)
            self.fill()
            self.put(1, "a red door", B)
            self.ok("enqueue", "1", "--source", "items")
            self.ok("work", "--once")
            self.holds(1, ({"kind": "fused", "assets": 1}, vector("a red door " + B, N)), (image(B), vector(B, N)))
            self.ok("vector", "delete", "3", "--source", "items")
            self.fill()
            self.assertEqual(len(self.rows(3)), 5)
            self.assertEqual(self.ok("verify", "--json").json["equal"], 4)


class Embed(AssetTest):
    ALONE = True

    def embedded(self, *args, **how):
        self.plan()
        return [json.loads(line) for line in self.ok("embed", *args, **how).out.splitlines()]

    def near(self, got, right):
        self.assertLess(max(abs(a - b) for a, b in zip(got, right)), 1e-6)

    def test_flags(self):
        told, = self.embedded("a red door", "--asset", A, "--asset", "video=" + V)
        self.near(told["embedding"], vector(" ".join(["a red door", A, V]), N))
        self.assertEqual(told["seen"], {"used": 2, "cut": 0, "skipped": 0})
        pieces = [{"type": "text", "text": "a red door"}, {"type": "image_url", "image_url": A}, {"type": "video_url", "video_url": V}]
        self.assertEqual(self.bodies(), [{"model": "voyage-multimodal-3.5", "input_type": "document", "truncation": False, "output_dimension": N,
                                          "inputs": [{"content": pieces}]}])
        told, = self.embedded("--asset", A, "--as", "query")
        self.near(told["embedding"], vector(A, N))
        self.assertEqual(self.bodies()[0]["input_type"], "query")
        told, = self.embedded("x", "--asset", A, "--asset", B, "--max-assets", "1")
        self.assertEqual(told["seen"], {"used": 1, "cut": 1, "skipped": 0})
        self.near(told["embedding"], vector("x " + A, N))

    def test_lines(self):
        lines = [{"text": "one", "id": 7}, {"text": "two", "assets": [A, None, {"url": V, "kind": "video"}], "n": [1]}, {"assets": [B]}, {"text": "three"},
                 {"text": "four", "assets": []}]
        right = ["one", " ".join(["two", A, V]), B, "three", "four"]
        for how in ([], ["--format", "json"], ["--batch", "1"]):
            self.plan()
            out = self.ok("embed", "--jsonl", *how, stdin="\n".join(map(json.dumps, lines))).out
            told = json.loads(out) if "json" in how else [json.loads(line) for line in out.splitlines()]
            self.assertEqual([t["index"] for t in told], list(range(5)))
            for t, text in zip(told, right):
                self.near(t["embedding"], vector(text, N))
            self.assertEqual([t.get("seen", {}).get("used") for t in told], [None, 2, 1, None, 0])
            self.assertEqual((told[0]["id"], told[1]["n"], told[1]["seen"]["skipped"]), (7, [1], 1))

    def test_faults(self):
        self.plan(poison="b.jpg")
        answer = self.quern("embed", "--jsonl", stdin="\n".join(map(json.dumps, [{"text": "one"}, {"text": "two", "assets": [A]}, {"text": "x", "assets": [B]}, {"text": "y"}])))
        self.assertEqual((answer.code, len(answer.out.splitlines())), (1, 2))
        self.assertRegex(answer.message, "^quern: standard input, line 3: .*answers 400: an input that cannot be read\n$")
        self.assertEqual(sum("one" in json.dumps(b) for b in self.bodies()), 1)  # what was there already is not paid for again
        for line, says in (('{"text": "x", "assets": "%s"}' % A, "not an array"), ('{"text": "x", "assets": [3]}', "line 1"), ('{"assets": [null]}', "no asset that can be had"),
                           ('{"id": 1}', 'no "text"'), ('{"text": 3, "assets": []}', "not a string"), ('{"text": "x", "assets": ["file:///etc/passwd"]}', "not http or https"),
                           ('{"text": "x", "assets": ["%s", "%s"], "assets": []}' % (A, A), "duplicate"),
                           (json.dumps({"text": "x", "assets": [{"url": V, "kind": "video"}] * 2}), "2 videos")):
            answer = self.quern("embed", "--jsonl", stdin=line)
            self.assertNotEqual(answer.code, 0, line)
            self.assertIn(says, answer.message, line)
            self.assertEqual(answer.out, b"")
        for args, says in ((["a", "b", "--asset", A], "one text"), (["--asset", A, "--jsonl"], "one text"), (["--asset", "ftp://x/y"], "--asset: asset 0 has a URL"),
                           (["x", "--asset", A, "--no-normalize"], "--no-normalize")):
            answer = self.quern("embed", *args)
            self.assertNotEqual(answer.code, 0, args)
            self.assertIn(says, answer.message, args)
        self.plan()
        self.assertIn("voyage:voyage-3.5 reads texts only", self.quern("embed", "--asset", A, env={"MODEL_HERE": "voyage:voyage-3.5"}).message)
        self.assertEqual(self.bodies(), [])


class Faults(AssetTest):
    ALONE = True

    def test_a_poisoned_one_takes_its_document_only(self):
        for model in VOYAGE, JINA:
            self.MODEL = model
            for _ in self.each():
                self.run_sql("DROP TABLE IF EXISTS items")
                self.quern("source", "remove", "items", "--yes")
                self.table([(1, "one", A), (2, "two", json.dumps([A, SIGNED])), (3, "three", B), (4, "four", json.dumps(["https://pictures.example/s.png?other"]))])
                self.plan(poison="X-Signature")
                report = self.fill(code=3)
                self.assertEqual((report["done"], report["failed"]), (3, 1))
                (key, reason), = self.failed().items()
                self.assertEqual(key, 2)
                self.assertRegex(reason, r"^asset 2 \(https://pictures.example/s.png\): .*answers 400: an input that cannot be read")
                everything = json.dumps(report) + self.quern("status", "--json").out.decode() + reason
                for secret in "secretword", "0123456789abcdef":
                    self.assertNotIn(secret, everything)
                self.plan(poison="")
                self.ok("requeue", "--failed", "--source", "items")
                self.assertEqual(self.fill()["done"], 4)
                self.assertEqual(self.rows(2)[2][0], image("https://pictures.example/s.png"))

    def test_lists_that_are_none(self):
        bad = {1: ("file:///etc/passwd", "asset 1 (file:///etc/passwd) has a URL that is not http or https"), 2: ("[", "its assets in photo: "), 3: ('{"key": "x"}', "without a url"),
               4: (json.dumps([A, {"url": B, "kind": "sound"}]), "image, frame or video"), 5: (json.dumps([{"url": A, "frame": 3}]), "frame"),
               6: (json.dumps([{"url": A, "url2": 1, "kind": "video"}]), "second video"), 7: (json.dumps([{"url": A, "key": "k" * 1025}]), "more than 1024"),
               8: ("data:image/png;base64,AAAA", "not http or https"), 9: (json.dumps(["https://x.example/a b"]), "percent-encode"),
               10: ('{"url": "%s", "url": "%s"}' % (A, B), "twice"), 11: ("[" * 200, "asset"), 12: ("https://x.example/" + "y" * 8200, "8192"), 13: (json.dumps([7]), "photo")}
        for _ in self.each():
            self.table([(key, "words", value, V if key == 6 else None) for key, (value, _) in bad.items()] + [(99, "good", A)])
            report = self.fill(code=3)
            self.assertEqual((report["done"], report["failed"]), (1, len(bad)))
            failed = self.failed()
            for key, (_, says) in bad.items():
                self.assertIn(says, failed[key], key)
            self.assertEqual([b["inputs"] for b in self.bodies() if "words" in json.dumps(b)], [])

    def test_a_model_that_reads_texts_only(self):
        for _ in self.each():
            self.table([(1, "one", A)])
            for model in "voyage:voyage-3.5", self.model:
                answer = self.quern("fill", env={"MODEL_HERE": model})
                self.assertEqual(answer.code, 1, answer.message)
                self.assertRegex(answer.message, r"source items has assets \(photo, clip=video\), and .* reads texts only")
            self.assertEqual(self.bodies(), [])
            self.assertEqual(self.ok("status", "--json").json["sources"][0]["done"], 0)

    def test_declarations(self):
        for _ in self.each():
            self.table([])
            for args, says in ((["--assets", "photo=sound"], "=frame or =video"), (["--assets", "photo,photo"], "twice"), (["--assets", "nowhere"], "nowhere"),
                               (["--assets", ","], "write COLUMN"), (["--assets", ",".join("c%d" % i for i in range(9))], "more than 8"), (["--max-assets", "65"], "64")):
                answer = self.quern("source", "set", "items", *args)
                self.assertNotEqual(answer.code, 0, args)
                self.assertIn(says, answer.message, args)
            self.assertEqual(self.ok("source", "show", "items", "--json").json["assets"], "photo, clip=video")
            answer = self.quern("vector", "put", "1", "--source", "items", stdin="{}")
            self.assertNotEqual(answer.code, 0)

    def test_a_server_that_is_down_is_nobodys_fault(self):
        for _ in self.each():
            self.table([(i, "text %d" % i, "%s?%d" % (A, i)) for i in range(6)])
            self.plan(503, 503)
            self.assertEqual(self.fill()["done"], 6)
            self.put(1, "other", B)
            self.plan([401, {}, {"detail": "no"}])
            answer = self.quern("fill")
            self.assertNotEqual(answer.code, 0)
            self.assertIn("401", answer.message)
            self.assertEqual(self.ok("status", "--json").json["sources"][0]["failed"], 0)
            self.fill()


class Carried(AssetTest):
    def test_export_and_import(self):
        for db in self.each():
            self.table(Fill.ROWS)
            self.fill()
            folder = "out-%d" % self.dbs.index(db)
            self.ok("export", folder, "--source", "items")
            with open(os.path.join(self.cwd, folder, "vectors.jsonl")) as file:
                lines = [json.loads(line) for line in file]
            self.assertEqual([line.get("asset") for line in lines if line["key"] == 1], [{"kind": "fused", "assets": 1}, image(A)])
            before = {key: self.rows(key) for key in (1, 2, 3, 4)}
            self.ok("source", "remove", "items", "--yes")
            self.ok("source", "add", "items", "--table", "items", "--key", "id", "--text", "{title}", "--assets", "photo, clip=video")
            self.ok("import", folder, "--source", "items")
            self.assertEqual({key: self.rows(key) for key in (1, 2, 3, 4)}, before)
            self.assertEqual(self.ok("verify", "--json").json["equal"], 4)
            # what says that something else was seen is not taken in
            self.ok("source", "remove", "items", "--yes")
            self.ok("source", "add", "items", "--table", "items", "--key", "id", "--text", "{title}", "--assets", "photo=frame, clip=video")
            self.assertNotEqual(self.quern("import", folder, "--source", "items").code, 0)

    def test_verify_sees_what_was_seen(self):
        for _ in self.each():
            self.table(Fill.ROWS)
            self.fill()
            for what in "asset = '{\"kind\":\"image\",\"key\":\"other\"}'",:
                if self.sqlite:
                    self.run_sql("UPDATE quern_chunks SET %s WHERE key = '1' AND chunk = 1" % what)
                else:
                    self.run_sql("UPDATE quern.assets SET %s WHERE document = '1' AND piece = 1" % what)
                answer = self.quern("verify", "--json")
                self.assertEqual(answer.code, 1)
                self.assertEqual(answer.json["different"], 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
