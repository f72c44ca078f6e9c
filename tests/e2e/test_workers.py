"""quern work: several at once on one database, killed in the middle of a lease while rows are edited; --once; Ctrl-C. On
SQLite and on PostgreSQL."""
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import unittest

from command import BIN, LONG, ROOT, WITHOUT_POSTGRES, CommandTest

TOOL = os.path.join(ROOT, "tools/test-postgres")
QUICK = ["--tick", "50ms", "--lease", "1s"]
NO_SCANS = ["--interval", "0", "--backstop-interval", "0"]
WORDS = ["ban", "kolor", "gut", "lan", "ber", "zan", "vis", "mor"]


class Workers:
    """Both stores: `items` with id, title, rev; self.sql runs statements on it and returns rows."""

    def setUp(self):
        super().setUp()
        self.make()
        self.sql("CREATE TABLE items (id integer PRIMARY KEY, title text, rev integer)")
        self.running = []

    def tearDown(self):
        for worker in self.running:
            worker.kill()
            worker.communicate()

    def fill_items(self, n):
        values = ", ".join("(%d, '%s %d', 1)" % (i, random.choice(WORDS), i) for i in range(n))
        self.sql("INSERT INTO items VALUES " + values)
        self.ok("source", "add", "items", "--table", "items", "--key", "id", "--text", "{title}", "--revision", "rev")

    def start(self, *args):
        worker = subprocess.Popen([BIN, "work", "--json", "--quiet", *args], cwd=self.cwd, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  env=self.environment(QUERN_MODEL=self.model))
        self.running.append(worker)
        return worker

    def stop(self, worker):
        began = time.monotonic()
        worker.send_signal(signal.SIGINT)
        out, err = worker.communicate(timeout=20)
        self.running.remove(worker)
        self.assertEqual(worker.returncode, 130, err)
        self.assertLess(time.monotonic() - began, 2.0)
        return out

    def wait_for(self, what, seconds=60):
        until = time.monotonic() + seconds
        while not what():
            self.assertLess(time.monotonic(), until, "waited too long")
            time.sleep(0.1)

    def tasks(self):
        return self.ok("status", "--json").json["sources"][0]["tasks"]

    def nothing_left(self):
        t = self.tasks()
        return t["ready"] + t["waiting"] + t["leased"] == 0

    def all_is_true(self):
        status = self.ok("status", "--json").json
        self.assertEqual((status["done"], status["total"], status["pending"], status["stale"]),
                         (status["total"], status["total"], 0, 0))
        verified = self.ok("verify", "--all", "--json").json
        self.assertEqual((verified["different"], verified["orphans"], verified["missing_vectors"], verified["stale"]), (0, 0, 0, 0))
        return status

    def test_what_is_asked_for_again_reaches_workers(self):
        self.fill_items(5)
        self.ok("fill")
        self.ok("requeue", "--source", "items", "--key", "1", "--key", "2")
        report = self.ok("work", "--once", *NO_SCANS, "--json").json
        self.assertEqual((report["done"], report["processed"]), (2, 2))
        self.assertEqual(self.ok("status", "--json").json["pending"], 0)

    def test_once(self):
        self.fill_items(60)
        done = self.ok("work", "--once", "--json").json
        self.assertEqual((done["scans"], done["processed"], done["claimed"]), (1, 60, 0))
        self.sql("UPDATE items SET title = 'ban gut', rev = 2 WHERE id < 5; DELETE FROM items WHERE id = 7")
        self.ok("enqueue", "--source", "items", stdin="".join("%d\n" % i for i in range(8)))
        done = self.ok("work", "--once", "--limit", "3", *NO_SCANS, "--json").json
        self.assertEqual((done["claimed"], done["done"], done["scans"]), (3, 3, 0))
        done = self.ok("work", "--once", *NO_SCANS, "--json").json
        self.assertEqual((done["claimed"], done["done"], done["deleted"]), (5, 5, 1))
        self.assertEqual(self.all_is_true()["total"], 59)
        self.sql("ALTER TABLE items RENAME COLUMN title TO headline")
        self.ok("enqueue", "--source", "items", "9")
        answer = self.quern("work", "--once", *NO_SCANS)
        self.assertEqual(answer.code, 3)
        self.assertIn("title", answer.message)
        self.assertEqual(self.tasks()["waiting"], 1)

    def test_tasks_are_seen_while_it_runs(self):
        self.fill_items(30)
        worker = self.start(*QUICK)
        self.wait_for(lambda: self.ok("status", "--json").json["done"] == 30)
        self.sql("UPDATE items SET title = 'zan zan', rev = 2 WHERE id = 3")
        self.ok("enqueue", "--source", "items", "3")
        self.wait_for(self.nothing_left, 10)
        hit = self.ok("search", "zan zan", "--json").json["hits"][0]
        self.assertEqual((hit["key"], hit["excerpt"]), (3, "zan zan"))
        self.stop(worker)

    def live(self):
        return self.ok("source", "show", "items", "--json").json["live"]

    def test_a_changed_row_is_found_within_two_seconds(self):
        self.fill_items(30)
        self.assertIs(self.live(), False)
        self.ok("source", "set", "items", "--live")
        self.assertIs(self.live(), True)
        worker = self.start()  # as it is: looks every 2 s, unless it is woken
        self.wait_for(lambda: self.ok("status", "--json").json["done"] == 30)
        time.sleep(0.5)
        slowest = 0
        for turn in range(4):
            text = "zan %s" % WORDS[turn]
            began = time.monotonic()
            if turn == 3:
                self.sql("INSERT INTO items VALUES (77, '%s', 2)" % text)
            else:
                self.sql("UPDATE items SET title = '%s', rev = rev + 1 WHERE id = %d" % (text, turn))
            self.wait_for(lambda: any(h["excerpt"] == text for h in self.ok("search", text, "--json").json["hits"]), 10)
            slowest = max(slowest, time.monotonic() - began)
        print("slowest %.2f s" % slowest, flush=True)
        self.assertLess(slowest, 2.0)
        self.sql("DELETE FROM items WHERE id = 5; UPDATE items SET id = 500 WHERE id = 6")
        self.wait_for(lambda: self.ok("status", "--json").json["done"] == 30, 10)
        self.wait_for(self.nothing_left, 10)
        self.stop(worker)
        self.all_is_true()
        self.ok("source", "set", "items", "--live", "no")
        self.sql("UPDATE items SET title = 'unheard', rev = rev + 1 WHERE id = 1")
        done = self.ok("work", "--once", *NO_SCANS, "--json").json
        self.assertEqual(done["claimed"], 0)
        self.ok("source", "set", "items", "--live", "yes")
        self.ok("source", "remove", "items", "--yes")
        self.sql("UPDATE items SET title = 'on my own', rev = rev + 1 WHERE id = 1")  # nothing of ours is left in the way

    def test_keys_of_all_kinds_are_noted(self):
        for number, (table, columns, keys) in enumerate(self.KINDS):
            quoted = [c.rsplit(" ", 1)[0] for c in columns.split(", ")]
            self.sql('CREATE TABLE "%s" (%s, title text, PRIMARY KEY (%s))' % (table, columns, ", ".join(quoted)))
            names = ",".join(q[1:-1].replace('""', '"') if q[0] == '"' else q for q in quoted)
            name = "s%d" % number
            self.ok("source", "add", name, "--table", table, "--key", names, "--text", "{title}", "--live", "yes")
            self.ok("work", "--once", "--source", name)
            for key in keys:
                self.sql('INSERT INTO "%s" VALUES (%s, \'ban\')' % (table, key))
            done = self.ok("work", "--once", "--source", name, *NO_SCANS, "--json").json
            self.assertEqual((done["claimed"], done["done"], done["processed"]), (len(keys),) * 3, table)
            self.sql('DELETE FROM "%s"' % table)
            done = self.ok("work", "--once", "--source", name, *NO_SCANS, "--json").json
            self.assertEqual((done["claimed"], done["deleted"]), (len(keys),) * 2, table)

    def test_documents_can_be_live(self):
        self.write("a.txt", "ban kolor")
        self.ok("add", "a.txt")
        self.ok("source", "set", "documents", "--live", "yes")
        self.ok("work", "--once")
        self.write("a.txt", "gut kolor")
        self.ok("add", "a.txt")
        done = self.ok("work", "--once", *NO_SCANS, "--json").json
        self.assertEqual((done["claimed"], done["processed"]), (1, 1))

    def test_what_cannot_be_live(self):
        self.fill_items(3)
        self.sql("CREATE VIEW seen AS SELECT * FROM items")
        self.ok("source", "add", "viewed", "--table", "seen", "--key", "id", "--text", "{title}")
        self.refused(2, "only a table has triggers", "source", "set", "viewed", "--live", "yes")
        self.ok("source", "add", "asked", "--query", "SELECT * FROM items", "--key", "id", "--text", "{title}")
        self.refused(2, "has no triggers", "source", "set", "asked", "--live", "yes")

    def test_killed_while_rows_change(self):
        seed = int(os.environ.get("QUERN_TEST_SEED", random.SystemRandom().randrange(1 << 30)))
        print("seed", seed, flush=True)
        chance = random.Random(seed)
        rounds, rev = 60 if LONG else 6, 1
        self.fill_items(150)
        self.ok("fill")
        workers = [self.start(*QUICK, *NO_SCANS) for _ in range(3)]
        for turn in range(rounds):
            touched, script = set(), []
            for _ in range(40):
                i = chance.randrange(220)
                touched.add(i)
                kind = chance.random()
                if kind < 0.15:
                    script.append("DELETE FROM items WHERE id = %d;" % i)
                else:
                    text = " ".join(chance.choice(WORDS) for _ in range(chance.randrange(1, 12)))
                    rev += 1  # never twice, not even for a row that comes back
                    script.append("INSERT INTO items VALUES (%d, '%s', %d) ON CONFLICT (id) DO UPDATE SET"
                                  " title = excluded.title, rev = excluded.rev;" % (i, text, rev))
            self.sql("\n".join(script))
            self.ok("enqueue", "--source", "items", stdin="".join("%d\n" % i for i in touched))
            time.sleep(chance.random() * 0.5)
            victim = chance.randrange(len(workers))
            workers[victim].kill()
            workers[victim].communicate()
            self.running.remove(workers[victim])
            workers[victim] = self.start(*QUICK, *NO_SCANS)
        self.wait_for(self.nothing_left)
        for worker in workers:
            self.stop(worker)
        status = self.all_is_true()
        self.assertEqual(status["sources"][0]["tasks"]["dead"], 0)
        self.assertEqual(self.ok("fill", "--json").json["processed"], 0)


class OnSqlite(Workers, CommandTest):
    KINDS = [
        ("text keys", "id text", ["'it''s \"a\"'", "'ümlaut, x'", "''", "'42'"]),
        ("blobs", "id blob", ["x'00ff'", "x''"]),
        ("two of them", 'lang text, "No ""1""" integer', ["'de', 1", "'e,n', -2"]),
        ("reals, too", "id real", ["1.5", "-0.25", "1e300", "3.0"]),
    ]

    def make(self):
        pass

    def sql(self, script):
        with sqlite3.connect(os.path.join(self.cwd, "quern.db"), timeout=20) as db:
            db.executescript(script)
        db.close()


@unittest.skipIf(WITHOUT_POSTGRES, "QUERN_TEST_POSTGRES=0")
class OnPostgres(Workers, CommandTest):
    KINDS = [
        ("text keys", "id text", ["'it''s \"a\"'", "'ümlaut, x'", "''", "'42'"]),
        ("uuids", "id uuid", ["'00000000-0000-4000-8000-00000000000a'"]),
        ("two of them", 'lang text, "No ""1""" bigint', ["'de', 1", "'e,n', -2"]),
        ("dates, too", "id timestamptz", ["'2024-05-06 07:08:09.5+02'"]),
        ("numbers of any size", "id numeric", ["12.50", "3"]),
        ("bytes", "id bytea", ["'\\x00ff'"]),
    ]
    count = 0

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = tempfile.mkdtemp(prefix="quern-postgres-")
        os.chmod(cls.server, 0o755)
        cls.addClassCleanup(shutil.rmtree, cls.server, True)
        done = subprocess.run([TOOL, "start", cls.server, str(os.getpid())], stdout=subprocess.PIPE, text=True, check=True)
        cls.addClassCleanup(subprocess.run, [TOOL, "stop", cls.server])
        cls.url = done.stdout.strip()

    def test_who_writes_needs_no_rights_of_ours(self):
        self.fill_items(3)
        self.ok("source", "set", "items", "--live")
        self.ok("work", "--once")
        self.sql("DROP ROLE IF EXISTS writer; CREATE ROLE writer; GRANT SELECT, UPDATE ON items TO writer; SET ROLE writer;"
                 "SET search_path = ''; SET DateStyle = 'German'; UPDATE public.items SET title = 'ban', rev = 9 WHERE id < 2")
        done = self.ok("work", "--once", *NO_SCANS, "--json").json
        self.assertEqual((done["claimed"], done["processed"]), (2, 2))
        self.sql("REVOKE ALL ON items FROM writer; DROP ROLE writer")

    def psql(self, database, script):
        done = subprocess.run([TOOL, "psql", "-At", "-v", "ON_ERROR_STOP=1", database], input=script, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, "%s\n%s" % (script, done.stderr))

    def make(self):
        OnPostgres.count += 1
        self.psql(self.url, "CREATE DATABASE workers%d" % self.count)
        self.db = "%s/workers%d" % (self.url.rsplit("/", 1)[0], self.count)
        self.sql("CREATE EXTENSION vector")

    def sql(self, script):
        self.psql(self.db, script)

    def environment(self, **env):
        env.setdefault("QUERN_DB", self.db)
        return super().environment(**env)


if __name__ == "__main__":
    unittest.main()
