"""The cache's Redis tier against a real redis-server: hits over processes, age, values that strangers wrote, and a Redis that is slow,
killed, full or guarded, which never fails a call."""
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from command import CommandTest
from test_providers import ProviderTest

if os.environ.get("QUERN_TEST_REDIS", "1") == "0":
    print("built without Redis")
    raise SystemExit(77)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Redis:
    """A server of its own in a folder of its own; Debian's redis-tools have it under another name."""

    def __init__(self, *options):
        self.folder = tempfile.mkdtemp(prefix="quern-redis-")
        self.port = free_port()
        self.options = options
        server = os.path.join(self.folder, "redis-server")
        os.symlink(shutil.which("redis-check-rdb"), server)
        self.start()

    def start(self):
        self.process = subprocess.Popen([os.path.join(self.folder, "redis-server"), "--port", str(self.port), "--bind", "127.0.0.1",
                                         "--unixsocket", os.path.join(self.folder, "s"), "--save", "", "--appendonly", "no", "--dir", self.folder,
                                         "--logfile", os.path.join(self.folder, "log"), *self.options])
        for _ in range(200):
            try:
                socket.create_connection(("::1" if "::1" in self.options else "127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("redis-server did not start")

    def cli(self, *words, data=None):
        return subprocess.run(["redis-cli", "-p", str(self.port), *words], input=data, capture_output=True, check=True).stdout.decode().strip()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.kill()
        shutil.rmtree(self.folder)


class Cache(ProviderTest):
    def setUp(self):
        super().setUp()
        self.redis = self.redis_with()

    def redis_with(self, *options):
        redis = Redis(*options)
        self.addCleanup(redis.close)
        return redis

    def environment(self, **env):
        env.setdefault("QUERN_CACHE_REDIS", "redis://127.0.0.1:%d" % self.redis.port)
        return super().environment(**env)

    def calls(self):
        log = self.told()["log"]
        self.plan()
        return sum(e["texts"] for e in log)

    def test_shared_by_processes(self):
        texts = ["text %d" % i for i in range(1500)]
        self.plan()
        self.right(texts, self.vectors(texts, "--batch", "700"))
        self.assertEqual(self.calls(), 1500)
        self.assertEqual(self.redis.cli("dbsize"), "1500")
        for url in ("redis://127.0.0.1:%d" % self.redis.port, "unix://%s/s" % self.redis.folder):
            self.right(texts, self.vectors(texts, "--batch", "700", "--cache-redis", url))
        self.assertEqual(self.calls(), 0)
        key = self.redis.cli("randomkey")
        self.assertRegex(key, "^quern:1:[0-9a-f]{64}$")
        ttl = int(self.redis.cli("ttl", key))
        self.assertTrue(30 * 86400 - 100 < ttl <= 30 * 86400, ttl)
        self.right(["soon gone"], self.vectors(["soon gone"], "--cache-ttl", "100s"))
        self.assertEqual(sum(0 < int(self.redis.cli("ttl", k)) <= 100 for k in self.redis.cli("keys", "quern:1:*").split()), 1)
        self.redis.cli("select", "0")
        # a database of its own, and what is kept under another name stays
        self.redis.cli("set", "somebody:else", "x")
        self.right(["text 1"], self.vectors(["text 1"], "--cache-redis", "redis://127.0.0.1:%d/3" % self.redis.port))
        self.assertEqual(self.calls(), 2)
        self.ok("cache", "contains", "text 1")
        self.ok("cache", "remove", "text 1")
        self.assertEqual(self.quern("cache", "contains", "text 1").code, 4)
        self.ok("cache", "clear", "--yes")
        self.assertEqual(self.redis.cli("keys", "*"), "somebody:else")

    def test_a_file_learns_from_it(self):
        self.plan()
        self.right(["ban"], self.vectors(["ban"]))
        self.right(["ban"], self.vectors(["ban"], "--cache-file", "v.cache"))
        self.right(["ban"], self.vectors(["ban"], "--cache-file", "v.cache", "--cache-redis", "redis://127.0.0.1:1"))
        self.assertEqual(self.calls(), 1)

    def test_values_of_strangers(self):
        self.plan()
        texts = ["text %d" % i for i in range(40)]
        self.right(texts, self.vectors(texts))
        self.calls()
        keys = sorted(self.redis.cli("keys", "quern:1:*").split())
        for i, key in enumerate(keys):
            way = i % 5
            if way == 0:
                self.redis.cli("setrange", key, str(30 + i % 60), "?")
            elif way == 1:
                self.redis.cli("set", key, "")
            elif way == 2:
                self.redis.cli("append", key, "more")
            elif way == 3:
                self.redis.cli("copy", keys[i - 1], key, "replace")
            else:
                self.redis.cli("del", key)
                self.redis.cli("lpush", key, "a list")
        self.right(texts, self.vectors(texts))
        self.assertEqual(self.calls(), 40)
        self.right(texts, self.vectors(texts))  # written over
        self.assertEqual(self.calls(), 0)

    def test_one_that_is_gone(self):
        texts = ["text %d" % i for i in range(60)]
        self.plan()
        self.redis.kill()
        began = time.monotonic()
        answer = self.embed(texts, "--batch", "5")
        self.assertEqual(answer.code, 0)
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual(answer.message.count("left alone for a while"), 1, answer.message)
        self.redis.start()
        self.right(texts, self.vectors(texts))
        self.calls()
        self.right(texts, self.vectors(texts))
        self.assertEqual(self.calls(), 0)

    def test_one_that_hangs(self):
        self.plan()
        self.redis.process.send_signal(19)  # SIGSTOP
        try:
            began = time.monotonic()
            self.right(["ban", "gut"], self.vectors(["ban", "gut"], "--batch", "1", "--cache-redis-timeout", "300ms"))
            self.assertLess(time.monotonic() - began, 8)
        finally:
            self.redis.process.send_signal(18)

    def test_one_that_drips(self):
        """Never silent for long, and never at an end."""
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)

        def drip():
            try:
                while True:
                    link = server.accept()[0]
                    link.recv(4096)
                    for byte in b"*1\r\n$400\r\n" + b"x" * 400:
                        link.send(bytes([byte]))
                        time.sleep(0.1)
            except OSError:
                pass
        threading.Thread(target=drip, daemon=True).start()
        self.plan()
        began = time.monotonic()
        answer = self.embed(["ban"], "--cache-redis", "redis://127.0.0.1:%d" % server.getsockname()[1])
        self.assertEqual(answer.code, 0)
        self.assertIn("does not end", answer.message)
        self.assertLess(time.monotonic() - began, 8)

    def test_one_that_is_full_or_guarded(self):
        full = self.redis_with("--maxmemory", "1mb", "--maxmemory-policy", "noeviction")
        guarded = self.redis_with("--requirepass", "secret")
        self.plan()
        for url in ("redis://127.0.0.1:%d" % full.port, "redis://127.0.0.1:%d" % guarded.port, "redis://:wrong@127.0.0.1:%d" % guarded.port):
            answer = self.embed(["ban"], "--cache-redis", url)
            self.assertEqual(answer.code, 0, answer.message)
            self.assertNotIn("wrong", answer.message)
        self.assertEqual(self.calls(), 3)
        for _ in range(2):
            self.right(["ban"], self.vectors(["ban"], "--cache-redis", "redis://:secret@127.0.0.1:%d" % guarded.port))
        self.assertEqual(self.calls(), 1)

    def test_users(self):
        self.redis.cli("acl", "setuser", "eve", "on", ">p@ss/w:rd%", "~quern:1:*", "+@all")
        self.redis.cli("acl", "setuser", "default", "resetpass", ">other")
        port = self.redis.port
        self.plan()
        for user, texts in (("eve:p%40ss%2Fw:rd%25", 1), (":other", 0), ("default:other", 0), ("eve:p@ss%2fw:rd%25", 0)):
            self.right(["ban"], self.vectors(["ban"], "--cache-redis", "redis://%s@127.0.0.1:%d" % (user, port)))
            self.assertEqual(self.calls(), texts, user)
        for user in ("eve:wrong", "nobody:other", ":p%40ss%2Fw:rd%25"):
            answer = self.embed(["ban"], "--cache-redis", "redis://%s@127.0.0.1:%d" % (user, port))
            self.assertEqual(answer.code, 0)
            self.assertIn("left alone", answer.message)
            for word in ("wrong", "other", "p@ss"):
                self.assertNotIn(word, answer.message)

    def test_ipv6(self):
        try:
            redis = self.redis_with("--bind", "::1")
        except AssertionError:
            self.skipTest("no IPv6 on this machine")
        self.plan()
        for n in (1, 0):
            self.right(["ban"], self.vectors(["ban"], "--cache-redis", "redis://[::1]:%d/2" % redis.port))
            self.assertEqual(self.calls(), n)

    def test_what_is_no_address(self):
        for url in ("http://x", "redis://", "redis://host:0", "redis://host:99999", "redis://h/x", "redis://user@h", "unix://relative", "redis://host: 1", "redis://host:+1",
                    "redis://host:", "redis://[::1", "redis://[::1]x", "redis://[]:1", "redis://::1:6379", "redis://:%4@h", "redis://:%zz@h", "redis://:a%00@h", "redis://h/1 ",
                    "redis://:sec/ret@h"):
            answer = self.embed(["ban"], "--cache-redis", url)
            self.assertEqual((answer.code, answer.out), (2, b""), url)
            self.assertNotIn("sec", answer.message)
        answer = self.embed(["ban"], "--cache-redis", "rediss://host")
        self.assertEqual(answer.code, 1)
        self.assertIn("speaks no TLS", answer.message)


del ProviderTest, CommandTest  # their tests are theirs

if __name__ == "__main__":
    unittest.main(verbosity=2)
