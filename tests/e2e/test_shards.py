"""Vectors on three servers beside the store's own, all of them the test's: plan, apply and status; the same hits as without;
what travels; leftovers of saves that were cut off; a shard that is killed under a fill and under searches."""
import contextlib
import glob
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

from command import BIN, LONG, ROOT, SANITIZED, WITHOUT_POSTGRES, CommandTest
from own_postgres import TOOL, psql

SEARCHERS = os.path.join(os.environ["QUERN_BUILD"], "bench/bench_searchers")
SHARDS = 3
WORDS = "ban lan gut kolor ber zan mir tol fen rask".split()


def setUpModule():
    global folders, urls
    folders = [tempfile.mkdtemp(prefix="quern-shards-") for _ in range(1 + SHARDS)]
    runs = []
    for folder in folders:
        os.chmod(folder, 0o755)
        runs.append(subprocess.Popen([TOOL, "start", folder, str(os.getpid())], stdout=subprocess.PIPE, text=True))
    urls = [run.communicate()[0].strip().rsplit("/", 1)[0] + "/" for run in runs]
    if any(run.returncode for run in runs):
        raise AssertionError("a server did not start")


def tearDownModule():
    for folder in folders:
        subprocess.run([TOOL, "stop", folder], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(folder)


def texts(n, seed=1):
    dice = random.Random(seed)
    return [" ".join(dice.choice(WORDS) for _ in range(dice.randrange(3, 12))) + " %d" % i for i in range(n)]


class ShardTest(CommandTest):
    count = 0

    def setUp(self):
        super().setUp()
        ShardTest.count += 1
        name = "db%d" % ShardTest.count
        for url in urls:
            psql(url + "postgres", "CREATE DATABASE %s" % name)
        self.db, self.shards = urls[0] + name, [url + name for url in urls[1:]]
        psql(self.db, "CREATE EXTENSION vector")

    def environment(self, **env):
        env.setdefault("QUERN_DB", self.db)
        return super().environment(**env)

    def documents(self, name, all_texts, first=0):
        self.write(name, "".join(json.dumps({"id": str(first + i), "text": t}) + "\n" for i, t in enumerate(all_texts)))
        return name

    def apply(self, *shards):
        return self.ok("shard", "apply", "--shards", ",".join(shards or self.shards))

    def on_shards(self, sql):
        return [psql(shard, sql) for shard in self.shards]

    def hits(self, *args, **how):
        return self.ok("search", "--json", *args, **how).json["hits"]

    def holder(self, key):
        """The shard that has the vectors of a document, by its URL."""
        for shard in self.shards:
            if psql(shard, "SELECT 1 FROM quern_shard.vectors_1 WHERE key = '\"%s\"'" % key):
                return shard
        raise AssertionError("no shard has " + key)


class Setup(ShardTest):
    def test_two_schemas_of_one_database(self):
        """Servers are the whole database's: each schema has its own, and goes down with nothing but those."""
        name = self.db.rsplit("/", 1)[1]
        for url in urls[1:]:
            psql(url + "postgres", "CREATE DATABASE %s_two" % name)
        self.apply()
        refused = self.refused(1, "holds the vectors of another store", "shard", "apply", "--schema", "public", "--shards", self.shards[0])
        self.assertIn("a database of its own", refused.message)
        self.ok("shard", "apply", "--schema", "public", "--shards", ",".join(shard + "_two" for shard in self.shards))
        servers = [row[0] for row in psql(self.db, "SELECT srvname FROM pg_foreign_server ORDER BY 1")]
        self.assertEqual(len(servers), 2 * SHARDS)
        self.assertEqual(sum(s.startswith("quern_shard_") for s in servers), SHARDS)
        self.documents("in.jsonl", texts(40))
        for schema in ("public", "quern"):
            self.ok("add", "in.jsonl", "--schema", schema)
            self.ok("fill", "--index", "pgvector", "--schema", schema)
            self.assertEqual(len(self.ok("shard", "status", "--json", "--schema", schema).json["shards"]), SHARDS)
        self.assertEqual(*[self.hits("ban lan", "--schema", schema) for schema in ("public", "quern")])
        self.ok("source", "remove", "documents", "--yes", "--schema", "public")
        self.ok("migrate", "--down", "0", "--yes", "--schema", "public")
        self.assertEqual(psql(self.db, "SELECT srvname FROM pg_foreign_server ORDER BY 1"), [["quern_shard_%d" % (1 + i)] for i in range(SHARDS)])
        self.assertEqual(psql(self.db, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname ~ '^quern'"), [])
        self.assertEqual(len(self.hits("ban lan")), 10)

    def test_plan_apply_status(self):
        secret = [s.replace("postgres@", "postgres:geheim'\\\\x@") for s in self.shards]
        psql(self.db, "ALTER SYSTEM SET log_statement = 'all'")
        psql(self.db, "SELECT pg_reload_conf()")
        plan = self.ok("shard", "plan", "--shards", ",".join(secret)).out.decode()
        self.assertIn("CREATE SERVER quern_shard_3", plan)
        self.assertEqual(psql(self.db, "SELECT count(*) FROM pg_foreign_server"), [["0"]])
        self.assertEqual(self.on_shards("SELECT count(*) FROM pg_namespace WHERE nspname = 'quern_shard'"), [[["0"]]] * SHARDS)
        done = self.ok("shard", "apply", "--shards", ",".join(secret), "--log-level", "debug")
        self.assertEqual(done.out.decode(), plan)
        with open(os.path.join(folders[0], "log")) as log:
            for said in (plan, done.message, log.read()):
                self.assertNotIn("geheim", said)
        self.assertIn("password '***'", plan)
        self.assertEqual(psql(self.db, "SELECT count(*) FROM pg_user_mappings WHERE array_to_string(umoptions, ' ') LIKE '%geheim''\\\\\\\\x%'"), [["3"]])
        again = self.ok("shard", "apply", "--json", "--shards", ",".join(secret)).json
        self.assertEqual(again, {"steps": [], "applied": True})
        shards = self.ok("shard", "status", "--json").json["shards"]
        self.assertEqual([(s["shard"], s["used"], s["reachable"], s["vectors"]) for s in shards],
                         [(1, True, True, 0), (2, True, True, 0), (3, True, True, 0)])
        # one fewer: nothing is taken away, new generations do not use it
        steps = self.ok("shard", "apply", "--json", "--shards", ",".join(secret[:2])).json["steps"]
        self.assertEqual(len(steps), 1)
        self.assertEqual([s["used"] for s in self.ok("shard", "status", "--json").json["shards"]], [True, True, False])
        # a server's new password
        steps = self.ok("shard", "apply", "--json", "--shards", ",".join(secret[:1] + self.shards[1:2])).json["steps"]
        self.assertTrue(any("password_required" in s["sql"] for s in steps), steps)

    def test_refusals(self):
        self.refused(1, "same database", "shard", "plan", "--shards", self.shards[0] + "," + self.shards[0].replace("127.0.0.1", "localhost"))
        self.refused(1, "127.0.0.1:1/x", "shard", "plan", "--shards", "postgres://a:geheim@127.0.0.1:1/x")
        self.refused(2, "--shards", "shard", "apply")
        self.refused(2, "no postgres:// URL", "shard", "plan", "--shards", "shard.db")
        self.refused(2, "option 'target_session_attrs'", "shard", "plan", "--shards", self.shards[0] + "?target_session_attrs=any")
        self.refused(1, "PostgreSQL's", "shard", "plan", "--db", "file.db", "--shards", self.shards[0])
        self.assertFalse(os.path.exists(os.path.join(self.cwd, "file.db")))
        self.apply()
        other = self.db + "_other"
        psql(self.db, "CREATE DATABASE %s" % other.rsplit("/", 1)[1])
        psql(other, "CREATE EXTENSION vector")
        self.refused(1, "another store", "shard", "apply", "--db", other, "--shards", self.shards[0])

    def test_cut_off_and_moved(self):
        """The shards are ready, the store does not know them yet; then one goes by another name."""
        self.apply()
        psql(self.db, "DROP EXTENSION postgres_fdw CASCADE")
        psql(self.db, "DELETE FROM quern.shards")
        self.apply()
        moved = [self.shards[2].replace("127.0.0.1", "localhost"), self.shards[0], self.shards[1]]
        self.apply(*moved)
        places = [s["place"] for s in self.ok("shard", "status", "--json").json["shards"]]
        self.assertEqual([p.split(":")[0] for p in places], ["127.0.0.1", "127.0.0.1", "localhost"])
        self.ok("add", self.documents("in.jsonl", texts(30)))
        self.ok("fill")
        self.assertEqual(len(self.hits("ban")), 10)


class Search(ShardTest):
    def test_the_same_hits(self):
        """Those of before keep their place; a new generation lies on the shards; SQLite says the same."""
        self.documents("in.jsonl", texts(400))
        self.ok("add", "in.jsonl")
        self.ok("fill")
        before = self.hits("ban kolor", "--limit", "400")
        self.apply()
        self.assertEqual(self.hits("ban kolor", "--limit", "400"), before)
        self.assertEqual(psql(self.db, "SELECT shards FROM quern.generations"), [["0"]])
        self.ok("source", "remove", "documents", "--yes")
        self.ok("add", "in.jsonl")
        self.ok("fill", "--index", "pgvector")
        self.ok("fill", "--index", "two-stage")
        self.assertEqual(psql(self.db, "SELECT shards FROM quern.generations"), [["3"]])
        for way in ("exact", "pgvector", "two-stage"):
            self.assertEqual(self.hits("ban kolor", "--limit", "400", "--index", way), before, way)
            few = self.hits("gut lan", "--limit", "7", "--index", way, "--explain")
            self.assertEqual([h["key"] for h in few], [h["key"] for h in self.hits("gut lan", "--limit", "7", "--db", self.db)])
        per_shard = [int(rows[0][0]) for rows in self.on_shards("SELECT count(*) FROM quern_shard.vectors_2")]
        self.assertEqual(sum(per_shard), 400)
        self.assertTrue(all(n > 60 for n in per_shard), per_shard)
        self.assertEqual([s["vectors"] for s in self.ok("shard", "status", "--json").json["shards"]], per_shard)
        ids = [row[0] for rows in self.on_shards("SELECT id FROM quern_shard.vectors_2") for row in rows]
        self.assertEqual(len(set(ids)), 400)
        self.assertEqual(self.on_shards("SELECT count(*) FROM pg_index i WHERE indexrelid::regclass::text LIKE '%graph' AND indisvalid"),
                         [[["1"]]] * SHARDS)
        self.assertEqual(self.ok("verify", "--all", "--json").json["equal"], 400)
        self.ok("source", "remove", "documents", "--yes")
        self.assertEqual(self.on_shards("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'vectors%'"), [[["0"]]] * SHARDS)
        self.assertEqual(psql(self.db, "SELECT relname FROM pg_class WHERE relname LIKE 'vectors%'"), [])

    def test_an_import_and_documents_without_text(self):
        """Vectors of a store without shards, taken in onto them; then the texts go, and what is on the shards stays."""
        self.documents("in.jsonl", texts(200))
        lone = self.db
        self.ok("add", "in.jsonl", "--db", "lone.db")
        self.ok("fill", "--db", "lone.db")
        self.ok("export", "out", "--source", "documents", "--db", "lone.db")
        hits = self.hits("ban kolor", "--limit", "200", "--db", "lone.db")
        self.apply()
        self.ok("add", "in.jsonl", "--keep-text", "no")
        self.assertEqual(self.ok("import", "out", "--json").json["imported"], 200)
        self.assertEqual(psql(lone, "SELECT shards FROM quern.generations"), [["3"]])
        self.assertEqual(sum(int(rows[0][0]) for rows in self.on_shards("SELECT count(*) FROM quern_shard.vectors_1")), 200)
        self.assertEqual(psql(lone, "SELECT count(*) FROM quern.documents WHERE fields LIKE '%text%'"), [["0"]])
        found = self.hits("ban kolor", "--limit", "200")
        self.assertEqual([(h["key"], h["score"]) for h in found], [(h["key"], h["score"]) for h in hits])
        self.ok("add", "in.jsonl")  # the texts are back, to be looked at
        self.assertEqual(self.ok("verify", "--all", "--json").json["equal"], 200)
        self.assertEqual(self.ok("fill", "--json").json["skipped"], 200)
        self.assertEqual(self.ok("verify", "--json").json["no_text"], 100)

    def test_what_travels(self):
        """Seen by the server's own account of the statements that ran: order and limit reach every shard, all at once."""
        self.apply()
        self.ok("add", self.documents("in.jsonl", texts(300)))
        self.ok("fill", "--index", "pgvector")
        self.ok("fill", "--index", "two-stage")
        told = ("?options=-csession_preload_libraries%3Dauto_explain%20-cauto_explain.log_min_duration%3D0"
                "%20-cauto_explain.log_verbose%3D1%20-cauto_explain.log_analyze%3D1")
        for way, operator in (("exact", "<#>"), ("pgvector", "<=>"), ("two-stage", "<~>")):
            log = os.path.join(folders[0], "log")
            at = os.path.getsize(log)
            self.assertEqual(len(self.hits("ban kolor", "--limit", "3", "--index", way, "--oversample", "1", "--db", self.db + told)), 3)
            with open(log) as file:
                file.seek(at)
                lines = file.read().splitlines()
            begin = next(i for i, line in enumerate(lines) if "Query Text: WITH best AS MATERIALIZED" in line)
            end = next((i for i in range(begin, len(lines)) if " LOG:  " in lines[i]), len(lines))
            plan = lines[begin + 1:end]
            remote = [line for line in plan if "Remote SQL: " in line and " FROM quern_shard.vectors_" in line][:SHARDS]
            scans = [line for line in plan if "Async Foreign Scan on quern.vectors_" in line]
            self.assertEqual((len(remote), len(scans)), (SHARDS, SHARDS), "\n".join(plan)[:4000])
            for line in remote:
                self.assertIn("ORDER BY", line)
                self.assertIn("OPERATOR(public.%s)" % operator, line)
                self.assertRegex(line, r" LIMIT [0-9]+::bigint$")
            for line in scans:
                rows = int(line.split("actual time=")[1].split("rows=")[1].split()[0])
                self.assertLess(rows, 80, line)
            # whatever else is asked of the shards names its keys or ids
            for line in lines:
                if "Remote SQL: SELECT" in line and "quern_shard.vectors_" in line:
                    self.assertTrue("LIMIT" in line or "WHERE" in line, line)


class Leftovers(ShardTest):
    def setUp(self):
        super().setUp()
        self.apply()
        self.texts = texts(60)
        self.ok("add", self.documents("in.jsonl", self.texts))
        self.ok("fill")

    def keys(self, query, limit=5):
        return [h["key"] for h in self.hits(query, "--limit", str(limit))]

    def test_an_edit_that_is_taken_back(self):
        """The shard has committed a save whose stamp never was: the old stamp is current, the vectors are not its."""
        self.assertEqual(self.keys(self.texts[7])[0], "7")
        at = self.holder("7")
        other = psql(at, "SELECT key FROM quern_shard.vectors_1 WHERE key <> '\"7\"' LIMIT 1")[0][0]
        psql(at, "UPDATE quern_shard.vectors_1 SET save = save + 1, embedding = (SELECT embedding FROM quern_shard.vectors_1"
                 " WHERE key = '%s') WHERE key = '\"7\"'" % other)
        for way in ("exact", "two-stage", "auto"):
            for query in (self.texts[7], self.texts[int(json.loads(other))]):
                found = self.hits(query, "--limit", "60", "--index", way)
                self.assertNotIn("7", [h["key"] for h in found])
                self.assertEqual(len(found), 59)
        verify = self.quern("verify", "--all", "--json").json
        self.assertEqual((verify["different"], verify["missing_vectors"]), (0, 1))
        report = self.ok("fill", "--json").json
        self.assertEqual(report["processed"], 1)
        self.assertEqual(self.keys(self.texts[7])[0], "7")
        self.assertEqual(self.ok("verify", "--all", "--json").json["equal"], 60)
        self.assertEqual(sum(int(r[0][0]) for r in self.on_shards("SELECT count(*) FROM quern_shard.vectors_1")), 60)

    def test_a_stamp_that_moved_on(self):
        psql(self.db, "UPDATE quern.stamps SET save = save + 1 WHERE key = '\"9\"'")
        self.assertNotIn("9", self.keys(self.texts[9], 60))
        self.assertEqual(self.ok("fill", "--json").json["processed"], 1)
        self.assertEqual(self.keys(self.texts[9])[0], "9")

    def test_many_leftovers_hide_nothing(self):
        """They stand nearest of all, more than are asked for, some of keys that have no stamp; the next fill removes them."""
        for shard in self.shards:
            psql(shard, "INSERT INTO quern_shard.vectors_1 (id, key, chunk, byte_start, byte_end, char_start, char_end, embedding, save)"
                        " SELECT 900000000000000 + n, CASE WHEN n % 2 = 0 THEN key ELSE '\"none' || n || '\"' END, 0, 0, 1, 0, 1,"
                        " embedding, n FROM (SELECT * FROM quern_shard.vectors_1 ORDER BY id LIMIT 1) v, generate_series(1, 150) n")
        self.assertEqual([len(r) for r in self.on_shards("SELECT 1 FROM quern_shard.vectors_1 WHERE save <= 150")], [150] * SHARDS)
        for query in [self.texts[i] for i in (0, 20, 40)]:
            for way in ("exact", "pgvector", "two-stage"):
                found = [h["key"] for h in self.hits(query, "--limit", "5", "--index", way)]
                self.assertEqual(len(found), 5)
                self.assertEqual(found[0], str(self.texts.index(query)))
        self.assertEqual(self.ok("verify", "--all", "--json").json["equal"], 60)
        status = self.ok("status", "--json").json
        self.assertEqual((status["done"], status["chunks"]), (60, 60))
        self.assertEqual(self.ok("fill", "--json").json["processed"], 0)
        self.assertEqual(sum(int(r[0][0]) for r in self.on_shards("SELECT count(*) FROM quern_shard.vectors_1")), 60)
        self.assertEqual(self.ok("verify", "--all", "--json").json["equal"], 60)

    def test_edited_and_removed(self):
        self.ok("add", self.documents("more.jsonl", ["gut gut gut edited"], 3))
        self.assertNotIn("3", self.keys(self.texts[3], 60))
        self.assertEqual(self.ok("fill", "--json").json["processed"], 1)
        self.assertEqual(self.keys("gut gut gut edited")[0], "3")
        psql(self.db, "DELETE FROM quern.documents WHERE id = '4'")
        self.assertEqual(self.ok("fill", "--json").json["deleted"], 1)
        self.assertEqual(psql(self.db, "SELECT chunks FROM quern.generations"), [["59"]])
        self.assertEqual(sum(int(r[0][0]) for r in self.on_shards("SELECT count(*) FROM quern_shard.vectors_1")), 59)


class Stamps(ShardTest):
    """Stamps lie beside the vectors: what a shard forgets, it forgets both of."""

    def setUp(self):
        super().setUp()
        for url in urls:  # what was committed is there after a kill
            psql(url + "postgres", "ALTER SYSTEM SET synchronous_commit = on")
            psql(url + "postgres", "SELECT pg_reload_conf()")

    def stamps(self, columns="key"):
        return sorted(tuple(row) for rows in self.on_shards("SELECT %s FROM quern_shard.stamps_1" % columns) for row in rows)

    def current(self):
        """Every vector and every stamp there is one of the store's, on the same shard."""
        self.assertEqual(self.stamps("key, save"), sorted(tuple(r) for r in psql(self.db, "SELECT key, save FROM quern.stamps")))
        stray = "SELECT key FROM quern_shard.vectors_1 v WHERE NOT EXISTS (SELECT 1 FROM quern_shard.stamps_1 s WHERE s.key = v.key AND s.save = v.save)"
        self.assertEqual(self.on_shards(stray), [[]] * SHARDS)
        said = self.ok("verify", "--all", "--json").json
        self.assertEqual((said["different"], said["orphans"], said["missing_vectors"], said["stale"]), (0, 0, 0, 0))

    def keep_copy(self, victim):
        psql(self.shards[victim], "CHECKPOINT")
        subprocess.run([TOOL, "stop", folders[1 + victim]], check=True)
        subprocess.run(["cp", "-a", "data", "kept"], check=True, cwd=folders[1 + victim])
        subprocess.run([TOOL, "restart", folders[1 + victim]], check=True, stderr=subprocess.DEVNULL)

    def put_back(self, victim):
        subprocess.run([TOOL, "stop", folders[1 + victim]], check=True)
        shutil.rmtree(os.path.join(folders[1 + victim], "data"))
        subprocess.run(["mv", "kept", "data"], check=True, cwd=folders[1 + victim])
        subprocess.run([TOOL, "restart", folders[1 + victim]], check=True, stderr=subprocess.DEVNULL)

    def test_a_shard_of_yesterday(self):
        """It comes back with the vectors and the stamps of then: found by the next scan, nothing stale meanwhile."""
        self.apply()
        self.ok("source", "add", "documents", "--text-search", "yes")
        self.ok("add", self.documents("in.jsonl", texts(240)))
        self.ok("fill", "--index", "pgvector")
        victim = random.randrange(SHARDS)
        print("restoring shard %d" % (victim + 1))
        self.keep_copy(victim)
        self.ok("add", self.documents("edit.jsonl", ["gut gut edited %d" % i for i in range(50)]))
        psql(self.db, "DELETE FROM quern.documents WHERE id IN (SELECT n::text FROM generate_series(50, 79) n)")
        self.ok("add", self.documents("new.jsonl", texts(60, 5), 240))
        self.ok("fill")
        self.current()
        n, ways = 270, ("exact", "pgvector", "auto")
        after = self.hits("gut gut edited", "--limit", "400")
        self.assertEqual(len(after), n)
        there = {json.loads(row[0]) for row in psql(self.shards[victim], "SELECT key FROM quern_shard.vectors_1")}
        lost = {key for key in there if int(key) < 50 or int(key) >= 240}
        self.assertTrue(10 < len(lost) < 100)
        self.put_back(victim)
        for way in ways:
            found = self.hits("gut gut edited", "--limit", "400", "--index", way)
            self.assertEqual(found, [hit for hit in after if hit["key"] not in lost], way)
        status = self.ok("status", "--json").json
        self.assertEqual((status["total"], status["done"], status["stale"], status["pending"]), (n, n - len(lost), 0, len(lost)))
        listed = self.ok("status", "--list", "pending", "--limit", "400", "--json").json
        self.assertEqual({d["key"] for d in listed["documents"]}, lost)
        verify = self.quern("verify", "--all", "--json")
        self.assertEqual((verify.code, verify.json["different"], verify.json["missing_vectors"]), (1, 0, len(lost)))
        report = self.ok("fill", "--json").json
        self.assertEqual((report["processed"], report["deleted"]), (len(lost), 0))
        for way in ways:
            self.assertEqual(self.hits("gut gut edited", "--limit", "400", "--index", way), after, way)
        self.current()

    def test_each_order_of_a_crash(self):
        """The shard has the save and the store not; the store and not the shard; neither is a stamp, nor a hit."""
        self.apply()
        self.ok("add", self.documents("in.jsonl", texts(60)))
        self.ok("fill")
        before = self.hits("ban kolor", "--limit", "60")
        line = psql(self.db, "SELECT save, updated_ms FROM quern.stamps WHERE key = '\"9\"'")[0]
        self.ok("requeue", "--source", "documents", "--key", "9")
        self.ok("fill")
        psql(self.db, "UPDATE quern.stamps SET save = %s, updated_ms = %s, redo = false WHERE key = '\"9\"'" % tuple(line))  # its commit is gone
        self.assertEqual([h for h in before if h["key"] != "9"], self.hits("ban kolor", "--limit", "60"))
        self.assertEqual(self.ok("status", "--json").json["pending"], 1)
        self.assertEqual(self.ok("fill", "--json").json["processed"], 1)
        self.assertEqual(self.hits("ban kolor", "--limit", "60"), before)
        self.current()
        # of a document that is new to the store: vectors and stamp that nobody knows
        psql(self.db, "DELETE FROM quern.stamps WHERE key = '\"9\"'")
        psql(self.db, "DELETE FROM quern.documents WHERE id = '9'")
        self.ok("fill")
        self.assertEqual(len(self.stamps()), 59)
        self.assertEqual(sum(int(r[0][0]) for r in self.on_shards("SELECT count(*) FROM quern_shard.vectors_1")), 59)
        self.current()
        # the shard's commit is gone: an older stamp, an older vector
        at = self.holder("8")
        for table in ("vectors", "stamps"):
            psql(at, "UPDATE quern_shard.%s_1 SET save = 12345 WHERE key = '\"8\"'" % table)
        self.assertNotIn("8", [h["key"] for h in self.hits("ban kolor", "--limit", "60")])
        self.assertEqual(self.ok("fill", "--json").json["processed"], 1)
        self.current()

    def test_a_revision_that_moves_on(self):
        """Stamp columns under a trigger that counts: a shard that commits, and a store that does not, move nothing."""
        def fill(**expected):
            said = self.ok("fill", "--json", *model).json
            self.assertEqual({k: said[k] for k in expected}, expected, said)

        model = ("--source", "items")
        psql(self.db, "CREATE TABLE items (id integer PRIMARY KEY, body text, rev integer DEFAULT 1, at text);"
                      " INSERT INTO items (id, body) SELECT n, 'ban ' || n FROM generate_series(0, 19) n;"
                      "CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.rev := OLD.rev + 1; RETURN NEW; END $$;"
                      "CREATE TRIGGER bump BEFORE UPDATE ON items FOR EACH ROW EXECUTE FUNCTION bump()")
        self.apply()
        self.ok("source", "add", "items", "--table", "items", "--key", "id", "--text", "{body}", "--revision", "rev")
        fill(processed=20)
        there = self.stamps("key, save, revision")
        self.ok("source", "set", "items", "--stamp-columns", "generated_at=at")
        was = psql(self.db, "SELECT key, revision FROM quern.stamps ORDER BY key")
        fill(processed=0)
        self.assertEqual(psql(self.db, "SELECT DISTINCT rev FROM items"), [["2"]])
        self.assertEqual(psql(self.db, "SELECT DISTINCT revision FROM quern.stamps"), [["2"]])
        self.assertEqual(self.stamps("key, save, revision"), there)  # nothing is said anew under an old number
        self.assertEqual(len(self.hits("ban", "--limit", "50")), 20)
        # the store's commit is gone, its row's too; then the row is edited and comes to the same revision
        psql(self.db, "ALTER TABLE items DISABLE TRIGGER bump; UPDATE items SET rev = 1, at = NULL; ALTER TABLE items ENABLE TRIGGER bump")
        for key, revision in was:
            psql(self.db, "UPDATE quern.stamps SET revision = '%s' WHERE key = '%s'" % (revision, key))
        self.assertEqual(len(self.hits("ban", "--limit", "50")), 20)
        psql(self.db, "UPDATE items SET body = 'gut kolor' WHERE id = 7")
        self.assertEqual(psql(self.db, "SELECT rev FROM items WHERE id = 7"), [["2"]])
        self.assertNotIn(7, [h["key"] for h in self.hits("ban", "--limit", "50")])
        fill(processed=1)
        self.assertEqual(self.hits("gut kolor")[0]["key"], 7)
        # it moves a second and a third time, in both of the source's generations
        self.ok("generation", "build", "--source", "items", "--max-chunks", "3")
        for _ in range(2):
            psql(self.db, "ALTER TABLE items DISABLE TRIGGER bump; UPDATE items SET at = NULL; ALTER TABLE items ENABLE TRIGGER bump")
            fill(processed=0)
            fill(processed=0)
            for g in self.ok("generation", "list", "--json").json["generations"]:
                self.assertEqual((g["done"], g["pending"], g["total"]), (20, 0, 20), g)
        self.assertEqual(self.ok("verify", "--all", "--source", "items", "--json").json["equal"], 20)
        revision = dict(psql(self.db, "SELECT id, rev FROM items"))
        self.ok("migrate", "--down", "14", "--yes")  # what has moved on is what comes back
        for key, stamped in psql(self.db, "SELECT key, revision FROM quern.stamps"):
            self.assertEqual(stamped, revision[key])
        self.ok("migrate")
        fill(processed=0)

    def test_those_of_before(self):
        """Down a version the stamps are the store's; up again they stay there till an apply moves them, and says so."""
        self.apply()
        self.documents("in.jsonl", texts(90))
        self.ok("add", "in.jsonl")
        self.write("empty.jsonl", json.dumps({"id": "blank", "text": " "}) + "\n")
        self.ok("add", "empty.jsonl")
        self.ok("fill")
        before, stamped = self.hits("ban kolor", "--limit", "90"), self.stamps("key, save, outcome, revision, reason, chunks, dropped_bytes, created_ms, updated_ms")
        self.assertEqual(psql(self.db, "SELECT count(*) FROM quern.stamps WHERE revision <> ''"), [["0"]])
        self.assertTrue(all(row[3] for row in stamped))
        beside = int(os.path.basename(glob.glob(os.path.join(ROOT, "src/store/postgres/migrations/*_beside.up.sql"))[0])[:4])
        at = self.holder("7")
        psql(at, "DELETE FROM quern_shard.stamps_1 WHERE key = '\"7\"'")  # lost: not to come back as one
        self.ok("migrate", "--down", str(beside - 1), "--yes")
        self.assertEqual(psql(self.db, "SELECT count(*) FROM pg_class WHERE relname LIKE 'stamps_1%'"), [["0"]])
        left = self.stamps("key, save, updated_ms")
        self.assertEqual(len(left), 90)  # theirs stay: a shard commits before the store does
        old = sorted(tuple(r) for r in psql(self.db, "SELECT key, save, outcome, revision, reason, chunks, dropped_bytes, created_ms, updated_ms FROM quern.stamps"))
        self.assertEqual(old, [row for row in stamped if row[0] != '"7"'])
        self.ok("migrate")
        self.assertEqual(self.ok("fill", "--json").json["processed"], 1)
        self.assertEqual(self.hits("ban kolor", "--limit", "90"), before)
        self.ok("add", self.documents("edit.jsonl", ["gut gut edited"], 3))
        self.assertEqual(self.ok("fill", "--json").json["processed"], 1)  # as ever
        self.assertEqual(self.stamps("key, save, updated_ms"), left)
        before = self.hits("ban kolor", "--limit", "90")
        some = self.ok("shard", "apply", "--json", "--shards", ",".join(self.shards[:2])).json["steps"]  # not all of its servers
        self.assertFalse([s for s in some if "stamps" in s["sql"]])
        plan = self.ok("shard", "plan", "--shards", ",".join(self.shards)).out.decode()
        self.assertIn("the stamps of generation 1 go beside its vectors", plan)
        self.assertEqual(self.apply().out.decode(), plan)
        self.assertEqual(self.ok("shard", "apply", "--json", "--shards", ",".join(self.shards)).json["steps"], [])
        self.assertEqual(psql(self.db, "SELECT count(*) FROM quern.stamps WHERE revision <> ''"), [["0"]])
        self.assertEqual(self.ok("fill", "--json").json["processed"], 0)
        self.assertEqual(self.hits("ban kolor", "--limit", "90"), before)
        self.current()

    def test_a_shard_from_before_its_stamps(self):
        self.apply()
        self.ok("add", self.documents("in.jsonl", texts(60)))
        self.ok("fill")
        before = self.hits("ban kolor", "--limit", "60")
        lost = int(psql(self.shards[1], "SELECT count(*) FROM quern_shard.stamps_1; DROP TABLE quern_shard.stamps_1")[0][0])
        self.assertTrue(0 < lost < 60)
        self.refused(1, "shard 2 (", "fill")
        steps = self.ok("shard", "apply", "--json", "--shards", ",".join(self.shards)).json["steps"]
        self.assertEqual([s["sql"].split(" (")[0] for s in steps], ["CREATE TABLE IF NOT EXISTS quern_shard.stamps_1"])
        self.assertEqual(self.ok("fill", "--json").json["processed"], lost)
        self.assertEqual(self.hits("ban kolor", "--limit", "60"), before)
        self.current()
        self.assertEqual(self.ok("shard", "apply", "--json", "--shards", ",".join(self.shards)).json["steps"], [])

    def test_a_shard_from_before_its_generation(self):
        """Restored from before its tables came, and from before it was a shard: nobody takes that for no vectors."""
        where = "127.0.0.1:%s" % self.shards[1].split(":")[-1]
        self.keep_copy(1)
        self.apply()
        self.ok("source", "add", "documents", "--text-search", "yes")
        self.ok("add", self.documents("in.jsonl", texts(90)))
        self.ok("fill", "--index", "pgvector")
        before = self.hits("ban kolor", "--limit", "90")
        lost = {json.loads(row[0]) for row in psql(self.shards[1], "SELECT key FROM quern_shard.vectors_1")}
        self.assertTrue(10 < len(lost) < 80)

        def apply():
            return [s["sql"].split(" (")[0].split(";")[0] for s in self.ok("shard", "apply", "--json", "--shards", ",".join(self.shards)).json["steps"]]

        def mended(steps):
            self.refused(1, "shard 2 (%s) lacks quern_shard." % where, "fill")
            self.assertEqual((apply(), apply()), (steps, []))
            listed = self.ok("status", "--list", "pending", "--limit", "90", "--json").json
            self.assertEqual({d["key"] for d in listed["documents"]}, lost)
            self.assertEqual(self.hits("ban kolor", "--limit", "90"), [hit for hit in before if hit["key"] not in lost])
            self.assertEqual(self.ok("fill", "--index", "pgvector", "--json").json["processed"], len(lost))
            for way in ("exact", "pgvector"):
                self.assertEqual(self.hits("ban kolor", "--limit", "90", "--index", way), before, way)

        tables = ["CREATE TABLE IF NOT EXISTS quern_shard.%s_1" % name for name in ("vectors", "stamps")]
        psql(self.shards[1], "DROP TABLE quern_shard.vectors_1, quern_shard.stamps_1")
        for command in (("search", "ban", "--mode", "text"), ("similar", "3"), ("verify",), ("export", "out", "--source", "documents")):
            said = self.quern(*command, "--json")
            self.assertEqual((said.code, said.error["code"]), (1, "shard_incomplete"), said.message)
        part = self.ok("search", "ban kolor", "--limit", "90", "--partial", "--json").json
        self.assertEqual((part["partial"], part["hits"]), (True, [hit for hit in before if hit["key"] not in lost]))
        self.assertIn("lacks quern_shard.", self.ok("status", "--json").json["sources"][0]["note"])
        self.assertEqual(len(self.ok("generation", "list", "--json").json["generations"]), 1)
        status = self.quern("shard", "status", "--json")
        self.assertEqual((status.code, [bool(s["why"]) for s in status.json["shards"]]), (1, [False, True, False]))
        mended(tables)
        self.put_back(1)
        mended(["CREATE EXTENSION vector WITH SCHEMA \"public\"", "-- nothing is left here of what was\nCREATE SCHEMA quern_shard"] + tables)
        self.assertEqual([s["shard"] for s in self.ok("shard", "status", "--json").json["shards"]], [1, 2, 3])
        self.current()
        # a copy that says it is a shard that is named, too
        copy = self.shards[1] + "_copy"
        psql(urls[2] + "postgres", "CREATE DATABASE %s TEMPLATE %s" % (copy.rsplit("/", 1)[1], self.shards[1].rsplit("/", 1)[1]))
        self.refused(1, "both say that they are shard 2", "shard", "plan", "--shards", ",".join(self.shards + [copy]))

    def test_two_who_apply(self):
        """Both have planned to move the stamps; the second does not fill the shards from lines that are empty by then."""
        self.apply()
        self.ok("add", self.documents("in.jsonl", texts(30)))
        self.ok("fill")
        self.ok("migrate", "--down", "14", "--yes")
        self.ok("migrate")
        lock = subprocess.Popen([TOOL, "psql", self.db], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self.addCleanup(lock.communicate)
        lock.stdin.write("BEGIN; SELECT id FROM quern.generations FOR UPDATE;\n")
        lock.stdin.flush()
        waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query ~ 'generations'"
        while not psql(self.db, waiting + " AND state = 'idle in transaction'"):
            time.sleep(0.02)
        two = [subprocess.Popen([BIN, "shard", "apply", "--shards", ",".join(self.shards)], cwd=self.cwd, env=self.environment(),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        began = time.monotonic()
        while len(psql(self.db, waiting + " AND wait_event_type = 'Lock'")) < 2:
            self.assertLess(time.monotonic() - began, 20)
            time.sleep(0.02)
        lock.stdin.write("ROLLBACK;\n")
        lock.stdin.close()
        lock.wait()
        said = [one.communicate(timeout=60)[1] for one in two]
        self.assertEqual(sorted(one.returncode != 0 for one in two), [False, True], said)
        self.assertIn("generation 1 has been moved or has gone meanwhile; run apply again", "".join(said))
        self.assertEqual(self.ok("shard", "apply", "--json", "--shards", ",".join(self.shards)).json["steps"], [])
        self.assertEqual(self.ok("fill", "--json").json["processed"], 0)
        self.current()

    def test_what_a_scan_asks(self):
        """A page of rows is one statement a shard, whatever the page has."""
        self.apply()
        self.ok("add", self.documents("in.jsonl", texts(600)))
        self.ok("fill")
        for url in urls[1:]:
            psql(url + "postgres", "ALTER SYSTEM SET log_statement = 'all'")
            psql(url + "postgres", "SELECT pg_reload_conf()")
        at = [os.path.getsize(os.path.join(folder, "log")) for folder in folders[1:]]
        self.assertEqual(self.ok("fill", "--json").json["skipped"], 600)
        for folder, before in zip(folders[1:], at):
            with open(os.path.join(folder, "log")) as log:
                log.seek(before)
                asked = [line for line in log if "quern_shard.stamps_1" in line and "DECLARE" in line]
            self.assertLess(len(asked), 12, "".join(asked)[:3000])
            self.assertTrue(all("WHERE" in line or "count(*)" in line for line in asked), "".join(asked)[:3000])
        for url in urls[1:]:
            psql(url + "postgres", "ALTER SYSTEM RESET log_statement")
            psql(url + "postgres", "SELECT pg_reload_conf()")


class Partial(ShardTest):
    def test_without_a_server(self):
        """Exactly what lies on the others, in the order it has with all; and only where it is asked for."""
        self.apply()
        self.ok("source", "add", "documents", "--text-search", "yes")
        self.ok("add", self.documents("in.jsonl", texts(300)))
        self.ok("fill", "--index", "pgvector")
        self.ok("fill", "--index", "two-stage")
        all_hits = {mode: self.hits("ban kolor", "--limit", "300", "--mode", mode) for mode in ("vector", "hybrid", "text")}
        lost = {row[0] for row in psql(self.shards[1], "SELECT trim(both '\"' from key) FROM quern_shard.vectors_1")}
        self.assertTrue(50 < len(lost) < 250)
        here = next(h["key"] for h in all_hits["vector"] if h["key"] not in lost)
        whole = self.ok("search", "ban kolor", "--partial", "--json").json
        self.assertEqual((whole["partial"], whole["hits"]), (False, all_hits["vector"][:10]))
        subprocess.run([TOOL, "stop", folders[2]], check=True)
        try:
            self.refused(1, "shard 2 (", "search", "ban kolor")
            for way in ("exact", "pgvector", "two-stage", "auto"):
                part = self.ok("search", "ban kolor", "--partial", "--limit", "300", "--index", way, "--json")
                self.assertEqual(part.json["partial"], True)
                self.assertEqual(part.json["hits"], [h for h in all_hits["vector"] if h["key"] not in lost], way)
            part = self.ok("search", "ban kolor", "--partial", "--limit", "300", "--mode", "text", "--json").json
            self.assertEqual([h["key"] for h in part["hits"]], [h["key"] for h in all_hits["text"] if h["key"] not in lost])
            part = self.ok("search", "ban kolor", "--partial", "--limit", "300", "--mode", "hybrid", "--json").json
            self.assertEqual({h["key"] for h in part["hits"]}, {h["key"] for h in all_hits["hybrid"]} - lost)
            said = self.ok("search", "ban kolor", "--partial").message
            self.assertIn("partial: 1 of the servers did not answer", said)
            near = self.ok("similar", here, "--partial", "--json").json
            self.assertEqual((near["partial"], [h for h in near["hits"] if h["key"] in lost]), (True, []))
            self.refused(1, "shard 2 (", "similar", sorted(lost)[0], "--partial")
            self.refused(1, "shard 2 (", "fill", "--force")
        finally:
            subprocess.run([TOOL, "restart", folders[2]], check=True, stderr=subprocess.DEVNULL)
        again = self.ok("search", "ban kolor", "--partial", "--limit", "300", "--json").json
        self.assertEqual((again["partial"], again["hits"]), (False, all_hits["vector"]))

    def test_a_shard_that_lacks_another_generation(self):
        """Restored from before one that is being built: it has all that a search of the active one asks for."""
        self.apply()
        self.ok("add", self.documents("in.jsonl", texts(60)))
        self.ok("fill")
        all_hits = self.hits("ban kolor", "--limit", "60")
        lost = {row[0] for row in psql(self.shards[1], "SELECT trim(both '\"' from key) FROM quern_shard.vectors_1")}
        self.assertTrue(0 < len(lost) < 60)
        built = self.ok("generation", "build", "--source", "documents", "--max-chunks", "2", "--json").json["generation"]
        psql(self.shards[0], "DROP TABLE quern_shard.vectors_%d, quern_shard.stamps_%d" % (built, built))
        self.assertIn("lacks quern_shard.", self.quern("shard", "status", "--json").json["shards"][0]["why"])
        subprocess.run([TOOL, "stop", folders[2]], check=True)
        try:
            part = self.ok("search", "ban kolor", "--partial", "--limit", "60", "--json")
            self.assertIn("partial: 1 of the servers did not answer", self.ok("search", "ban kolor", "--partial").message)
        finally:
            subprocess.run([TOOL, "restart", folders[2]], check=True, stderr=subprocess.DEVNULL)
        self.assertEqual(part.json["hits"], [h for h in all_hits if h["key"] not in lost])


class Hanging(ShardTest):
    """Servers that take what they are sent and say nothing; nobody closes a connection."""

    def setUp(self):
        super().setUp()
        self.shards = [shard + "?connect_timeout=2" for shard in self.shards]
        self.apply()
        self.ok("add", self.documents("in.jsonl", texts(60)))
        self.ok("fill", "--index", "pgvector")
        self.all_hits = self.hits("ban kolor")

    def processes(self):
        """The first of shard 2's is the one that takes connections."""
        with open(os.path.join(folders[2], "data", "postmaster.pid")) as f:
            first = int(f.readline())
        backends = psql(urls[2] + "postgres", "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        return [first] + [int(row[0]) for row in backends]

    def freeze(self, pids):
        self.addCleanup(self.thaw, pids)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self, pids):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def refused_soon(self, seconds, *args):
        began = time.monotonic()
        said = self.refused(1, "", *args).message
        self.assertLess(time.monotonic() - began, seconds)
        return said

    def test_a_server_that_is_frozen(self):
        stopped = self.processes()
        self.freeze(stopped)
        self.assertIn("shard 2 (", self.refused_soon(30, "search", "ban kolor"))
        part = self.ok("search", "ban kolor", "--partial", "--json").json
        self.assertEqual(part["partial"], True)
        status = self.quern("shard", "status", "--json")
        self.assertEqual((status.code, [s["reachable"] for s in status.json["shards"]]), (1, [True, False, True]))
        self.thaw(stopped)
        self.assertEqual(self.hits("ban kolor"), self.all_hits)

    def test_a_statement_that_does_not_end(self):
        lock = subprocess.Popen([TOOL, "psql", self.shards[1]], stdin=subprocess.PIPE, text=True)
        self.addCleanup(lock.communicate)
        lock.stdin.write("BEGIN; LOCK TABLE quern_shard.vectors_1 IN ACCESS EXCLUSIVE MODE;\n")
        lock.stdin.flush()
        waiting = "SELECT pid FROM pg_stat_activity WHERE datname = '%s' AND " % self.db.rsplit("/", 1)[1]
        while not psql(self.shards[1], waiting + "query ~ 'LOCK' AND state = 'idle in transaction'"):
            time.sleep(0.02)
        for way in ("exact", "pgvector"):
            said = self.refused_soon(10, "search", "ban kolor", "--index", way, "--shard-timeout", "1s")
            self.assertIn("did not answer within 1000 ms", said)
        # its process stops, too, in the middle of what it was asked
        search = subprocess.Popen([BIN, "search", "ban kolor", "--shard-timeout", "2s", "--model", self.model], cwd=self.cwd,
                                  env=self.environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        began = time.monotonic()
        while not (found := psql(self.shards[1], waiting + "wait_event_type = 'Lock'")):
            self.assertLess(time.monotonic() - began, 2)
            time.sleep(0.02)
        self.freeze([int(row[0]) for row in found])
        self.assertIn("did not answer within 2000 ms", search.communicate(timeout=60)[1])
        self.assertEqual(search.returncode, 1)
        print("a search gave up on a stopped process after %.1f s" % (time.monotonic() - began))
        lock.stdin.write("ROLLBACK;\n")
        lock.stdin.close()
        lock.wait()
        self.assertEqual(self.hits("ban kolor"), self.all_hits)


class Killed(ShardTest):
    def test_under_a_fill_and_searches(self):
        n = 40000 if LONG else 2500
        victim = random.randrange(SHARDS)
        print("killing shard %d" % (victim + 1))
        place = self.shards[victim].split("@")[1]
        for url in urls:  # what was committed is there after a kill
            psql(url + "postgres", "ALTER SYSTEM SET synchronous_commit = on")
            psql(url + "postgres", "SELECT pg_reload_conf()")
        self.apply()
        self.ok("add", self.documents("first.jsonl", texts(100)))
        self.ok("fill")
        want = [h["key"] for h in self.hits("ban kolor", "--limit", "100")]
        self.assertEqual(len(want), 100)
        self.ok("add", self.documents("in.jsonl", texts(n, 2), 100))
        answers, stop = [], threading.Event()

        def search():
            while not stop.is_set():
                answers.append(self.quern("search", "ban kolor", "--limit", "20", "--json"))

        searcher = threading.Thread(target=search)
        fill = subprocess.Popen([BIN, "fill", "--batch", "8"], cwd=self.cwd, stderr=subprocess.PIPE, text=True,
                                env=self.environment(QUERN_MODEL=self.model))
        searcher.start()
        while fill.poll() is None and int(psql(self.shards[victim], "SELECT count(*) FROM quern_shard.vectors_1")[0][0]) < 250:
            time.sleep(0.02)
        subprocess.run([TOOL, "stop", folders[1 + victim]], check=True)
        said = fill.communicate(timeout=60)[1]
        down = self.quern("search", "ban kolor", "--json")
        status = self.quern("shard", "status", "--json")
        again = self.quern("fill")
        subprocess.run([TOOL, "restart", folders[1 + victim]], check=True, stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        stop.set()
        searcher.join()
        self.assertEqual(fill.returncode, 1, said)
        for message in (said, down.message, again.message):
            self.assertIn("shard %d (%s)" % (victim + 1, place), message)
        self.assertEqual((down.code, down.out, again.code), (1, b"", 1))
        self.assertEqual(status.code, 1)
        self.assertEqual([s["reachable"] for s in status.json["shards"]], [i != victim for i in range(SHARDS)])
        failed = 0
        for answer in answers:
            if answer.code == 0:
                self.assertEqual(len(answer.json["hits"]), 20)
            else:
                failed += 1
                self.assertIn("shard", answer.message)
        print("%d searches, %d failed" % (len(answers), failed))
        saved = self.ok("status", "--json").json["done"]
        self.assertGreater(saved, 100)
        report = self.ok("fill", "--json", timeout=900).json
        self.assertLessEqual(report["processed"], n + 100 - saved + 64)
        self.whole(n + 100)
        self.assertEqual(len(self.hits("ban kolor", "--limit", "20")), 20)

    def test_at_size(self):
        """A shard is down for a while under edits, a fill that tries again and again, and searches at a steady rate."""
        n, down = (300000, 10) if LONG else (2000, 1)
        victim = random.randrange(SHARDS)
        print("killing shard %d" % (victim + 1))
        named = "shard[ _]%d" % (victim + 1)  # by PostgreSQL alone, where it answers again by the time it is asked
        for url in urls:
            psql(url + "postgres", "ALTER SYSTEM SET synchronous_commit = on")
            psql(url + "postgres", "SELECT pg_reload_conf()")
        self.apply()
        self.ok("add", self.documents("in.jsonl", texts(n)), timeout=900)
        self.ok("fill", "--index", "pgvector", timeout=1800)
        stop = threading.Event()

        def fill():
            for at in range(0, 1 << 30, 50):
                if stop.is_set():
                    return
                self.ok("add", self.documents("edit.jsonl", ["%s edited %d" % (WORDS[at // 50 % len(WORDS)], i) for i in range(50)], at % n))
                self.quern("fill")

        edits = threading.Thread(target=fill)
        with open(os.path.join(self.cwd, "answers"), "w+") as answers:
            searchers = subprocess.Popen([SEARCHERS, self.db, self.model, "4", "20", "20", "ban kolor", "pgvector"], stdin=subprocess.PIPE,
                                         stdout=answers, stderr=subprocess.PIPE, text=True, env=self.environment())
            edits.start()
            time.sleep(2)
            subprocess.run([TOOL, "stop", folders[1 + victim]], check=True)
            time.sleep(down)
            subprocess.run([TOOL, "restart", folders[1 + victim]], check=True, stderr=subprocess.DEVNULL)
            time.sleep(2)
            stop.set()
            edits.join()
            self.assertEqual((searchers.communicate()[1], searchers.returncode), ("", 0))
            answers.seek(0)
            *lines, total = answers.read().splitlines()
        count = {"whole": 0, "part": 0, "failed": 0}
        for line in lines:
            if " failed " in line:
                count["failed"] += 1
                self.assertRegex(line, named)
                self.assertIn(" partial 0 ", line)
            else:
                hits, missed = map(int, re.search(r" hits (\d+) missed (\d+)$", line).groups())
                self.assertEqual(hits, 20, line)
                count["part" if missed else "whole"] += 1
                self.assertTrue(not missed or " partial 1 " in line, line)
        print("%d vectors, %s: %s" % (n, total, count))
        self.assertTrue(all(count.values()), count)
        self.ok("fill", timeout=900)
        self.whole(n)

    def whole(self, n):
        """All there, nothing too much; of many, a sample is embedded again."""
        sample = min(n, 3000)
        verify = self.ok("verify", "--sample", sample, "--json", timeout=900).json
        self.assertEqual((verify["equal"], verify["different"], verify["orphans"], verify["missing_vectors"]), (sample, 0, 0, 0))
        self.assertEqual(self.ok("status", "--json", timeout=300).json["done"], n)
        self.assertEqual(self.rows(), n)

    def test_the_store_itself(self):
        """Its server dies again and again under a fill, and forgets its last commits: shards keep what has no stamp."""
        n, rounds = (20000, 12) if LONG else (3000, 3)
        self.apply()
        self.ok("add", self.documents("first.jsonl", texts(50)))
        self.ok("fill")
        psql(self.db, "ALTER SYSTEM SET synchronous_commit = off")
        psql(self.db, "ALTER SYSTEM SET wal_writer_delay = '2s'")
        psql(self.db, "SELECT pg_reload_conf()")
        self.ok("add", self.documents("in.jsonl", texts(n, 3), 50))
        psql(self.db, "CHECKPOINT")
        stray = 0
        for i in range(rounds):
            fill = subprocess.Popen([BIN, "fill", "--batch", "8"], cwd=self.cwd, stderr=subprocess.DEVNULL,
                                    env=self.environment(QUERN_MODEL=self.model))
            there = self.rows()
            while fill.poll() is None and self.rows() < there + 100:
                time.sleep(0.02)
            subprocess.run([TOOL, "restart", folders[0], "immediate"], check=True, stderr=subprocess.DEVNULL)
            fill.communicate(timeout=60)
            promised = int(psql(self.db, "SELECT sum(chunks) FROM quern.stamps")[0][0])
            stray += self.rows() != promised
            found = self.hits(texts(50)[i], "--limit", "20")
            self.assertEqual((len(found), found[0]["key"]), (20, str(i)))
        print("%d of %d kills left vectors without a stamp" % (stray, rounds))
        self.ok("fill")
        self.whole(n + 50)

    def rows(self):
        return sum(int(r[0][0]) for r in self.on_shards("SELECT count(*) FROM quern_shard.vectors_1"))


if __name__ == "__main__":
    if WITHOUT_POSTGRES:
        print("built without PostgreSQL")
        raise SystemExit(77)
    unittest.main(verbosity=2)
