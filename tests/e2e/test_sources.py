"""Sources that do more than name rows, on SQLite, on PostgreSQL with pgvector and without: kept texts, and stamp columns that
say when and by which model a row was embedded."""
import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import time
import unittest

import test_postgres
from command import BIN, LONG, WITHOUT_POSTGRES
from folders import tiny
from own_postgres import TOOL

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")


def setUpModule():
    if not WITHOUT_POSTGRES:
        test_postgres.setUpModule()


def tearDownModule():
    if not WITHOUT_POSTGRES:
        test_postgres.tearDownModule()


class Both(test_postgres.PostgresTest):
    """self.each() goes through the databases: self.db is the one at hand, self.run_sql speaks to it."""

    def setUp(self):
        self.dbs = ["file.db"]
        if WITHOUT_POSTGRES:
            test_postgres.CommandTest.setUp(self)
        else:
            for vector in False, True:
                self.VECTOR = vector
                super().setUp()
                self.dbs.append(self.db)

    def each(self):
        for db in self.dbs:
            self.db = db
            yield db

    @property
    def sqlite(self):
        return self.db == "file.db"

    def run_sql(self, sql):
        """Rows; values of PostgreSQL are texts, NULL an empty one."""
        if not self.sqlite:
            return test_postgres.psql(self.db, sql)
        with contextlib.closing(sqlite3.connect(os.path.join(self.cwd, "file.db"), isolation_level=None)) as db:
            if sql.lstrip().upper().startswith("SELECT"):
                return [["" if v is None else str(v) for v in row] for row in db.execute(sql)]
            db.executescript(sql)
            return []

    def environment(self, **env):
        env.setdefault("QUERN_DB", self.db)
        return super().environment(**env)

    def fill(self, *args):
        return self.ok("fill", "--json", *args).json


class KeptText(Both):
    def kept(self):
        return self.run_sql("SELECT key, body FROM %s ORDER BY key" % ("quern_kept" if self.sqlite else "quern.kept"))

    def excerpts(self, *args):
        hits = self.ok("search", "ban", "--limit", "50", "--json", *args).json["hits"]
        return {h["key"]: h["excerpt"] for h in hits}

    def test_excerpts_are_of_what_was_embedded(self):
        for _ in self.each():
            self.run_sql("CREATE TABLE items (id integer PRIMARY KEY, body text, shown integer DEFAULT 0);"
                         + "".join("INSERT INTO items (id, body) VALUES (%d, 'ban %d <b>gut</b>');" % (i, i) for i in range(70)))
            declare = ["source", "add", "items", "--table", "items", "--key", "id", "--text", "{body}", "--prepare", "html"]
            self.ok(*declare)
            self.fill()
            live = self.excerpts()
            self.assertEqual((self.kept(), "kept_bytes" in self.ok("status", "--json").json["sources"][0]), ([], False))
            self.assertEqual(self.ok("source", "set", "items", "--keep-text", "yes", "--json").json["keep_text"], "yes")
            said = self.fill()  # those that were embedded before
            self.assertEqual((said["processed"], said["calls"], len(self.kept())), (0, 0, 70))
            self.assertEqual(self.kept()[0], ["0", "ban 0 gut"])
            self.assertEqual(self.ok("status", "--json").json["sources"][0]["kept_bytes"], sum(len("ban %d gut" % i) for i in range(70)))
            self.assertIn("of texts kept", self.ok("status").out.decode())
            self.assertEqual(self.excerpts(), live)
            # it is the kept one that is shown: of a stamp that is current, and of no other
            table = "quern_kept" if self.sqlite else "quern.kept"
            self.run_sql("UPDATE %s SET body = 'KEPT' WHERE key = '7'; UPDATE %s SET body = 'OLD', revision = 'x' WHERE key = '8'" % (table, table))
            self.assertEqual(self.excerpts(), {**live, 7: "KEPT"})
            self.run_sql("UPDATE items SET body = 'ban new' WHERE id = 7; UPDATE items SET body = '' WHERE id = 9; DELETE FROM items WHERE id = 10")
            self.fill()
            keys = dict(self.kept())
            self.assertEqual((keys["7"], "9" in keys, "10" in keys, len(keys)), ("ban new", False, False, 68))
            # another generation keeps its own, and purging takes them
            self.fill("--max-chunks", "3")
            self.assertEqual(len(self.kept()), 68)
            self.run_sql("DELETE FROM items WHERE id = 11")
            self.ok("forget", "11", "--source", "items", "--yes")
            self.assertNotIn("11", dict(self.kept()))
            self.ok("source", "set", "items", "--keep-text", "no")  # gone at once
            self.assertEqual(self.kept(), [])
            # what is left when that was cut off, or of a save that was on its way, goes when it is said again or filled
            for then in (["source", "set", "items", "--keep-text", "no"], ["fill", "--max-chunks", "3"]):
                self.run_sql("INSERT INTO %s SELECT generation, key, revision, 'left' FROM %s WHERE outcome = 1" % (table, table.replace("kept", "stamps")))
                self.assertEqual(len(self.kept()), 67)
                self.ok(*then)
                self.assertEqual(self.kept(), [])
            self.ok("source", "set", "items", "--keep-text", "yes")
            self.fill("--max-chunks", "3")
            self.assertEqual(len(self.kept()), 67)
            self.ok("source", "remove", "items", "--yes")
            self.assertEqual(self.kept(), [])

    def test_a_forgotten_text_leaves_the_file(self):
        self.db = "file.db"
        self.run_sql("CREATE TABLE items (id integer PRIMARY KEY, body text)")
        self.run_sql("INSERT INTO items VALUES (1, 'ban gut'), (2, 'wordthatwillbeforgotten')")
        self.ok("source", "add", "items", "--table", "items", "--key", "id", "--text", "{body}", "--keep-text", "yes")
        self.fill()
        self.run_sql("PRAGMA secure_delete = 1; DELETE FROM items WHERE id = 2; VACUUM")

        def read():
            data = b""
            for name in os.listdir(self.cwd):
                if name.startswith("file.db"):
                    with open(os.path.join(self.cwd, name), "rb") as file:
                        data += file.read()
            return data

        self.assertIn(b"wordthatwillbeforgotten", read())
        self.ok("forget", "2", "--source", "items", "--yes")
        self.run_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        self.assertNotIn(b"wordthatwillbeforgotten", read())

    def test_an_import_keeps_and_stamps_too(self):
        for i, _ in enumerate(self.each()):
            self.run_sql("CREATE TABLE items (id integer PRIMARY KEY, body text, at %s, by text);" % ("text" if self.sqlite else "timestamptz")
                         + "".join("INSERT INTO items (id, body) VALUES (%d, 'ban %d');" % (k, k) for k in range(5)))
            self.ok("source", "add", "items", "--table", "items", "--key", "id", "--text", "{body}")
            self.fill()
            self.ok("export", "out%d" % i, "--source", "items")
            self.ok("source", "remove", "items", "--yes")
            self.ok("source", "add", "items", "--table", "items", "--key", "id", "--text", "{body}", "--keep-text", "yes",
                    "--stamp-columns", "generated_at=at,model=by")
            self.ok("import", "out%d" % i, "--source", "items")
            self.assertEqual(self.kept()[4], ["4", "ban 4"])
            self.assertEqual(self.run_sql("SELECT count(*) FROM items WHERE by = 'tiny-model' AND at IS NOT NULL"), [["5"]])
            self.assertEqual(self.fill()["processed"], 0)

    def test_what_is_refused(self):
        for _ in self.each():
            self.write("a.txt", "ban")
            self.ok("add", "a.txt")
            self.refused(2, "keep-text", "source", "set", "documents", "--keep-text", "perhaps")


class NoText(Both):
    """Built-in documents whose text goes when it has been embedded."""

    def each(self):
        self.dbs = self.dbs[::2]  # how vectors are stored plays no part
        return super().each()

    def texts(self):
        table = "quern_documents" if self.sqlite else "quern.documents"
        return dict(self.run_sql("SELECT id, fields FROM %s ORDER BY id" % table))

    def lines(self, n, word="ban"):
        return self.write("a.jsonl", "".join(json.dumps(
            {"id": "d%d" % i, "title": "%s %d" % (word, i), "body": "gut kolor %d" % i, "lang": "de", "page": 3}) + "\n" for i in range(n)))

    ADD = ["add", "a.jsonl", "--text", "{title}. {body}", "--json"]

    def status(self):
        return self.ok("status", "--json").json["sources"][0]

    def hits(self, *args):
        return {h["key"]: h for h in self.ok("search", "ban 3. gut kolor 3", "--limit", "50", "--json", *args).json["hits"]}

    def test_texts_go_and_vectors_stay(self):
        for _ in self.each():
            self.lines(70)
            self.ok(*self.ADD, "--keep-text", "no")
            self.assertIn("gut kolor", self.texts()["d3"])  # nothing has it yet
            self.ok("source", "set", "documents", "--meta", "lang")
            self.assertEqual(self.fill("--limit", "10")["processed"], 10)
            self.assertEqual(sum("gut" in t for t in self.texts().values()), 60)
            before = self.fill()
            self.assertEqual((before["done"], before["pending"]), (70, 0))
            texts = self.texts()
            self.assertEqual(json.loads(texts["d3"]), {"lang": "de", "page": 3, "properties": {"lang": "de"}})
            hits = self.hits()
            self.assertEqual(len(hits), 50)
            self.assertEqual((hits["d3"]["excerpt"], hits["d3"]["end"], hits["d3"]["page"], hits["d3"]["score"] > 0.99), ("", 18, 3, True))
            self.assertEqual((self.status()["no_text"], self.status()["done"]), (70, 70))
            self.assertIn("70 without their text", self.ok("status").out.decode())
            self.assertEqual(self.hits("--filter", '{"lang":"fr"}'), {})
            again = self.fill()
            self.assertEqual((again["processed"], again["skipped"], again["calls"]), (0, 70, 0))
            # the same again brings the texts back until the next fill, and embeds nothing
            said = self.ok(*self.ADD).json
            self.assertEqual((said["unchanged"], said["changed"], said["added"]), (70, 0, 0))
            self.assertIn("gut kolor", self.texts()["d3"])
            again = self.fill()
            self.assertEqual((again["processed"], again["calls"], self.texts()), (0, 0, texts))
            # one that changes is embedded, one that goes is removed
            self.lines(69, "mor")
            self.assertEqual(self.ok(*self.ADD, "--sync").json["changed"], 69)
            self.assertEqual(self.fill()["processed"], 69)
            self.assertEqual((len(self.texts()), any("mor" in t for t in self.texts().values()), self.status()["done"]), (69, False, 69))
            self.ok("forget", "d5", "--source", "documents", "--yes")
            self.assertEqual(len(self.texts()), 68)
            # kept from now on: those that are added
            self.ok(*self.ADD, "--keep-text", "yes")
            self.fill()
            self.assertEqual(("no_text" in self.status(), "mor 3" in self.texts()["d3"], self.hits()["d3"]["excerpt"]), (False, True, "mor 3. gut kolor 3"))

    def test_what_needs_the_text_says_so(self):
        for i, _ in enumerate(self.each()):
            self.lines(5)
            self.ok(*self.ADD, "--keep-text", "no")
            self.fill()
            vectors = {k: h["score"] for k, h in self.hits().items()}
            table = "quern_" if self.sqlite else "quern."
            # another generation, by every door
            for door in (["fill", "--max-chunks", "3"], ["fill", "--max-chunks", "3", "--dry-run"]):
                self.refused(1, "the texts of 5 documents are not kept", *door)
            build = self.quern("generation", "build", "--source", "documents", "--max-chunks", "3")
            self.assertEqual((build.code, "the texts of 5 documents are not kept" in build.message), (1, True))
            self.assertEqual(self.run_sql("SELECT count(*) FROM %sgenerations" % table), [["1"]])
            self.ok("source", "set", "documents", "--prepare", "html")
            self.refused(1, "the texts of 5 documents are not kept", "fill")
            self.ok("source", "set", "documents", "--prepare", "")
            # again under the same settings
            forced = self.quern("fill", "--force", "--json")
            self.assertEqual((forced.code, forced.json["failed"], forced.json["processed"]), (3, 5, 0))
            self.assertIn("its text is not kept", forced.json["last_error"])
            for how in (["--all"], ["--key", "d3"], ["--where", "id = 'd3'"]):
                self.refused(1, "cannot be embedded again", "requeue", "--source", "documents", *how)
            self.assertEqual(self.fill()["skipped"], 5)
            said = self.ok("verify", "--all", "--json").json
            self.assertEqual((said["ok"], said["checked"], said["no_text"]), (True, 0, 5))
            self.assertIn("5 could not be checked", self.ok("verify", "--all").out.decode())
            self.refused(2, "words", "source", "set", "documents", "--text-search", "yes")
            self.refused(2, "text search", "search", "ban", "--mode", "text")
            # vectors that are lost stay lost, and nothing else goes with them
            self.run_sql("DELETE FROM %s" % ("quern_vectors WHERE id IN (SELECT id FROM quern_chunks WHERE key = '\"d3\"')"
                                            if self.sqlite else "quern.vectors_1 WHERE key = '\"d3\"'"))
            lost = self.quern("fill", "--json")
            self.assertEqual((lost.code, lost.json["failed"], lost.json["done"]), (3, 1, 4))
            self.assertIn("have been lost", lost.json["last_error"])
            self.assertNotIn("d3", self.hits())
            self.ok(*self.ADD)
            self.assertEqual(self.fill()["processed"], 1)
            self.assertEqual({k: h["score"] for k, h in self.hits().items()}, vectors)
            # with the texts back another generation can be made; both have to have them before they go
            self.ok(*self.ADD, "--keep-text", "yes")
            self.ok("generation", "build", "--source", "documents", "--max-chunks", "3")
            self.ok(*self.ADD, "--keep-text", "no")
            self.lines(6)
            self.ok(*self.ADD)
            self.fill()  # the active one
            self.assertEqual(sorted(k for k, t in self.texts().items() if "gut" in t), ["d5"])
            self.ok("generation", "build", "--source", "documents", "--max-chunks", "3")
            self.assertEqual([k for k, t in self.texts().items() if "gut" in t], [])
            self.ok("generation", "activate", "2")
            self.assertEqual(self.fill("--max-chunks", "3")["done"], 6)
            self.assertEqual(set(self.hits()), {"d%d" % k for k in range(6)})
            self.ok("export", "no-text%d" % i, "--source", "documents")
            self.assertEqual(self.ok("import", "no-text%d" % i, "--source", "documents", "--max-chunks", "3", "--json").json["skipped"], 6)

    def test_blank_failed_and_a_predicate(self):
        for _ in self.each():
            self.write("a.jsonl", '{"id":"blank","text":" "}\n{"id":"long","text":"%s"}\n{"id":"ok","text":"ban","lang":"de"}\n' % ("ban " * 60))
            self.ok("add", "a.jsonl", "--keep-text", "no")
            self.assertEqual(self.quern("fill", "--max-document", "100", "--json").json["failed"], 1)
            left = {k for k, t in self.texts().items() if '"text"' in t}
            self.assertEqual(left, {"long"})  # it may be let in yet
            self.assertEqual(self.fill()["processed"], 1)
            self.assertEqual([k for k, t in self.texts().items() if '"text"' in t], [])
            # a predicate on what goes is refused before it goes
            field = "json_extract(fields, '$.lang')" if self.sqlite else "(fields::json->>'lang')"
            self.ok("add", "a.jsonl")
            self.ok("source", "set", "documents", "--where", "%s = 'de'" % field)
            self.refused(2, "its predicate reads a field that goes with the text", "fill")
            self.assertEqual(sum('"text"' in t for t in self.texts().values()), 3)
            self.ok("source", "set", "documents", "--meta", "lang")
            self.fill()
            self.assertEqual(json.loads(self.texts()["ok"]), {"lang": "de", "properties": {"lang": "de"}})

    def test_fields_of_the_text_are_text_too(self):
        """Those of a template that the source is declared with, and what names its pictures, become no properties."""
        for _ in self.each():
            self.ok("source", "add", "papers", "--text", "{title}: {text}")
            with open(os.path.join(self.cwd, "papers.jsonl"), "w") as file:
                file.write(json.dumps({"id": "p", "title": "a secret title", "text": "and words", "year": 1999}))
            self.ok("add", "papers.jsonl", "--source", "papers", "--keep-text", "no")
            self.ok("fill", "--source", "papers")
            answer = self.ok("search", "a secret title: and words", "--source", "papers", "--json")
            self.assertEqual((answer.json["hits"][0]["key"], answer.json["hits"][0]["properties"]), ("p", {"year": 1999}))
            self.ok("add", "papers.jsonl", "--source", "papers", "--keep-text", "yes")
            self.assertEqual(self.ok("fill", "--source", "papers", "--json").json["processed"], 0)  # the same text

    def test_words_are_text_too(self):
        for _ in self.each():
            self.write("a.txt", "ban gut")
            self.ok("add", "a.txt")
            self.ok("source", "set", "documents", "--text-search", "yes")
            self.refused(2, "either --text-search yes or --keep-text no", "add", "a.txt", "--keep-text", "no")
            self.fill()
            self.ok("source", "set", "documents", "--text-search", "no")
            self.refused(1, "holds the words of 1 documents", "add", "a.txt", "--keep-text", "no")
            self.refused(2, "keep-text", "add", "a.txt", "--keep-text", "perhaps")
            self.assertEqual(self.ok("source", "show", "documents", "--json").json["keep_text"], None)

    def test_the_bytes_leave_the_file(self):
        self.db = "file.db"
        self.write("a.txt", "wordthatisnotkept ban")
        self.ok("add", "a.txt", "--keep-text", "no")
        self.fill()
        self.run_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        for name in os.listdir(self.cwd):
            if name.startswith("file.db"):
                with open(os.path.join(self.cwd, name), "rb") as file:
                    self.assertNotIn(b"wordthatisnotkept", file.read(), name)

    def test_killed_while_texts_come_and_go(self):
        """add and fill at once, one of them killed half of the time: nothing is lost, and every vector is of its text."""
        seed = random.randrange(1 << 30)
        dice = random.Random(seed)
        version = [0] * 100
        for _ in self.each():
            for n in range(60 if LONG else 3):
                version = [v + (dice.random() < 0.1) for v in version]
                self.write("a.jsonl", "".join(json.dumps({"id": "d%d" % i, "text": "ban gut %d version %d" % (i, v)}) + "\n" for i, v in enumerate(version)))
                if n == 0:
                    self.ok("add", "a.jsonl", "--keep-text", "no")
                both = [subprocess.Popen([BIN, *what], cwd=self.cwd, env=self.environment(QUERN_MODEL=self.model), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                        for what in (["add", "a.jsonl"], ["fill"])]
                if dice.random() < 0.5:
                    time.sleep(dice.random() * 0.6)
                    dice.choice(both).kill()
                for process in both:
                    said = process.communicate()[1]
                    self.assertIn(process.returncode, (0, -signal.SIGKILL), "seed %d: %s" % (seed, said))
            self.ok("add", "a.jsonl")
            self.assertEqual((self.fill()["done"], self.status()["no_text"], self.status()["empty"]), (100, 100, 0), seed)
            self.assertEqual([t for t in self.texts().values() if t != "{}"], [], seed)
            self.ok("add", "a.jsonl")
            self.assertEqual(self.ok("verify", "--all", "--json").json["equal"], 100, seed)

    def test_workers(self):
        for _ in self.each():
            self.lines(5)
            self.ok(*self.ADD, "--keep-text", "no")
            self.ok("work", "--once")
            self.assertEqual(any("gut" in t for t in self.texts().values()), False)
            self.ok("enqueue", "--source", "documents", "d1", "d2")
            self.ok("work", "--once")
            self.assertEqual((self.status()["done"], len(self.hits())), (5, 5))


class SameTable(Both):
    def test_however_it_is_written(self):
        for _ in self.each():
            self.run_sql("CREATE TABLE items (id integer PRIMARY KEY, body text, by text, rev integer); INSERT INTO items VALUES (1, 'ban', NULL, 1);")
            declare = lambda name, table: ["source", "add", name, "--table", table, "--key", "id", "--text", "{body}", "--revision", "rev", "--stamp-columns", "model=by"]
            self.ok(*declare("one", "items"))
            self.refused(2, "source 'one' writes stamp columns of the same table", *declare("two", "Items" if self.sqlite else "public.items"))
            if not self.sqlite:
                self.run_sql("CREATE SCHEMA other; CREATE TABLE other.items (LIKE items INCLUDING ALL)")
                self.ok(*declare("two", "other.items"))
            self.run_sql("DROP TABLE items")  # one whose table has gone is nobody's rival
            self.run_sql("CREATE TABLE more (id integer PRIMARY KEY, body text, by text, rev integer)")
            self.ok(*declare("three", "more"))

    def test_a_live_source_stays_live(self):
        for _ in self.each():
            self.run_sql("CREATE TABLE items (id integer PRIMARY KEY, body text); CREATE TABLE more (k integer PRIMARY KEY, body text); CREATE VIEW seen AS SELECT * FROM items;")
            self.ok("source", "add", "items", "--table", "items", "--key", "id", "--text", "{body}", "--live", "yes")
            live = lambda: self.ok("source", "show", "items", "--json").json["live"]
            self.ok("source", "set", "items", "--meta", "body")
            self.assertTrue(live())
            self.refused(2, "only a table has triggers", "source", "set", "items", "--table", "seen")  # and nothing has changed
            self.assertEqual((live(), self.ok("source", "show", "items", "--json").json["table"]), (True, "items"))
            self.ok("source", "set", "items", "--table", "more", "--key", "k")
            self.run_sql("INSERT INTO items VALUES (1, 'ban'); INSERT INTO more VALUES (7, 'gut');")
            notes = self.run_sql("SELECT count(*) FROM %s" % ("quern_changes" if self.sqlite else "quern.changes"))
            self.assertEqual((live(), notes), (True, [["1"]]))
            self.ok("source", "set", "items", "--query", "SELECT * FROM more")
            self.assertFalse(live())


class States(Both):
    def test_which_of_these_lack_vectors(self):
        for _ in self.each():
            self.run_sql("CREATE TABLE items (id integer PRIMARY KEY, body text);"
                         + "".join("INSERT INTO items VALUES (%d, 'ban %d');" % (i, i) for i in range(9)))
            self.ok("source", "add", "items", "--table", "items", "--key", "id", "--text", "{body}")
            ask = ["status", "--list", "pending", "--json", "--source", "items"]
            keys = [a for k in (7, 2, 5, 99, "word", 2) for a in ("--key", str(k))]
            def listed(*args):
                return sorted({d["key"] for d in self.ok(*args).json["documents"]})
            self.assertEqual(listed(*ask, *keys), [2, 5, 7])  # nothing has been filled yet
            self.fill()
            self.assertEqual(listed(*ask, *keys), [])
            self.run_sql("UPDATE items SET body = 'gut' WHERE id = 5; UPDATE items SET body = 'lan' WHERE id = 1; INSERT INTO items VALUES (99, 'new')")
            self.assertEqual(listed(*ask, *keys), [5, 99])
            self.assertEqual(listed("status", "--list", "stale", "--json", *keys), [5])
            self.run_sql("UPDATE items SET body = '' WHERE id = 7")
            self.fill()
            self.assertEqual(listed("status", "--list", "empty", "--json", *keys), [7])
            self.refused(2, "key", *ask, "--key", "{no")

    def test_one_table_under_two_names_and_models(self):
        other = os.path.join(self.folder, "other-model")
        if not os.path.exists(other):
            tiny(other, "--seed", "8")
        for _ in self.each():
            self.run_sql("CREATE TABLE items (id integer PRIMARY KEY, body text);"
                         + "".join("INSERT INTO items VALUES (%d, '%s');" % (i, "ban kolor gut lan zan".split()[i % 5] * (1 + i // 5)) for i in range(15)))
            for name in "one", "two":
                self.ok("source", "add", name, "--table", "items", "--key", "id", "--text", "{body}")
            models = {"one": self.model, "two": other}
            for name, model in models.items():
                self.assertEqual(self.fill("--source", name, "--model", model)["processed"], 15)
            self.run_sql("UPDATE items SET body = 'mor' WHERE id = 3; DELETE FROM items WHERE id = 4")
            prints = set()
            for name, model in models.items():
                ask = ["search", "mor", "--source", name, "--model", model, "--limit", "20", "--json"]
                self.assertNotIn(3, [h["key"] for h in self.ok(*ask).json["hits"]])  # stale in both, at once
                self.assertEqual(self.fill("--source", name, "--model", model)["processed"], 1)
                answer = self.ok(*ask).json
                self.assertEqual((answer["hits"][0]["key"], len(answer["hits"])), (3, 14))
                self.assertEqual({h["source"] for h in answer["hits"]}, {name})
                prints.add(answer["fingerprint"])
                self.ok("similar", "3", "--source", name, "--model", model)
                self.assertEqual(self.ok("verify", "--all", "--source", name, "--model", model, "--json").json["equal"], 14)
            self.assertEqual(len(prints), 2)
            states = [(g["source"], g["state"]) for g in self.ok("generation", "list", "--json").json["generations"]]
            self.assertEqual(states, [("one", "active"), ("two", "active")])
            self.refused(1, "source two was filled with", "search", "mor", "--model", self.model)  # never mixed, never left out


class StampColumns(Both):
    def make(self, rows=12, time="text", more=""):
        self.run_sql("CREATE TABLE items (id integer PRIMARY KEY, body text, rev integer DEFAULT 1, at %s, by text%s);" % (time, more)
                     + "".join("INSERT INTO items (id, body) VALUES (%d, '%s');" % (i, "ban kolor gut lan zan".split()[i % 5] * (i != 3))
                               for i in range(rows)))

    def declare(self, *args, verb="add", columns="generated_at=at,model=by"):
        given = ["--table", "items", "--key", "id", "--text", "{body}"] if verb == "add" else []
        return self.ok("source", verb, "items", *given, "--stamp-columns", columns, *args)

    def rows(self, what="id, at, by"):
        return self.run_sql("SELECT %s FROM items ORDER BY id" % what)

    def count_updates(self):
        """Counts the UPDATEs that reach the table from here on."""
        if self.sqlite:
            self.run_sql("CREATE TABLE seen (n integer); CREATE TRIGGER see AFTER UPDATE ON items BEGIN INSERT INTO seen VALUES (1); END")
        else:
            self.run_sql("CREATE TABLE seen (n integer); CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS"
                         " $$ BEGIN INSERT INTO seen VALUES (1); RETURN NULL; END $$;"
                         " CREATE TRIGGER see AFTER UPDATE ON items FOR EACH ROW EXECUTE FUNCTION see()")

    def updates(self):
        return int(self.run_sql("SELECT count(*) FROM seen")[0][0])

    def bump(self):
        """A trigger of the user's, of the usual kind: every UPDATE of a row moves its revision."""
        if self.sqlite:
            self.run_sql("CREATE TRIGGER bump AFTER UPDATE ON items WHEN NEW.rev = OLD.rev BEGIN"
                         " UPDATE items SET rev = rev + 1 WHERE id = NEW.id; END")
        else:
            self.run_sql("CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS"
                         " $$ BEGIN NEW.rev := OLD.rev + 1; RETURN NEW; END $$;"
                         " CREATE TRIGGER bump BEFORE UPDATE ON items FOR EACH ROW EXECUTE FUNCTION bump()")

    def test_what_is_written(self):
        for _ in self.each():
            self.make()
            self.assertIn("generated_at=at,model=by", self.declare("--json").json["stamp_columns"])
            self.assertEqual(self.fill()["processed"], 12)
            for key, at, by in self.rows():
                if key == "3":  # empty: no vectors, no model
                    self.assertEqual((at, by), ("", ""))
                else:
                    self.assertRegex(at, TIME)
                    self.assertEqual(by, "tiny-model")
            self.count_updates()
            before = self.rows()
            self.assertEqual(self.fill()["processed"], 0)
            self.assertEqual((self.updates(), self.rows()), (0, before))
            hits = self.ok("search", "ban", "--limit", "1", "--provenance", "--json").json["hits"]
            self.assertEqual(dict((r[0], r[1]) for r in before)[str(hits[0]["key"])], hits[0]["updated_at"])
            # an edit, and a document that becomes empty
            self.run_sql("UPDATE items SET body = 'por' WHERE id = 4; UPDATE items SET body = '' WHERE id = 5;")
            self.assertEqual(self.fill()["processed"], 2)
            self.assertGreater(self.rows()[4][1], before[4][1])
            self.assertEqual(self.rows()[5][1:], ["", ""])
            self.assertEqual(self.fill()["processed"], 0)
            self.assertEqual(self.ok("verify", "--all", "--json").json["stale"], 0)

    def test_times_of_the_database(self):
        for _ in self.each():
            for i, kind in enumerate(("datetime", "timestamp") if self.sqlite else ("timestamptz", "timestamp", "timestamp(0)")):
                self.make(time=kind)
                self.declare(columns="generated_at=at")
                self.fill()
                if not self.sqlite:
                    self.assertEqual(self.run_sql("SELECT count(*) FROM items WHERE at >"
                                                  " (now() - interval '1 minute') AT TIME ZONE 'UTC' AND at < (now() + interval '1 second') AT TIME ZONE 'UTC'"
                                                  if i else "SELECT count(*) FROM items WHERE at > now() - interval '1 minute'"), [["11"]])
                self.count_updates()
                self.fill()
                self.assertEqual(self.updates(), 0)
                self.ok("source", "remove", "items", "--yes")
                self.run_sql("DROP TABLE items; DROP TABLE seen" + ("" if self.sqlite else "; DROP FUNCTION see"))

    def test_a_revision_that_every_update_moves(self):
        for _ in self.each():
            self.make()
            self.bump()
            self.declare("--revision", "rev", "--text-search", "yes")
            self.assertEqual(self.fill()["processed"], 12)
            self.assertEqual(self.rows("rev")[0], ["2"])
            for _ in range(2):
                again = self.fill()
                self.assertEqual((again["processed"], again["pending"], again["stale"]), (0, 0, 0))
            self.assertEqual(self.rows("rev")[0], ["2"])
            for mode in "vector", "text":
                self.assertEqual(len(self.ok("search", "ban", "--mode", mode, "--limit", "20", "--json").json["hits"]),
                                 11 if mode == "vector" else 3)
            self.run_sql("UPDATE items SET body = 'mor' WHERE id = 4")
            self.assertEqual(self.fill()["processed"], 1)
            self.assertEqual(self.fill()["processed"], 0)
            self.assertEqual([h["key"] for h in self.ok("search", "mor", "--mode", "text", "--json").json["hits"]], [4])

    def test_two_generations_and_a_revision_that_moves(self):
        for _ in self.each():
            self.make()
            self.bump()
            self.declare("--revision", "rev")
            self.fill()
            self.ok("generation", "build", "--source", "items", "--max-chunks", "3")
            self.run_sql("UPDATE items SET body = 'vis' WHERE id < 2")
            report = self.ok("work", "--once", "--json")
            status = self.ok("status", "--json").json
            self.assertEqual((status["pending"], status["stale"]), (0, 0), report.out)
            for g in self.ok("generation", "list", "--json").json["generations"]:
                self.assertEqual((g["done"], g["pending"], g["total"]), (12, 0, 12), g)
            before = self.rows("id, rev")
            self.ok("generation", "activate", "--source", "items")
            self.assertEqual(self.fill("--max-chunks", "3")["processed"], 0)
            self.assertEqual([r[0] for r in self.rows("id, rev")], [r[0] for r in before])
            self.assertEqual(self.fill("--max-chunks", "3")["processed"], 0)

    def test_a_live_source_does_not_hear_itself(self):
        for _ in self.each():
            for bump in False, True:
                self.make()
                if bump:
                    self.bump()
                self.declare("--live", "yes", *(["--revision", "rev"] if bump else []))
                self.assertEqual(self.fill()["processed"], 12)
                said = self.ok("work", "--once", "--json").json
                changes = "quern_changes" if self.sqlite else "quern.changes"
                self.assertEqual(self.run_sql("SELECT count(*) FROM " + changes), [["0"]])
                self.run_sql("UPDATE items SET body = 'zan' WHERE id = 7")
                self.assertGreater(int(self.run_sql("SELECT count(*) FROM " + changes)[0][0]), 0)
                self.ok("work", "--once")
                self.assertEqual(self.run_sql("SELECT count(*) FROM " + changes), [["0"]], said)
                self.assertEqual(self.ok("status", "--json").json["sources"][0]["tasks"]["ready"], 0)
                self.assertEqual(self.fill()["processed"], 0)
                self.ok("source", "remove", "items", "--yes")
                self.run_sql("DROP TABLE items" + (" CASCADE; DROP FUNCTION bump" if bump and not self.sqlite else ""))

    def test_rows_that_were_embedded_before(self):
        for _ in self.each():
            self.make(rows=150)
            self.ok("source", "add", "items", "--table", "items", "--key", "id", "--text", "{body}")
            self.fill()
            self.assertEqual(self.rows()[0][1:], ["", ""])
            self.declare(verb="set")
            said = self.fill()
            self.assertEqual((said["processed"], said["calls"]), (0, 0))
            self.assertEqual(sum(r[2] == "tiny-model" for r in self.rows()), 149)
            before = self.rows()
            self.run_sql("UPDATE items SET by = 'mine', at = NULL WHERE id = 9; UPDATE items SET by = 'x' WHERE id = 3")
            self.assertEqual(self.fill()["processed"], 0)
            self.assertEqual(self.rows(), before)
            # another generation takes over
            self.assertEqual(self.fill("--max-chunks", "3")["processed"], 150)
            self.assertTrue(all(a[1] < b[1] for a, b in zip(before, self.rows()) if a[1]))
            # and the other way round
            self.ok("source", "set", "items", "--stamp-columns", "")
            self.run_sql("UPDATE items SET body = 'vis' WHERE id = 1")
            before = self.rows()
            self.assertEqual(self.fill("--max-chunks", "3")["processed"], 1)
            self.assertEqual(self.rows(), before)

    def test_names_that_need_quotes(self):
        for _ in self.each():
            self.run_sql('CREATE TABLE "My ""T"" ; --" ("k 1" text, k2 integer, body text, "at""; DROP" text, "Model" text, PRIMARY KEY ("k 1", k2));'
                         + "".join("INSERT INTO \"My \"\"T\"\" ; --\" VALUES ('it''s %d', %d, 'ban %d');".replace("body", "") .replace("VALUES", '("k 1", k2, body) VALUES')
                                   % (i, i, i) for i in range(5)))
            self.ok("source", "add", "odd", "--table", 'My "T" ; --', "--key", "k 1,k2", "--text", "{body}",
                    "--stamp-columns", 'generated_at=at"; DROP, model=Model')
            self.assertEqual(self.fill()["processed"], 5)
            self.assertEqual(self.run_sql('SELECT count(*) FROM "My ""T"" ; --" WHERE "Model" = \'tiny-model\' AND "at""; DROP" LIKE \'20%Z\''), [["5"]])
            self.assertEqual(self.fill()["processed"], 0)

    def test_what_is_refused(self):
        for _ in self.each():
            made = "GENERATED ALWAYS AS (body || 'x') STORED"
            self.make(more=", n integer, must text NOT NULL DEFAULT '', made text " + made)
            self.run_sql("CREATE VIEW seen_items AS SELECT * FROM items")
            def no(code, saying, columns, *args, table=("--table", "items", "--key", "id", "--text", "{body} {by|unless=body}")):
                self.refused(code, saying, "source", "add", "items", *table, "--stamp-columns", columns, *args)
            no(2, "write generated_at=COLUMN", "at")
            no(2, "write generated_at=COLUMN", "generated=at")
            no(2, "write generated_at=COLUMN", "generated_at=")
            no(2, "write generated_at=COLUMN", "generated_at=at,")
            no(2, "twice", "generated_at=at,generated_at=by")
            no(2, "cannot hold both", "generated_at=at,model=at")
            no(4, "no column 'nothing'", "model=nothing")
            no(2, "in its text", "model=by")
            no(2, "key column", "model=id")
            no(2, "revision column", "generated_at=at", "--revision", "at")
            no(2, "takes text" if not self.sqlite else "takes TEXT", "model=n")
            no(2, "takes text, timestamp" if not self.sqlite else "TEXT, DATETIME", "generated_at=n")
            no(2, "NOT NULL", "generated_at=must")
            no(2, "generated", "generated_at=made")
            no(2, "no table", "generated_at=at", table=("--table", "seen_items", "--key", "id", "--text", "{body}"))
            no(2, "a query has none", "generated_at=at", table=("--query", "SELECT * FROM items", "--key", "id", "--text", "{body}"))
            self.write("a.txt", "ban")
            self.ok("add", "a.txt", "--source", "docs")
            self.refused(2, "built-in", "source", "set", "docs", "--stamp-columns", "model=by")
            store = ["--store", "other.db" if self.sqlite else test_postgres.server.url]
            self.refused(1, "only read", "source", "add", "items", "--table", "items", "--key", "id", "--text", "{body}",
                         "--stamp-columns", "generated_at=at", *store)
            self.ok("source", "add", "one", "--table", "items", "--key", "id", "--text", "{body}", "--revision", "rev", "--stamp-columns", "generated_at=at")
            self.refused(2, "source 'one'", "source", "add", "two", "--table", "items", "--key", "id", "--text", "{body}", "--revision", "rev",
                         "--stamp-columns", "model=by")
            self.ok("source", "add", "two", "--table", "items", "--key", "id", "--text", "{body}", "--stamp-columns", "model=by")

    def test_two_sources_that_would_answer_each_other(self):
        """Each with the other's stamp in its text: every write would be an edit, and workers never done."""
        for _ in self.each():
            self.run_sql("CREATE TABLE pair (id integer PRIMARY KEY, body text, a text, b text)")
            add = ["--table", "pair", "--key", "id", "--live", "yes", "--stamp-columns"]
            self.ok("source", "add", "one", *add, "generated_at=a", "--text", "{body} {b}")
            refused = self.refused(2, "its text holds a, a stamp column of source 'one'", "source", "add", "two", *add, "generated_at=b",
                                   "--text", "{body} {a}")
            self.assertIn("an edit to the other", refused.message)
            self.ok("source", "add", "two", *add, "generated_at=b", "--text", "{body}")
            self.refused(2, "a stamp column of source 'one'", "source", "set", "two", "--text", "{a}")
            self.ok("source", "add", "three", *add[:-1], "--text", "{body} {a}")  # which writes nothing

    def test_a_write_that_fails_says_so(self):
        for _ in self.each():
            self.make(more=", CHECK (by IS NULL OR by = 'mine')")
            self.declare()
            answer = self.quern("fill")
            self.assertEqual(answer.code, 1)
            self.assertIn("its stamp columns", answer.message)
            self.assertEqual(self.ok("status", "--json").json["done"], 0)
            # a predicate over what is written
            self.run_sql("DROP TABLE items")
            self.make()
            self.ok("source", "set", "items", "--where", "by IS NULL")
            self.assertIn("leave them out of the predicate", self.quern("fill").message)
            self.assertEqual(self.rows()[0], ["0", "", ""])
            self.ok("source", "set", "items", "--where", "")
            self.assertEqual(self.fill()["processed"], 12)

    def test_workers_beside_an_editor(self):
        """Everything at once: triggers of ours and of the user's, two workers, an editor. Every save writes its row once and no
        write makes another save: the revisions, which each UPDATE moves by one, tell."""
        for _ in self.each():
            self.make(rows=100)
            self.bump()
            self.declare("--revision", "rev", "--live", "yes", "--keep-text", "yes", "--text-search", "yes")
            saved = self.fill()["processed"]  # a generation that is not active yet writes nothing
            workers = [subprocess.Popen([BIN, "work", "--tick", "200ms", "--json"], cwd=self.cwd, env=self.environment(QUERN_MODEL=self.model),
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
            rng, edits, end = random.Random(3), 0, time.monotonic() + (30 if LONG else 3)
            while time.monotonic() < end:
                self.run_sql("UPDATE items SET body = 'ban %d' WHERE id = %d" % (edits, rng.randrange(100)))
                edits += 1
            until = time.monotonic() + 60
            while self.ok("status", "--json").json["pending"]:
                self.assertLess(time.monotonic(), until)
            for worker in workers:
                worker.send_signal(signal.SIGINT)
                out, err = worker.communicate(timeout=60)
                self.assertEqual(worker.returncode, 130, err)
                saved += json.loads(out.decode().splitlines()[0])["processed"]
            rows = self.rows("id, by, rev, body")
            self.assertEqual(sum(int(r[2]) for r in rows), 100 + edits + saved)
            self.assertEqual(self.fill()["processed"], 0)
            verified = self.ok("verify", "--all", "--json").json
            self.assertEqual((verified["different"], verified["stale"], verified["orphans"]), (0, 0, 0))
            self.assertEqual({r[0] for r in rows if r[1] == "tiny-model"}, {r[0] for r in rows if r[3]})
            kept = self.run_sql("SELECT key, body FROM " + ("quern_kept" if self.sqlite else "quern.kept"))
            self.assertEqual(dict(kept), {r[0]: r[3] for r in rows if r[3]})

    @unittest.skipIf(WITHOUT_POSTGRES, "no PostgreSQL")
    def test_in_a_schema_of_somebody_else(self):
        self.make()
        self.bump()
        for schema in "public", "second":
            self.ok("source", "add", "items", "--table", "items", "--key", "id", "--text", "{body}", "--live", "yes", "--keep-text", "yes",
                    "--schema", schema, *(["--revision", "rev", "--stamp-columns", "generated_at=at,model=by"] if schema == "public" else []))
        self.assertEqual(self.fill("--schema", "public")["processed"], 12)
        self.assertEqual(self.run_sql("SELECT count(*) FROM quern_changes"), [["0"]])
        self.assertEqual(self.run_sql("SELECT count(DISTINCT key) FROM second.changes"), [["12"]])  # to that store it is a change of a row
        self.assertEqual(self.run_sql("SELECT count(*) FROM quern_kept"), [["11"]])
        self.assertEqual(self.fill("--schema", "second")["processed"], 12)
        self.assertEqual(self.fill("--schema", "public")["processed"], 0)

    @unittest.skipIf(WITHOUT_POSTGRES, "no PostgreSQL")
    def test_a_row_that_somebody_holds_is_left_for_later(self):
        self.make()
        self.declare()
        with subprocess.Popen([TOOL, "psql", "-At", self.db], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
            user.stdin.write("BEGIN; SELECT 'held' FROM items WHERE id = 4 FOR UPDATE;\n")
            user.stdin.flush()
            while user.stdout.readline().strip() != "held":
                pass
            said = self.fill()
            self.assertEqual((said["done"], said["pending"], said["stale"]), (11, 1, 1))
            self.assertEqual(self.rows()[4][1:], ["", ""])
            user.stdin.write("COMMIT;\n")
            user.stdin.close()
        self.assertEqual(self.fill()["processed"], 1)


if __name__ == "__main__":
    unittest.main()
