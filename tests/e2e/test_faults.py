"""Everything at once, on both stores: fills and workers are killed at random moments while rows are inserted, edited and
deleted and tasks are put, and a searcher checks every hit against what the row was. 4 rounds in the short form, 200 with QUERN_LONG=1; at the end every
live row has exactly its current vectors. Beside that: a disk that is full in the middle, a clock that is set back, PostgreSQL
that is restarted. The seed is printed; QUERN_SEED sets it.
"""
import json
import os
import random
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time
import unittest

from command import BIN, LONG, WITHOUT_POSTGRES, CommandTest
from own_postgres import TOOL

SEED = int(os.environ.get("QUERN_SEED") or random.SystemRandom().randrange(1 << 32))
ROUNDS = 200 if LONG else 4
ROWS = 400
QUERY = "ban kolor gut"
WORDS = ["ban", "kolor", "gut", "lan", "ber", "zan", "title", "o", "u"]
TEXTS = sorted({" ".join(random.Random(i).choices(WORDS, k=3 + i % 9)) for i in range(60)})  # few, so that scores are known


class Sqlite:
    """The user's own program beside quern: its statements, one at a time."""

    def __init__(self, folder):
        self.db = os.path.join(folder, "rows.db")
        self.connection = sqlite3.connect(self.db, timeout=30, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode = WAL")

    def run(self, sql):
        return [tuple(map(str, row)) for row in self.connection.execute(sql)]

    def close(self):
        self.connection.close()


class Postgres:
    """The same through one psql that stays open."""
    END = "--end of the answer--"

    def __init__(self, folder):
        self.server = os.path.join(folder, "server")
        done = subprocess.run([TOOL, "start", self.server, str(os.getpid())], stdout=subprocess.PIPE, text=True, check=True)
        self.db = done.stdout.strip()
        self.psql = None
        self.run("ALTER SYSTEM SET synchronous_commit = on")  # what is committed outlives a restart, as users have it
        self.run("SELECT pg_reload_conf()")
        self.run("CREATE EXTENSION vector")

    def run(self, sql):
        if not self.psql:
            self.psql = subprocess.Popen([TOOL, "psql", "-At", "-F\t", self.db], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True, bufsize=1)
        self.psql.stdin.write("%s;\n\\echo %s\n" % (sql, self.END))
        self.psql.stdin.flush()
        rows = []
        for line in self.psql.stdout:
            if line.rstrip("\n") == self.END:
                return rows
            if line.strip():
                rows.append(tuple(line.rstrip("\n").split("\t")))
        raise AssertionError("psql ended at: %s" % sql)

    def restart(self):
        if self.psql:
            self.psql.stdin.close()
            self.psql.wait()
            self.psql.stdout.close()
            self.psql = None
        subprocess.run([TOOL, "restart", self.server, "immediate"], check=True, stdout=subprocess.DEVNULL)

    def close(self):
        if self.psql:
            self.psql.stdin.close()
            self.psql.wait()
            self.psql.stdout.close()
        subprocess.run([TOOL, "stop", self.server], check=True)


class History:
    """What each row held, and from when to when; a change counts as both until it is over."""

    def __init__(self):
        self.lock = threading.Lock()
        self.rows = {}  # id: [[text or None, began, ended]]

    def change(self, row, text, apply):
        versions = self.rows.setdefault(row, [[None, 0.0, None]])
        with self.lock:
            versions.append([text, time.monotonic(), None])
        apply()
        with self.lock:
            versions[-2][2] = time.monotonic()

    def held(self, row, text, began, ended):
        with self.lock:
            return any(v[0] == text and v[1] <= ended and (v[2] is None or v[2] >= began) for v in self.rows.get(row, []))

    def live(self):
        return {row: v[-1][0] for row, v in self.rows.items() if v[-1][0] is not None}


class Faults(CommandTest):
    STORE = Sqlite

    def setUp(self):
        super().setUp()
        self.rng = random.Random(SEED)
        self.place = tempfile.mkdtemp(prefix="quern-faults-")
        os.chmod(self.place, 0o755)
        self.addCleanup(shutil.rmtree, self.place, True)
        self.store = self.STORE(self.place)
        self.addCleanup(self.store.close)
        self.history = History()
        self.store.run("CREATE TABLE items (id integer PRIMARY KEY, body text, rev integer NOT NULL)")
        self.wrong = []

    def environment(self, **env):
        return super().environment(**{"QUERN_DB": self.store.db, "QUERN_MODEL": self.model, **env})

    def declare(self):
        self.ok("source", "add", "items", "--table", "items", "--key", "id", "--text", "{body}", "--revision", "rev")

    def mutate(self):
        """One insert, edit or deletion."""
        row, text = self.rng.randrange(ROWS), self.rng.choice(TEXTS)
        gone = self.history.rows.get(row, [[None]])[-1][0] is None
        if gone:
            sql = "INSERT INTO items VALUES (%d, '%s', %d)" % (row, text, self.rng.randrange(1 << 30))
        elif self.rng.random() < 0.3:
            text, sql = None, "DELETE FROM items WHERE id = %d" % row
        else:  # the same text at times: then the revision moves and the vector must not
            sql = "UPDATE items SET body = '%s', rev = rev + 1 WHERE id = %d" % (text, row)
        self.history.change(row, text, lambda: self.store.run(sql))

    def scores(self):
        """What each text scores, from a database that nothing happens to."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "t.jsonl")
            with open(path, "w") as file:
                file.writelines(json.dumps({"id": t, "text": t}) + "\n" for t in TEXTS)
            db = os.path.join(folder, "t.db")
            self.ok("add", path, "--db", db)
            self.ok("fill", "--db", db)
            hits = self.ok("search", QUERY, "--json", "--limit", "1000", "--db", db).json["hits"]
        self.assertEqual(len(hits), len(TEXTS))
        return {hit["key"]: hit["similarity"] for hit in hits}

    def check_hits(self, scores):
        began = time.monotonic()
        answer = self.quern("search", QUERY, "--json", "--limit", "50")
        ended = time.monotonic()
        if answer.code:  # a server that restarts
            return 0
        hits = answer.json["hits"]
        for hit in hits:
            text = hit["excerpt"]
            if not self.history.held(hit["key"], text, began, ended):
                self.wrong.append("stale: %s" % hit)
            if hit["similarity"] != scores.get(text):
                self.wrong.append("another text's vector: %s, which scores %s" % (hit, scores.get(text)))
        return len(hits)

    def killed_often(self, span, count):
        """So many processes side by side, each killed after a while of its own; gives how many really were."""
        died, running = 0, []
        for i in range(count):
            how = self.rng.choice((["fill"], ["work", "--tick", "50ms", "--lease", "1s"]))
            process = subprocess.Popen([BIN, *how, "--threads", "1"], cwd=self.cwd, env=self.environment(),
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            running.append((time.monotonic() + self.rng.uniform(0.01, span), process))
        for end, process in sorted(running, key=lambda r: r[0]):
            try:
                process.wait(max(0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
            died += process.wait() == -9
        return died

    def enqueue(self):
        keys = [str(self.rng.randrange(ROWS)) for _ in range(20)]
        self.quern("enqueue", "--source", "items", *keys)

    def settle(self):
        """Nothing changes any more: the tasks that are left and one fill, and every row has its vectors, no other has any."""
        live = self.history.live()
        time.sleep(1.1)  # the leases of those who were killed
        self.ok("work", "--once")
        report = self.ok("fill", "--json").json
        self.assertEqual((report["total"], report["done"], report["failed"]), (len(live), len(live), 0))
        verified = self.ok("verify", "--all", "--json").json
        self.assertEqual((verified["equal"], verified["different"], verified["orphans"]), (len(live), 0, 0))
        hits = self.ok("search", QUERY, "--json", "--limit", "1000").json["hits"]
        self.assertEqual({hit["key"]: hit["excerpt"] for hit in hits}, live)

    def run_rounds(self, rounds, each=lambda n: None):
        print("%s: seed %d" % (self.id(), SEED), flush=True)
        scores = self.scores()
        for _ in range(ROWS // 2):
            self.mutate()
        self.declare()
        self.ok("fill")  # so that there is something to be found before the first who is killed has done anything
        for _ in range(ROWS // 2):
            self.mutate()
        stop, found = threading.Event(), threading.Event()

        def search():
            while not stop.is_set():
                if self.check_hits(scores):
                    found.set()

        def edit():
            while not stop.is_set():
                self.mutate()
                time.sleep(0.002)

        died = 0
        for n in range(rounds):
            stop.clear()
            found.clear()
            threads = [threading.Thread(target=f) for f in (search, edit)]
            for t in threads:
                t.start()
            try:
                each(n)
                self.enqueue()
                died += self.killed_often(0.6, 4)
                self.assertTrue(found.wait(60), "no search found anything: nothing was checked")
            finally:
                stop.set()
                for t in threads:
                    t.join()
            self.assertEqual(self.wrong, [], "seed %d" % SEED)
        self.settle()
        self.assertGreater(died, rounds // 3, "too few processes were really killed")

    def test_kills_under_edits_and_searches(self):
        self.run_rounds(ROUNDS)

    def test_a_second_fill_beside_a_first(self):
        for _ in range(ROWS):
            self.mutate()
        self.declare()
        fills = [subprocess.Popen([BIN, "fill"], cwd=self.cwd, env=self.environment(), stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE) for _ in range(4)]
        ends = [(f.communicate()[1].decode(), f.returncode) for f in fills]
        # A lock's holder writes its name after it has the lock and takes it away before it lets go,
        # so who asks in between reads of "another process".
        for said, code in ends:
            self.assertTrue(code == 0 or (code == 1 and "is held by" in said), ends)
        self.assertIn(0, [code for _, code in ends])
        self.settle()


class OnPostgres(Faults):
    STORE = Postgres

    def test_restarts_of_the_server(self):
        lock = threading.Lock()
        run = self.store.run
        self.store.run = lambda sql: [lock.acquire(), run(sql), lock.release()][1]

        def restart(n):
            with lock:
                self.store.restart()

        self.run_rounds(10 if LONG else 2, restart)


class FullDisk(CommandTest):
    """A small file system: what does not fit is refused, what is there stays, and with room it goes on. Where none may be
    mounted, no file may grow beyond the same size."""

    def setUp(self):
        super().setUp()
        self.disk = os.path.join(self.cwd, "disk")
        os.mkdir(self.disk)
        small = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", self.disk]
        self.mounted = subprocess.run(small, stderr=subprocess.DEVNULL).returncode == 0
        if self.mounted:
            self.addCleanup(subprocess.run, ["umount", "-l", self.disk], check=True)

    def fill(self, db, full):
        args = [BIN, "fill", "--db", db, "--model", self.model, "--json"]
        if full and not self.mounted:
            args = ["bash", "-c", 'trap "" XFSZ; ulimit -f 1500; exec "$@"', "-", *args]
        elif not full and self.mounted:
            subprocess.run(["mount", "-o", "remount,size=64m", self.disk], check=True)
        return subprocess.run(args, cwd=self.cwd, env=self.environment(), capture_output=True, text=True)

    def test_fill(self):
        db = os.path.join(self.disk, "rows.db")
        with sqlite3.connect(db) as c:
            c.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, body TEXT)")
            c.executemany("INSERT INTO items VALUES (?, ?)", ((i, "ban kolor %d" % i) for i in range(8000)))
        self.ok("source", "add", "items", "--db", db, "--table", "items", "--key", "id", "--text", "{body}")
        full = self.fill(db, True)
        self.assertEqual(full.returncode, 1, full.stderr)
        self.assertRegex(full.stderr, "full|disk I/O")
        before = self.ok("status", "--db", db, "--json").json
        self.assertGreater(before["pending"], 0)
        with sqlite3.connect(db) as c:
            self.assertEqual(c.execute("PRAGMA integrity_check").fetchone(), ("ok",))
            self.assertEqual(c.execute("SELECT count(*) FROM items").fetchone(), (8000,))
        report = json.loads(self.fill(db, False).stdout)
        self.assertEqual((report["done"], report["skipped"]), (8000, before["done"]))
        self.assertEqual(self.ok("verify", "--db", db, "--sample", "300", "--json").json["equal"], 300)


if __name__ == "__main__":
    if WITHOUT_POSTGRES:
        print("built without PostgreSQL")
        raise SystemExit(77)
    unittest.main()
