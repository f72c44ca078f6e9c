"""quern work: several at once on one database, killed in the middle of a lease while rows are edited; --once; Ctrl-C. On
SQLite and on PostgreSQL."""
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
import unittest

from command import BIN, LONG, WITHOUT_POSTGRES, CommandTest
from own_postgres import Server, psql

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

    def catches(self, worker):
        """Has it begun? Until then Ctrl-C ends it as any program."""
        with open("/proc/%d/status" % worker.pid) as f:
            caught = next(line.split()[1] for line in f if line.startswith("SigCgt:"))
        return int(caught, 16) >> (signal.SIGINT - 1) & 1

    def stop(self, worker):
        self.wait_for(lambda: self.catches(worker), 20)
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

    def test_dead_letters(self):
        self.fill_items(6)
        self.ok("fill")
        self.sql("UPDATE items SET title = 'much too long', rev = 2 WHERE id IN (1, 3, 5)")
        self.ok("enqueue", "--source", "items", "--reason", "edited", "1", "3", "5")
        answer = self.quern("work", "--once", *NO_SCANS, "--max-document", "9", "--json")
        self.assertEqual((answer.code, answer.json["dead"]), (3, 3))
        generation = self.ok("generation", "list", "--json").json["generations"][0]["id"]
        page = self.ok("status", "--list", "dead", "--limit", "2", "--json").json
        self.assertEqual((page["state"], [t["key"] for t in page["tasks"]]), ("dead", [1, 3]))
        first = page["tasks"][0]
        self.assertEqual((first["source"], first["generation"], first["attempts"], first["reason"]), ("items", generation, 1, "edited"))
        self.assertIn("13 bytes > 9", first["error"])
        self.assertRegex(first["failed"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        rest = self.ok("status", "--list", "dead", "--after", page["next"], "--source", "items", "--json").json
        self.assertEqual(([t["key"] for t in rest["tasks"]], rest["next"]), ([5], None))
        text = self.ok("status", "--list", "dead", "--limit", "1").out.decode()
        self.assertRegex(text, r"items +1 +1 attempts +13 bytes > 9[^\n]*\nthere may be more: --after \d+\n$")
        self.refused(4, "other", "status", "--list", "dead", "--source", "other")
        self.refused(2, "--after 'x'", "status", "--list", "dead", "--after", "x")
        # by their keys, then by what they are; each lives again with no attempt counted, and is done
        self.ok("requeue", "--source", "items", "--key", "3")
        t = self.tasks()
        self.assertEqual((t["ready"], t["dead"], t["attempts"][0]), (1, 2, 1))
        self.assertEqual(self.ok("work", "--once", *NO_SCANS, "--json").json["done"], 1)
        self.ok("requeue", "--source", "items", "--failed")
        self.assertEqual(self.tasks()["dead"], 0)
        self.assertEqual(self.ok("work", "--once", *NO_SCANS, "--json").json["done"], 2)
        self.assertEqual(self.ok("status", "--list", "dead", "--json").json, {"state": "dead", "tasks": [], "next": None})
        self.all_is_true()

    def test_tasks_in_status(self):
        self.fill_items(4)
        self.ok("fill")
        self.sql("ALTER TABLE items RENAME COLUMN title TO headline")
        self.ok("enqueue", "--source", "items", "1", "2")
        self.assertEqual(self.quern("work", "--once", *NO_SCANS).code, 3)
        self.sql("ALTER TABLE items RENAME COLUMN headline TO title")
        self.ok("enqueue", "--source", "items", "3")
        t = self.tasks()
        self.assertEqual((t["ready"], t["waiting"], t["attempts"][:3]), (1, 2, [1, 2, 0]))
        text = self.ok("status").out.decode()
        self.assertIn("tasks: 1 ready, 2 waiting, 0 leased, 0 dead; the oldest is", text)
        self.assertIn("attempts: 1: 2\n", text)

    def test_what_was_used(self):
        self.fill_items(5)
        self.ok("fill")
        self.sql("UPDATE items SET title = 'gut', rev = 2 WHERE id = 2")
        self.ok("work", "--once")
        runs = self.ok("status", "--runs", "--json", "--price", "2").lines
        self.assertEqual([(r["processed"], r["calls"]) for r in runs], [(1, 1), (5, 1)])
        self.assertAlmostEqual(runs[0]["cost"], runs[0]["tokens"] / 500)
        days = self.ok("status", "--usage", "--json", "--price", "2").lines
        self.assertEqual(sum(d["processed"] for d in days), 6)
        self.assertEqual(sum(d["tokens"] for d in days), sum(r["tokens"] for r in runs))
        self.assertAlmostEqual(sum(d["cost"] for d in days), sum(r["cost"] for r in runs))
        self.assertEqual((days[0]["source"], sum(d["calls"] for d in days), sum(d["runs"] for d in days)), ("items", 2, 2))
        self.assertRegex(self.ok("status", "--usage").out.decode(), r"^\d{4}-\d\d-\d\d  items .* embedded, 0 failed; \d+ calls, \d+ tokens\n")
        self.refused(4, "other", "status", "--usage", "--source", "other")
        self.refused(2, "one of", "status", "--usage", "--runs")

    def test_limited_scans(self):
        self.fill_items(3)
        limits = ["--once", "--max-per-run", "10", "--json"]
        self.assertEqual(self.ok("work", *limits).json["processed"], 3)
        self.sql("INSERT INTO items VALUES " + ", ".join("(%d, 'ban %d', %d)" % (i, i, i) for i in range(100, 140)))
        self.sql("DELETE FROM items WHERE id = 0")
        done = self.ok("work", *limits).json
        self.assertEqual((done["scheduled"], done["done"], done["processed"], done["deleted"]), (10, 10, 10, 1))
        pending = [d["key"] for d in self.ok("status", "--list", "pending", "--json").json["documents"]]
        self.assertEqual(pending, list(range(105, 135)))
        some = self.ok("status", "--list", "pending", "--key", "104", "--key", "105", "--key", "134", "--key", "999", "--json").json
        self.assertEqual(([d["key"] for d in some["documents"]], some["next"]), ([105, 134], None))
        self.refused(2, "exclude each other", "status", "--list", "pending", "--key", "1", "--after", "2")
        self.refused(2, "--key goes with --list", "status", "--key", "1")
        self.assertEqual(self.ok("work", *limits, "--window", "1d").json["processed"], 10)
        self.assertEqual(self.ok("work", "--once", "--json").json["processed"], 20)
        self.all_is_true()

    def test_cron_and_a_command_before(self):
        self.fill_items(3)
        at = ["--once", "--cron", "0 0 29 2 *", "--after", "echo one word more; echo x >>came"]
        done = self.quern("work", *at, "--json")
        self.assertEqual((done.code, done.json["scans"], done.json["syncs"], done.json["sync_status"]), (0, 1, 1, 0))
        self.assertIn("one word more", done.message)
        self.assertEqual(self.ok("work", *at, "--json").json["scans"], 0)  # not before the next 29th of February
        with open(os.path.join(self.cwd, "came")) as f:
            self.assertEqual(f.read(), "x\n")
        failed = self.quern("work", "--once", "--after", "exit 7", "--json")
        self.assertEqual((failed.code, failed.json["scans"], failed.json["syncs_failed"], failed.json["sync_status"]), (3, 1, 1, 7))
        self.refused(2, "never comes", "work", "--cron", "0 0 30 2 *")
        self.refused(2, "no minute", "work", "--cron", "61 * * * *")
        self.refused(2, "exclude each other", "work", "--cron", "@daily", "--interval", "1h")
        self.write("quern.ini", "after = exit 0\n")
        self.assertEqual(self.ok("work", "--once", "--json").json["syncs"], 1)
        self.ok("status", "--list", "pending")  # there it is another word

    def test_clock_set_back_by_an_hour(self):
        """As if it had been an hour ahead until now: leases of workers that died, tasks that wait, scans that were made."""
        self.fill_items(6)
        self.ok("work", "--once", "--cron", "@hourly")
        self.sql("UPDATE items SET title = 'gut lan', rev = 2 WHERE id < 4")
        self.ok("enqueue", "--source", "items", "0", "1", "2", "3")
        tasks, marks = self.TASKS
        self.sql("UPDATE %s SET due_ms = due_ms + 3600000, set_ms = set_ms + 3600000;"
                 "UPDATE %s SET lease = 4711, due_ms = due_ms + 400, attempts = 1 WHERE key IN ('0', '1');"
                 "UPDATE %s SET value = value + 3600000" % (tasks, tasks, marks))
        worker = self.start("--tick", "50ms", "--lease", "1s", *NO_SCANS)
        self.wait_for(self.nothing_left, 10)
        self.stop(worker)
        self.assertEqual(self.tasks()["rescued"], 2)
        self.assertEqual(self.ok("work", "--once", "--cron", "@hourly", "--json").json["scans"], 1)
        self.all_is_true()

    def test_one_of_two_scans(self):
        """Both have scans; one leads. When it is killed the other takes over, and nothing is embedded twice."""
        self.fill_items(40)
        scans = ["--tick", "50ms", "--interval", "1s"]
        workers = [self.start(*scans) for _ in range(2)]
        self.wait_for(lambda: self.ok("status", "--json").json["done"] == 40)
        self.sql("UPDATE items SET title = 'gut lan', rev = 2 WHERE id < 20")
        self.wait_for(lambda: self.ok("status", "--json").json["done"] == 40)
        for turn in range(2):  # one of the two that are killed is the one that leads
            workers.append(self.start(*scans))
            time.sleep(0.5)
            victim = workers.pop(0)
            victim.kill()
            victim.communicate()
            self.running.remove(victim)
            self.sql("UPDATE items SET title = 'zan vis', rev = %d WHERE id >= 20" % (3 + turn))
            self.wait_for(lambda: self.ok("status", "--json").json["done"] == 40, 30)
        time.sleep(1.5)
        reports = [json.loads(self.stop(worker)) for worker in workers]
        self.assertEqual(sorted(r["scans"] > 0 for r in reports), [False, True])
        self.assertEqual(sum(r["failed"] for r in reports), 0)
        self.all_is_true()
        days = self.ok("status", "--usage", "--json").lines
        self.assertEqual(sum(d["processed"] for d in days), 40 + 20 + 20 + 20)

    def test_a_source_changes_under_a_worker(self):
        self.fill_items(20)
        worker = self.start(*QUICK, "--interval", "1s")
        self.wait_for(lambda: self.ok("status", "--json").json["done"] == 20)
        self.ok("source", "set", "items", "--text", "Title: {title}")
        self.sql("UPDATE items SET title = 'ban ban', rev = rev + 1 WHERE id < 5")
        self.ok("enqueue", "--source", "items", "1", "2")
        self.wait_for(lambda: self.tasks()["waiting"] == 2)  # refused, at a slow pace
        time.sleep(1.5)  # scans go by as well
        self.assertEqual(sum(d["processed"] for d in self.ok("status", "--usage", "--json").lines), 20)
        self.assertIn("settings differ", self.ok("status", "--json").json["sources"][0]["note"])
        self.ok("fill", "--wait", "20s")  # the generation of the new text
        self.sql("UPDATE items SET title = 'zan', rev = rev + 1 WHERE id = 7")
        self.ok("enqueue", "--source", "items", "7")
        self.wait_for(lambda: self.ok("status", "--json").json["done"] == 20)
        self.stop(worker)
        self.ok("work", "--once")
        self.all_is_true()
        hit = self.ok("search", "Title: zan", "--json").json["hits"][0]
        self.assertEqual((hit["key"], hit["excerpt"]), (7, "Title: zan"))

    def test_status_is_watched(self):
        self.fill_items(3)
        watched = subprocess.Popen([BIN, "status", "--watch", "--json"], cwd=self.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, env=self.environment(QUERN_MODEL=self.model))
        self.addCleanup(watched.kill)
        self.assertEqual(json.loads(watched.stdout.readline())["done"], 0)
        self.ok("fill")
        until = time.monotonic() + 20
        while json.loads(watched.stdout.readline())["done"] != 3:
            self.assertLess(time.monotonic(), until)
        watched.send_signal(signal.SIGINT)
        out, err = watched.communicate(timeout=5)
        self.assertEqual(watched.returncode, 130, err)
        for line in out.splitlines():
            self.assertEqual(json.loads(line)["total"], 3)
        self.refused(2, "one of", "status", "--watch", "--runs")

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
    TASKS = ("quern_tasks", "quern_marks")
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
    TASKS = ("quern.tasks", "quern.marks")
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
        cls.server = Server()
        cls.addClassCleanup(cls.server.close)

    def test_who_writes_needs_no_rights_of_ours(self):
        self.fill_items(3)
        self.ok("source", "set", "items", "--live")
        self.ok("work", "--once")
        self.sql("DROP ROLE IF EXISTS writer; CREATE ROLE writer; GRANT SELECT, UPDATE ON items TO writer; SET ROLE writer;"
                 "SET search_path = ''; SET DateStyle = 'German'; UPDATE public.items SET title = 'ban', rev = 9 WHERE id < 2")
        done = self.ok("work", "--once", *NO_SCANS, "--json").json
        self.assertEqual((done["claimed"], done["processed"]), (2, 2))
        self.sql("REVOKE ALL ON items FROM writer; DROP ROLE writer")

    def make(self):
        OnPostgres.count += 1
        psql(self.server.url, "CREATE DATABASE workers%d" % self.count)
        self.db = self.server.of("workers%d" % self.count)
        self.sql("CREATE EXTENSION vector")

    def sql(self, script):
        psql(self.db, script)

    def environment(self, **env):
        env.setdefault("QUERN_DB", self.db)
        return super().environment(**env)


if __name__ == "__main__":
    unittest.main()
