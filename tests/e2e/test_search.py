"""search and similar with all their flags: the same answers from SQLite, from PostgreSQL with pgvector and without."""
import json
import os
import sqlite3
import unittest

import test_postgres
from command import WITHOUT_POSTGRES

COUNT = 120


def setUpModule():
    if not WITHOUT_POSTGRES:
        test_postgres.setUpModule()


def tearDownModule():
    if not WITHOUT_POSTGRES:
        test_postgres.tearDownModule()


def rows():
    words = "ban lan gut kolor zan vis mor ber".split()
    for i in range(COUNT):
        text = " ".join(words[(i * k + k) % len(words)] for k in range(1, 4 + i % 5))
        yield i, "%s %s" % (words[i % 8], words[i % 3]), text * (1 + 9 * (i % 10 == 3)), "de" if i % 4 else "en", 1990 + i % 20, i / 8


TABLE = ("CREATE TABLE items (id integer PRIMARY KEY, title text, body text, lang text, year integer, price numeric(8,3),"
         " gone integer DEFAULT 0);\n")


def insert():
    return TABLE + "".join("INSERT INTO items VALUES (%d, '%s', '%s', '%s', %d, %s, 0);\n" % row for row in rows())


class Search(test_postgres.PostgresTest):
    """Every question is put to all databases, which must agree; then the answer is looked at."""

    def setUp(self):
        self.dbs = ["file.db"]
        if WITHOUT_POSTGRES:
            test_postgres.CommandTest.setUp(self)
        else:
            self.VECTOR = False
            super().setUp()
            self.dbs.append(self.db)
            self.VECTOR = True
            super().setUp()
            self.dbs.append(self.db)
        self.db = "file.db"
        self.edit(insert())

    def all(self, *args, **how):
        return [self.ok(*args, "--db", db, **how) for db in self.dbs]

    def declare(self):
        self.all("source", "add", "items", "--table", "items", "--key", "id", "--text", "{title}. {body}", "--where",
                 "gone = 0", "--meta", "lang,year,price")
        self.all("fill")

    def hits(self, *args):
        answers = [a.json for a in self.all(*args, "--json")]
        for other in answers[1:]:
            self.assertEqual(answers[0]["hits"], other["hits"], args)
        return answers[0]["hits"]

    def edit(self, sql):
        with sqlite3.connect(os.path.join(self.cwd, "file.db")) as db:
            db.executescript(sql)
        for url in self.dbs[1:]:
            test_postgres.psql(url, sql)

    def test_filters(self):
        self.declare()
        by_id = {row[0]: row for row in rows()}
        everything = self.hits("search", "ban kolor", "--limit", "200")
        self.assertEqual(len(everything), COUNT)
        for text, holds in [('{"lang":"en"}', lambda r: r[3] == "en"),
                            ('{"lang":["en","fr"],"year":{"gte":1995,"lte":2003}}', lambda r: r[3] == "en" and 1995 <= r[4] <= 2003),
                            ('{"price":{"gt":3.5,"lt":9}}', lambda r: 3.5 < r[5] < 9),
                            ('{"price":2.5}', lambda r: r[5] == 2.5),
                            ('{"year":{"ne":1990}}', lambda r: r[4] != 1990),
                            ('{"lang":null}', lambda r: False)]:
            wanted = [h for h in everything if holds(by_id[h["key"]])]
            self.assertEqual(self.hits("search", "ban kolor", "--limit", "200", "--filter", text), wanted, text)
            self.assertEqual(self.hits("search", "ban kolor", "--limit", "3", "--filter", text), wanted[:3], text)
        for db in self.dbs:
            self.refused(2, "lang, year, price", "search", "x", "--filter", '{"title":1}', "--db", db)
            self.refused(2, "filter", "search", "x", "--filter", '{"lang":', "--db", db)
            self.refused(2, "no metadata column", "search", "x", "--filter", '{"lang\\";--":1}', "--db", db)

    def test_chunks_and_mmr(self):
        self.declare()
        documents, chunks = self.hits("search", "gut", "--limit", "500"), self.hits("search", "gut", "--limit", "500", "--chunks")
        self.assertGreater(len(chunks), len(documents))
        best = {}
        for hit in chunks:
            best.setdefault(hit["key"], hit)
        self.assertEqual(list(best.values()), documents)
        self.assertEqual(self.hits("search", "gut", "--mmr", "1", "--limit", "7"), documents[:7])
        mixed = self.hits("search", "gut", "--mmr", "0.3", "--limit", "7")
        self.assertEqual(mixed[0], documents[0])
        self.assertNotEqual(mixed, documents[:7])
        floor = documents[5]["similarity"]
        self.assertEqual(self.hits("search", "gut", "--min-similarity", repr(floor), "--limit", "500"),
                         [h for h in documents if h["similarity"] >= floor])
        self.refused(2, "at most 1000", "search", "x", "--mmr", "0.5", "--limit", "2000", "--db", self.dbs[-1])

    def test_similar(self):
        self.declare()
        near = self.hits("similar", "7", "--limit", "200")
        self.assertEqual(len(near), COUNT - 1)
        self.assertNotIn(7, [h["key"] for h in near])
        self.assertEqual(self.hits("similar", "7", "--limit", "5", "--filter", '{"lang":"en"}'),
                         [h for h in near if h["meta"]["lang"] == "en"][:5])
        many = self.hits("similar", "3", "--chunks", "--limit", "9")  # of several chunks
        self.assertNotIn(3, [h["key"] for h in many])
        self.edit("UPDATE items SET gone = 1 WHERE id = %d; UPDATE items SET body = 'zan' WHERE id = %d;"
                  " INSERT INTO items VALUES (500, 'new', 'row', 'en', 1, 1, 0)" % (near[0]["key"], near[1]["key"]))
        self.assertEqual(self.hits("similar", "7", "--limit", "3"), near[2:5])
        for db in self.dbs:
            self.refused(1, "pending", "similar", "500", "--db", db)
            self.refused(1, "pending", "similar", str(near[1]["key"]), "--db", db)
            self.refused(4, "no document", "similar", str(near[0]["key"]), "--db", db)
            self.refused(4, "no document", "similar", "nobody", "--db", db)
            self.refused(4, "nowhere", "similar", "7", "--source", "nowhere", "--db", db)
            self.refused(2, "", "similar", "--db", db)

    def test_exclude(self):
        self.declare()
        everything = self.hits("search", "ban kolor", "--limit", "200")
        out = [h["key"] for h in everything[:60:2]]
        flags = [a for key in out for a in ("--exclude", str(key))]
        wanted = [h for h in everything if h["key"] not in out]
        self.assertEqual(self.hits("search", "ban kolor", "--limit", "10", *flags), wanted[:10])
        self.assertEqual(self.hits("search", "ban kolor", "--limit", "200", *flags, "--exclude", "nobody"), wanted)
        near = self.hits("similar", "7", "--limit", "200")
        self.assertEqual(self.hits("similar", "7", "--limit", "3", "--exclude", str(near[0]["key"]), "--exclude", str(near[2]["key"])),
                         [near[1], near[3], near[4]])
        self.all("source", "set", "items", "--text-search", "yes")
        self.all("fill")
        for mode in "text", "hybrid":
            for db in self.dbs:
                ask = ["search", "ban kolor", "--mode", mode, "--db", db, "--json"]
                keys = [h["key"] for h in self.ok(*ask, "--limit", "12").json["hits"]]
                got = self.ok(*ask, "--limit", "10", "--exclude", str(keys[0]), "--exclude", str(keys[5])).json["hits"]
                got = [h["key"] for h in got]
                if mode == "text":
                    self.assertEqual(got, keys[1:5] + keys[6:], db)
                self.assertEqual(len(got), 10)  # fused places move up: the order may change
                self.assertFalse({keys[0], keys[5]} & set(got))
        for db in self.dbs:
            self.refused(2, "at most 1000", "search", "x", "--db", db, *["--exclude", "1"] * 1001)
            self.refused(2, "empty", "search", "x", "--db", db, "--exclude", "")

    def test_explain(self):
        self.declare()
        self.edit("DELETE FROM items WHERE id < 5")
        for answer in self.all("search", "ban", "--explain", "--limit", "200", "--filter", '{"lang":"en"}', "--json"):
            said = answer.json["explain"]
            self.assertEqual((said["mode"], said["dropped"]["gone"], said["kept"]), ("vector", 5, 28))
            self.assertEqual(said["dropped"]["filtered"], COUNT - 5 - 28)
        for answer in self.all("search", "ban", "--explain"):
            self.assertEqual(json.loads(answer.message)["kept"], 10)


class Words(Search):
    """Text and hybrid search; ranks are the databases' own, so lists are compared with what Python makes of them."""
    test_filters = test_chunks_and_mmr = test_similar = test_explain = None
    HOSTILE = ['"', "'", "ban AND", "NEAR(ban lan)", "ban*", "*", "ban:*", "ban & | ! <->", "\\", "(", ")", 'ban" OR "zan',
               "ban'::tsquery; DROP TABLE items; --", "^ban", "-ban", "title:ban", "{ban}", "\u200b", "ban " * 100]

    def declare(self, *more):
        self.all("source", "add", "items", "--table", "items", "--key", "id", "--text", "{title}. {body}", "--where",
                 "gone = 0", "--meta", "lang,year,price", *more)
        self.all("fill")

    def by_text(self, db, *args):
        return self.ok("search", "--mode", "text", "--json", "--db", db, *args).json["hits"]

    def test_words(self):
        self.declare("--text-search", "yes")
        texts = {row[0]: set(("%s %s" % row[1:3]).split()) for row in rows()}
        for db in self.dbs:
            for query in ("zan", "vis mor", "ZAN, b\u00e9r!"):
                words = set(query.lower().replace(",", "").replace("!", "").replace("\u00e9", "e").split())
                hits = self.by_text(db, query, "--limit", "200")
                self.assertEqual({h["key"] for h in hits}, {k for k, have in texts.items() if have & words}, (db, query))
                self.assertEqual([h["similarity"] for h in hits], [None] * len(hits))
                scores = [h["score"] for h in hits]
                self.assertEqual(scores, sorted(scores, reverse=True))
                self.assertEqual(self.by_text(db, query, "--limit", "5"), hits[:5])
                en = [h for h in hits if h["meta"]["lang"] == "en"]
                self.assertEqual(self.by_text(db, query, "--limit", "7", "--filter", '{"lang":"en"}'), en[:7])
            self.assertEqual(self.by_text(db, "nowhere"), [])
            self.assertEqual(self.by_text(db, "?!"), [])
            for query in self.HOSTILE:
                for mode in ("text", "hybrid"):
                    answer = self.quern("search", "--mode", mode, "--db", db, "--", query)
                    self.assertIn(answer.code, (0, 1), (query, answer.message))
                    if answer.code:  # too long for the model, and nothing else
                        self.assertIn("tokens", answer.message)
            said = self.ok("search", "zan", "--mode", "text", "--json", "--explain", "--db", db).json["explain"]
            self.assertEqual((said["mode"], said["words"], said["sources"][0]["index"]), ("text", 1, "words"))
            self.refused(2, "mode vector", "search", "zan", "--mode", "text", "--chunks", "--db", db)
            self.refused(2, "mode vector", "search", "zan", "--mode", "hybrid", "--mmr", "0.5", "--db", db)
            self.refused(2, "no similarity", "search", "zan", "--mode", "text", "--min-similarity", "0", "--db", db)

    def test_the_chunk_that_has_the_words(self):
        long = "ban lan gut kolor " * 60
        self.edit("INSERT INTO items VALUES (900, 'long', '%sneedle haystack %s', 'en', 1, 1, 0)" % (long, long))
        self.declare("--text-search", "yes")
        for db in self.dbs:
            hit = self.by_text(db, "needle")[0]
            self.assertEqual(hit["key"], 900)
            self.assertGreater(hit["chunk"], 0)
            self.assertIn("needle", ("long. " + long + "needle haystack " + long)[hit["start"]:hit["end"]])

    def test_hybrid(self):
        self.declare("--text-search", "yes")
        for db in self.dbs:
            for query in ("zan mor", "ban kolor gut"):
                vectors = self.ok("search", query, "--json", "--limit", "100", "--db", db).json["hits"]
                texts = self.by_text(db, query, "--limit", "100")
                similarity = {h["key"]: h["similarity"] for h in self.ok("search", query, "--json", "--limit", "500", "--db", db).json["hits"]}
                score = {}
                for hits in (vectors, texts):
                    for place, hit in enumerate(hits):
                        score[hit["key"]] = score.get(hit["key"], 0) + 1 / (61 + place)
                got = self.ok("search", query, "--mode", "hybrid", "--json", "--limit", "20", "--db", db).json["hits"]
                for hit in got:
                    self.assertAlmostEqual(hit["score"], score[hit["key"]], 6)
                    self.assertEqual(hit["similarity"], similarity[hit["key"]])
                self.assertEqual([round(h["score"], 6) for h in got], sorted((round(s, 6) for s in score.values()), reverse=True)[:20])
                floor = sorted(similarity.values())[60]
                near = self.ok("search", query, "--mode", "hybrid", "--json", "--limit", "100", "--min-similarity", repr(floor), "--db", db)
                self.assertTrue(all(h["similarity"] >= floor for h in near.json["hits"]))

    def test_words_follow_the_rows(self):
        self.declare()
        for db in self.dbs:
            self.refused(2, "--text-search", "search", "zan", "--mode", "text", "--db", db)
            self.refused(2, "--text-search", "search", "zan", "--mode", "hybrid", "--db", db)
        self.all("source", "set", "items", "--text-search", "yes")
        for db in self.dbs:
            self.refused(1, "quern fill", "search", "zan", "--mode", "text", "--db", db)
            report = self.ok("fill", "--json", "--db", db).json
            self.assertEqual((report["processed"], report["done"]), (0, COUNT))  # only the words were taken
            self.assertEqual(self.ok("status", "--json", "--db", db).json["done"], COUNT)
        before = {db: self.by_text(db, "zan", "--limit", "3") for db in self.dbs}
        self.edit("UPDATE items SET title = 'unheard' , body = 'of' WHERE id = 4; DELETE FROM items WHERE id = 12;"
                  " UPDATE items SET gone = 1 WHERE id = 20")
        for db in self.dbs:
            self.assertEqual(len(before[db]), 3)
            keys = [h["key"] for h in self.by_text(db, "zan", "--limit", "200")]
            for gone in (4, 12, 20):
                self.assertNotIn(gone, keys)
            self.assertEqual(self.by_text(db, "unheard"), [])
            self.ok("fill", "--db", db)
            self.assertEqual([h["key"] for h in self.by_text(db, "unheard")], [4])
            # another generation takes its own words, and the old ones go with theirs
            self.ok("fill", "--vector-type", "f32", "--db", db)
            self.assertEqual([h["key"] for h in self.by_text(db, "unheard")], [4])
            self.ok("source", "set", "items", "--text-search", "no", "--db", db)
            self.refused(2, "--text-search", "search", "zan", "--mode", "text", "--db", db)
            self.ok("source", "remove", "items", "--yes", "--db", db)
        with sqlite3.connect(os.path.join(self.cwd, "file.db")) as db:
            self.assertEqual(db.execute("SELECT (SELECT count(*) FROM quern_texts), (SELECT count(*) FROM quern_text)").fetchone(), (0, 0))
        for url in self.dbs[1:]:
            self.assertEqual(test_postgres.psql(url, "SELECT count(*) FROM quern.texts"), [["0"]])

    def test_nobody_else_pays(self):
        self.declare()
        with sqlite3.connect(os.path.join(self.cwd, "file.db")) as db:
            self.assertEqual(db.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE 'quern_text%'").fetchone()[0], 1)


class Sql(Search):
    """`generation sql` is run as it is printed."""
    test_filters = test_chunks_and_mmr = test_similar = test_explain = None

    def run_sql(self, db, statement, vector, limit, chunks):
        if db == "file.db":
            with sqlite3.connect(os.path.join(self.cwd, db)) as file:
                return [(json.loads(k), c, s) for k, c, s in file.execute(statement.rstrip().rstrip(";"), (vector, limit))]
        bound = "'%s', %d" % (vector, limit) + (", %d" % chunks if "$3" in statement else "")
        found = test_postgres.psql(db, "PREPARE near AS\n%s\nEXECUTE near(%s);" % (statement, bound))
        return [(json.loads(row[0]), int(row[1]), float(row[2])) for row in found if len(row) == 3]

    def same(self, got, hits):
        self.assertEqual(len(got), len(hits))
        for (key, chunk, similarity), hit in zip(got, hits):
            self.assertAlmostEqual(similarity, hit["similarity"], 5)
        # nearly equal ones may change places, and only those
        order = lambda rows: [key for s, key in sorted(((-round(s, 4), str(key)) for key, s in rows))]
        self.assertEqual(order([(k, s) for k, _, s in got]), order([(h["key"], h["similarity"]) for h in hits]))

    def test_the_order_of_search(self):
        self.declare()
        vector = json.dumps(self.ok("embed", "--as", "query", "gut zan", "--format", "json").json[0]["embedding"])
        for kind_of_vector in ("f16", "f32"):
            for db in self.dbs:
                self.ok("fill", "--vector-type", kind_of_vector, "--db", db)
                plain = db == self.dbs[1] if len(self.dbs) > 1 else False
                for kind, index in (("exact", "exact"), ("ann", "pgvector"), ("two-stage", "two-stage")):
                    if plain or (db == "file.db" and kind != "exact"):
                        self.refused(1, "no SQL", "generation", "sql", "items", "--kind", kind, "--db", db)
                        continue
                    if kind != "exact":
                        self.ok("fill", "--vector-type", kind_of_vector, "--index", index, "--db", db)
                    statement = self.ok("generation", "sql", "items", "--kind", kind, "--db", db).out.decode()
                    self.assertTrue(statement.startswith("-- "))
                    for limit in (10, 200):
                        hits = self.ok("search", "gut zan", "--json", "--limit", limit, "--index", index, "--db", db).json["hits"] \
                            if db != "file.db" else self.ok("search", "gut zan", "--json", "--limit", limit).json["hits"]
                        self.same(self.run_sql(db, statement, vector, limit, 500), hits)
                    if kind != "exact":
                        shown = test_postgres.psql(db, "SET enable_seqscan = off; PREPARE near AS %s EXPLAIN EXECUTE near('%s', 5, 40);"
                                                   % (statement, vector))
                        self.assertIn({"ann": "graph", "two-stage": "signs"}[kind], str(shown))
        self.refused(4, "nothing", "generation", "sql", "nothing", "--db", "file.db")
        self.assertIn("json_each", self.ok("generation", "sql", "items", "--json", "--db", "file.db").json["sql"])


@unittest.skipIf(WITHOUT_POSTGRES, "built without PostgreSQL")
class Indexes(test_postgres.PostgresTest):
    """pgvector's indexes: whatever finds a hit, it is the same hit."""

    def setUp(self):
        super().setUp()
        self.sql(insert())
        self.ok("source", "add", "items", "--table", "items", "--key", "id", "--text", "{title}. {body}", "--where",
                "gone = 0", "--meta", "lang,year,price")

    def answer(self, *args):
        return self.ok("search", "gut zan", "--json", "--explain", *args).json

    def index(self, *args):
        return self.answer(*args)["explain"]["sources"][0]["index"]

    def indexes(self):
        return sorted(row[0] for row in self.sql("SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%hnsw%'"))

    def test_the_same_hits(self):
        self.ok("fill")
        self.assertEqual(self.indexes(), [])  # too few for one
        wanted = self.answer("--limit", "200", "--chunks")["hits"]
        self.assertEqual(self.index(), "exact in the server")
        for way in ("pgvector", "two-stage"):
            said = self.ok("search", "x", "--index", way, "--json", "--explain")
            self.assertIn("not been built", said.message)
            self.assertEqual(said.json["explain"]["sources"][0]["index"], "exact in the server")
            self.ok("fill", "--index", way)
            self.assertEqual(self.index("--index", way), way)
            for more in ([], ["--filter", '{"lang":"en","year":{"lt":2000}}'], ["--min-similarity", "0.2"], ["--mmr", "0.5"]):
                exact = self.answer("--limit", "200", "--index", "exact", *more)["hits"]
                self.assertEqual(self.answer("--limit", "200", "--index", way, *more)["hits"], exact)
            self.assertEqual(self.answer("--limit", "200", "--chunks", "--index", way)["hits"], wanted)
            self.assertEqual(self.answer("--limit", "9", "--index", way, "--oversample", "20")["hits"],
                             self.answer("--limit", "9", "--index", "exact")["hits"])
        self.assertEqual(self.indexes(), ["vectors_1_graph", "vectors_1_signs"])
        self.assertEqual(self.index(), "exact in the server")  # few vectors: nothing to be gained
        self.sql("UPDATE quern.generations SET chunks = 20000")
        self.assertEqual(self.index(), "pgvector")
        self.assertEqual(self.index("--index", "exact"), "exact in the server")
        self.sql("DELETE FROM items WHERE id % 7 <> 3; UPDATE items SET body = 'new' WHERE id % 5 = 1")
        left = self.answer("--limit", "50", "--index", "exact")
        self.assertEqual(self.answer("--limit", "50", "--index", "pgvector")["hits"], left["hits"])
        self.assertLess(left["explain"]["kept"], 20)

    def test_a_dry_run_counts_the_index(self):
        dry = self.ok("fill", "--dry-run", "--force", "--json", "--index", "pgvector").json
        self.assertEqual((dry["index_bytes"], dry["bytes"] > 0), (dry["bytes"], True))
        self.assertIn("as much again of an index", self.ok("fill", "--dry-run", "--force", "--index", "pgvector").out.decode())
        self.assertEqual(self.ok("fill", "--dry-run", "--force", "--json").json["index_bytes"], 0)  # too few

    def test_a_failed_build_is_noticed(self):
        self.ok("fill", "--index", "pgvector")
        self.sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'quern.vectors_1_graph'::regclass")
        self.assertIn("failed", self.ok("search", "x", "--index", "pgvector").message)
        self.ok("fill", "--index", "pgvector")
        self.assertEqual(self.index("--index", "pgvector"), "pgvector")
        self.refused(2, "index", "search", "x", "--index", "nothing")

    def test_what_has_no_index(self):
        self.ok("fill", "--vector-type", "f32", "--index", "pgvector")  # indexed as halfvec
        self.assertEqual(self.index("--index", "pgvector"), "pgvector")
        self.assertEqual(self.answer("--index", "pgvector", "--limit", "200")["hits"], self.answer("--limit", "200")["hits"])
        self.sql("CREATE DATABASE plain%d" % id(self))
        for db in ("file.db", self.db.rsplit("/", 1)[0] + "/plain%d" % id(self)):
            self.write("a.txt", "ban")
            self.ok("add", "a.txt", "--db", db)
            if db == "file.db":
                self.refused(1, "sqlite", "fill", "--index", "pgvector", "--db", db)
                self.ok("fill", "--db", db)
                self.refused(1, "sqlite", "search", "x", "--index", "two-stage", "--db", db)
            else:
                self.assertIn("bytea", self.ok("fill", "--index", "pgvector", "--db", db).message)
                self.assertIn("bytea", self.ok("search", "x", "--index", "pgvector", "--db", db).message)
            self.assertEqual(self.ok("search", "x", "--explain", "--json", "--db", db).json["explain"]["sources"][0]["index"], "exact")


if __name__ == "__main__":
    unittest.main()
