"""Limits that several processes keep together, through a real Redis and a real PostgreSQL: whatever they do, a provider that counts
arrivals never sees more than the limit in any window; permits of a process that was killed come back; a place that goes away lets
nothing through unnoticed, and is done without after a while. In windows of seconds, by a program of the library's; and the command's flags."""
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

from command import BIN, LONG, WITHOUT_POSTGRES
from own_postgres import TOOL, Server, psql
from test_providers import ProviderTest

DRIVER = os.path.join(os.environ["QUERN_BUILD"], "tests", "embed_limited")
WITHOUT_REDIS = os.environ.get("QUERN_TEST_REDIS", "1") == "0"
if not WITHOUT_REDIS:
    from test_redis import Redis


class Caller:
    """One process; its lines come when they come."""

    def __init__(self, *args):
        self.process = subprocess.Popen([DRIVER, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines, self.seen = queue.Queue(), 0
        self.errors = []
        self.readers = [threading.Thread(target=self.read), threading.Thread(target=lambda: self.errors.extend(self.process.stderr))]
        for reader in self.readers:
            reader.start()

    def read(self):
        for line in self.process.stdout:
            self.seen += line.startswith("call")
            self.lines.put(line.strip())

    def wait(self, line, timeout=60):
        end = time.monotonic() + timeout
        while True:
            got = self.lines.get(timeout=max(end - time.monotonic(), 0.01))
            if got.startswith(line):
                return

    def kill(self):
        self.process.kill()
        self.process.wait()
        for reader, stream in zip(self.readers, (self.process.stdout, self.process.stderr)):
            reader.join()
            stream.close()


class Shared(ProviderTest):
    """What holds of both places; `place` is the URL. No test of its own."""
    WINDOW = 1000

    def callers(self, n, requests, tokens=0, calls=1000, threads=4, window=None, name="test"):
        made = [Caller(self.url, self.place, name, window or self.WINDOW, requests, tokens, calls, threads) for _ in range(n)]
        for caller in made:
            self.addCleanup(caller.kill)
        return made

    def arrivals(self):
        return sorted(e["at"] for e in self.told()["log"])

    def never_over(self, limit, window=None, at=None):
        at, length = at or self.arrivals(), (window or self.WINDOW) / 1000
        for i in range(len(at) - limit):
            self.assertGreaterEqual(at[i + limit] - at[i], length, "%d calls from %.3f on" % (limit + 1, at[i] - at[0]))
        return at

    def run_for(self, seconds, callers):
        for caller in callers:
            caller.wait("ready")
        time.sleep(seconds)

    def two_and_four(self):
        for n, limit in ((2, 20), (4, 30)):
            self.plan(latency=5)
            callers = self.callers(n, limit, name="of %d" % n)
            self.run_for(2.6, callers)
            for caller in callers:
                caller.kill()
            at = self.never_over(limit)
            # neither do they waste it: three windows have begun, the late sixth included
            self.assertGreaterEqual(len(at), 2 * limit, at[-1] - at[0])
            self.assertTrue(all(c.seen for c in callers), [c.seen for c in callers])

    def tokens(self):
        self.plan(latency=5, counted=20)  # guessed are 10
        callers = self.callers(2, 0, tokens=200)
        self.run_for(2.6, callers)
        for caller in callers:
            caller.kill()
        self.assertGreaterEqual(len(self.arrivals()), 14)
        # before the first answers have come eight calls may be under way by the guess
        self.never_over(10 + 8)

    def killed(self):
        """In the middle of calls, and again and again: what it had taken comes back, and nobody waits for it."""
        self.plan(latency=300)
        limit = 12
        for _ in range(4 if LONG else 1):
            victim, other = self.callers(2, limit)
            victim.wait("ready"), other.wait("ready")
            time.sleep(0.15)
            victim.kill()
            before = len(self.arrivals())
            time.sleep(2 * self.WINDOW / 1000)
            self.assertGreater(len(self.arrivals()), before)
            other.kill()
        self.never_over(limit)

    def gone_and_back(self):
        """Nothing leaves for a window; then each takes its part; afterwards all know of everything again."""
        self.plan(latency=5)
        limit = 20
        callers = self.callers(2, limit, threads=2)
        self.run_for(1.5, callers)
        self.stop_place()
        gone = time.monotonic()
        time.sleep(3)
        without = [t - gone for t in self.arrivals() if t > gone]
        self.start_place()
        back = time.monotonic()
        time.sleep(4)
        for caller in callers:
            self.assertIsNone(caller.process.poll(), caller.errors)
            caller.kill()
        at = self.never_over(limit)
        self.assertEqual([t for t in without if 0.3 < t < 1], [], without)
        self.assertTrue(any(t > 1 for t in without), without)
        self.assertGreater(len([t for t in at if t > back]), limit)

    def names(self):
        """Another name or another window has limits of its own."""
        self.plan()
        self.callers(1, 5, name="a"), self.callers(1, 5, name="b")
        time.sleep(1.0)
        self.assertEqual(len(self.arrivals()), 10)


@unittest.skipIf(WITHOUT_REDIS, "built without Redis")
class ThroughRedis(Shared):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.redis = Redis()
        cls.addClassCleanup(cls.redis.close)
        cls.place = "redis://127.0.0.1:%d" % cls.redis.port
        time.sleep(3.2)  # before it has been up for a window it grants nothing

    def setUp(self):
        super().setUp()
        self.redis.cli("flushall")

    def test_two_and_four(self):
        self.two_and_four()
        keys = set(self.redis.cli("keys", "quern:limit:*").split("\n"))
        self.assertEqual(keys, {"quern:limit:1:{of %d/1000ms}:%s" % (n, part) for n in (2, 4) for part in ("log", "tokens", "meta", "who")})
        self.assertTrue(all(0 < int(self.redis.cli("pttl", k)) < 90000 for k in keys))

    def test_tokens(self):
        self.tokens()

    def test_killed(self):
        self.killed()

    def test_names(self):
        self.names()

    def test_forgotten(self):
        """FLUSHALL: who has permits of the window tells again, before anybody gets more."""
        self.plan(latency=5)
        (caller,) = self.callers(1, 20)
        caller.wait("ready")
        for _ in range(6):
            time.sleep(0.4)
            self.redis.cli("flushall")
        caller.kill()
        self.never_over(20)

    def lost(self, lose, seconds=3):
        """Whatever goes of what the place knew, who comes first does not get what the others have used."""
        self.plan(latency=60)  # so that each has some
        callers = self.callers(3, 12, threads=1)
        self.run_for(1.6, callers)
        at = len(self.arrivals())
        lose()
        time.sleep(seconds)
        for caller in callers:
            self.assertIsNone(caller.process.poll(), caller.errors)
            caller.kill()
        self.assertGreater(len(self.never_over(12)), at + 12)  # and it goes on

    def test_forgotten_by_all(self):
        self.lost(lambda: self.redis.cli("flushall"))

    def test_evicted(self):
        for part in ("log", "tokens", "meta"):
            self.redis.cli("flushall")
            self.lost(lambda: self.redis.cli("del", "quern:limit:1:{test/1000ms}:" + part))

    def test_another_in_its_place(self):
        """A copy that was up all the time, and knows less."""
        other = Redis()
        self.addCleanup(other.close)
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, "s")
        os.symlink(os.path.join(self.redis.folder, "s"), path)
        self.place = "unix://" + path
        time.sleep(3)  # it has been up for longer than since the last answer, and for more than a window

        def fail_over():
            meta = self.redis.cli("hgetall", "quern:limit:1:{test/1000ms}:meta").split("\n")
            fields = dict(zip(meta[::2], meta[1::2]), n="0", sum="0")
            other.cli("hset", "quern:limit:1:{test/1000ms}:meta", *(w for f in fields.items() for w in f))
            os.remove(path)
            os.symlink(os.path.join(other.folder, "s"), path)
            self.redis.cli("client", "kill", "type", "normal", "skipme", "yes")

        self.lost(fail_over, 5)  # each asks again a second after it was cut off

    if LONG:
        def test_hanging(self):
            """It is stopped: what asks gets no answer; nothing leaves for a window."""
            self.plan(latency=5)
            (caller,) = self.callers(1, 10)
            caller.wait("ready")
            time.sleep(0.5)
            self.redis.process.send_signal(signal.SIGSTOP)
            try:
                time.sleep(4.5)
            finally:
                self.redis.process.send_signal(signal.SIGCONT)
            self.assertGreater(len(self.arrivals()), 10)
            caller.kill()
            self.never_over(10)

    def test_not_there(self):
        got = subprocess.run([DRIVER, self.url, "redis://127.0.0.1:1", "x", "1000", "5", "0", "1", "1"], capture_output=True, text=True)
        self.assertEqual((got.returncode, got.stdout), (1, ""))
        self.assertRegex(got.stderr, "^EREMOTE: Redis at 127.0.0.1: Connection refused")
        for url, saying in (("ftp://x", "redis://…, unix:///… or postgres://…"), ("redis://", "without a host")):
            got = subprocess.run([DRIVER, self.url, url, "x", "1000", "5", "0", "1", "1"], capture_output=True, text=True)
            self.assertEqual(got.returncode, 1)
            self.assertIn(saying, got.stderr)


@unittest.skipIf(WITHOUT_REDIS, "built without Redis")
class RedisThatComesAndGoes(Shared):
    def setUp(self):
        super().setUp()
        self.redis = Redis()
        self.addCleanup(self.redis.close)
        self.place = "redis://127.0.0.1:%d" % self.redis.port

    def stop_place(self):
        self.redis.kill()

    def start_place(self):
        self.redis.start()

    def test_gone_and_back(self):
        time.sleep(3.2)
        self.gone_and_back()

    def test_just_started(self):
        """It knows nothing of the time before: nobody gets a permit."""
        self.plan()
        (caller,) = self.callers(1, 5)
        caller.wait("ready")
        time.sleep(0.7)
        self.assertEqual(self.arrivals(), [])
        caller.wait("call", 5)

    def test_flags(self):
        """Two commands together make as many calls as one may."""
        self.plan()
        texts = "".join(json.dumps({"text": "ban %d" % i}) + "\n" for i in range(30))
        started = [subprocess.Popen([BIN, "embed", "--jsonl", "--max-inputs", "1", "--requests-per-minute", "6", "--limit-shared", self.place, "--limit-name", "our key"],
                                    stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.environment(), cwd=self.cwd) for _ in range(2)]
        for p in started:
            p.stdin.write(texts.encode())
            p.stdin.close()
        time.sleep(2)
        for p in started:
            self.assertIsNone(p.poll())
            p.send_signal(signal.SIGINT)
        for p in started:
            self.assertEqual(p.wait(2), 130)
            self.assertIn(b"was started a moment ago", p.stderr.read())  # a minute has not gone by
            p.stderr.close()
        self.assertEqual(self.told()["log"], [])
        self.redis.cli("hset", "quern:limit:1:{our key}:meta", "closed", "0")
        self.assertEqual(self.embed(["a"], "--limit-shared", "store", "--requests-per-minute", "6").code, 2)
        answer = self.embed(["a"], "--limit-shared", "redis://:geheim@127.0.0.1:1")
        self.assertEqual(answer.code, 1)
        self.assertNotIn("geheim", answer.message)


@unittest.skipIf(WITHOUT_POSTGRES, "built without PostgreSQL")
class ThroughPostgres(Shared):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        server = Server()
        cls.addClassCleanup(server.close)
        cls.place = server.url

    def sql(self, text):
        return psql(self.place, text)

    def setUp(self):
        super().setUp()
        self.sql("DROP SCHEMA IF EXISTS quern_limits CASCADE")

    def test_two_and_four(self):
        self.two_and_four()
        self.sql("SELECT 1")
        self.assertEqual(self.sql("SELECT count(*) FROM quern_limits.place"), [["2"]])

    def test_tokens(self):
        self.tokens()

    def test_killed(self):
        self.killed()

    def test_names(self):
        self.names()

    if LONG:
        def test_locked_by_somebody(self):
            """A stranger's transaction holds the row: it is waited for so long, then done without, and the session is no worse for it."""
            self.plan(latency=5)
            (caller,) = self.callers(1, 10)
            caller.wait("ready")
            time.sleep(0.5)
            holder = subprocess.Popen([TOOL, "psql", "-q", self.place], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
            holder.stdin.write("BEGIN; SELECT * FROM quern_limits.place FOR UPDATE;\n")
            holder.stdin.flush()
            time.sleep(5.5)
            self.assertIsNone(caller.process.poll())
            holder.stdin.close()
            holder.wait()
            before = len(self.arrivals())
            self.assertGreater(before, 10)
            time.sleep(2.5)
            self.assertGreater(len(self.arrivals()), before)
            caller.kill()
            self.never_over(10)

    def test_emptied(self):
        """Somebody removes all permits by hand: those after them are counted as ever."""
        self.plan(latency=5)
        (caller,) = self.callers(1, 10)
        caller.wait("ready")
        time.sleep(0.6)
        self.sql("TRUNCATE quern_limits.permit")
        time.sleep(2.5)
        caller.kill()
        self.assertGreater(len(self.never_over(20)), 20)  # and it goes on

    def test_all_at_once(self):
        """Ten processes make the schema at the same time."""
        self.plan()
        callers = self.callers(10, 20, calls=1, threads=1)
        for caller in callers:
            caller.wait("done")
        self.assertEqual(len(self.arrivals()), 10)
        self.assertEqual(self.sql("SELECT count(*) FROM quern_limits.process"), [["0"]])

    def test_flags(self):
        self.plan()
        texts = "".join(json.dumps({"text": "ban %d" % i}) + "\n" for i in range(30))
        flags = ["--max-inputs", "1", "--requests-per-minute", "6", "--concurrency", "4"]
        started = [subprocess.Popen([BIN, "embed", "--jsonl", *flags, "--limit-shared", where], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                    env=self.environment(QUERN_DB=self.place), cwd=self.cwd) for where in (self.place, "store")]
        for p in started:
            p.stdin.write(texts.encode())
            p.stdin.close()
        time.sleep(3)
        for p in started:
            self.assertIsNone(p.poll())
            p.send_signal(signal.SIGINT)
            self.assertEqual(p.wait(2), 130)
            p.stderr.close()
        self.assertEqual(len(self.told()["log"]), 6)
        self.assertEqual(self.sql("SELECT name, n FROM quern_limits.place"), [["openai:text-embedding-3-small", "6"]])


if __name__ == "__main__":
    unittest.main()
