"""add, source, fill, search, status, verify over a database of the user's, with a tiny model; Ctrl-C in the middle."""
import json
import os
import pty
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import unittest

from command import BIN, SANITIZED, CommandTest

def every_flag():
    """(option, takes no value, command) as `quern COMMAND --help` lists them."""
    text = subprocess.run([BIN, "help", "--markdown"], capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"^\| `--([a-z0-9-]+)[^`]*` \| `\w+` \| (\w+).*\| ([^|]*) \|$", text, re.M)
    for option, kind, commands in rows:
        for command in EveryFlag.RUNS if commands == "every command" else commands.split(", "):
            if command != "help":
                yield option, kind == "flag", command


HIT = ["source", "key", "chunk", "start", "end", "score", "similarity", "excerpt", "meta"]
COVERAGE = ("total", "done", "pending", "stale", "empty", "failed", "percent")


class Documents(CommandTest):
    def test_add_fill_search(self):
        self.write("notes/one.txt", "ban kolor gut")
        self.write("notes/deep/two.md", "# zan\n\nvis mor")
        self.write("more.jsonl", '{"id": "a", "text": "lan ber", "n": 1}\n{"id": "b", "text": ""}\n')
        added = self.ok("add", "--json", "notes", "more.jsonl").json
        self.assertEqual((added["documents"], added["added"]), (4, 4))
        again = self.ok("add", "notes", "more.jsonl", "--json").json
        self.assertEqual((again["added"], again["changed"], again["unchanged"]), (0, 0, 4))
        self.refused(4, "", "search", "ban")  # not filled yet
        report = self.ok("fill", "--json").json
        self.assertEqual([report[k] for k in COVERAGE], [4, 4, 0, 0, 1, 0, 100])
        status = self.ok("status", "--json").json
        self.assertEqual([status[k] for k in COVERAGE], [4, 4, 0, 0, 1, 0, 100])
        self.assertEqual(status["sources"][0]["source"], "documents")
        answer = self.ok("search", "ban", "kolor gut", "--json").json
        self.assertEqual(list(answer), ["query", "model", "fingerprint", "hits"])
        self.assertEqual(answer["query"], "ban kolor gut")
        more = {"a": ({"n": 1}, ["properties"])}  # a field without a use of its own
        for hit in answer["hits"]:
            properties, members = more.get(hit["key"], (None, []))
            self.assertEqual((list(hit), hit.get("properties")), (HIT + members, properties))
        self.assertEqual(len(answer["hits"]), 3)
        best = answer["hits"][0]
        self.assertEqual((best["key"], best["excerpt"]), ("one.txt", "ban kolor gut"))
        self.assertGreater(best["similarity"], 0.999)
        text = self.ok("search", "ban kolor gut", "--limit", "1").out.decode()
        self.assertRegex(text, r'^ 1  [01]\.\d{4}  documents  "one.txt"\n    ban kolor gut\n$')
        self.assertEqual(self.ok("verify", "--all", "--json").json["equal"], 3)

    def test_limits_of_search(self):
        self.write("all.csv", "id,text\n" + "".join("%d,ban %s\n" % (i, "lan " * (i % 7)) for i in range(40)))
        self.ok("add", "all.csv")
        self.ok("fill")
        hits = lambda *args: self.ok("search", "--json", "ban lan", *args).json["hits"]
        self.assertEqual(len(hits()), 10)
        self.assertEqual(len(hits("--limit", "25")), 25)
        scores = [hit["similarity"] for hit in hits("--limit", "40")]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertEqual(len(hits("--limit", "40", "--min-similarity", str(scores[10]))), sum(s >= scores[10] for s in scores))
        nothing = self.ok("search", "ban", "--min-similarity", "1", "--json").json
        self.assertEqual(nothing["hits"], [])
        self.assertEqual(len(hits("--source", "documents")), 10)
        self.refused(4, "nope", "search", "--source", "nope", "ban")
        self.refused(2, "empty", "search", " ")
        self.refused(1, "tokens", "search", "ban " * 200)
        self.ok("search", "--as", "document", "ban")
        self.refused(2, "--as query", "fill", "--as", "query")

    def test_bad_input_leaves_nothing(self):
        self.write("twice.jsonl", '{"id": 1, "text": "ban"}\n{"id": 1, "text": "gut"}\n')
        self.write("bad.jsonl", '{"id": 1, "text": "ban"}\n{"id": 2, "text": }\n')
        self.write("bad.csv", b"id,text\n1,ban\n2,\xff\n")
        self.write("nul.jsonl", '{"id": 1, "text": "ban\\u0000"}\n')
        for file, saying in (("nul.jsonl", "a NUL"), ("twice.jsonl", "line 2"), ("bad.jsonl", "2"), ("bad.csv", "3"), ("nothing.txt", "nothing.txt")):
            self.refused(1, saying, "add", file)
        self.refused(1, "", "add", "-", "--format", "csv", stdin="id,text\n1,a\n1,b\n")
        self.ok("add", "-", "--format", "jsonl", stdin='{"id": 7, "text": "ban"}\n')
        self.assertEqual(self.ok("status", "--json").json["total"], 1)

    def test_a_database_that_is_not_there_stays_so(self):
        for command in (["fill"], ["fill", "--dry-run"], ["source", "set", "a", "--text", "{t}"],
                        ["source", "remove", "a", "--yes"], ["search", "ban"], ["status"], ["verify"]):
            self.refused(4, "there is no such file", *command)
        self.refused(1, "nowhere.txt: no such file or folder", "add", "nowhere.txt")
        self.assertEqual(os.listdir(self.cwd), [])
        with open(os.path.join(self.cwd, "quern.db"), "wb"):
            pass
        self.refused(4, "declare a source or add documents first", "fill")
        self.assertEqual(os.path.getsize(os.path.join(self.cwd, "quern.db")), 0)

    def test_files_of_one_name(self):
        self.write("a/one.txt", "ban")
        self.write("b/one.txt", "gut")
        answer = self.quern("add", "a", "b")
        self.assertEqual(answer.code, 1)
        self.assertRegex(answer.message, r"'one.txt' is given twice: \S+/a/one.txt and \S+/b/one.txt$")

    def test_add_options(self):
        self.write("in.jsonl", '{"key": "x", "title": "Ban", "body": "gut"}\n{"key": "y", "title": "", "body": "lan"}\n')
        self.ok("add", "in.jsonl", "--source", "news", "--id-field", "key", "--text", "{title}: {body}")
        self.ok("fill", "--source", "news")
        hits = {h["key"]: h["excerpt"] for h in self.ok("search", "ban", "--source", "news", "--json").json["hits"]}
        self.assertEqual(set(hits), {"x", "y"})
        self.assertEqual(hits["x"], "Ban: gut")
        self.write("in.jsonl", '{"key": "x", "title": "Ban", "body": "gut"}\n')
        self.assertEqual(self.ok("add", "in.jsonl", "--source", "news", "--id-field", "key", "--json").json["missing"], 1)
        self.assertEqual(self.ok("add", "in.jsonl", "--source", "news", "--id-field", "key", "--sync", "--json").json["removed"], 1)
        self.refused(2, "one source", "add", "in.jsonl", "--source", "a", "--source", "b")
        self.write("large.txt", "twelve bytes")
        self.refused(1, "large.txt", "add", "large.txt", "--max-document", "11")
        self.ok("add", "large.txt", "--max-document", "12")


    def test_a_prompt_takes_room(self):
        """The prompt stands in front of every chunk, so chunks are that much shorter."""
        model = os.path.join(self.cwd, "prompted")
        shutil.copytree(self.model, model)
        with open(os.path.join(model, "config_sentence_transformers.json"), "w") as f:
            json.dump({"prompts": {"query": "ban ", "document": "gut gut gut gut: "}}, f)
        self.write("long.txt", "ban lan " * 200)
        self.ok("add", "long.txt")
        plain = self.ok("fill", "--json").json
        prompted = self.ok("fill", "--json", "--model", model).json
        self.assertEqual((plain["failed"], prompted["failed"]), (0, 0))
        self.assertGreater(prompted["chunks"], plain["chunks"])
        self.assertEqual(self.ok("verify", "--all", "--model", model, "--json").json["equal"], 1)


class TableTest(CommandTest):
    """A table of books in quern.db."""

    def setUp(self):
        super().setUp()
        self.db = sqlite3.connect(os.path.join(self.cwd, "quern.db"))
        self.addCleanup(self.db.close)
        self.sql("create table books (id integer primary key, title text, blurb text, rev int, gone int default 0, stamped text)")
        self.db.executemany("insert into books (id, title, blurb, rev) values (?, ?, ?, 1)",
                            [(i, "Ban %d" % i, "gut lan " * (i % 5)) for i in range(1, 21)])
        self.db.commit()

    def sql(self, statement, *values):
        rows = self.db.execute(statement, values).fetchall()
        self.db.commit()
        return rows

    def declare(self, *more):
        return self.ok("source", "add", "books", "--table", "books", "--key", "id", "--text", "{title}. {blurb}", *more)


class Tables(TableTest):
    def test_a_declared_table(self):
        self.declare("--revision", "rev", "--where", "gone = 0", "--meta", "title,rev")
        shown = self.ok("source", "show", "books", "--json").json
        self.assertEqual((shown["table"], shown["key"], shown["where"], shown["query"]), ("books", "id", "gone = 0", None))
        self.assertEqual(self.ok("source", "list", "--json").json["sources"], [shown])
        self.assertEqual(self.ok("fill", "--json").json["done"], 20)
        hit = self.ok("search", "ban 3", "--json", "--limit", "20").json["hits"]
        self.assertEqual({h["key"] for h in hit}, set(range(1, 21)))
        self.assertEqual(set(hit[0]["meta"]), {"title", "rev"})
        self.sql("update books set gone = 1 where id = 3")
        self.sql("delete from books where id = 4")
        self.assertEqual({h["key"] for h in self.ok("search", "ban", "--json", "--limit", "20").json["hits"]}, set(range(1, 21)) - {3, 4})
        self.sql("update books set title = 'Zan', rev = 2 where id = 5")
        status = self.ok("status", "--json").json
        self.assertEqual((status["pending"], status["stale"], status["done"]), (1, 1, 17))
        report = self.ok("fill", "--json").json
        self.assertEqual((report["processed"], report["deleted"], report["done"]), (1, 2, 18))

    def test_changing_and_removing(self):
        self.declare()
        self.refused(1, "books", "source", "add", "books", "--table", "books", "--key", "id", "--text", "{title}")
        self.refused(4, "nothing", "source", "add", "b", "--table", "nothing", "--key", "id", "--text", "{title}")
        self.refused(4, "nothing", "source", "add", "b", "--table", "books", "--key", "id", "--text", "{nothing}")
        self.refused(2, "{", "source", "add", "b", "--table", "books", "--key", "id", "--text", "{title")
        self.refused(2, "", "source", "add", "b", "--table", "books", "--key", "id", "--text", "{title}", "--where", "gone ==== 0")
        self.ok("source", "set", "books", "--where", "id < 11")
        self.assertEqual(self.ok("fill", "--json").json["total"], 10)
        self.ok("source", "set", "books", "--where", "")
        self.assertEqual(self.ok("fill", "--json").json["total"], 20)
        self.refused(4, 'did you mean "books"?', "source", "show", "boks")
        self.refused(4, "boks", "source", "set", "boks", "--where", "1")
        self.refused(2, "give --yes", "source", "remove", "books")
        self.ok("source", "remove", "books", "--yes")
        self.assertEqual(self.ok("source", "list", "--json").json["sources"], [])
        self.assertEqual(self.sql("select count(*) from books"), [(20,)])

    def test_one_source_that_cannot_be_read(self):
        self.declare()
        self.sql("create table old (id integer primary key, t text)")
        self.sql("insert into old values (1, 'ban')")
        self.ok("source", "add", "a", "--table", "old", "--key", "id", "--text", "{t}")
        self.ok("fill")
        self.sql("drop table old")
        rows = {row["source"]: row for row in self.ok("status", "--json").json["sources"]}
        self.assertIn("no table 'old'", rows["a"]["note"])
        self.assertEqual((rows["books"]["done"], rows["books"]["note"]), (20, ""))
        self.refused(4, "no table 'old'", "status", "--source", "a")
        self.refused(4, "no table 'old'", "search", "ban")
        self.ok("search", "ban", "--source", "books")

    def test_names_that_are_no_columns(self):
        add = ("source", "add", "b", "--table", "books", "--key", "id", "--text", "{title}", "--where")
        self.refused(2, "no such column", *add, '"gon" = 0')  # which SQLite would take for the text 'gon'
        self.refused(2, "twice", "source", "add", "b", "--table", "books", "--key", "id,ID", "--text", "{title}")
        self.ok(*add, '"gone" = 0')

    def test_reading_after_a_crash(self):
        self.declare()
        self.ok("fill")
        crash = ("import os, sqlite3; c = sqlite3.connect('quern.db'); c.execute('pragma cache_size = 1');"
                 "c.execute('begin immediate'); c.execute('update books set blurb = hex(zeroblob(9000))'); os._exit(9)")
        subprocess.run([sys.executable, "-c", crash], cwd=self.cwd)
        self.assertGreater(os.path.getsize(os.path.join(self.cwd, "quern.db-journal")), 0)
        self.assertEqual(self.ok("status", "--json").json["done"], 20)
        self.assertEqual(len(self.ok("search", "ban", "--json").json["hits"]), 10)

    def test_a_query(self):
        self.ok("source", "add", "q", "--query", "select id, title || '!' as t from books where id < 6", "--key", "id", "--text", "{t}")
        self.assertEqual(self.ok("fill", "--json").json["total"], 5)

    def test_the_summary_of_a_fill(self):
        self.declare()
        said = self.ok("fill").out.decode()
        self.assertRegex(said, r"embedded [0-9]+ in [0-9.]+ .?s, [0-9]+\.[0-9]{3} s each\n$")
        self.assertRegex(self.ok("fill").out.decode(), r"embedded 0 in [^,]*, [0-9]+ as they were")

    def test_fill_options(self):
        self.declare("--revision", "rev")
        dry = self.ok("fill", "--dry-run", "--json").json
        self.assertEqual((dry["processed"], dry["dry_run"], dry["done"]), (20, True, 0))
        self.assertGreater(dry["tokens"], 0)
        self.assertEqual(self.ok("fill", "--limit", "7", "--json").json["done"], 7)
        self.assertEqual(self.ok("fill", "--json").json["processed"], 13)
        self.assertEqual(self.ok("fill", "--force", "--json").json["processed"], 20)
        self.sql("update books set rev = 5, title = 'x' where id in (1, 2)")
        self.sql("update books set rev = 3, title = 'y' where id = 3")
        self.assertEqual(self.ok("fill", "--since", "4", "--json").json["processed"], 2)
        self.sql("delete from books where id = 9")
        self.assertEqual(self.ok("fill", "--since", "4", "--full", "--json").json["deleted"], 1)
        self.ok("fill", "--vector-type", "f32")
        self.assertEqual(self.ok("status", "--json").json["sources"][0]["vector_type"], "f32")
        self.sql("update books set blurb = ?, rev = 9 where id = 1", "gut lan ber mor " * 200)
        few = self.ok("fill", "--vector-type", "f32", "--max-chunks", "2", "--json").json
        self.assertEqual(few["truncated"], 1)
        self.assertGreater(few["dropped_bytes"], 0)
        self.assertEqual(self.ok("status", "--json").json["dropped_bytes"], few["dropped_bytes"])
        many = self.ok("fill", "--vector-type", "f32", "--overlap", "30", "--json").json["chunks"]
        self.assertGreater(many, self.ok("fill", "--vector-type", "f32", "--overlap", "4", "--json").json["chunks"])
        self.sql("delete from books")
        answer = self.quern("fill", "--vector-type", "f32", "--overlap", "4")
        self.assertEqual(answer.code, 1, answer.message)
        self.assertIn("allow-empty", answer.message)
        self.assertEqual(self.ok("fill", "--vector-type", "f32", "--overlap", "4", "--allow-empty", "--json").json["total"], 0)

    def test_several_sources(self):
        self.declare()
        self.ok("source", "add", "half", "--table", "books", "--key", "id", "--text", "{title}", "--where", "id % 2 = 0")
        self.assertEqual(self.ok("fill", "--source", "half", "--json").json["total"], 10)
        self.assertEqual(self.ok("status", "--source", "half", "--json").json["total"], 10)
        self.assertEqual(self.ok("fill", "--source", "half", "--source", "books", "--json").json["total"], 30)
        self.assertEqual({h["source"] for h in self.ok("search", "ban", "--limit", "40", "--json").json["hits"]}, {"half", "books"})
        self.assertEqual({h["source"] for h in self.ok("search", "ban", "--source", "half", "--json").json["hits"]}, {"half"})
        self.assertEqual(self.ok("verify", "--source", "half", "--sample", "3", "--seed", "9", "--json").json["checked"], 3)
        self.assertEqual(self.ok("verify", "--json").json["checked"], 30)
        self.assertEqual(self.ok("bench", "--only", "search", "--measurement-time", "1ms", "--json").json["results"][0]["name"], "search")

    def test_some_fail(self):
        self.sql("create table odd (k text unique, body text)")
        self.db.executemany("insert into odd values (?, ?)", [("a", "ban"), (None, "gut"), ("c", b"\xff\xfe")])
        self.db.commit()
        self.ok("source", "add", "odd", "--table", "odd", "--key", "k", "--text", "{body}")
        answer = self.quern("fill", "--json", "--log-format", "json")
        self.assertEqual(answer.code, 3, answer.message)
        self.assertEqual((answer.json["failed"], answer.json["done"]), (2, 1))
        records = [json.loads(line) for line in answer.message.splitlines()]  # one line for each, and the end
        self.assertEqual({record["level"] for record in records}, {"warn", "error"})
        self.assertEqual(records[-1]["error"], {"code": "partial", "message": records[-1]["message"]})
        failed = next(record for record in records if record.get("key") == '"c"')
        self.assertEqual((failed["source"], failed["code"]), ("odd", "EFORMAT"))
        self.assertEqual(self.quern("fill", "--quiet").out, b"")
        self.assertEqual(self.quern("doctor").code, 1)
        self.assertEqual(self.ok("status", "--json").json["failed"], 2)

    def test_verify_finds_what_was_tampered_with(self):
        self.declare()
        self.ok("fill")
        self.assertTrue(self.ok("verify", "--all", "--json").json["ok"])
        (rowid, vector), = self.sql("select id, data from quern_vectors limit 1")
        self.sql("update quern_vectors set data = ? where id = ?", bytes([vector[0] ^ 1]) + vector[1:], rowid)
        answer = self.quern("verify", "--all", "--json")
        self.assertEqual(answer.code, 1)
        self.assertEqual((answer.json["ok"], answer.json["different"]), (False, 1))

    def test_vectors_in_a_file_of_their_own(self):
        before = self.sql("select name from sqlite_master order by 1")
        args = ("--store", "vectors.db")
        self.declare(*args)
        self.ok("fill", *args)
        self.assertEqual(len(self.ok("search", "ban", "--json", *args).json["hits"]), 10)
        self.assertEqual(self.sql("select name from sqlite_master order by 1"), before)
        self.refused(2, "is both the database and the store", "fill", "--store", "./quern.db")

    def test_the_log_of_fills(self):
        self.declare()
        self.assertEqual(self.ok("status", "--runs").out, b"")
        self.ok("fill")
        self.ok("fill")  # changes nothing, so it has no line
        self.db.execute("delete from books where id = 1")
        self.db.commit()
        self.ok("fill")
        runs = self.ok("status", "--runs", "--json").lines
        self.assertEqual([(r["source"], r["status"], r["processed"], r["deleted"]) for r in runs],
                         [("books", "OK", 0, 1), ("books", "OK", 20, 0)])
        self.assertLessEqual(runs[1]["started"], runs[0]["started"])
        self.assertEqual(self.ok("status", "--runs", "--limit", "1").message, "")
        self.refused(4, "no source other", "status", "--runs", "--source", "other")

    def test_journal_mode_stays_unless_asked(self):
        self.assertEqual(self.sql("pragma journal_mode"), [("delete",)])
        self.declare()
        self.ok("fill")
        self.assertEqual(self.sql("pragma journal_mode"), [("delete",)])
        self.db.close()
        self.ok("fill", "--wal")
        self.db = sqlite3.connect(os.path.join(self.cwd, "quern.db"))
        self.assertEqual(self.sql("pragma journal_mode"), [("wal",)])


class EveryFlag(TableTest):
    """Each flag of each command, with a value that will do: taken, and looked at (the command says when it was not)."""
    VALUES = {
        "stamp-columns": "generated_at=stamped", "keep-text": "yes", "assets": "blurb", "max-assets": "3", "asset": "https://pictures.example/a.png",
        "cache": "yes", "cache-file": "vectors.cache", "cache-entries": "7", "cache-bytes": "1M", "cache-file-bytes": "9M", "cache-file-entries": "99", "cache-ttl": "1h",
        "cache-redis": "redis://127.0.0.1:9", "cache-redis-timeout": "1s",
        "base-url": "http://127.0.0.1:9", "dimensions": "24", "dimension": "80", "pooling": "mean", "concurrency": "2", "max-inputs": "3", "requests-per-minute": "0",
        "tokens-per-minute": "0", "limit-shared": "redis://127.0.0.1:9", "limit-name": "ours", "attempts": "1", "pause-after": "3", "fallback-url": "http://127.0.0.1:9", "max-tokens": "1000000", "max-price": "9", "proxy": "http://127.0.0.1:9", "ca-file": "empty.ini",
        "mode": "vector", "text-search": "yes", "kind": "exact",
        "db": "quern.db", "store": "vectors.db", "shard-timeout": "9s", "schema": "public", "direct-url": "postgres://127.0.0.1/other", "source": "books", "model": None, "batching": "adaptive", "enabled": "yes", "as": "document", "invalid-utf8": "replace",
        "name": "other", "model-url": "http://127.0.0.1:9", "auto-pull": "no", "timeout": "1s", "max-length": "68",
        "precision": "fp32", "packed-limit": "1M", "mmap": "no", "backend": "native", "ort-library": "libonnxruntime.so.1", "device": "auto", "ort-optimization": "basic",
        "intra-threads": "2", "inter-threads": "2", "batch": "4", "threads": "1", "id-field": "id", "text": "{title}", "table": "books",
        "query": "select * from books", "key": "id", "revision": "rev", "where": "id > 1", "meta": "rev", "prepare": "html", "limit": "3",
        "min-similarity": "0.1", "since": "0", "max-chunks": "9", "overlap": "8", "vector-type": "f32", "max-document": "1M",
        "sample": "2", "seed": "3", "only": "tokenize", "measurement-time": "1ms", "save-baseline": "x", "baseline": "x",
        "max-regression": "1000", "reason": "edited", "live": "yes", "interval": "1h", "backstop-interval": "0", "claim": "9", "lease": "9s", "tick": "1s",
        "max-attempts": "3", "log-level": "error", "log-format": "json", "cpu": "scalar,avx2", "memory-limit": "1G",
        "config": "empty.ini", "list": "pending", "after": "1", "wait": "1s", "down": "3", "index": "exact", "exclude": "1", "oversample": "2", "filter": "{}", "mmr": "0.5", "price": "0.00002", "model-price": "openai:text-embedding-3-small=0.02", "query-timeout": "9s", "fallback": "text",
        "fingerprint": "0" * 64, "estimate": "1000",
        "memory": "1G", "rate": "1", "latency": "30s", "preset": "low-memory", "write": "tuned.ini", "cron": "@daily", "window": "2d", "max-per-run": "5", "report": "report.json"}
    RUNS = {
        "cache stats": [], "cache keys": [], "cache contains": ["ban"], "cache remove": ["ban"], "cache expire": [], "cache clear": [],
        "cache warm": ["ban"], "cache export": [], "cache import": [], "cache resize": ["--cache-file-entries", "8"],
        "embed": ["ban"], "similarity": ["ban", "gut"], "tokenize": ["ban"], "chunk": ["ban"], "model pull": ["tiny"], "model import": ["{model}"],
        "model list": [], "model info": ["tiny"], "model verify": ["tiny"], "model quantize": ["tiny"], "model remove": ["other"], "add": ["in.jsonl"],
        "source add": ["new"], "source set": ["new"], "source list": [], "source show": ["books"], "source remove": ["new"],
        "fill": [], "enqueue": ["1"], "forget": ["1"], "export": [], "import": ["vectors"],
        "vector get": ["2"], "vector put": ["2"], "vector delete": ["3"], "work": ["--once"], "search": ["ban"], "similar": ["1"], "status": [], "verify": [], "bench": ["--only", "tokenize", "--measurement-time", "1ms"],
        "generation list": [], "generation build": [], "generation activate": [], "generation retire": [],
        "generation purge": [], "generation sql": ["books"], "requeue": [], "migrate": [], "doctor": [], "help": [],
        "tune": ["--preset", "low-memory", "--measurement-time", "1ms"]}
    POSTGRES = {"schema", "direct-url"}
    built = 100
    FAILS = {"model pull": (1, 4),  # nothing is published under that name
             "model quantize": (0, 1),  # the gate
             "cache contains": (0, 4), "cache remove": (0, 4), "cache clear": (0, 1),  # of a Redis that is not there
             "work": (0, 3)}
    OTHER = {"store", "where", "max-chunks", "overlap", "headings", "vector-type", "max-length", "dimensions"}  # an import under these is another fingerprint

    def prepare(self, command):
        """The source "new" and the models that this command makes, changes or takes away."""
        if command.startswith("source "):
            for store in ([], ["--store", "vectors.db"]):
                self.quern("source", "remove", "new", "--yes", *store)
                if command in ("source set", "source remove"):
                    self.ok("source", "add", "new", "--table", "books", "--key", "id", "--text", "{title}", *store)
        elif command in ("model import", "model remove"):
            self.quern("model", "remove", "tiny-model", "--yes")
            self.quern("model", "remove", "other", "--yes")
        if command == "model remove":
            self.ok("model", "import", self.model, "--name", "other")

    def generation(self, command, option):
        """A generation that the command may work on; its id, or the source."""
        store = ["--store", "vectors.db"] if option == "store" else []
        for g in self.ok("generation", "list", "--json", *store).json["generations"]:
            if g["state"] != "active":
                self.ok("generation", "purge", g["id"], "--yes", *store)
        EveryFlag.built += 1
        build = ["--source", "books", "--max-chunks", EveryFlag.built]
        if command == "generation build":
            other = ["--vector-type", "f32"] if option == "max-chunks" else build[2:]
            return other + build[:0 if option == "source" else 2]
        if command == "generation list":
            return []
        given = [self.ok("generation", "build", "--json", *build, *store).json["generation"]]
        if option == "report":
            g = self.ok("generation", "list", "--json", *store).json["generations"][-1]
            self.write("report.json", json.dumps({"format": "quern-eval/1", "source": "books", "fingerprint": g["fingerprint"],
                                                  "queries": 1, "metrics": {"r": 1}, "thresholds": {"r": 1}, "passed": True}))
        return given + [a for a in ("--yes",) if option != a[2:] and command != "generation activate"]

    def arguments(self, command, option):
        given = [a.replace("{model}", self.model) for a in self.RUNS[command]]
        if command.startswith("generation ") and command != "generation sql":
            given += self.generation(command, option)
        if option in ("list", "after") or (command, option) == ("status", "key"):
            given += ["--source", "books"] + ["--list", "pending"] * (option != "list" and command == "status")
        if option == "max-price":
            given += ["--price", "0.00002"]
        if command.startswith("source ") and option == "max-assets":
            given += ["--assets", "blurb"]
        if command == "status" and option == "price":
            given += ["--usage"]
        if command == "migrate" and option == "down":
            given += ["--dry-run"]
        if command == "export":
            given = ["vectors" if option == "force" else "vectors-" + option]
            given += [a for a in ("--source", "books") if option != "source"]
        if command.startswith("vector "):
            given += [a for a in ("--source", "books") if option != "source"]
        if command == "vector put" and option != "fingerprint":
            given += ["--fingerprint", self.stored.json["fingerprint"]]
        if command == "similar" and option != "source" or command == "search" and option == "where":
            given += ["--source", "books"]
        if command == "requeue":
            given += [a for a in ("--source", "books") if option != "source"]
            given += [a for a in ("--all",) if option not in ("all", "failed", "key", "where")]
        if option in given or "--" + option in given:
            given = []
        if command == "source add" and option not in ("table", "query"):
            given += ["--table", "books"]
        if command == "source add":
            given += [a for n, v in (("key", "id"), ("text", "{title}")) if n != option for a in ("--" + n, v)]
        if command == "tune":
            given = [a for o, v in (("preset", "low-memory"), ("measurement-time", "1ms")) if option != o for a in ("--" + o, v)]
        if command == "bench" and option != "measurement-time":
            given = [a for a in given if a not in ("--measurement-time", "1ms")] + ["--measurement-time", "1ms"]
        if option == "baseline":  # a millisecond measures nothing
            given += ["--max-regression", "1000"]
        if command in ("model remove", "source remove", "forget", "cache clear") and option != "yes":
            given.append("--yes")
        if option == "jsonl":
            given = []
        if command.startswith("cache ") and option != "cache-file":
            given += ["--cache-file", "vectors.cache"]
        if (command, option) == ("cache import", "fingerprint"):
            given += ["--format", "bincode", "none.bincode"]
        if option == "since":
            given = ["--source", "books"]
        if command in ("enqueue", "forget") and option != "source":
            given += ["--source", "books"]
        if command == "source set" and option == "query":
            given += ["--table", ""]
        return given

    def test_none_is_ignored(self):
        self.declare("--revision", "rev")
        self.declare("--store", "vectors.db")
        self.write("in.jsonl", '{"id": 1, "text": "ban", "title": "gut"}')
        self.write("empty.ini", "")
        self.write("none.bincode", bytes(8))
        self.ok("add", "in.jsonl")
        self.ok("fill")
        self.ok("fill", "--store", "vectors.db")
        self.ok("export", "--source", "books", "vectors")
        self.ok("model", "import", self.model, "--name", "tiny")
        self.ok("bench", "--only", "tokenize", "--measurement-time", "1ms", "--save-baseline", "x")
        seen = 0
        for option, flag, command in every_flag():
            if option == "memory-limit" and SANITIZED:  # a sanitizer needs more than any limit
                continue
            if option == "watch":  # has no end: test_workers.py
                continue
            if command.startswith("shard "):  # of several PostgreSQL servers
                continue
            self.prepare(command)
            value = {"model": self.model, "models": os.path.join(self.folder, "data", "quern", "models"), "format": "json" if command == "embed" else "auto",
                     "source": "documents" if command == "add" else "books", "after": "1" if command == "status" else "true"}.get(option, self.VALUES.get(option))
            value = "1" if (command, option) == ("requeue", "key") else value
            if option == "generation":
                value, = [g["id"] for g in self.ok("generation", "list", "--json").json["generations"] if (g["source"], g["state"]) == ("books", "active")]
            value = {"vector get": "json", "vector put": "json", "cache import": "jsonl"}.get(command, value) if option == "format" else value
            if command == "vector put":
                self.stored = self.ok("vector", "get", "2", "--source", "books")
            value = self.stored.json["fingerprint"] if (command, option) == ("vector put", "fingerprint") else value
            words = command.split() + self.arguments(command, option) + ["--" + option] + ([] if flag else [value])
            if command == "source set" and option == "query":
                words = [w for w in words if w not in ("--table", "")]  # one of them
            answer = self.quern(*words, stdin='{"text": "ban"}' if option == "jsonl" else self.stored.out if command == "vector put" else "", model=option != "model")
            self.assertNotIn("ignored", answer.message, words)
            seen += 1
            if option in self.POSTGRES:  # of no use to SQLite: refused; doctor finds it, and bench opens no store here
                self.assertEqual(answer.code, {"doctor": 1, "bench": 0}.get(command, 2), words)
                continue
            if command in ("import", "vector put") and option in self.OTHER:
                self.assertEqual(answer.code, 1, words)
                self.assertIn("differs" if command == "import" else "of fingerprint", answer.message, words)
                continue
            if option == "asset":  # this model sees nothing
                self.assertEqual(answer.code, 1, words)
                self.assertIn("reads texts only", answer.message, words)
                continue
            self.assertIn(answer.code, self.FAILS.get(command, (0,)), "%s\n%s" % (words, answer.message))
            if command.startswith("source "):
                self.prepare("source add")
        self.assertGreater(seen, 200)


class Interrupted(CommandTest):
    TEXTS = 12000

    def start_fill(self, **how):
        rows = "".join('{"id": %d, "text": "%s"}\n' % (i, "kolor ban zan lan " * 3) for i in range(self.TEXTS))
        self.ok("add", "-", "--format", "jsonl", stdin=rows)
        return subprocess.Popen([BIN, "fill", "--threads", "1", "--cpu", "scalar", "--model", self.model], cwd=self.cwd,
                                env=self.environment(), **how)

    def done(self):
        return self.ok("status", "--json").json["done"]

    def test_ctrl_c_saves_and_the_next_run_goes_on(self):
        with self.start_fill(stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            until = time.monotonic() + 60
            while not self.done():
                self.assertLess(time.monotonic(), until)
                self.assertIsNone(p.poll(), "the fill ended before it could be stopped")
            start = time.monotonic()
            p.send_signal(signal.SIGINT)
            self.assertEqual(p.wait(20), 130)
            self.assertLess(time.monotonic() - start, 10 if SANITIZED else 1)
            self.assertEqual(p.stdout.read(), b"")
            self.assertEqual(p.stderr.read().count(b"\n"), 1)
        saved = self.done()
        self.assertTrue(0 < saved < self.TEXTS, saved)
        report = self.ok("fill", "--json").json
        self.assertEqual((report["processed"], report["done"]), (self.TEXTS - saved, self.TEXTS))

    def test_progress_is_for_terminals(self):
        ours, theirs = pty.openpty()
        with self.start_fill(stdout=subprocess.PIPE, stderr=theirs) as p:
            os.close(theirs)
            seen = b""
            until = time.monotonic() + 60
            while b"%" not in seen and time.monotonic() < until:
                if select.select([ours], [], [], 1)[0]:
                    seen += os.read(ours, 4096)
            p.send_signal(signal.SIGINT)
            p.wait(20)
        os.close(ours)
        self.assertIn(b"documents [", seen)
        self.assertIn(b"left", seen)


if __name__ == "__main__":
    unittest.main()
