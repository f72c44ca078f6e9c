"""add, source, fill, search, status, verify over --db postgres://…, with a server of the test's own, with and without
pgvector: documents, and tables of the user's with integer, uuid, text and composite keys."""
import json
import os
import subprocess
import threading
import time
import unittest

from command import BIN, WITHOUT_POSTGRES, CommandTest
from own_postgres import TOOL, Server, psql
from watermarks import killed_edited_and_resumed

UUID = "00000000-0000-4000-8000-%012d"
KEYS = {  # table: its key columns, the value of row i, what quern calls it
    "by_integer": ("id integer", lambda i: "%d" % i, lambda i: i),
    "by_uuid": ("id uuid", lambda i: "'%s'" % (UUID % i), lambda i: UUID % i),
    "by_text": ("id text", lambda i: "'it''s \"%d\"'" % i, lambda i: 'it\'s "%d"' % i),
    "By Two": ('"Lang" text, no bigint', lambda i: "'%s', %d" % ("de" if i % 2 else "en", i // 2),
               lambda i: ["de" if i % 2 else "en", i // 2]),
}


def setUpModule():
    global server
    server = Server()


def tearDownModule():
    server.close()


class PostgresTest(CommandTest):
    VECTOR = True
    count = 0

    def setUp(self):
        super().setUp()
        PostgresTest.count += 1
        name = "db%d" % PostgresTest.count
        psql(server.url, "CREATE DATABASE %s" % name)
        self.db = server.of(name)
        if self.VECTOR:
            self.sql("CREATE EXTENSION vector")

    def sql(self, text):
        return psql(self.db, text)

    def environment(self, **env):
        env.setdefault("QUERN_DB", self.db)
        return super().environment(**env)

    def table(self, name, rows=20):
        columns, value, key = KEYS[name]
        names = ", ".join(c.split()[0] for c in columns.split(", "))
        self.sql('CREATE TABLE "%s" (%s, title text, body text, price numeric(8,2), at timestamptz DEFAULT now(),'
                 " rev integer DEFAULT 1, gone boolean DEFAULT false, PRIMARY KEY (%s))" % (name, columns, names))
        self.sql("\n".join('INSERT INTO "%s" VALUES (%s, \'Ban %d\', \'gut lan %s\', %d.50);'
                           % (name, value(i), i, "kolor " * (i % 5), i) for i in range(rows)))
        return names.replace('"', ""), [key(i) for i in range(rows)]

    def keys(self, *args):
        return [hit["key"] for hit in self.ok("search", "--json", "--limit", "100", *args).json["hits"]]


class Documents(PostgresTest):
    def test_add_fill_search(self):
        self.write("notes/one.txt", "ban kolor gut")
        self.write("more.jsonl", '{"id": "a", "text": "lan ber", "n": 1}\n{"id": "b", "text": ""}\n')
        self.refused(4, "declare a source or add documents first", "search", "ban")
        self.assertEqual(self.ok("add", "--json", "notes", "more.jsonl").json["added"], 3)
        again = self.ok("add", "notes", "more.jsonl", "--json").json
        self.assertEqual((again["added"], again["changed"], again["unchanged"]), (0, 0, 3))
        report = self.ok("fill", "--json").json
        self.assertEqual((report["total"], report["done"], report["empty"]), (3, 3, 1))
        best = self.ok("search", "ban kolor gut", "--json").json["hits"][0]
        self.assertEqual((best["key"], best["excerpt"]), ("one.txt", "ban kolor gut"))
        self.assertGreater(best["similarity"], 0.999)
        self.assertEqual(self.ok("verify", "--all", "--json").json["equal"], 2)
        self.write("more.jsonl", '{"id": "a", "text": "zan"}\n')
        self.assertEqual(self.ok("add", "more.jsonl", "--sync", "--json").json["removed"], 1)
        self.assertEqual(self.ok("fill", "--json").json["done"], 2)
        self.write("twice.jsonl", '{"id": 1, "text": "ban"}\n{"id": 1, "text": "gut"}\n')
        self.refused(1, "line 2", "add", "twice.jsonl")
        self.ok("source", "remove", "documents", "--yes")
        self.assertEqual(self.sql("SELECT count(*) FROM quern.documents"), [["0"]])
        self.assertEqual(self.sql("SELECT relname FROM pg_class WHERE relname LIKE 'vectors%'"), [])
        self.assertEqual(os.listdir(self.cwd).count("quern.db"), 0)

    def test_the_same_hits_as_sqlite(self):
        rows = "".join('{"id": %d, "text": "%s"}\n' % (i, "ban lan gut kolor "[: 4 + i % 13] * (1 + i % 30)) for i in range(300))
        self.write("in.jsonl", rows)
        answers = []
        for db in (self.db, "file.db"):
            self.ok("add", "in.jsonl", "--db", db)
            self.ok("fill", "--db", db)
            answers.append(self.ok("search", "ban kolor", "--limit", "300", "--json", "--db", db).json["hits"])
            self.assertEqual(self.ok("verify", "--all", "--json", "--db", db).json["different"], 0)
        self.assertEqual(answers[0], answers[1])


class Doctor(PostgresTest):
    def test_advises_on_old_pgvector(self):
        """Debian's is one: 0.8.0, whose HNSW indexes newer ones mend."""
        self.write("a.txt", "ban")
        self.ok("add", "a.txt")
        self.ok("fill")
        have = tuple(map(int, self.sql("SELECT extversion FROM pg_extension WHERE extname = 'vector'")[0][0].split(".")))
        checks = self.ok("doctor", "--json").json["checks"]
        self.assertTrue(any(c["message"].startswith("PostgreSQL 1") and "pgvector %d.%d.%d" % have in c["message"] for c in checks), checks)
        self.assertEqual(any("update to 0.8.4" in c["message"] for c in checks), have < (0, 8, 4), checks)


class Tables(PostgresTest):
    def test_keys_of_every_kind(self):
        for name in KEYS:
            with self.subTest(name):
                key, all_keys = self.table(name)
                source = name.replace(" ", "_")
                self.ok("source", "add", source, "--table", name, "--key", key, "--text", "{title}. {body}",
                        "--revision", "rev", "--where", "NOT gone", "--meta", "price,at,rev")
                report = self.ok("fill", "--source", source, "--json").json
                self.assertEqual((report["total"], report["done"], report["failed"]), (20, 20, 0))
                self.assertEqual(self.ok("fill", "--source", source, "--json").json["processed"], 0)
                found = self.keys("ban", "--source", source)
                self.assertEqual(sorted(map(json.dumps, found)), sorted(map(json.dumps, all_keys)))
                self.assertEqual(self.keys("Ban 7. gut lan kolor kolor", "--source", source)[0], all_keys[7])
                self.assertEqual(self.ok("verify", "--all", "--source", source, "--json").json["equal"], 20)
                # edited, gone, out of the predicate
                self.sql("UPDATE \"%s\" SET title = 'Zan', rev = 2 WHERE title = 'Ban 3'" % name)
                self.sql("DELETE FROM \"%s\" WHERE title = 'Ban 4'" % name)
                self.sql("UPDATE \"%s\" SET gone = true WHERE title = 'Ban 5'" % name)
                found = self.keys("ban", "--source", source)
                for i in (3, 4, 5):
                    self.assertNotIn(all_keys[i], found)
                status = self.ok("status", "--source", source, "--json").json
                self.assertEqual((status["stale"], status["pending"], status["done"]), (1, 1, 17))
                report = self.ok("fill", "--source", source, "--json").json
                self.assertEqual((report["processed"], report["deleted"], report["done"]), (1, 2, 18))
                meta = self.ok("search", "Ban 1. gut lan kolor", "--source", source, "--json").json["hits"][0]["meta"]
                self.assertEqual(float(meta["price"]), 1.5)
        self.assertEqual(self.ok("status", "--json").json["total"], 18 * len(KEYS))

    def test_declarations_are_tried(self):
        key, _ = self.table("by_integer")
        text = ("--key", "id", "--text", "{title}")
        self.refused(4, "nothing", "source", "add", "b", "--table", "nothing", *text)
        self.refused(4, "nothing", "source", "add", "b", "--table", "by_integer", "--key", "id", "--text", "{nothing}")
        self.refused(2, "", "source", "add", "b", "--table", "by_integer", *text, "--where", "gone ==== 0")
        self.refused(2, "", "source", "add", "b", "--table", "by_integer", *text, "--where", "true) OR (true")
        self.refused(2, "", "source", "add", "b", "--table", "by_integer", *text, "--where", "id = $1")
        self.refused(2, "unique key", "source", "add", "b", "--table", "by_integer", "--key", "title", "--text", "{title}")
        self.refused(2, "", "source", "add", "b", "--query", "DELETE FROM by_integer RETURNING *", *text)
        self.ok("source", "add", "b", "--query", "SELECT id, title || '!' AS title FROM by_integer WHERE id > 9", *text)
        self.assertEqual(self.ok("fill", "--json").json["done"], 10)
        self.assertEqual(sorted(self.keys("ban")), list(range(10, 20)))
        self.refused(1, "'b' already", "source", "add", "b", "--table", "by_integer", *text)
        self.sql("ALTER TABLE by_integer RENAME COLUMN title TO name")
        answer = self.quern("fill")
        self.assertNotEqual(answer.code, 0)
        self.assertIn("title", answer.message)

    def test_a_store_of_its_own(self):
        self.table("by_uuid")
        before = self.sql("SELECT count(*) FROM pg_class")
        psql(server.url, "CREATE DATABASE own%d" % PostgresTest.count)
        own = server.of("own%d" % PostgresTest.count)
        self.ok("source", "add", "u", "--table", "by_uuid", "--key", "id", "--text", "{title}", "--store", own)
        self.assertEqual(self.ok("fill", "--store", own, "--json").json["done"], 20)
        self.assertEqual(len(self.keys("ban", "--store", own)), 20)
        self.assertEqual(self.sql("SELECT count(*) FROM pg_class"), before)
        self.refused(1, "of two kinds", "search", "ban", "--store", "vectors.db")
        self.refused(1, "of two kinds", "search", "ban", "--db", "vectors.db", "--store", own)

    def test_edits_while_a_fill_runs(self):
        """What was edited meanwhile is never marked as done with the old text."""
        key, _ = self.table("by_integer", 400)
        self.ok("source", "add", "s", "--table", "by_integer", "--key", "id", "--text", "{title} {body}")
        stop = threading.Event()

        def edit():
            i = 0
            while not stop.is_set():
                i += 1
                self.sql("UPDATE by_integer SET title = 'zan %d' WHERE id %% 7 = %d" % (i, i % 7))

        editor = threading.Thread(target=edit)
        editor.start()
        try:
            for _ in range(3):
                self.assertEqual(self.quern("fill").code, 0)
        finally:
            stop.set()
            editor.join()
        self.assertEqual(self.ok("fill", "--json").json["done"], 400)
        self.assertEqual(self.ok("verify", "--all", "--json").json["equal"], 400)

    def test_one_fill_at_a_time_and_after_a_kill(self):
        self.table("by_integer", 600)
        self.ok("source", "add", "s", "--table", "by_integer", "--key", "id", "--text", "{title} {body} {title} {body}")
        args = [BIN, "fill", "--threads", "1", "--cpu", "scalar", "--model", self.model]
        with subprocess.Popen(args, cwd=self.cwd, env=self.environment(), stderr=subprocess.PIPE) as first:
            until = time.monotonic() + 60
            while not int(self.ok("status", "--json").json["done"]):
                self.assertLess(time.monotonic(), until)
                self.assertIsNone(first.poll(), "the fill was over too soon")
            second = self.quern("fill")
            if first.poll() is None:
                self.assertEqual(second.code, 1)
                self.assertIn("process %d on" % first.pid, second.message)
            first.kill()
        report = self.ok("fill", "--json").json  # at once: the lock died with its holder
        self.assertEqual(report["done"], 600)
        self.assertEqual(self.ok("verify", "--sample", "100", "--json").json["different"], 0)

    def test_a_killed_build_goes_on_where_it_was(self):
        killed_edited_and_resumed(self, self.sql)

    def test_a_server_that_restarts(self):
        self.table("by_integer", 600)
        self.ok("source", "add", "s", "--table", "by_integer", "--key", "id", "--text", "{title} {body} {title} {body}")
        args = [BIN, "fill", "--threads", "1", "--cpu", "scalar", "--model", self.model]
        with subprocess.Popen(args, cwd=self.cwd, env=self.environment(), stderr=subprocess.PIPE) as fill:
            while not int(self.ok("status", "--json").json["done"]):
                self.assertIsNone(fill.poll(), "the fill was over too soon")
            subprocess.run([TOOL, "restart", server.folder, "immediate"], check=True, stdout=subprocess.DEVNULL)
            said = fill.stderr.read().decode()
            self.assertIn(fill.wait(), (0, 1), said)
        self.assertEqual(self.ok("fill", "--json").json["done"], 600)
        self.assertEqual(self.ok("verify", "--sample", "100", "--json").json["different"], 0)


class Pooler(PostgresTest):
    """Behind a pooler in transaction mode every transaction may meet another connection of the server."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        done = subprocess.run([TOOL, "pooler", server.folder, str(os.getpid())], stdout=subprocess.PIPE, text=True, check=True)
        cls.pooler = done.stdout.strip()
        cls.addClassCleanup(subprocess.run, [TOOL, "stop-pooler", server.folder], check=True)

    def environment(self, **env):
        return super().environment(QUERN_DB=self.pooler + "/" + self.db.rsplit("/", 1)[1], **env)

    def test_everything_goes_through_it(self):
        self.table("by_integer", 600)
        self.write("a.jsonl", '{"id": 1, "text": "ban kolor"}\n')
        self.ok("add", "a.jsonl")
        self.ok("source", "add", "s", "--table", "by_integer", "--key", "id", "--text", "{title} {body}", "--revision", "rev")
        fills = [subprocess.Popen([BIN, "fill", "--source", "s", "--model", self.model], cwd=self.cwd,
                                  env=self.environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) for _ in range(3)]
        ends = sorted((f.wait(), f.communicate()[1].decode()) for f in fills)
        self.assertEqual(ends[0][0], 0, ends)
        for code, said in ends[1:]:  # the lock held, though connections were shared
            self.assertTrue(code == 0 or "is held by process" in said, ends)
        self.sql("UPDATE by_integer SET title = 'zan', rev = 2 WHERE id < 100")
        self.assertEqual(self.ok("fill", "--json").json["done"], 601)
        self.assertEqual(self.ok("verify", "--all", "--json").json["equal"], 601)
        self.assertEqual(len(self.keys("zan", "--source", "s")), 100)
        self.ok("source", "remove", "s", "--yes")


    def test_direct_url(self):
        """Past the pooler notifications arrive: a changed row is found long before the next tick."""
        self.table("by_integer", 20)
        direct = ["--direct-url", self.db]
        self.ok("source", "add", "s", "--table", "by_integer", "--key", "id", "--text", "{title} {body}", "--revision", "rev",
                "--live", "yes", *direct)
        self.ok("fill", "--index", "pgvector", *direct)
        self.assertEqual(self.sql("SELECT indexname FROM pg_indexes WHERE indexname ~ 'graph'"), [["vectors_1_graph"]])
        work = subprocess.Popen([BIN, "work", "--quiet", "--tick", "60s", "--interval", "0", "--backstop-interval", "0",
                                 "--model", self.model, *direct], cwd=self.cwd, env=self.environment(), stderr=subprocess.PIPE)
        self.addCleanup(work.communicate)
        self.addCleanup(work.kill)
        until = time.monotonic() + 10
        while not self.sql("SELECT 1 FROM pg_stat_activity WHERE query = 'LISTEN quern_tasks'"):
            self.assertLess(time.monotonic(), until, "nobody listens")
            time.sleep(0.05)
        time.sleep(0.5)
        began = time.monotonic()
        self.sql("UPDATE by_integer SET title = 'zan zan', body = '', rev = 2 WHERE id = 3")
        while self.keys("zan zan", "--min-similarity", "0.999") != [3]:
            self.assertLess(time.monotonic() - began, 10, "it was not told")
            time.sleep(0.05)
        work.send_signal(2)
        self.assertEqual(work.wait(10), 130)
        self.ok("migrate", "--down", "3", "--yes", *direct)
        self.ok("migrate", *direct)
        self.assertEqual(self.ok("verify", "--all", "--json", *direct).json["equal"], 20)
        self.ok("doctor", *direct)

    def test_a_direct_url_that_leads_elsewhere(self):
        self.write("a.jsonl", '{"id": 1, "text": "ban kolor"}\n')
        self.ok("add", "a.jsonl")
        name = self.db.rsplit("/", 1)[1]
        self.sql("CREATE DATABASE %s_other" % name)
        other = Server()
        self.addCleanup(other.close)
        elsewhere = other.of(name)
        psql(other.url, "CREATE DATABASE " + name)
        for direct in (self.db + "_other", elsewhere):
            for command in (("fill",), ("search", "ban"), ("migrate", "--check"), ("add", "a.jsonl")):
                said = self.refused(2, "not the database of", *command, "--direct-url", direct).message
                self.assertIn(direct.split("@")[1], said)
                self.assertIn(self.pooler.split("@")[1] + "/" + name, said)
        self.assertEqual(psql(elsewhere, "SELECT 1 FROM pg_namespace WHERE nspname = 'quern'"), [])
        self.refused(2, "no PostgreSQL URL", "fill", "--direct-url", "no/url")
        self.refused(1, "no connection", "fill", "--direct-url", "postgres://postgres@127.0.0.1:1/" + name)

    def test_a_role_that_may_not_ask_for_the_servers_name(self):
        name = self.db.rsplit("/", 1)[1]
        self.sql("CREATE ROLE plain_%s LOGIN; GRANT CREATE ON DATABASE %s TO plain_%s; GRANT USAGE ON SCHEMA public TO plain_%s;"
                 "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC" % (name, name, name, name))
        plain = self.db.replace("postgres@", "plain_%s@" % name)
        self.write("a.jsonl", '{"id": 1, "text": "ban kolor"}\n')
        self.ok("add", "a.jsonl", "--db", self.db, "--schema", "unused")  # a superuser's
        self.ok("add", "a.jsonl", "--db", plain, "--direct-url", plain)
        self.ok("fill", "--db", plain, "--direct-url", plain)
        self.refused(2, "not the database of", "fill", "--db", plain, "--direct-url", plain.rsplit("/", 1)[0] + "/postgres")


class WithoutVector(Tables):
    VECTOR = False

    def test_says_so(self):
        self.write("a.txt", "ban")
        answer = self.ok("add", "a.txt", "--log-level", "info")
        self.assertIn("without pgvector", answer.message)
        self.ok("fill")
        self.assertEqual(self.sql("SELECT storage FROM quern.generations"), [["bytea"]])
        self.assertEqual(self.keys("ban"), ["a.txt"])
        self.assertIn(b"no pgvector 0.8 or newer in this database", self.ok("doctor").out)


if __name__ == "__main__":
    if WITHOUT_POSTGRES:
        print("built without PostgreSQL")
        raise SystemExit(77)
    unittest.main()
