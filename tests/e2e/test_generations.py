"""generation list, build, activate, retire, purge and requeue, on SQLite and on PostgreSQL; two models, one table."""
import json
import os
import shutil
import sqlite3
import unittest

import test_postgres
from command import WITHOUT_POSTGRES
from folders import tiny

ROWS = 40


def setUpModule():
    if not WITHOUT_POSTGRES:
        test_postgres.setUpModule()


def tearDownModule():
    if not WITHOUT_POSTGRES:
        test_postgres.tearDownModule()


class Generations(test_postgres.PostgresTest):
    """Everything is done on all databases, which must agree."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.shelf = os.path.join(cls.folder, "data/quern/models")
        for name, seed in (("first", "7"), ("second", "8")):
            folder = os.path.join(cls.folder, name)
            tiny(folder, "--seed", seed)

    def setUp(self):
        self.urls = []
        if WITHOUT_POSTGRES:
            test_postgres.CommandTest.setUp(self)
        else:
            super().setUp()
            self.urls.append(self.db)
        self.urls.append("file.db")
        for name in ("first", "second"):
            self.quern("model", "import", os.path.join(self.folder, name), "--name", name)
        self.edit("CREATE TABLE items (id integer PRIMARY KEY, title text, body text, gone integer DEFAULT 0);"
                  + "".join("INSERT INTO items VALUES (%d, 'Ban %d', 'gut lan %s', 0);" % (i, i, "kolor " * (i % 5))
                            for i in range(ROWS)))
        self.each("source", "add", "items", "--table", "items", "--key", "id", "--text", "{title} {body}", "--where", "gone = 0")

    def edit(self, text):
        for url in self.urls:
            if "://" in url:
                self.sql(text)
            else:
                with sqlite3.connect(os.path.join(self.cwd, url)) as c:
                    c.executescript(text)
                c.close()

    def each(self, *args, model="first"):
        return [self.ok(*args, "--db", url, env={"QUERN_MODEL": model}) for url in self.urls]

    def all_refused(self, code, saying, *args, model="first"):
        for url in self.urls:
            self.refused(code, saying, *args, "--db", url, env={"QUERN_MODEL": model})

    def generations(self):
        answers = [a.json["generations"] for a in self.each("generation", "list", "--json")]
        for other in answers[1:]:
            self.assertEqual([(g["id"], g["state"], g.get("done")) for g in other],
                             [(g["id"], g["state"], g.get("done")) for g in answers[0]])
        return answers[0]

    def states(self):
        return [g["state"] for g in self.generations()]

    def test_a_model_is_changed_by_hand(self):
        self.each("fill")
        built = self.each("generation", "build", "--source", "items", "--json", model="second")
        for answer in built:
            self.assertEqual((answer.json["done"], answer.json["pending"], answer.json["ended"]), (ROWS, 0, False))
            self.assertEqual(answer.json["active"]["error"], None)
        old, new = self.generations()
        self.assertEqual((old["state"], new["state"]), ("active", "building"))
        self.assertEqual((old["model"], new["model"]), ("first", "second"))
        self.assertEqual((new["done"], new["total"], new["chunks"]), (ROWS, ROWS, ROWS))
        self.assertRegex(new["created"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual((new["activated"], old["retired"]), (None, None))
        self.assertEqual(new["settings"]["template"], "{title} {body}")
        self.each("search", "ban")  # the old one serves until the switch
        self.all_refused(1, "run `quern fill`", "search", "ban", model="second")
        # behind the build's back: a build missing three, then two of them mended
        self.edit("UPDATE items SET body = 'zan vis' WHERE id < 3")
        self.all_refused(1, "3 of %d documents missing; --force to switch anyway" % ROWS, "generation", "activate", "--source", "items")
        for answer in self.each("generation", "build", "--source", "items", "--json", model="second"):
            self.assertEqual((answer.json["processed"], answer.json["active"]["processed"]), (3, 3))
        for answer in self.each("generation", "activate", "--source", "items", "--json"):
            self.assertEqual(answer.json, {"activated": new["id"], "retired": old["id"], "total": ROWS, "missing": 0, "failed": 0})
        self.assertEqual(self.states(), ["retired", "active"])
        self.each("search", "ban", model="second")
        self.all_refused(1, "run `quern fill`", "search", "ban")
        self.each("fill", model="second")  # never purges what was retired by hand
        self.assertEqual(self.states(), ["retired", "active"])
        self.all_refused(2, "give --yes", "generation", "purge", str(old["id"]))
        self.all_refused(1, "is the active one", "generation", "purge", str(new["id"]), "--yes")
        for answer in self.each("generation", "purge", "--source", "items", "--yes", "--json"):
            (gone,) = answer.json["purged"]
            self.assertEqual((gone["id"], gone["chunks"]), (old["id"], ROWS))
            self.assertGreater(gone["bytes"], 0)
        self.assertEqual(self.states(), ["active"])
        self.each("doctor", model="second")

    def test_a_scope(self):
        self.each("fill")
        built = self.each("generation", "build", "--source", "items", "--where", "id < 10", "--json", model="second")
        self.assertEqual([a.json["total"] for a in built], [10] * len(self.urls))
        (_, new) = self.generations()
        self.assertEqual((new["total"], new["settings"]["scope"]["within"]), (10, "id < 10"))
        for answer in self.each("generation", "list"):
            self.assertEqual(answer.out.decode().count("only where id < 10\n"), 1)
        self.all_refused(1, "scope differs", "generation", "build", "--source", "items", model="second")
        self.each("generation", "activate", "--source", "items")
        self.assert_error(1, "index_scope_mismatch", "search", "ban", model="second")
        self.assert_error(1, "index_scope_mismatch", "search", "ban", "--where", "id < 11", model="second")
        for where, n in (("id < 10", 10), ("id < 5", 5)):
            for answer in self.each("search", "ban", "--limit", "50", "--where", where, "--json", model="second"):
                self.assertEqual(sorted(h["key"] for h in answer.json["hits"]), list(range(n)))
        for answer in self.each("similar", "3", "--where", "id < 4", "--json", model="second"):
            self.assertEqual(sorted(h["key"] for h in answer.json["hits"]), [0, 1, 2])
        for answer in self.each("similar", "7", "--where", "id < 4", "--json", model="second"):
            self.assertEqual(sorted(h["key"] for h in answer.json["hits"]), [0, 1, 2, 3])
        self.assert_error(1, "index_scope_mismatch", "similar", "3", model="second")
        for answer in self.each("status", "--json", model="second"):
            self.assertEqual((answer.json["total"], answer.json["percent"]), (10, 100))
        self.edit("UPDATE items SET body = 'vis' WHERE id IN (3, 20)")
        for answer in self.each("status", "--list", "pending", "--json"):
            self.assertEqual([d["key"] for d in answer.json["documents"]], [3])
        for answer in self.each("fill", "--json", model="second"):
            self.assertEqual((answer.json["processed"], answer.json["total"]), (1, 10))
        self.each("verify", "--all", model="second")
        self.each("enqueue", "--source", "items", "4", "30")
        self.edit("UPDATE items SET body = 'zan' WHERE id IN (4, 30)")
        for answer in self.each("work", "--once", "--json", model="second"):
            self.assertEqual(answer.json["done"], 2)
        self.assertEqual([g["state"] for g in self.generations()], ["retired", "active"])
        self.assertEqual(self.generations()[1]["chunks"], 10)
        self.all_refused(2, "source 'items'", "generation", "build", "--source", "items", "--where", "id <")
        self.each("source", "add", "again", "--table", "items", "--key", "id", "--text", "{title} {body}")
        self.each("fill", "--source", "again", model="second")
        self.all_refused(2, "where is of one source's columns", "search", "ban", "--where", "id < 3", model="second")

    def assert_error(self, exit_code, code, *args, model="first"):
        for url in self.urls:
            answer = self.refused(exit_code, "", *args, "--json", "--db", url, env={"QUERN_MODEL": model})
            self.assertEqual(answer.error["code"], code)

    def test_a_report_is_a_gate(self):
        self.each("fill")
        self.each("generation", "build", "--source", "items", model="second")
        (_, new) = self.generations()
        report = {"format": "quern-eval/1", "source": "items", "fingerprint": new["fingerprint"], "queries": 3,
                  "metrics": {"recall@10": 0.5, "mrr@10": 1}, "thresholds": {"recall@10": 0.75}, "passed": False}
        activate = ("generation", "activate", "--source", "items", "--report", "r.json")
        self.all_refused(4, "r.json", *activate)
        for wrong, code, saying in (({"fingerprint": "0" * 64}, 1, "about fingerprint 000000000000"), ({"passed": True}, 1, "contradicts itself"),
                                    ({"metrics": {}}, 1, "not measured: recall@10"), ({"source": "other"}, 1, "about source other")):
            self.write("r.json", json.dumps({**report, **wrong}))
            self.all_refused(code, saying, *activate)
            self.all_refused(code, saying, *activate, "--force")
        self.write("r.json", json.dumps(report))
        self.all_refused(1, "r.json: the report's recall@10 is 0.5000, below its threshold of 0.7500; --force", *activate)
        self.assert_error(1, "gate_missed", *activate)
        self.assertEqual(self.states(), ["active", "building"])
        for answer in self.each(*activate, "--force"):
            self.assertIn("below its threshold of 0.7500; switching anyway", answer.message)
        self.assertEqual(self.states(), ["retired", "active"])
        # and the way back: what was retired is built on, and switched to when its own report is good
        for answer in self.each("generation", "build", "--source", "items", "--json"):
            self.assertEqual((answer.json["processed"], answer.json["done"]), (0, ROWS))
        self.write("r.json", json.dumps({**report, "fingerprint": self.generations()[0]["fingerprint"], "metrics": {"recall@10": 0.75},
                                         "passed": True}))
        self.each(*activate)
        self.assertEqual(self.states(), ["active", "retired"])

    def test_a_fallback(self):
        self.each("source", "set", "items", "--text-search", "yes")
        self.each("generation", "build", "--source", "items", "--limit", "5")
        self.assert_error(4, "index_building", "search", "ban", "--fallback", "previous")
        for answer in self.each("search", "ban", "--fallback", "text", "--json"):
            self.assertEqual((answer.json["fallback"], len(answer.json["hits"]), answer.json["fingerprint"]), ("text", 5, None))
            self.assertIn("is being built", answer.json["fallback_reason"])
            self.assertEqual({h["similarity"] for h in answer.json["hits"]}, {None})
        self.each("generation", "build", "--source", "items")
        self.each("generation", "activate", "--source", "items")
        for answer in self.each("search", "ban", "--fallback", "text", "--json"):
            self.assertEqual((answer.json["fallback"], answer.json["fallback_reason"]), (None, None))
        for answer in self.each("search", "ban", "--json"):
            self.assertNotIn("fallback", answer.json)
        self.each("generation", "build", "--source", "items", model="second")
        self.each("generation", "activate", "--source", "items")
        self.edit("UPDATE items SET title = 'Mor' WHERE id = 3; DELETE FROM items WHERE id = 4")
        expected = sorted(set(range(ROWS)) - {3, 4})
        # programs that still ask with the old model
        self.all_refused(1, "run `quern fill`", "search", "ban")
        for answer in self.each("search", "ban", "--fallback", "previous", "--limit", "50"):
            self.assertIn("quern: warn: search: the generation before answers: source items was filled with second", answer.message)
        for answer in self.each("search", "ban", "--fallback", "previous", "--limit", "50", "--json"):
            self.assertEqual((answer.json["fallback"], sorted(h["key"] for h in answer.json["hits"])), ("previous", expected))
        # a model that is gone: the old one is found on the shelf by its name
        self.ok("model", "remove", "second", "--yes")
        self.assert_error(4, "not_found", "search", "ban", model="second")
        for how in ("previous", "text"):
            for answer in self.each("search", "ban", "--fallback", how, "--limit", "50", "--json", model="second"):
                self.assertEqual((answer.json["fallback"], sorted(h["key"] for h in answer.json["hits"])), (how, expected))
                self.assertIn("second", answer.json["fallback_reason"])
            for answer in self.each("search", "ban", "--fallback", how, model="second"):
                self.assertEqual(answer.message.count("\n"), 1)
        self.ok("model", "remove", "first", "--yes")
        self.all_refused(4, "; and no fallback: ", "search", "ban", "--fallback", "previous", model="second")
        self.all_refused(2, "--fallback", "search", "ban", "--fallback", "prayer", model="second")

    def test_codes_of_errors(self):
        self.assert_error(4, "not_enabled", "search", "ban")
        self.assert_error(4, "not_enabled", "search", "ban", "--source", "items")
        self.assert_error(4, "not_found", "search", "ban", "--source", "item")
        self.each("generation", "build", "--source", "items", "--limit", "5")
        self.assert_error(4, "index_building", "search", "ban")
        self.assert_error(4, "index_building", "search", "ban", "--source", "items")
        self.each("generation", "activate", "--source", "items", "--force")
        self.assert_error(1, "index_stale", "search", "ban", model="second")
        self.assert_error(2, "pagination_limit", "search", "ban", "--limit", "10001")
        self.assert_error(2, "invalid", "search", "ban", "--nonsense")
        self.assert_error(2, "invalid", "fill", "--threads", "x")
        self.assert_error(1, "exists", "source", "add", "items", "--table", "items", "--key", "id", "--text", "{title}")
        answer = self.quern("search", "--json", "--db", self.urls[0], b"\xff\xfe", "--source", "\x07")
        self.assertEqual(answer.error["code"], "not_found")

    def test_what_is_refused(self):
        self.all_refused(4, "no building generation", "generation", "activate", "--source", "items")
        self.all_refused(4, "no generation 99", "generation", "activate", "99")
        self.all_refused(2, "which source", "generation", "activate")
        self.all_refused(2, "is no generation's id", "generation", "retire", "x", "--yes")
        self.all_refused(4, "did you mean items", "generation", "list", "--source", "item")
        self.each("fill")
        self.all_refused(1, "is active with these very settings", "generation", "build", "--source", "items")
        self.each("generation", "build", "--source", "items", "--limit", "5", model="second")
        self.all_refused(1, "is being built with other settings", "generation", "build", "--source", "items", "--vector-type",
                         "f32", model="second")
        self.all_refused(1, "%d of %d documents missing" % (ROWS - 5, ROWS), "generation", "activate", "--source", "items")
        active, building = (str(g["id"]) for g in self.generations())
        self.all_refused(1, "--force-active", "generation", "retire", active, "--yes")
        self.each("generation", "activate", building, "--force")
        self.assertEqual(self.states(), ["retired", "active"])
        self.each("generation", "retire", building, "--force-active", "--yes")
        self.assertEqual(self.states(), ["retired", "retired"])
        self.all_refused(4, "has not been filled", "search", "ban", "--source", "items")
        self.all_refused(1, "is retired; only a building one", "generation", "activate", building)

    def test_requeue(self):
        self.each("fill")
        self.all_refused(2, "one of --all", "requeue", "--source", "items")
        self.all_refused(2, "which source", "requeue", "--all")
        self.all_refused(4, "no document with the key 777", "requeue", "--source", "items", "--key", "777")
        self.all_refused(2, "", "requeue", "--source", "items", "--where", "nonsense =")
        before = self.each("search", "ban", "--json", "--limit", "50")
        for how, n in ((("--key", "3", "--key", "4"), 2), (("--where", "id < 10 -- and more"), 10), (("--failed",), 0),
                       (("--all",), ROWS)):
            with self.subTest(how):
                for answer in self.each("requeue", "--source", "items", *how, "--json"):
                    self.assertEqual(answer.json, {"requeued": n})
                for answer in self.each("status", "--json"):
                    self.assertEqual((answer.json["pending"], answer.json["stale"], answer.json["done"]), (n, 0, ROWS - n))
                for answer, was in zip(self.each("search", "ban", "--json", "--limit", "50"), before):
                    self.assertEqual(answer.json["hits"], was.json["hits"])  # still served
                for answer in self.each("fill", "--json"):
                    self.assertEqual((answer.json["processed"], answer.json["done"]), (n, ROWS))

    def test_forget(self):
        self.each("fill")
        self.each("enqueue", "--source", "items", "3")
        self.all_refused(2, "--yes", "forget", "--source", "items", "3")
        for answer in self.each("forget", "--source", "items", "--yes", "--json", "3", "4"):
            self.assertEqual(answer.json, {"keys": 2, "documents": 0, "rows_left": 2})
        for answer in self.each("status", "--json"):
            self.assertEqual((answer.json["pending"], answer.json["chunks"]), (2, ROWS - 2))
            self.assertEqual(answer.json["sources"][0]["tasks"]["ready"], 0)
        self.edit("DELETE FROM items WHERE id = 5")
        for answer in self.each("forget", "--source", "items", "--yes", "--json", "5"):
            self.assertEqual(answer.json["rows_left"], 0)
        self.write("a.jsonl", '{"id": 7, "text": "ban secret"}\n{"id": "b", "text": "gut"}\n')
        self.each("add", "a.jsonl")
        self.each("fill", "--source", "documents")
        for answer in self.each("forget", "--source", "documents", "--yes", "--json", "7"):
            self.assertEqual(answer.json["documents"], 1)
        for answer in self.each("search", "ban", "--source", "documents", "--json"):
            self.assertEqual([h["key"] for h in answer.json["hits"]], ["b"])
        self.all_refused(4, "no source other", "forget", "--source", "other", "--yes", "3")
        self.each("fill", "--source", "items")
        self.each("generation", "build", "--source", "items", model="second")
        self.each("generation", "activate", "--source", "items")
        self.all_refused(1, "is retired and may hold them too", "forget", "--source", "items", "--yes", "3")

    def test_one_table_two_models(self):
        self.each("source", "add", "again", "--table", "items", "--key", "id", "--text", "{title} {body}")
        self.each("fill", "--source", "items")
        self.each("fill", "--source", "again", model="second")
        one = self.each("search", "ban", "--source", "items", "--json")
        two = self.each("search", "ban", "--source", "again", "--json", model="second")
        for a, b in zip(one, two):
            self.assertNotEqual(a.json["fingerprint"], b.json["fingerprint"])
            self.assertEqual({h["source"] for h in a.json["hits"]}, {"items"})
            self.assertEqual({h["source"] for h in b.json["hits"]}, {"again"})
        self.edit("UPDATE items SET gone = 1 WHERE id = 0; UPDATE items SET body = 'mor' WHERE id = 1")
        for source, model, deleted in (("items", "first", 1), ("again", "second", 0)):
            for answer in self.each("fill", "--source", source, "--json", model=model):
                self.assertEqual((answer.json["processed"], answer.json["deleted"]), (1, deleted))
        self.assertEqual(self.states(), ["active", "active"])

    def test_doctor_finds_vectors_that_belong_to_nothing(self):
        self.each("fill")
        self.each("doctor")
        for what, finding in (("DELETE FROM {stamps} WHERE key = '3'", "1 belong to no document"),
                              ("DELETE FROM items WHERE id = 4", "1 belong to no document"),
                              ("{lose} WHERE key = '7'", "1 are missing")):
            with self.subTest(what):
                for url in self.urls:
                    self.urls, urls = [url], self.urls
                    g = self.ok("generation", "list", "--json", "--db", url).json["generations"][0]["id"]
                    if "://" in url:
                        self.edit(what.format(stamps="quern.stamps", lose="DELETE FROM quern.vectors_%d" % g))
                    elif "lose" in what:
                        self.edit("DELETE FROM quern_vectors WHERE id IN (SELECT id FROM quern_chunks WHERE key = '7')")
                    else:
                        self.edit(what.format(stamps="quern_stamps"))
                    self.urls = urls
                    answer = self.quern("doctor", "--db", url, env={"QUERN_MODEL": "first"})
                    self.assertEqual(answer.code, 1)
                    self.assertIn(finding, answer.out.decode())
                self.each("fill")
                self.each("doctor")

    def test_lists_of_documents(self):
        self.each("fill")
        self.edit("UPDATE items SET body = 'zan' WHERE id IN (3, 17, 25); UPDATE items SET title = '', body = ' ' WHERE id = 5;"
                  "INSERT INTO items VALUES (100, 'vis', 'mor', 0)")
        keys = lambda answer: [d["key"] for d in answer.json["documents"]]
        for answer in self.each("status", "--json"):
            (row,) = answer.json["sources"]
            self.assertEqual((row["stale"], row["pending"], row["last_24h"]), (4, 5, ROWS - 4))
            self.assertRegex(row["oldest_stale"], "^20..-..-..T..:..:..Z$")
        for answer in self.each("status", "--list", "pending", "--json"):
            self.assertEqual((keys(answer), answer.json["next"]), ([3, 5, 17, 25, 100], None))
        for answer in self.each("status", "--list", "stale", "--json", "--limit", "2"):
            self.assertEqual((keys(answer), answer.json["state"]), ([3, 5], "stale"))
            self.assertIsNotNone(answer.json["next"])
        for answer in self.each("status", "--list", "stale", "--after", "5", "--json", "--source", "items"):
            self.assertEqual((keys(answer), answer.json["next"]), ([17, 25], None))
        self.each("fill")
        for answer in self.each("status", "--list", "empty", "--json"):
            self.assertEqual(keys(answer), [5])
        for answer in self.each("status", "--list", "stale", "--json"):
            self.assertEqual(keys(answer), [])
        self.edit("UPDATE items SET body = '%s' WHERE id = 9" % ("ban " * 100000))
        for url in self.urls:
            self.assertEqual(self.quern("fill", "--max-document", "1000", "--db", url, env={"QUERN_MODEL": "first"}).code, 3)
        for answer in self.each("status", "--list", "failed", "--json"):
            (failed,) = answer.json["documents"]
            self.assertEqual(failed["key"], 9)
            self.assertIn("bytes > 1000", failed["reason"])
        self.each("source", "add", "again", "--table", "items", "--key", "id", "--text", "{title}")
        self.all_refused(2, "which source", "status", "--list", "pending")
        self.all_refused(2, "goes with --list", "status", "--after", "3")

    def test_down_and_up_on_data(self):
        for url in self.urls:  # their newest versions may differ
            self.urls, urls = [url], self.urls
            with self.subTest(url):
                self.down_and_up_on_data()
            self.urls = urls

    def down_and_up_on_data(self):
        self.each("fill")
        newest = self.each("migrate", "--dry-run", "--json")[0].json
        self.assertEqual(newest["migrations"], [])
        newest = newest["from"]
        self.assertGreaterEqual(newest, 3)
        self.each("migrate", "--check")
        hits = [a.json["hits"] for a in self.each("search", "ban", "--json")]
        self.all_refused(2, "give --yes", "migrate", "--down", "1")
        for answer in self.each("migrate", "--down", "1", "--dry-run", "--json"):
            versions = [m["version"] for m in answer.json["migrations"]]
            self.assertEqual((versions, versions[0], versions[-1]), (sorted(versions, reverse=True), newest, 2))
        self.each("migrate", "--check")  # nothing was done
        for to in (2, 1):
            with self.subTest(to):
                for answer in self.each("migrate", "--down", to, "--yes", "--json"):
                    self.assertEqual((answer.json["from"], answer.json["to"], answer.json["done"]), (newest, to, True))
                self.all_refused(1, "schema %d, this quern's is %d" % (to, newest), "migrate", "--check")
                self.all_refused(1, "made by an older quern (schema %d" % to, "search", "ban")
                for answer in self.each("migrate", "--print"):
                    self.assertIn("-- up %04d" % newest, answer.out.decode())
                    self.assertIn("ALTER TABLE", answer.out.decode())
                self.each("migrate")
                self.each("migrate", "--check")
                for answer in self.each("fill", "--json"):
                    self.assertEqual((answer.json["processed"], answer.json["done"]), (0, ROWS))
                self.assertEqual([a.json["hits"] for a in self.each("search", "ban", "--json")], hits)
        self.each("migrate", "--down", "1", "--yes")
        self.each("fill")  # whatever writes brings the tables up
        self.each("migrate", "--check")
        self.each("migrate", "--down", "0", "--yes")
        self.all_refused(4, "no table of quern's", "search", "ban")
        self.all_refused(4, "no table of quern's", "fill")
        self.all_refused(4, "there is no version 77", "migrate", "--down", "77", "--yes")

    def test_a_newer_schema_is_left_alone(self):
        for url in self.urls:
            table = "quern.migrations" if "://" in url else "quern_migrations"
            self.urls, urls = [url], self.urls
            self.edit("INSERT INTO %s VALUES (900, 'later', 0, '9.9.9')" % table)
            self.urls = urls
        for command in (("migrate",), ("migrate", "--check"), ("fill",), ("search", "ban"), ("migrate", "--down", "1", "--yes")):
            self.all_refused(1, "made by quern 9.9.9 (schema 900)", *command)

    def test_without_the_old_model(self):
        self.each("fill")
        self.ok("model", "remove", "first", "--yes")
        for answer in self.each("generation", "build", "--source", "items", model="second"):
            self.assertIn("the active generation is left as it is", answer.message)
        self.each("generation", "activate", "--source", "items")
        self.each("search", "ban", model="second")


if __name__ == "__main__":
    unittest.main()
