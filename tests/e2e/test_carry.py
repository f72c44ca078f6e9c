"""export and import: from each store to each other one, bit for bit; what has been tampered with, cut off or is meant for
something else is refused before anything is written; rows that have moved on stay pending; kill -9 anywhere."""
import hashlib
import json
import os
import re
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import unittest

from command import BIN, LONG, WITHOUT_POSTGRES, CommandTest
from own_postgres import Server, psql

TABLE = "create table books (id integer primary key, title text, blurb text, rev integer)"
SOURCE = ("source", "add", "books", "--table", "books", "--key", "id", "--text", "{title}. {blurb}", "--text-search", "yes")
FILES = ("vectors.npy", "vectors.jsonl", "empty.jsonl")


def setUpModule():
    global server
    if not WITHOUT_POSTGRES:
        server = Server()


def tearDownModule():
    if not WITHOUT_POSTGRES:
        server.close()


class Carry(CommandTest):
    made = 0

    def database(self, kind, rows=30):
        """An empty database of a kind with the table of books and its declaration; what --db calls it."""
        Carry.made += 1
        name = "side%d" % Carry.made
        if kind == "sqlite":
            db = os.path.join(self.cwd, name + ".db")
        else:
            psql(server.url, "create database " + name)
            db = server.of(name)
            if kind == "pgvector":
                psql(db, "create extension vector")
        self.sql(db, TABLE)
        self.fill_table(db, range(1, rows + 1))
        self.ok(*SOURCE, "--db", db)
        return db

    def sql(self, db, text):
        if db.startswith("postgres"):
            return [tuple(row) for row in psql(db, text)]
        with sqlite3.connect(db, timeout=20) as c:
            return c.executescript(text) and [] if ";" in text else c.execute(text).fetchall()

    def fill_table(self, db, ids):
        rows = ", ".join("(%d, 'Ban %d', '%s', 1)" % (i, i, "" if i == 7 else "gut lan kolor " * (i % 6 * 9)) for i in ids)
        self.sql(db, "insert into books values %s;" % rows)
        self.sql(db, "update books set title = '' where id = 7;")  # ". " is left of it
        self.sql(db, "update books set blurb = null, title = null where id = 8;")

    def hits(self, db, *more):
        return [self.ok("search", "--db", db, query, "--json", "--limit", "40", *more).json["hits"] for query in ("ban 3", "kolor")]

    def exported(self, db=None, name="out", **how):
        db = db or self.filled()
        out = os.path.join(self.cwd, name)
        report = self.ok("export", "--db", db, "--source", "books", out, "--json", **how).json
        return out, report

    def filled(self, kind="sqlite"):
        db = self.database(kind)
        self.ok("fill", "--db", db)
        return db

    def status(self, db):
        return self.ok("status", "--db", db, "--json").json

    def untouched(self, db):
        self.assertEqual(self.ok("generation", "list", "--db", db, "--json").json["generations"], [])


class RoundTrip(Carry):
    def trip(self, kinds):
        first = self.database(kinds[0])
        self.ok("fill", "--db", first)
        expected = self.hits(first)
        db, folders = first, []
        for kind in kinds[1:]:
            out, report = self.exported(db, "out-%d" % len(folders))
            self.assertEqual((report["stale"], report["pending"], report["failed"]), (0, 0, 0))
            self.assertEqual(report["documents"] + report["empty"], 30)
            db = self.database(kind)
            took = self.ok("import", "--db", db, out, "--json").json
            self.assertEqual((took["imported"], took["changed"], took["missing"], took["pending"]), (30, 0, 0, 0))
            self.assertGreaterEqual(took["sampled"], 20)
            self.assertEqual(took["equal"], took["sampled"])
            self.assertEqual((took["state"], took["source"]), ("active", "books"))
            self.assertEqual(self.hits(db), expected)
            self.assertEqual(len(self.ok("search", "--db", db, "--mode", "text", "kolor", "--limit", "40", "--json").json["hits"]), 23)
            self.assertEqual(self.ok("fill", "--db", db, "--json").json["processed"], 0)
            self.assertEqual(self.ok("verify", "--db", db, "--all", "--json").json["different"], 0)
            folders.append(out)
        for out in folders[1:]:  # the very bytes, whatever store they came from
            with open(os.path.join(out, "vectors.npy"), "rb") as a, open(os.path.join(folders[0], "vectors.npy"), "rb") as b:
                self.assertEqual(a.read(), b.read())

    def test_sqlite(self):
        self.trip(["sqlite", "sqlite", "sqlite"])

    @unittest.skipIf(WITHOUT_POSTGRES, "without PostgreSQL")
    def test_every_store(self):
        self.trip(["sqlite", "pgvector", "bytea", "pgvector", "sqlite"])

    def test_numpy_reads_it(self):
        import numpy
        for kind in ("f16", "f32"):
            db = self.database("sqlite")
            self.ok("fill", "--db", db, "--vector-type", kind)
            out, report = self.exported(db, "numpy-" + kind)
            array = numpy.load(os.path.join(out, "vectors.npy"), mmap_mode="r")
            with open(os.path.join(out, "vectors.jsonl"), encoding="utf-8") as lines:
                rows = [json.loads(line) for line in lines]
            self.assertEqual(array.dtype, numpy.dtype("<" + kind.replace("16", "2").replace("32", "4")))
            self.assertEqual(array.shape, (report["vectors"], len(array[0])))
            self.assertEqual(len(rows), len(array))
            self.assertEqual(set(rows[0]), {"key", "chunk", "chunks", "start", "end", "characters", "revision", "created", "updated"})
            stored = {(row[0], row[1]): row[2] for row in self.sql(db,
                "select c.key, c.chunk, v.data from quern_chunks c join quern_vectors v on v.id = c.id")}
            for row, vector in zip(rows, array):
                self.assertEqual(vector.tobytes(), stored[str(row["key"]), row["chunk"]])
            manifest, copy = manifest_of(out), numpy.array(array)
            recipe = json.dumps(manifest["recipe"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            self.assertEqual(hashlib.sha256(recipe.encode()).hexdigest(), manifest["fingerprint"])
            for name in FILES:
                with open(os.path.join(out, name), "rb") as f:
                    self.assertEqual(manifest["files"][name]["sha256"], hashlib.sha256(f.read()).hexdigest())
            with open(os.path.join(out, "vectors.npy"), "wb") as f:  # and what numpy writes is read
                numpy.save(f, copy)
            remake(out)
            target = self.database("sqlite")
            self.assertEqual(self.ok("import", "--db", target, out, "--vector-type", kind, "--json").json["imported"], 30)

    def test_built_in_documents(self):
        for folder in ("a", "b"):
            self.write(folder + "/notes/one.md", "# Zan\n\nban kolor gut\n\n## Mor\n\n" + "lan gut " * 200)
            self.write(folder + "/more.jsonl", '{"id": "x", "text": "ban", "section": "s"}\n{"id": "y", "text": ""}\n')
        a, b = os.path.join(self.cwd, "a.db"), os.path.join(self.cwd, "b.db")
        for db, folder in ((a, "a"), (b, "b")):
            self.ok("add", "--db", db, os.path.join(self.cwd, folder, "notes"), os.path.join(self.cwd, folder, "more.jsonl"))
        self.ok("fill", "--db", a, "--headings")
        out = os.path.join(self.cwd, "docs")
        self.ok("export", "--db", a, "--source", "documents", out)
        with open(os.path.join(out, "vectors.jsonl"), encoding="utf-8") as f:
            rows = [json.loads(line) for line in f]
        self.assertIn("Zan", "".join(r.get("heading", "") for r in rows))
        self.assertIn("s", [r.get("section") for r in rows])
        self.refused(1, "chunker differs", "import", "--db", b, out)
        self.assertEqual(self.ok("import", "--db", b, out, "--headings", "--json").json["imported"], 3)
        self.assertEqual(self.ok("verify", "--db", b, "--all", "--json", ).json["equal"], 2)


def manifest_of(out):
    with open(os.path.join(out, "manifest.json"), encoding="utf-8") as f:
        return json.load(f)


def remake(out, **change):
    """The manifest says what the files are now, as if they had been written so."""
    manifest = dict(manifest_of(out), **change)
    for name in FILES:
        with open(os.path.join(out, name), "rb") as f:
            data = f.read()
        manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    with open(os.path.join(out, "manifest.json"), "w", encoding="utf-8") as f:
        json.dump(manifest, f)


def edit(out, name, fn):
    path = os.path.join(out, name)
    with open(path, "rb") as f:
        data = f.read()
    with open(path, "wb") as f:
        f.write(fn(data))


def swap_lines(data):
    lines = data.splitlines(True)
    single = [i for i, line in enumerate(lines) if b'"chunks":1,' in line]
    a, b = single[0], single[3]
    lines[a], lines[b] = lines[b], lines[a]
    return b"".join(lines)


class Refused(Carry):
    def setUp(self):
        super().setUp()
        self.out, self.report = self.exported()
        self.target = self.database("sqlite")

    def copy(self):
        to = tempfile.mkdtemp(dir=self.cwd)
        shutil.copytree(self.out, to, dirs_exist_ok=True)
        return to

    def check(self, saying, name, fn, again, code=1):
        """An export of which a file was changed (and the manifest made to fit: again) is refused, and nothing written."""
        out = self.copy()
        edit(out, name, fn)
        if again:
            remake(out)
        self.refused(code, saying, "import", "--db", self.target, out, "--all")
        self.untouched(self.target)

    def test_tampered(self):
        flip = lambda at: lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
        size = os.path.getsize(os.path.join(self.out, "vectors.npy"))
        for at in (200, size - 1, size - 700):
            self.check("", "vectors.npy", flip(at), False)
        self.check("embedded again", "vectors.npy", flip(128), True)
        self.check("the file is damaged", "vectors.jsonl", lambda d: d.replace(b'"created":"20', b'"created":"19', 1), False)
        self.check("embedded again", "vectors.jsonl", swap_lines, True)
        self.check("is another piece", "vectors.jsonl",
                   lambda d: re.sub(rb'"start":0,("end":\d+,"characters":\[)0,', rb'"start":1,\g<1>1,', d, count=1), True)
        self.check("", "empty.jsonl", lambda d: d + d, True)
        self.check("more bytes", "vectors.npy", lambda d: d + b"x", True)

    def test_chunks_that_are_no_pieces_of_the_text(self):
        """Whether they are in the sample or not."""
        for change in ({"start": 5, "end": 10 ** 12}, {"start": 2 ** 63, "end": 2 ** 64 - 1}, {"start": 0, "end": 0},
                       {"characters": [0, 2 ** 64 - 1]}, {"characters": [1, 2]}, {"dropped_bytes": 2 ** 64 - 1}):
            def fn(data):
                lines = data.splitlines(True)
                at = max(i for i, line in enumerate(lines) if b'"chunks":1,' in line)
                lines[at] = json.dumps(dict(json.loads(lines[at]), **change)).encode() + b"\n"
                return b"".join(lines)
            out = self.copy()
            edit(out, "vectors.jsonl", fn)
            remake(out)
            self.refused(1, "are no pieces of its text", "import", "--db", self.target, out, "--sample", "1", "--seed", "3")
            self.untouched(self.target)

    def test_words_for_programs(self):
        def code(*args):
            answer = self.quern("import", "--db", self.target, *args, "--json")
            return answer.code, json.loads(answer.message.splitlines()[-1])["error"]["code"]
        self.assertEqual(code(self.out, "--max-chunks", "3"), (1, "fingerprint_mismatch"))
        out = self.copy()
        edit(out, "vectors.npy", lambda d: d[:128] + bytes([d[128] ^ 1]) + d[129:])
        self.assertEqual(code(out), (1, "checksum_mismatch"))
        remake(out)
        self.assertEqual(code(out, "--all"), (1, "sample_mismatch"))

    def test_blank_that_is_not(self):
        """A document with a text that the export says is blank."""
        out = self.copy()
        with open(os.path.join(out, "vectors.jsonl"), encoding="utf-8") as f:
            row = json.loads(next(line for line in f if '"chunks":1,' in line))
        edit(out, "empty.jsonl", lambda d: d + json.dumps({"key": row["key"], "revision": row["revision"]}).encode() + b"\n")
        remake(out, empty=manifest_of(out)["empty"] + 1)
        self.refused(1, "", "import", "--db", self.target, out)
        self.untouched(self.target)

    def test_cut_off(self):
        for name in FILES + ("manifest.json",):
            with open(os.path.join(self.out, name), "rb") as f:
                data = f.read()
            for part in (0, 1, len(data) // 2, len(data) - 1):
                for again in (False, True):
                    if name != "manifest.json":
                        if name == "empty.jsonl" and part == 0 and again:
                            continue
                        self.check("", name, lambda d: d[:part], again)
                    elif not again and part != len(data) - 1:
                        self.check("manifest.json", name, lambda d: d[:part], False)
        os.remove(os.path.join(self.out, "manifest.json"))
        self.refused(4, "cut off", "import", "--db", self.target, self.out)
        self.refused(4, "manifest.json", "import", "--db", self.target, os.path.join(self.cwd, "nowhere"))
        for name in FILES:
            out = os.path.join(self.cwd, "without-" + name)
            self.exported(self.filled(), out)
            os.remove(os.path.join(out, name))
            self.refused(4, name, "import", "--db", self.target, out)
        self.untouched(self.target)

    def test_what_the_manifest_says(self):
        for change, saying, code in (({"fingerprint": "0" * 64}, "its recipe has the fingerprint", 1), ({"dimensions": 5}, "of 5 dimensions", 1),
                                     ({"documents": 3}, "its manifest says", 1), ({"vectors": 3}, "manifest says", 1), ({"empty": 9}, "its manifest says", 1),
                                     ({"format": "quern-vectors/2"}, "this version reads", 1), ({"vector_type": "f64"}, "f16 or f32", 1),
                                     ({"vector_type": "f32"}, "manifest says", 1), ({"recipe": []}, "not an object", 1), ({"model": 3}, "not a text", 1)):
            out = self.copy()
            manifest = dict(manifest_of(out), **change)
            with open(os.path.join(out, "manifest.json"), "w", encoding="utf-8") as f:
                json.dump(manifest, f)
            self.refused(code, saying, "import", "--db", self.target, out)
        self.untouched(self.target)

    def test_not_of_unit_length(self):
        import numpy
        array = numpy.load(os.path.join(self.out, "vectors.npy"))
        for value in (0.0, float("nan"), float("inf"), 2.0):
            out = self.copy()
            bad = array.copy()
            bad[5] = bad[5] * value
            numpy.save(os.path.join(out, "vectors.npy"), bad)
            remake(out)
            self.refused(1, "vector 5 is not finite and of unit length", "import", "--db", self.target, out)
        for other in (array.astype(">f2"), numpy.asfortranarray(array), array.astype("f8"), array[:, :-1].copy(), array.reshape(-1)):
            out = self.copy()
            numpy.save(os.path.join(out, "vectors.npy"), other)
            remake(out)
            self.refused(1, "vectors.npy", "import", "--db", self.target, out)
        self.untouched(self.target)

    def test_meant_for_something_else(self):
        self.refused(1, "chunker differs", "import", "--db", self.target, self.out, "--max-chunks", "3")
        self.refused(1, "stored_type differs", "import", "--db", self.target, self.out, "--vector-type", "f32")
        self.refused(1, "max_length", "import", "--db", self.target, self.out, "--max-length", "60")
        self.refused(4, "no source other", "import", "--db", self.target, self.out, "--source", "other")
        self.ok("source", "set", "books", "--db", self.target, "--text", "{title}")
        self.refused(1, "template differs", "import", "--db", self.target, self.out)
        self.ok("source", "set", "books", "--db", self.target, "--where", "id < 9", "--text", "{title}. {blurb}")
        self.refused(1, "scope differs", "import", "--db", self.target, self.out)
        self.untouched(self.target)
        self.refused(4, "there is no such file", "import", "--db", "nowhere.db", self.out)


class Rows(Carry):
    def both(self, test):
        for kind in ("sqlite",) if WITHOUT_POSTGRES else ("sqlite", "pgvector", "bytea"):
            with self.subTest(kind):
                test(kind)

    def test_edited_and_missing_rows_stay_pending(self):
        out, _ = self.exported()

        def test(kind):
            db = self.database(kind)
            self.sql(db, "update books set title = 'Zan' where id in (3, 4);")
            self.sql(db, "delete from books where id in (5, 6, 8);")
            self.fill_table(db, range(31, 36))
            dry = self.ok("import", "--db", db, out, "--dry-run", "--json").json
            self.untouched(db)
            took = self.ok("import", "--db", db, out, "--json").json
            self.assertEqual((took["imported"], took["changed"], took["missing"], took["pending"]), (25, 2, 3, 7))
            self.assertEqual([dry[k] for k in ("imported", "changed", "missing")], [25, 2, 3])
            keys = {hit["key"] for hit in self.hits(db)[0]}
            self.assertEqual(keys, set(range(1, 31)) - {3, 4, 5, 6, 7, 8})
            again = self.ok("import", "--db", db, out, "--json").json
            self.assertEqual((again["imported"], again["skipped"], again["sampled"]), (0, 25, 0))
            report = self.ok("fill", "--db", db, "--json").json
            self.assertEqual((report["processed"], report["done"]), (7, 32))
            self.assertEqual(self.ok("verify", "--db", db, "--all", "--json").json["different"], 0)
        self.both(test)

    def test_stale_ones_are_left_out(self):
        def test(kind):
            db = self.filled(kind)
            self.sql(db, "update books set title = 'Zan' where id in (3, 4);")
            self.sql(db, "delete from books where id = 5;")
            self.fill_table(db, range(40, 43))
            self.ok("requeue", "--db", db, "--source", "books", "--key", "9")
            out, report = self.exported(db, "stale-" + kind)
            self.assertEqual((report["stale"], report["pending"], report["documents"], report["empty"]), (3, 3, 26 - report["empty"], report["empty"]))
            with open(os.path.join(out, "vectors.jsonl"), encoding="utf-8") as f:
                self.assertFalse({3, 4, 5, 9, 40} & {json.loads(line)["key"] for line in f})
            self.assertEqual(manifest_of(out)["left_out"], {"stale": 3, "pending": 3, "failed": 0})
        self.both(test)

    def test_beside_an_active_generation(self):
        """Settings other than those that serve: a building generation, which fill completes and switches to."""
        source = self.database("sqlite")
        self.ok("fill", "--db", source, "--max-chunks", "2")
        out, _ = self.exported(source)

        def test(kind):
            db = self.filled(kind)
            before = self.hits(db)
            took = self.ok("import", "--db", db, out, "--max-chunks", "2", "--json").json
            self.assertEqual((took["state"], took["imported"]), ("building", 30))
            self.assertEqual(self.hits(db), before)
            report = self.ok("fill", "--db", db, "--max-chunks", "2", "--json").json
            self.assertEqual((report["processed"], report["done"]), (0, 30))
            states = [g["state"] for g in self.ok("generation", "list", "--db", db, "--json").json["generations"]]
            self.assertEqual(states, ["active"])
            self.assertEqual(self.ok("verify", "--db", db, "--all", "--json").json["different"], 0)
        self.both(test)

    def test_scopes(self):
        """The predicate of a scoped generation comes from whoever imports, never out of the export."""
        source = self.database("sqlite")
        built = self.ok("generation", "build", "--db", source, "--source", "books", "--where", "id > 20", "--json").json["generation"]
        out = os.path.join(self.cwd, "scoped")
        self.ok("export", "--db", source, "--source", "books", "--generation", built, out)

        def test(kind):
            db = self.database(kind)
            self.refused(1, "scope differs", "import", "--db", db, out)
            self.untouched(db)
            took = self.ok("import", "--db", db, out, "--where", "id > 20", "--json").json
            self.assertEqual((took["state"], took["imported"], took["pending"]), ("building", 10, 0))
            self.ok("generation", "activate", "--db", db, "--source", "books")
            again = self.ok("import", "--db", db, out, "--json").json  # into the active one, whose scope it is
            self.assertEqual((again["state"], again["skipped"]), ("active", 10))
            self.assertEqual({hit["key"] for hit in self.hits(db, "--where", "id > 20")[0]}, set(range(21, 31)))
        self.both(test)

    def test_generations(self):
        db = self.filled()
        built = self.ok("generation", "build", "--db", db, "--source", "books", "--max-chunks", "2", "--json").json["generation"]
        out = os.path.join(self.cwd, "second")
        self.ok("export", "--db", db, "--source", "books", "--generation", built, out)
        self.assertEqual((manifest_of(out)["generation"], manifest_of(out)["state"]), (built, "building"))
        self.refused(4, "no generation 99", "export", "--db", db, "--source", "books", "--generation", "99", "x")
        self.ok("source", "set", "books", "--db", db, "--text", "{title}")
        self.refused(1, "template differs", "export", "--db", db, "--source", "books", os.path.join(self.cwd, "third"))


class Vectors(Carry):
    """vector get, put and delete."""

    def both(self, test):
        for kind in ("sqlite",) if WITHOUT_POSTGRES else ("sqlite", "pgvector", "bytea"):
            with self.subTest(kind):
                test(self.filled(kind))

    def get(self, db, key, *more, **how):
        return self.ok("vector", "get", key, "--db", db, "--source", "books", *more, **how)

    def put(self, db, key, fingerprint, text, *more):
        return ("vector", "put", key, "--db", db, "--source", "books", "--fingerprint", fingerprint, *more), text

    def test_what_is_read_can_be_put(self):
        def test(db):
            before = self.get(db, 4).json
            self.assertEqual((before["key"], before["outcome"], before["current"], before["vector_type"]), (4, "ok", True, "f16"))
            self.assertRegex(before["created_at"], r"^20\d\d-\d\d-\d\dT[0-9:.]+Z$")
            hits = self.hits(db)
            self.assertEqual(self.ok("vector", "delete", 4, "--db", db, "--source", "books", "--json").json, {"removed": 1})
            gone = self.get(db, 4).json
            self.assertEqual((gone["outcome"], gone["chunks"], gone["current"], gone["updated_at"]), ("none", [], False, None))
            self.assertEqual(self.status(db)["pending"], 1)
            self.assertNotIn(4, {hit["key"] for hit in self.hits(db)[0]})
            args, text = self.put(db, 4, before["fingerprint"], json.dumps(before))
            self.assertEqual(self.ok(*args, "--json", stdin=text).json, {"stored": len(before["chunks"])})
            after = self.get(db, 4).json
            for name in ("created_at", "updated_at"):
                after[name] = before[name]
            self.assertEqual(after, before)
            self.assertEqual((self.status(db)["pending"], self.hits(db)), (0, hits))
            self.assertEqual(self.ok("verify", "--db", db, "--all", "--json").json["different"], 0)
            self.ok("vector", "delete", 4, "--db", db, "--source", "books")
            self.assertEqual(self.ok("fill", "--db", db, "--json").json["processed"], 1)
            self.assertEqual(self.hits(db), hits)
        self.both(test)

    def test_formats(self):
        import base64
        import io
        import numpy
        db = self.filled()
        shown = self.get(db, 3).json
        raw = self.get(db, 3, "--format", "base64").out
        rows = [numpy.frombuffer(base64.b64decode(line), "<f4") for line in raw.split()]
        array = numpy.load(io.BytesIO(self.get(db, 3, "--format", "npy").out))
        self.assertEqual(array.dtype, numpy.dtype("<f2"))
        self.assertEqual([r.tolist() for r in rows], array.astype("f4").tolist())
        numpy.testing.assert_array_equal(numpy.array([c["vector"] for c in shown["chunks"]], "f4").view("u4"), array.astype("f4").view("u4"))
        for text, more in ((raw.split()[0], ("--format", "base64")), (json.dumps(shown["chunks"][0]["vector"]), ())):
            args, text = self.put(db, 12, shown["fingerprint"], text, *more)  # one vector for the whole text
            self.ok(*args, stdin=text)
            (chunk,) = self.get(db, 12).json["chunks"]
            self.assertEqual((chunk["start"], chunk["end"], chunk["characters"]), (0, 6, [0, 6]))
            self.assertEqual(chunk["vector"], shown["chunks"][0]["vector"])

    def test_what_a_save_brings_along(self):
        """Words, texts that are kept and stamp columns, as after a fill."""
        def test(db):
            self.sql(db, "alter table books add column made_at text; alter table books add column made_by text;")
            self.ok("source", "set", "books", "--db", db, "--keep-text", "yes", "--stamp-columns", "generated_at=made_at,model=made_by")
            self.ok("fill", "--db", db)
            out, _ = self.exported(db, "along-%d" % self.made)
            shown = self.get(db, 3).json
            self.ok("vector", "delete", 3, "--db", db, "--source", "books")
            self.sql(db, "update books set made_at = null, made_by = null where id = 3;")
            args, text = self.put(db, 3, shown["fingerprint"], json.dumps(shown))
            self.ok(*args, stdin=text)
            columns = lambda: self.sql(db, "select made_by from books where id = 3")
            self.assertEqual(columns(), [(shown["model"],)])
            self.assertEqual(self.ok("fill", "--db", db, "--json").json["processed"], 0)
            self.ok("vector", "delete", 3, "--db", db, "--source", "books")
            self.sql(db, "update books set made_at = null, made_by = null where id = 3;")
            self.assertEqual(self.ok("import", "--db", db, out, "--json").json["imported"], 1)
            self.assertEqual(columns(), [(shown["model"],)])
            self.assertEqual(self.status(db)["pending"], 0)
            self.assertIn(3, {hit["key"] for hit in self.ok("search", "--db", db, "--mode", "text", "3", "--json").json["hits"]})
        self.both(test)

    def test_refused(self):
        def test(db):
            shown = self.get(db, 3).json
            good, fingerprint = shown["chunks"][0]["vector"], shown["fingerprint"]
            nine = [dict(c) for c in shown["chunks"]]
            for text, saying, code in (
                    ("", "not JSON", 1), ("[]", "0 dimensions", 2), ("{}", "neither", 1), ("[[", "not JSON", 1), ("[" * 99, "too deep", 1),
                    (json.dumps(good[:-1]), "79 dimensions", 2), (json.dumps(good + [0]), "81 dimensions", 2),
                    (json.dumps([0] * 80), "unit length", 2), (json.dumps([2 * x for x in good]), "unit length", 2),
                    (json.dumps([1e300] * 80), "is 1e+300", 2), (json.dumps(["x"] * 80), "no number", 1), ("[NaN]", "not JSON", 1),
                    ('{"chunks": [{"start": 0, "end": 10000, "vector": %s}]}' % good, "no piece of its text", 2),
                    ('{"chunks": [{"start": 3, "end": 3, "vector": %s}]}' % good, "no piece of its text", 2),
                    ('{"chunks": [{"start": -1, "end": 3, "vector": %s}]}' % good, "no whole number", 1),
                    ('{"chunks": [{"start": 0.5, "end": 3, "vector": %s}]}' % good, "no whole number", 1),
                    ('{"chunks": [%s, %s]}' % (('{"vector": %s}' % good,) * 2), "no piece of its text", 2),
                    ('{"chunks": [1]}', "a chunk is", 1), (json.dumps({"chunks": nine * 100}), "at most 64", 2)):
                args, text = self.put(db, 3, fingerprint, text)
                self.refused(code, saying, *args, stdin=text)
            for text in ("x", "AAAA", "A" * 427 + "!", "====", "A" * 424 + "=A=="):
                args, text = self.put(db, 3, fingerprint, text, "--format", "base64")
                self.refused(1 if text != "A" * 428 else 2, "standard input", *args, stdin=text)
            for other in ("0" * 64, fingerprint[:-1], "x"):
                args, text = self.put(db, 3, other, json.dumps(shown))
                self.assertIn(fingerprint, self.refused(1, other, *args, stdin=text).message)
            self.refused(2, "--fingerprint", "vector", "put", "3", "--db", db, "--source", "books", stdin=json.dumps(shown))
            args, text = self.put(db, 99, fingerprint, json.dumps(shown))
            self.refused(4, "no document with the key 99", *args, stdin=text)
            for command in ("get", "delete"):
                self.refused(4, "no document with the key 99", "vector", command, "99", "--db", db, "--source", "books")
                self.refused(4, "no source other", "vector", command, "3", "--db", db, "--source", "other")
                self.refused(2, "which source", "vector", command, "3", "--db", db)
            self.refused(4, "no generation 77", "vector", "get", "3", "--db", db, "--source", "books", "--generation", "77")
            self.assertEqual(self.get(db, 3).json, shown)
            self.ok("source", "set", "books", "--db", db, "--text", "{title}")
            args, text = self.put(db, 3, fingerprint, json.dumps(shown))
            self.refused(1, "template differs", *args, stdin=text)
            self.assertFalse(self.get(db, 3).json["current"])
        self.both(test)

    def test_stale_gone_and_blank(self):
        def test(db):
            self.assertEqual((self.get(db, 8).json["outcome"], self.get(db, 8).json["chunks"]), ("empty", []))
            self.sql(db, "update books set title = 'Zan' where id = 3;")
            shown = self.get(db, 3).json
            self.assertEqual((shown["current"], shown["outcome"]), (False, "ok"))
            args, text = self.put(db, 3, shown["fingerprint"], json.dumps(shown["chunks"][0]["vector"]))
            self.ok(*args, stdin=text)  # vouched for: it is of the row as it is now
            self.assertTrue(self.get(db, 3).json["current"])
            self.sql(db, "delete from books where id = 5;")
            self.refused(4, "no document", "vector", "get", "5", "--db", db, "--source", "books")
            self.assertEqual(self.ok("vector", "delete", "5", "--db", db, "--source", "books", "--json").json, {"removed": 1})
            self.refused(4, "no document", "vector", "delete", "5", "--db", db, "--source", "books")
        self.both(test)


class Folder(Carry):
    def test_which_folders(self):
        db = self.filled()
        out, _ = self.exported(db)
        self.refused(1, "--force", "export", "--db", db, "--source", "books", out)
        self.ok("export", "--db", db, "--source", "books", "--force", out)
        self.assertEqual(sorted(os.listdir(out)), sorted(FILES + ("manifest.json",)))
        self.write("other/file", "x")
        self.refused(1, "--force", "export", "--db", db, "--source", "books", os.path.join(self.cwd, "other"))
        self.refused(1, "not a folder", "export", "--db", db, "--source", "books", os.path.join(self.cwd, "other/file"))
        os.makedirs(os.path.join(self.cwd, "cut"))
        self.write("cut/vectors.npy.partial", "x")
        self.ok("export", "--db", db, "--source", "books", os.path.join(self.cwd, "cut"))
        self.refused(2, "which source", "export", "--db", db, "x")
        self.refused(4, "no source other", "export", "--db", db, "--source", "other", "x")
        self.refused(4, "there is no such file", "export", "--db", "nowhere.db", "--source", "books", "x")
        fresh = self.database("sqlite")
        self.refused(4, "has not been filled", "export", "--db", fresh, "--source", "books", "x")
        self.assertFalse(os.path.exists(os.path.join(self.cwd, "x")))


class Killed(Carry):
    ROWS = 4000

    def setUp(self):
        super().setUp()
        seed = int(os.environ.get("QUERN_SEED", random.SystemRandom().randrange(10**9)))
        print("seed", seed, file=sys.stderr)
        self.rng = random.Random(seed)
        self.db = os.path.join(self.cwd, "big.db")
        self.big(self.db)
        self.ok("fill", "--db", self.db, timeout=300)

    def big(self, db):
        self.sql(db, TABLE)
        for start in range(0, self.ROWS, 1000):
            rows = ", ".join("(%d, 'Ban %d', 'gut', 1)" % (i, i) for i in range(start, start + 1000))
            self.sql(db, "insert into books values %s;" % rows)
        self.ok(*SOURCE, "--db", db)

    def kill(self, most, *args):
        """kill -9 at a random moment; true when it was before its end."""
        p = subprocess.Popen([BIN, *args], cwd=self.cwd, env=self.environment(QUERN_MODEL=self.model),
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            p.wait(self.rng.uniform(0.01, most))
            return False
        except subprocess.TimeoutExpired:
            p.send_signal(signal.SIGKILL)
            p.wait()
            return True

    def test_anywhere(self):
        out = os.path.join(self.cwd, "out")
        kills = 0
        for _ in range(40 if LONG else 6):
            kills += self.kill_export(out)
        self.ok("export", "--db", self.db, "--source", "books", out)
        targets = [os.path.join(self.cwd, "target.db")]
        if not WITHOUT_POSTGRES:
            targets.append(self.database("pgvector", 1))
            self.sql(targets[1], "drop table books; " + TABLE + ";")
            self.sql(targets[1], "insert into books select i, 'Ban ' || i, 'gut', 1 from generate_series(0, %d) i;" % (self.ROWS - 1))
        self.big(targets[0])
        expected = self.hits(self.db)
        for db in targets:
            for _ in range(40 if LONG else 5):
                kills += self.kill(0.6, "import", "--db", db, out)
                if os.path.exists(db) or db.startswith("postgres"):
                    state = self.ok("generation", "list", "--db", db, "--json").json["generations"]
                    self.assertLessEqual(len(state), 1)
            took = self.ok("import", "--db", db, out, "--json").json
            self.assertEqual(took["imported"] + took["skipped"], self.ROWS)
            self.assertEqual(took["pending"], 0)
            self.assertEqual(self.hits(db), expected)
            self.assertTrue(self.ok("verify", "--db", db, "--sample", "50", "--json").json["ok"])
        self.assertGreater(kills, 2)

    def kill_export(self, out):
        killed = self.kill(0.25, "export", "--db", self.db, "--source", "books", out)
        if killed and os.path.exists(os.path.join(out, "manifest.json")):
            self.ok("import", "--db", self.db, out, "--dry-run")  # whole after all
        if os.path.exists(os.path.join(out, "manifest.json")) or not killed:
            shutil.rmtree(out)
        return killed


if __name__ == "__main__":
    unittest.main()
