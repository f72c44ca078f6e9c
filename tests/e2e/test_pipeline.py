"""The pipeline through the command, where a unit test cannot look: a user's own program writing beside a fill,
keys of every kind found again, many documents in little memory, search while a first fill runs.
"""
import json
import os
import random
import sqlite3
import subprocess
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from command import BIN, LONG, SANITIZED, CommandTest
from watermarks import killed_edited_and_resumed

WORDS = ["ban", "kolor", "gut", "zan", "vis", "mor", "lan", "ber", "nin", "por", "sag", "tum"]


def sentence(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


class Pipeline(CommandTest):
    def test_batching(self):
        """However texts are put together, a text has one vector."""
        self.write("in.jsonl", "\n".join(json.dumps({"id": i, "text": "ban gut kolor " * (1 + i * 7 % 13)}) for i in range(40)))
        seen = set()
        for how in ("fixed", "dynamic", "adaptive"):
            db = how + ".db"
            self.ok("add", "in.jsonl", "--db", db)
            self.ok("fill", "--db", db, "--batching", how, "--batch", "7")
            chunks = [self.ok("vector", "get", '"%d"' % i, "--db", db, "--source", "documents").json["chunks"] for i in range(0, 40, 9)]
            seen.add(json.dumps([[c["vector"] for c in chunk] for chunk in chunks]))
        self.assertEqual(len(seen), 1)

    def database(self, journal="delete", name="quern.db"):
        connection = sqlite3.connect(os.path.join(self.cwd, name), timeout=1, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = " + journal)
        self.addCleanup(connection.close)
        return connection

    def start(self, *args):
        return subprocess.Popen([BIN, *args], cwd=self.cwd, env=self.environment(QUERN_MODEL=self.model),
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def test_a_killed_build_goes_on_where_it_was(self):
        db = self.database("wal")
        killed_edited_and_resumed(self, lambda sql: db.execute(sql).fetchall())

    def write_beside(self, fill, db):
        """Row after row while the fill runs: how many, and how many commits took long. An error fails the test."""
        rows = late = 0
        while fill.poll() is None:
            began = time.monotonic()
            db.execute("INSERT INTO items (body) VALUES ('written beside')")
            late += time.monotonic() - began > 0.2
            rows += 1
            time.sleep(0.01)
        return rows, late

    def test_a_writer_beside_a_fill_is_never_locked_out(self):
        """Busy timeout 1 s, about 100 rows/s, in both journal modes; no error, and of 100 commits 99 within 200 ms, but for as many
        as are late in a database beside it that quern does not know: others use the disk and the processor, too."""
        for journal in ("delete", "wal"):
            with self.subTest(journal=journal):
                self.cwd = os.path.join(self.folder, "beside-" + journal)
                os.mkdir(self.cwd)
                rng = random.Random(5)
                db = self.database(journal)
                db.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, body TEXT)")
                db.execute("BEGIN")
                db.executemany("INSERT INTO items (body) VALUES (?)",
                               [(sentence(rng, 20),) for _ in range(20000 if LONG else 2500)])
                db.execute("COMMIT")
                self.ok("source", "add", "items", "--table", "items", "--key", "id", "--text", "{body}")
                unknown = self.database(journal, "unknown.db")
                unknown.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, body TEXT)")
                fill = self.start("fill")
                with ThreadPoolExecutor() as pool:
                    beside = pool.submit(self.write_beside, fill, unknown)
                    rows, late = self.write_beside(fill, db)
                self.assertEqual(fill.wait(), 0, fill.stderr.read())
                fill.stderr.close()
                self.assertGreater(rows, 10)
                if not SANITIZED:
                    self.assertLessEqual(late, 1 + rows // 100 + beside.result()[1])
                self.ok("fill")
                done = self.ok("status", "--json").json
                self.assertEqual(done["pending"], 0)
                self.assertEqual(done["done"], db.execute("SELECT count(*) FROM items").fetchone()[0])

    def test_keys_of_every_kind(self):
        db = self.database()
        tables = {
            "plain": ("CREATE TABLE plain (k INTEGER PRIMARY KEY, body TEXT)", "k", [(-7,), (0,), (2**62,)]),
            "texts": ("CREATE TABLE texts (k TEXT PRIMARY KEY, body TEXT) WITHOUT ROWID", "k",
                      [("",), ("a\"b\\c",), ("\u00e9\U0001f600",), ("42",)]),
            "nocase": ("CREATE TABLE nocase (k TEXT COLLATE NOCASE PRIMARY KEY, body TEXT)", "k", [("B",), ("a",)]),
            "blobs": ("CREATE TABLE blobs (k BLOB PRIMARY KEY, body TEXT)", "k", [(b"",), (b"\x00\xff",)]),
            "pairs": ("CREATE TABLE pairs (a INTEGER, b TEXT, body TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID", "a,b",
                      [(1, "x"), (1, "y"), (2, "x")]),
        }
        rng = random.Random(3)
        want = {}
        for name, (create, keys, values) in tables.items():
            db.execute(create)
            for value in values:
                text = sentence(rng, 9)
                db.execute("INSERT INTO %s VALUES (%s)" % (name, ",".join("?" * (len(value) + 1))), (*value, text))
                plain = [{"blob": v.hex()} if isinstance(v, bytes) else v for v in value]
                want[name, text] = plain[0] if len(plain) == 1 else plain
            self.ok("source", "add", name, "--table", name, "--key", keys, "--text", "{body}")
        report = self.ok("fill", "--json").json
        self.assertEqual((report["done"], report["failed"]), (len(want), 0))
        for (name, text), key in want.items():
            hit = self.ok("search", text, "--source", name, "--limit", "1", "--json").json["hits"][0]
            self.assertEqual((hit["source"], hit["key"]), (name, key))
            self.assertGreater(hit["similarity"], 0.99)
        db.execute("DELETE FROM blobs WHERE k = x'00ff'")
        db.execute("DELETE FROM pairs WHERE a = 1 AND b = 'y'")
        self.assertEqual(self.ok("fill", "--json").json["deleted"], 2)
        self.assertEqual(self.ok("verify", "--all", "--json").json["equal"], len(want) - 2)

    def test_rows_without_a_usable_key_fail_alone(self):
        db = self.database()
        db.execute("CREATE TABLE loose (k TEXT UNIQUE, body TEXT)")
        db.executemany("INSERT INTO loose VALUES (?, 'ban gut')", [("a",), (None,), (None,), ("b",)])
        self.ok("source", "add", "loose", "--table", "loose", "--key", "k", "--text", "{body}")
        for _ in range(2):  # every time, as long as they are there
            answer = self.quern("fill", "--json")
            self.assertEqual(answer.code, 3, answer.message)
            self.assertIn("a row: key column 'k' is NULL", answer.message)
            report = answer.json
            self.assertEqual((report["total"], report["done"], report["failed"]), (4, 2, 2))
        db.execute("DELETE FROM loose WHERE k IS NULL")
        self.ok("fill")

    def test_search_while_the_first_fill_runs(self):
        rng = random.Random(8)
        with open(os.path.join(self.cwd, "a.jsonl"), "w", encoding="utf-8") as out:
            for i in range(4000):
                out.write(json.dumps({"id": i, "text": sentence(rng, 30)}) + "\n")
        self.ok("add", "a.jsonl")
        fill = self.start("fill")
        answers = 0
        while fill.poll() is None:
            found = self.quern("search", "ban gut", "--json")
            self.assertIn(found.code, (0, 4), found.message)  # 4: not one document yet
            answers += found.code == 0
        self.assertEqual(fill.wait(), 0)
        fill.stderr.close()
        self.assertGreater(answers, 0)
        self.assertEqual(self.ok("status", "--json").json["done"], 4000)

    def test_many_documents_in_little_memory(self):
        """Peak memory of add and of fill does not grow with the number of documents."""
        def peak(*args):
            process = self.start(*args)
            status = os.wait4(process.pid, 0)
            process.stderr.close()
            process.returncode = os.waitstatus_to_exitcode(status[1])
            self.assertEqual(process.returncode, 0)
            return status[2].ru_maxrss

        if SANITIZED:
            self.skipTest("a sanitizer keeps freed memory")
        small, large = 200, 20000
        rng = random.Random(2)
        for n in (small, large):
            with open(os.path.join(self.cwd, "%d.jsonl" % n), "w", encoding="utf-8") as out:
                for i in range(n):
                    out.write(json.dumps({"id": i, "text": sentence(rng, 200)}) + "\n")
        add = {n: peak("add", "%d.jsonl" % n, "--db", "%d.db" % n) for n in (small, large)}
        self.assertLess(add[large] - add[small], 16 * 1024)  # KiB; the input is 16 MB
        fill = {n: peak("fill", "--db", "%d.db" % n, "--dry-run") for n in (small, large)}
        self.assertLess(fill[large] - fill[small], 24 * 1024)


if __name__ == "__main__":
    unittest.main()
