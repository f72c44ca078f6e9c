"""Hosted models, played by a stand-in in a process of its own (provider.py): every dialect's exact request, answers of every wrong shape,
retries, limits, halving; and the whole way of a source that a hosted model embeds."""
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import ssl
import struct
import subprocess
import sys
import threading
import time
import unittest
import urllib.request

from command import BIN, LONG, ROOT, CommandTest
from provider import vector

HERE = os.path.dirname(os.path.abspath(__file__))
KEY = "sk-geheim-0123456789"


class ProviderTest(CommandTest):
    ARGS = []

    def setUp(self):
        super().setUp()
        self.server = subprocess.Popen([sys.executable, os.path.join(HERE, "provider.py"), *self.ARGS], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.stop)
        self.url = self.server.stdout.readline().strip()

    def stop(self):
        self.server.stdin.close()
        self.server.wait()
        self.server.stdout.close()

    def plan(self, *faults, **settings):
        body = json.dumps(dict(settings, faults=list(faults))).encode()
        urllib.request.urlopen(urllib.request.Request(self.url + "/plan", body, {"Content-Type": "application/json"})).read()

    def told(self):
        with urllib.request.urlopen(self.url + "/log", timeout=30) as answer:
            return json.load(answer)

    def environment(self, **env):
        env.setdefault("OPENAI_API_KEY", KEY)
        env.setdefault("QUERN_BASE_URL", self.url)
        env["QUERN_MODEL"] = "openai:text-embedding-3-small"
        env.setdefault("QUERN_DIMENSIONS", "24")
        return super().environment(**env)

    def embed(self, texts, *args, **how):
        stdin = "".join(json.dumps({"text": t}) + "\n" for t in texts)
        return self.quern("embed", "--jsonl", *args, stdin=stdin, **how)

    def vectors(self, texts, *args, **how):
        answer = self.embed(texts, *args, **how)
        self.assertEqual(answer.code, 0, answer.message)
        return [json.loads(line)["embedding"] for line in answer.out.splitlines()]

    def right(self, texts, got, n=24):
        self.assertEqual(len(got), len(texts))
        for text, v in zip(texts, got):
            self.assertEqual(len(v), n)
            self.assertLess(max(abs(a - b) for a, b in zip(v, vector(text, n))), 1e-6, text)


class Dialects(ProviderTest):
    TEXTS = ["ban lan", "gut \u00fcber \u65e5\u672c \"q\" \\ \x07", "kolor"]

    def ask(self, model, *args, env=None):
        self.plan()
        self.right(self.TEXTS, self.vectors(self.TEXTS, "--model", model, *args, env=env))
        log = self.told()["log"]
        self.assertEqual([(e["texts"], e["first"]) for e in log if e["texts"] == 3], [(3, "ban lan")])
        return log[-1]

    def test_openai(self):
        call = self.ask("openai:text-embedding-3-small")
        self.assertEqual(call["path"], "/embeddings")
        self.assertEqual(call["body"], {"model": "text-embedding-3-small", "dimensions": 24, "encoding_format": "base64"})
        self.assertEqual(call["headers"]["authorization"], "Bearer " + KEY)
        self.assertEqual(call["headers"]["content-type"], "application/json")

    def test_compatible(self):
        call = self.ask("compatible:any/thing", env={"QUERN_DIMENSIONS": "0"})  # asks for the dimension first
        self.assertEqual(call["body"], {"model": "any/thing", "encoding_format": "base64"})
        self.assertNotIn("authorization", call["headers"])
        self.assertEqual(len(self.told()["log"]), 2)
        call = self.ask("compatible:any/thing", env={"QUERN_API_KEY": "own"})
        self.assertEqual(call["headers"]["authorization"], "Bearer own")

    def test_canonical_names(self):
        for provider, name, variable in (("deepinfra", "Qwen/Qwen3-Embedding-4B", "DEEPINFRA_API_KEY"), ("dashscope", "text-embedding-v4", "DASHSCOPE_API_KEY")):
            call = self.ask(provider + ":Qwen-3-Embedding-4B", env={variable: "k"})
            self.assertEqual(call["body"]["model"], name)
            self.assertEqual(call["headers"]["authorization"], "Bearer k")

    def test_cohere(self):
        call = self.ask("cohere:embed-v4.0", env={"COHERE_API_KEY": "k"})
        self.assertEqual((call["path"], call["body"]), ("/v2/embed", {"model": "embed-v4.0", "input_type": "search_document", "truncate": "NONE",
                                                                      "embedding_types": ["float"], "output_dimension": 24}))
        call = self.ask("cohere:embed-v4.0", "--as", "query", env={"COHERE_API_KEY": "k"})
        self.assertEqual(call["body"]["input_type"], "search_query")

    def test_voyage(self):
        call = self.ask("voyage:voyage-3.5", env={"VOYAGE_API_KEY": "k"})
        self.assertEqual(call["body"], {"model": "voyage-3.5", "input_type": "document", "truncation": False, "output_dimension": 24,
                                        "encoding_format": "base64"})
        self.assertEqual(self.ask("voyage:voyage-3.5", "--as", "query", env={"VOYAGE_API_KEY": "k"})["body"]["input_type"], "query")

    def test_jina(self):
        call = self.ask("jina:jina-embeddings-v3", env={"JINA_API_KEY": "k"})
        self.assertEqual(call["body"], {"model": "jina-embeddings-v3", "task": "retrieval.passage", "truncate": False, "dimensions": 24,
                                        "embedding_type": "base64"})

    def test_tei(self):
        call = self.ask("tei:what-it-serves", env={"QUERN_DIMENSIONS": "0"})
        self.assertEqual((call["path"], call["body"]), ("/embed", {"truncate": False, "normalize": False}))
        self.assertNotIn("authorization", call["headers"])

    def test_ollama(self):
        call = self.ask("ollama:nomic-embed-text")
        self.assertEqual((call["path"], call["body"]), ("/api/embed", {"model": "nomic-embed-text", "truncate": False, "dimensions": 24}))

    def test_either_shape_in_any_order(self):
        for fault in ("floats", "shuffle"):
            self.plan(fault)
            self.right(self.TEXTS, self.vectors(self.TEXTS))

    def test_tokens_are_the_providers(self):
        self.plan(counted=100)
        tokens = [json.loads(line)["tokens"] for line in self.embed(self.TEXTS).out.splitlines()]
        self.assertEqual(sum(tokens), 100)
        self.assertTrue(all(tokens), tokens)

    def test_nothing_to_do_makes_no_call(self):
        self.plan()
        self.assertEqual(self.embed([]).out, b"")
        self.assertEqual(self.told()["log"], [])


class Faults(ProviderTest):
    def fails(self, saying, *args, texts=("ban", "lan"), calls=1, attempts=1, **how):
        """One line that names the provider and says this; no vector; no key."""
        answer = self.embed(texts, "--attempts", str(attempts), *args, **how)
        self.assertEqual((answer.code, answer.out), (1, b""), answer.message)
        self.assertEqual(len(answer.message.splitlines()), 1, answer.message)
        self.assertIn("openai:text-embedding-3-small", answer.message)
        self.assertRegex(answer.message, saying)
        self.assertNotIn(KEY, answer.message)
        self.assertEqual(len(self.told()["log"]), calls)
        return answer.message

    def test_answers_that_make_no_sense(self):
        for fault, saying in (("twice", "two vectors with index 0"), ("short", "1 vectors for 2 texts"), ("long", "25 numbers where 24"),
                              ("quarter", "a quarter"), ("nan", "."), ("zero", "zero"), ("html", "."), ("junk", "."), ("empty", "0 vectors for 2 texts"),
                              ("error", "something went wrong behind a smile"), ("cut", "."), ("redirect", "redirect to elsewhere.example"),
                              ("huge", "larger than the")):
            with self.subTest(fault):
                self.plan(fault)
                self.fails(saying)

    def test_slow_answers(self):
        for fault in ("hang", "drip"):
            self.plan(fault)
            began = time.monotonic()
            answer = self.embed(["ban"], "--attempts", "1", "--timeout", "700ms")
            self.assertEqual(answer.code, 1)
            self.assertIn("within 0.7 s", answer.message)
            self.assertLess(time.monotonic() - began, 10)

    def test_error_pages(self):
        for status, page, saying in (
                (400, {"error": {"message": "no such parameter"}}, "answers 400: no such parameter"), (401, {"error": "bad key"}, "401: bad key; is the key"),
                (404, {"detail": "Not Found"}, "404: Not Found; is the address"), (422, {"detail": [{"msg": "field required"}]}, "422: field required"),
                (413, "<html>too\nlarge</html>", "413: <html>too.large"), (500, "\x1b[31m" + "x" * 9000, "answers 500: .*x{20}"),
                (429, {"message": "slow down"}, "429: slow down"), (503, "", "answers 503")):
            with self.subTest(status):
                self.plan([status, {}, page], [status, {}, page], [status, {}, page])
                said = self.fails(saying, texts=["ban"])
                self.assertNotIn("\x1b", said)

    def test_answers_by_another_model(self):
        """A name that is not the one asked for is told; one that changes between two calls is an error, once asked again."""
        texts = ["text %d" % i for i in range(8)]
        self.plan(named="org/text-embedding-3-small-v2")
        self.assertEqual(self.embed(texts).message, "")
        self.plan(named="minilm")
        answer = self.embed(texts)
        self.assertEqual((answer.code, len(answer.out.splitlines())), (0, 8))
        self.assertIn("its answers say that they are by 'minilm'", answer.message)
        few = ("--max-inputs", "2", "--concurrency", "1")
        self.plan(None, None, "other", named="")
        self.right(texts, self.vectors(texts, *few, "--attempts", "2"))
        self.plan(None, None, *["other"] * 40, named="")
        answer = self.embed(texts, *few, "--attempts", "2")
        self.assertEqual(answer.code, 1)
        self.assertNotIn(b"text 4", answer.out)
        self.assertIn("an answer by the model 'another-model' after answers by 'text-embedding-3-small'", answer.message)

    def test_each_text_has_its_share_of_the_time(self):
        self.plan(latency=60)
        lines = self.embed(["ban", "lan ban gut " * 20], "--batch", "2").lines
        self.assertGreater(sum(line["inference_ms"] for line in lines), 50)
        self.assertLess(5 * lines[0]["inference_ms"], lines[1]["inference_ms"])  # by tokens

    def test_what_is_tried_again(self):
        for fault in (408, 409, 429, 500, 502, 503, "cut", "twice", "short", "junk", "html"):
            with self.subTest(fault):
                self.plan(fault)
                self.right(["ban", "lan"], self.vectors(["ban", "lan"]))
                self.assertEqual(len(self.told()["log"]), 2)
        for fault in (400, 401, 403, 404, 413, 422, "redirect", "huge", [429, {}, {"error": {"message": "x", "code": "insufficient_quota"}}]):
            with self.subTest(fault):
                self.plan(fault, fault, fault)
                self.fails(".", texts=["ban"], attempts=5)
        self.plan(502, 502, 502, 502)
        self.fails(r"answers 502: .* \(attempt 3/3\)", calls=3, attempts=3)
        self.plan(500, 500, 500, 500)  # one word is asked for, too: is it down?
        self.fails(r"answers 500: .* \(attempt 3/3\)", calls=4, attempts=3)
        self.plan(500, 500, 500)  # it is not, any more
        self.right(["ban", "lan"], self.vectors(["ban", "lan"], "--attempts", "3"))

    def test_a_text_that_the_server_stumbles_over(self):
        """As llama.cpp's server answers 500 for a text that is too long for it: set aside, the others are embedded."""
        self.write("in.jsonl", "".join(json.dumps({"id": i, "text": "document %d%s" % (i, " of stone" * (i == 7))}) + "\n" for i in range(12)))
        self.ok("add", "in.jsonl")
        self.plan(stumble="stone")
        self.assertEqual(self.quern("fill", "--attempts", "2").code, 3)  # not all of them
        self.assertEqual(self.ok("status", "--json").json["done"], 11)
        failed = self.ok("status", "--list", "failed", "--json").json["documents"]
        self.assertEqual([d["key"] for d in failed], ["7"])
        self.assertIn("too large to process (3 times, while it answers others)", failed[0]["reason"])

    def test_the_time_that_the_server_names(self):
        for headers, least in (({"Retry-After": "2"}, 2), ({"retry-after-ms": "1500", "Retry-After": "30"}, 1.5), ({"Retry-After": "0"}, 0)):
            self.plan([429, headers])
            began = time.monotonic()
            self.right(["ban"], self.vectors(["ban"]))
            took = time.monotonic() - began
            self.assertTrue(least <= took < least + 1.5, (headers, took))
        soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3))
        self.plan([503, {"Retry-After": soon}])
        began = time.monotonic()
        self.vectors(["ban"])
        self.assertGreater(time.monotonic() - began, 1)

    def test_a_provider_that_is_down_is_left_alone(self):
        """Sixteen calls at once fail, then there is a pause and one tries, then a longer one; and then all are through."""
        texts = ["text %d" % i for i in range(16)]
        how = ["--max-inputs", "1", "--batch", "16", "--concurrency", "16", "--attempts", "10"]
        self.plan(*[503] * 17, latency=200)  # time enough for all to be on their way before the first has failed
        self.right(texts, self.vectors(texts, *how))
        log = sorted(self.told()["log"], key=lambda e: e["at"])
        self.assertEqual(len(log), 33)
        self.assertLess(log[15]["at"] - log[0]["at"], 0.4)
        self.assertGreater(log[16]["at"] - log[15]["at"], 0.2)  # alone, half a second after the tenth failed
        self.assertGreater(log[17]["at"] - log[16]["at"], 0.9)
        self.assertGreater(log[18]["at"] - log[17]["at"], 0.15)  # whose answer the others waited for
        self.plan(*[503] * 16, latency=20)
        self.right(texts, self.vectors(texts, *how, "--pause-after", "0"))
        self.plan(latency=0)

    def test_nobody_there(self):
        answer = self.embed(["ban"], "--base-url", "http://127.0.0.1:1", "--attempts", "2")
        self.assertEqual(answer.code, 1)
        self.assertRegex(answer.message, r"openai:text-embedding-3-small: 127.0.0.1: .*connect.*\(attempt 2/2\)")

    def test_refused_before_a_call(self):
        for saying, args, env in (
                ("needs a key: set OPENAI_API_KEY", [], {"OPENAI_API_KEY": ""}), ("holds a character", [], {"OPENAI_API_KEY": "a\nb"}),
                ("not sent over plain http", ["--base-url", "http://example.org"], {}), ("no address to call", ["--base-url", "ftp://x"], {}),
                ("give a base URL", ["--model", "tei:x"], {"QUERN_BASE_URL": ""}), ("--offline is set", ["--offline"], {})):
            answer = self.embed(["ban"], *args, env=env)
            self.assertIn(answer.code, (1, 2), answer.message)
            self.assertIn(saying, answer.message)
        self.assertEqual(self.told()["log"], [])
        listed = subprocess.run([BIN, "help", "embed"], capture_output=True, text=True, env=self.environment(), check=True).stdout
        self.assertNotIn("--api-key ", listed)


class FirstWord(ProviderTest):
    """The dimension of a model that nobody knows is found out by a call of its own, as patient as all others."""

    def ask(self, *faults, attempts=3, texts=("ban",)):
        self.plan(*faults)
        return self.embed(texts, "--model", "compatible:any", "--attempts", str(attempts), env={"QUERN_DIMENSIONS": "0"})

    def test_tried_again(self):
        answer = self.ask("cut", [503, {"retry-after-ms": "20"}])
        self.assertEqual((answer.code, len(self.told()["log"])), (0, 4), answer.message)
        self.assertEqual(len(json.loads(answer.out)["embedding"]), 24)

    def test_no_longer_than_others(self):
        answer = self.ask(500, 500, 500, attempts=2)
        self.assertEqual((answer.code, len(self.told()["log"])), (1, 2))
        self.assertRegex(answer.message, r"compatible:any answers 500: .* \(attempt 2/2\)")
        self.assertEqual((self.ask(401).code, len(self.told()["log"])), (1, 1))

    def test_interrupted(self):
        self.plan([503, {"Retry-After": "60"}])
        process = subprocess.Popen([BIN, "embed", "--model", "compatible:any", "ban"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                   env=dict(self.environment(QUERN_DIMENSIONS="0"), QUERN_MODEL=""), cwd=self.cwd)
        while not self.told()["log"]:
            time.sleep(0.02)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(5), 130)
        self.assertLess(time.monotonic() - began, 1)
        process.stderr.close()


class Authorized(ProviderTest):
    """A program's own word on each call, through the library."""
    SECRET = "rotating-secret-0123456789"

    def ask(self, mode, calls=1, *key):
        answer = subprocess.run([os.path.join(os.environ["QUERN_BUILD"], "tests", "embed_authorized"), self.url, mode, str(calls), *key],
                                capture_output=True, text=True, timeout=60)
        self.assertIn(answer.returncode, (0, 1))
        for secret in (self.SECRET, *key):
            self.assertNotIn(secret, answer.stdout + answer.stderr)
        self.assertEqual(answer.stderr.count("\n"), answer.returncode)
        return answer

    def asked(self, answer):
        return answer.stdout.splitlines().count(self.url + "/embeddings 2")

    def test_headers_of_each_call(self):
        self.plan(500)  # the second try asks again
        answer = self.ask("headers", 3)
        self.assertEqual((answer.stderr, answer.stdout.count("right"), self.asked(answer)), ("", 3, 4))
        headers = [e["headers"] for e in self.told()["log"]]
        self.assertEqual([h["x-call"] for h in headers], ["1", "2", "3", "4"])
        self.assertEqual({h["authorization"] for h in headers}, {"Bearer " + self.SECRET})

    def test_refused(self):
        for mode, calls, saying in (("refuse", 1, "EBUDGET: compatible:any: not sent, refused by the program: the budget of team 7 is spent"),
                                    ("silent", 0, "EBUSY: compatible:any: not sent, refused by the program"),
                                    ("odd", 0, "EREMOTE: compatible:any: not sent, refused by the program"),
                                    ("many", 0, "EINVAL: compatible:any: not sent, refused by the program: too many headers"),
                                    ("blab", 0, "EREMOTE: compatible:any: not sent, refused by the program: Bearer ****")):
            self.plan()
            answer = self.ask(mode, 3)
            self.assertEqual(answer.returncode, 1)
            self.assertTrue(answer.stderr.startswith(saying), answer.stderr)
            self.assertEqual((len(self.told()["log"]), self.asked(answer)), (calls, calls + 1))  # it is not tried again

    def test_refused_for_now(self):
        self.plan()
        answer = self.ask("later")
        self.assertEqual((answer.stderr, self.asked(answer), len(self.told()["log"])), ("", 3, 1))

    def test_no_header(self):
        for mode, part in (("newline", "X-Trace"), ("name", "X Trace")):
            self.plan()
            answer = self.ask(mode)
            self.assertEqual((answer.returncode, self.told()["log"]), (1, []))
            self.assertTrue(answer.stderr.startswith("EINVAL: "), answer.stderr)
            self.assertIn(part, answer.stderr)

    def test_pages_that_repeat_it(self):
        self.plan([401, {}, {"error": {"message": "no such token: " + self.SECRET}}])
        answer = self.ask("headers")
        self.assertIn("answers 401: no such token: ****", answer.stderr)
        self.plan([401, {}, {"error": {"message": "two keys: key-of-the-options-1 and " + self.SECRET}}])
        self.ask("headers", 1, "key-of-the-options-1")

    def test_bodies_of_errors(self):
        """Whole up to 4,096 bytes, in one line, valid, without what was sent in headers; each try's."""
        page = {"error": {"message": "too wide", "param": "d\u00e9j\u00e0", "sent": self.SECRET}}
        self.plan([503, {}, page], [400, {}, page])
        said = [line.split(" ", 1) for line in self.ask("headers").stdout.splitlines() if line[:3].isdigit()]
        self.assertEqual([status for status, _ in said], ["503", "400"])
        for _, body in said:
            self.assertEqual(json.loads(body)["error"]["param"], "d\u00e9j\u00e0")
            self.assertEqual(json.loads(body)["error"]["sent"], "*" * len(self.SECRET))
        self.plan([400, {}, {"error": "\u00e4" * 5000}])
        body, = [line[4:] for line in self.ask("headers").stdout.splitlines() if line.startswith("400 ")]
        self.assertIn(len(body.encode()), (4095, 4096))


class Strangers(ProviderTest):
    """Servers that speak no HTTP that the stand-in would: bytes on a socket, by a function of the connection and its place."""

    def setUp(self):
        super().setUp()
        self.seen = b""
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.socket.close)
        self.there = "http://127.0.0.1:%d" % self.socket.getsockname()[1]

    def serve(self, answer):
        def one(c):
            with c:
                try:
                    for place in range(100):
                        head = b""
                        while b"\r\n\r\n" not in head:
                            more = c.recv(65536)
                            if not more:
                                return
                            head += more
                        self.seen += head
                        if not answer(c, place):
                            return
                except OSError:
                    pass

        def all_of_them():
            try:
                while True:
                    threading.Thread(target=one, args=(self.socket.accept()[0],), daemon=True).start()
            except OSError:
                pass
        threading.Thread(target=all_of_them, daemon=True).start()

    @staticmethod
    def page(status, body, *headers):
        return b"\r\n".join([b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % len(body), b"", body])

    GOOD = json.dumps({"data": [{"index": 0, "embedding": [0.5] * 4}]}).encode()

    def ask(self, *args, **how):
        began = time.monotonic()
        answer = self.quern("embed", "ban", "--base-url", self.there, "--dimensions", "4", *args, **how)
        return answer, time.monotonic() - began

    def test_pages_without_end(self):
        def flood(c, _):
            c.sendall(b"HTTP/1.1 503 Busy\r\n\r\n")
            while True:
                c.sendall(b"x" * 65536)
        self.serve(flood)
        answer, took = self.ask("--attempts", "1")
        self.assertEqual(answer.code, 1)
        self.assertIn("answers 503", answer.message)
        self.assertLess(took, 10)

    def test_a_header_without_end(self):
        self.serve(lambda c, _: c.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2000000 + b"\r\n\r\n"))
        self.assertIn("a header that is too long", self.ask()[0].message)

    def test_a_kept_connection_that_hangs(self):
        def second(c, place):
            if place:
                time.sleep(20)
            c.sendall(self.page(b"200 OK", self.GOOD))
            return True
        self.serve(second)
        answer, _ = self.ask("lan", "--max-inputs", "1", "--concurrency", "1", "--attempts", "1", "--timeout", "1s")
        self.assertIn("no whole answer within 1.0 s", answer.message)

    def test_interrupted_while_the_dimension_is_asked_for(self):
        self.serve(lambda c, _: time.sleep(40))
        process = subprocess.Popen([BIN, "embed", "ban", "--base-url", self.there, "--dimensions", "0", "--model", "openai:x"], cwd=self.cwd,
                                   env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while not self.seen:
            time.sleep(0.05)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        self.assertEqual(process.returncode, 130)
        self.assertLess(time.monotonic() - began, 5)

    def test_a_page_that_repeats_the_key(self):
        pages = [(b"401 No", {"error": {"message": "Bearer %s is no key" % KEY}}), (b"400 Bad", "you sent %s" % KEY),
                 (b"200 OK", {"error": {"message": "I do not know %s" % KEY}})]
        left = list(pages)

        def answer_next(c, _):
            status, page = left.pop(0)
            c.sendall(self.page(status, json.dumps(page).encode()))
        self.serve(answer_next)
        for _ in pages:
            answer, _ = self.ask("--attempts", "1", "--log-level", "debug")
            self.assertEqual(answer.code, 1)
            self.assertIn(KEY.encode(), self.seen)
            self.assertNotIn(KEY, answer.message)
            self.assertIn("****", answer.message)

    def test_a_proxy_is_not_told_what_stays_here(self):
        self.serve(lambda c, _: c.sendall(self.page(b"502 Proxy", b"")))
        self.plan()
        answer = self.embed(["ban"], env={"http_proxy": self.there, "all_proxy": self.there})
        self.assertEqual((answer.code, self.seen), (0, b""), answer.message)
        answer = self.embed(["ban"], "--proxy", "http://proxy.example:3128")
        self.assertIn("not sent over plain http", answer.message)

    def test_now_is_a_time(self):
        self.serve(lambda c, place: c.sendall(self.page(b"429 Slow", b"", b"Retry-After: 0")) or True)
        answer, took = self.ask("--attempts", "9")
        self.assertIn("attempt 9/9", answer.message)
        self.assertLess(took, 3)

    def test_an_answer_with_the_texts_in_it(self):
        text = "l\u00f6ng " * 100000
        self.plan()
        self.right([text], self.vectors([text], "--model", "cohere:embed-v4.0", env={"COHERE_API_KEY": "k"}))

    def test_a_host_that_is_no_url(self):
        self.plan()
        host = self.url[len("http://"):]
        self.right(["ban"], self.vectors(["ban"], "--model", "ollama:x", env={"OLLAMA_HOST": host, "QUERN_BASE_URL": ""}))

    def test_certificates(self):
        for name in ("its", "other"):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                            "subjectAltName=DNS:localhost", "-keyout", name + ".key", "-out", name + ".pem"], cwd=self.cwd, capture_output=True, check=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(self.cwd, "its.pem"), os.path.join(self.cwd, "its.key"))
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.addCleanup(self.socket.close)
        self.serve(lambda c, _: c.sendall(self.page(b"200 OK", self.GOOD)) or True)
        self.there = self.there.replace("http://127.0.0.1", "https://localhost")
        for args in ([], ["--ca-file", "other.pem"]):
            answer, _ = self.ask(*args)
            self.assertEqual((answer.code, self.seen), (1, b""))
            self.assertRegex(answer.message, "certificate.*--ca-file names other")
        answer, _ = self.ask("--ca-file", "its.pem")
        self.assertEqual(answer.code, 0, answer.message)
        self.assertIn("absent.pem", self.ask("--ca-file", "absent.pem")[0].message)

    def test_a_status_inside(self):
        self.serve(lambda c, _: c.sendall(self.page(b"200 OK", b'{"base_resp":{"status_code":-1},' + self.GOOD[1:])))
        self.assertIn("status_code -1", self.ask("--attempts", "1")[0].message)


class Batches(ProviderTest):
    def test_parts_in_order(self):
        texts = ["text %d" % i for i in range(107)]
        self.plan(latency=5)
        self.right(texts, self.vectors(texts, "--max-inputs", "4", "--batch", "107"))
        told = self.told()
        self.assertEqual(sorted(e["texts"] for e in told["log"]), [3] + [4] * 26)
        self.assertTrue(2 < told["peak"] <= 8, told["peak"])

    def test_too_many_in_a_call(self):
        texts = ["text %d" % i for i in range(64)]
        self.plan(max_inputs=8)
        self.right(texts, self.vectors(texts, "--batch", "64", "--concurrency", "1"))
        sizes = [e["texts"] for e in self.told()["log"]]
        self.assertLess(sum(s > 8 for s in sizes), 5, sizes)  # it learns

    def test_a_text_that_is_refused(self):
        texts = ["text %d" % i for i in range(40)]
        texts[23] = "poison"
        self.plan(poison="poison")
        answer = self.embed(texts, "--batch", "40")
        self.assertEqual(answer.code, 1)
        self.assertRegex(answer.message, "cannot be read")

    def test_ten_thousand(self):
        """With 100 of each kind of fault among its calls (in the short form a fifth of it all): every vector is right."""
        n, faults = (10000, 100) if LONG else (2000, 20)
        texts = ["number %d of ten thousand" % i for i in range(n)]
        self.stop()
        self.ARGS = ["--latency", "50", "--faults", str(faults), "--seed", "7"]
        self.setUp()
        began = time.monotonic()
        settings = ("--max-inputs", "4", "--concurrency", "8", "--requests-per-minute", "60000", "--attempts", "6", "--cache-file", "v.cache")
        got = self.vectors(texts, *settings)
        took = time.monotonic() - began
        self.right(texts, got)
        told = self.told()
        kinds = [str(e["fault"]) for e in told["log"] if e["fault"] is not None]
        self.assertEqual({k: kinds.count(k) for k in set(kinds)}, {k: faults for k in ("429", "500", "cut", "twice", "short")})
        self.assertEqual(told["peak"], 8)
        ideal = len(told["log"]) * 0.05 / 8
        print("%d texts in %.1f s, %.2f x the ideal of %d calls, 8 at once" % (n, took, took / ideal, len(told["log"])))
        self.right(texts, self.vectors(texts, *settings))
        self.assertEqual(len(self.told()["log"]), len(told["log"]))


class Throughput(ProviderTest):
    def test_a_fill_keeps_calls_under_way(self):
        """As many as are allowed, and saved in the order of the rows; stopped by a fault, it keeps what it had."""
        self.write("in.jsonl", "".join(json.dumps({"id": i, "text": "document %d" % i}) + "\n" for i in range(3000)))
        self.ok("add", "in.jsonl")
        self.plan(latency=100)
        report = self.ok("fill", "--json", "--max-inputs", "256", "--concurrency", "5", "--requests-per-minute", "0").json
        self.assertEqual((report["done"], report["failed"]), (3000, 0))
        told = self.told()
        self.assertEqual(told["peak"], 5)
        self.assertEqual(self.ok("verify", "--sample", "300", "--json").json["different"], 0)
        self.ok("requeue", "--all", "--source", "documents")
        self.plan(*[None] * 6 + [401] * 99, latency=20)
        answer = self.quern("fill", "--max-inputs", "256", "--concurrency", "3", "--cache", "no")
        self.assertEqual(answer.code, 1)
        self.assertLess(len(self.told()["log"]), 6 + 8)
        done = 3000 - self.ok("status", "--json").json["pending"]
        self.plan()
        self.ok("fill", "--max-inputs", "256", "--cache", "no")
        self.assertGreaterEqual(done, 256)
        self.assertEqual(sum(e["texts"] for e in self.told()["log"]), 3000 - done)


class Cache(ProviderTest):
    def test_calls_are_those_that_were_made(self):
        self.write("in.jsonl", "".join(json.dumps({"id": i, "text": "document %d" % i}) + "\n" for i in range(70)))
        self.ok("add", "in.jsonl")
        few = ("--json", "--max-inputs", "8", "--cache-file", "v.cache")
        self.plan()
        said = self.ok("fill", *few).json
        self.assertEqual((said["processed"], said["calls"], said["cached"]), (70, len(self.told()["log"]), 0))
        self.assertGreaterEqual(said["calls"], 9)
        self.ok("requeue", "--all", "--source", "documents")
        said = self.ok("fill", *few).json
        self.assertEqual((said["processed"], said["calls"], said["cached"]), (70, 0, 70))

    def test_paid_for_once(self):
        texts = ["text %d" % (i % 50) for i in range(120)]
        self.plan()
        self.right(texts, self.vectors(texts, "--batch", "120", "--cache-file", "v.cache"))
        self.assertEqual(sum(e["texts"] for e in self.told()["log"]), 50)  # each once, in one run too
        self.plan()
        self.right(texts, self.vectors(texts, "--cache-file", "v.cache"))
        self.right(texts[:1], self.vectors(texts[:1], "--cache-file", "v.cache", "--cache-entries", "0"))
        self.assertEqual(self.told()["log"], [])
        self.assertEqual(self.ok("cache", "stats", "--cache-file", "v.cache", "--json").json["entries"], 50)
        self.assertEqual(len(self.ok("cache", "keys", "--cache-file", "v.cache").out.splitlines()), 50)
        self.ok("cache", "contains", "text 7", "--cache-file", "v.cache", env={"OPENAI_API_KEY": ""})
        self.assertEqual(self.quern("cache", "contains", "text 7", "--dimensions", "12", "--cache-file", "v.cache").code, 4)
        self.ok("cache", "remove", "text 7", "--cache-file", "v.cache")
        self.assertEqual(self.quern("cache", "contains", "text 7", "--cache-file", "v.cache").code, 4)
        # another dimension, a query, none wanted: each travels
        for more, n in ((["--dimensions", "12"], 12), (["--as", "query"], 24), (["--cache", "no"], 24)):
            self.plan()
            self.right(["text 8"], self.vectors(["text 8"], "--cache-file", "v.cache", *more), n)
            self.assertEqual(len(self.told()["log"]), 1)
        self.ok("cache", "clear", "--cache-file", "v.cache", "--yes")
        self.assertEqual(self.ok("cache", "stats", "--cache-file", "v.cache", "--json").json["entries"], 0)
        self.refused(2, "--cache-file names the cache", "cache", "stats")

    def test_resize(self):
        self.plan()
        for some in (range(2900), range(2900, 3000)):  # calls come back in any order
            self.ok("cache", "warm", "--cache-file", "v.cache", stdin="\n".join("text %d" % i for i in some))
        size = lambda: sum(os.path.getsize(os.path.join(self.cwd, f)) for f in os.listdir(self.cwd) if f.startswith("v.cache"))
        before = size()
        told = self.ok("cache", "resize", "--cache-file", "v.cache", "--cache-file-entries", "100", "--json").json
        self.assertEqual([told[k] for k in ("evicted", "entries", "capacity", "capacity_bytes")], [2900, 100, 100, 1 << 30])
        self.assertLess(size() * 10, before)
        self.ok("cache", "contains", "text 2900", "text 2999", "--cache-file", "v.cache")
        self.assertEqual(self.quern("cache", "contains", "text 2899", "--cache-file", "v.cache").code, 4)
        # it holds for those who know nothing of it, and is narrowed by those who do
        self.ok("cache", "warm", "more", "--cache-file", "v.cache")
        self.assertEqual(self.ok("cache", "stats", "--cache-file", "v.cache", "--json").json["entries"], 100)
        self.ok("cache", "warm", "one more", "--cache-file", "v.cache", "--cache-file-entries", "7")
        stats = self.ok("cache", "stats", "--cache-file", "v.cache", "--json").json
        self.assertEqual([stats[k] for k in ("entries", "capacity", "percent")], [7, 100, 7])
        self.assertEqual([stats[k] for k in ("hits", "misses", "evictions", "expired", "mean_uses")], [0, 3002, 2995, 0, 0])
        self.ok("cache", "warm", "one more", "--cache-file", "v.cache", "--cache-ttl", "500ms")
        stats = self.ok("cache", "stats", "--cache-file", "v.cache", "--json").json
        self.assertEqual([stats[k] for k in ("hits", "misses", "mean_uses")], [1, 3002, 1 / 7])
        self.assertRegex(self.ok("cache", "stats", "--cache-file", "v.cache").out.decode(), "\n1 hits, 3002 misses; 2995 evicted, 0 too old; 0.1 uses")
        self.ok("cache", "warm", "short", "--cache-file", "v.cache", "--cache-ttl", "500ms")  # rounded up, and not for ever
        time.sleep(1.1)
        self.assertEqual(self.ok("cache", "expire", "--cache-file", "v.cache", "--json").json["expired"], 1)
        self.assertRegex(self.ok("cache", "resize", "--cache-file", "v.cache", "--cache-file-bytes", "300").out.decode(), "^[56] vectors went, 2 are left$")
        self.refused(2, "--cache-file-bytes or --cache-file-entries", "cache", "resize", "--cache-file", "v.cache")

    def test_from_another_system(self):
        """bincode of (text, vector): found as this model's own, none of it when anything is wrong."""
        texts = ["text %d" % i for i in range(300)] + ["größe ✓"]
        self.plan()
        told = [json.loads(line) for line in self.ok("embed", *texts, "--cache", "no").out.splitlines()]
        fingerprint, tell = told[0]["fingerprint"], self.told()
        def entry(text, vector):
            return struct.pack("<Q", len(text)) + text + struct.pack("<Q%df" % len(vector), len(vector), *vector)
        entries = [entry(t.encode(), o["embedding"]) for t, o in zip(texts, told)]
        whole = struct.pack("<Q", len(entries)) + b"".join(entries)
        self.write("saved.bin", whole)
        how = ("cache", "import", "--format", "bincode", "--cache-file", "v.cache", "--fingerprint", fingerprint)
        self.assertEqual(self.ok(*how, "saved.bin", "--json").json["kept"], 301)
        self.plan()
        self.right(texts, self.vectors(texts, "--cache-file", "v.cache"))
        self.assertEqual(self.told()["log"], [])
        self.ok("cache", "contains", "text 7", "--cache-file", "v.cache", "--as", "document")
        self.assertEqual(self.quern("cache", "contains", "text 7", "--cache-file", "v.cache", "--as", "query").code, 4)
        os.utime(os.path.join(self.cwd, "saved.bin"), (1e9, 1e9))  # as old as the file
        self.assertEqual(self.ok(*how, "saved.bin", "--cache-ttl", "30d", "--json").json["kept"], 0)
        twice = [2 * x for x in told[0]["embedding"]]
        for bad, saying in ((whole + b"x", "more bytes behind the last entry"), (whole[:-1], "entry 301 of 301"), (whole[:7], "the file ends here"), (b"", "the file ends here"),
                            (struct.pack("<Q", 1 << 40) + whole[8:], "entries cannot be in"), (whole[:8] + struct.pack("<Q", 1 << 63) + whole[16:], "entry 1 of 301, byte 8: a text of more bytes"),
                            (struct.pack("<Q", 301) + b"".join(entries[:-1]) + entry(b"z", told[0]["embedding"][:-1]), "another length"),
                            (struct.pack("<Q", 301) + b"".join(entries[:-1]) + entry(b"z", twice), "entry 301 of 301, byte [0-9]+: a vector that is not of unit length"),
                            (struct.pack("<Q", 301) + b"".join(entries[:-1]) + entry(b"z\xff", told[0]["embedding"]), "not UTF-8")):
            self.write("bad.bin", bad)
            answer = self.quern(*how[:4], "--cache-file", "w.cache", *how[6:], "bad.bin")
            self.assertEqual(answer.code, 1, answer.message)
            self.assertRegex(answer.message, saying)
        self.assertEqual(self.ok("cache", "stats", "--cache-file", "w.cache", "--json").json["entries"], 0)
        self.refused(2, "does not say by which model", *how[:6], "saved.bin")
        self.refused(2, "is no fingerprint", *how[:6], "--fingerprint", "f" * 63, "saved.bin")
        self.refused(2, "FILE", *how)
        self.refused(4, "there is no such file", *how, "nothing.bin")
        self.refused(2, "not a regular file", *how, "/dev/zero")
        self.refused(2, "goes with --format bincode", "cache", "import", "--cache-file", "v.cache", "--fingerprint", fingerprint, stdin="")

    def test_from_cache_to_cache(self):
        texts = ["text %d" % i for i in range(90)]
        self.plan()
        self.ok("cache", "warm", "--cache-file", "a.cache", stdin="\n".join(texts))
        self.ok("cache", "warm", "late", "--cache-file", "a.cache", "--cache-ttl", "1h")
        self.assertEqual(sum(e["texts"] for e in self.told()["log"]), 91)
        self.plan()
        out = self.ok("cache", "export", "--cache-file", "a.cache").out
        self.assertEqual(self.ok("cache", "import", "--cache-file", "b.cache", "--json", stdin=out).json["kept"], 91)
        self.assertEqual(self.ok("cache", "export", "--cache-file", "b.cache").out, out)
        self.right(texts, self.vectors(texts, "--cache-file", "b.cache"))
        self.assertEqual(self.told()["log"], [])
        good = json.loads(out.splitlines()[0])
        for change, saying in ((dict(key="zz"), "no entry"), (dict(vector="AAAA"), "base64"), (dict(vector=5), "no entry"), (dict(dimensions=7), "dimensions"),
                               (dict(vector="AACAfwAAgH8="), "is none|otherwise"), (dict(created_ms=0), "no time"), (dict(tokens=-1), "no entry"), (dict(ends_ms=-5), "no time")):
            with self.subTest(change):
                bad = dict(good, **change)
                if change.get("vector") == "AACAfwAAgH8=":
                    bad["dimensions"] = 2
                answer = self.quern("cache", "import", "--cache-file", "c.cache", stdin=json.dumps(bad) + "\n")
                self.assertIn(answer.code, (1, 2))
                self.assertRegex(answer.message, "line 1.*(%s)" % saying)
        self.assertEqual(self.quern("cache", "import", "--cache-file", "c.cache", stdin="junk\n").code, 1)
        self.assertEqual(self.ok("cache", "import", "--cache-file", "c.cache", "--json",
                                 stdin=json.dumps(dict(good, ends_ms=good["created_ms"] + 1)) + "\n").json["kept"], 0)

    def test_a_file_that_is_no_cache(self):
        self.plan()
        self.write("v.cache", "text of somebody's, and long enough to tell that it is no database at all\n")
        self.assertEqual(self.quern("embed", "ban", "--cache-file", "v.cache").code, 1)
        self.assertEqual(self.told()["log"], [])

    def test_parts_of_a_call_that_fails(self):
        """What came before the fault is in the cache, though the call has given nothing."""
        self.plan(None, None, *[401] * 20)
        few = ("--max-inputs", "2", "--concurrency", "1", "--cache-file", "v.cache")
        self.assertEqual(self.embed(["text %d" % i for i in range(20)], *few).code, 1)
        self.assertEqual(self.ok("cache", "stats", "--cache-file", "v.cache", "--json").json["entries"], 4)

    def test_killed_while_it_is_written(self):
        """At most what was not yet committed is paid for again; nothing is wrong."""
        texts = ["text %d" % i for i in range(6000)]
        self.plan()
        paid = 0
        for after in (0.15, 0.3, 0.45, 0.6, None):
            process = subprocess.Popen([BIN, "embed", "--jsonl", "--batch", "64", "--max-inputs", "64", "--requests-per-minute", "0", "--cache-file", "v.cache"],
                                       cwd=self.cwd, env=self.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            feed = "".join(json.dumps({"text": t}) + "\n" for t in texts).encode()
            try:
                out, err = process.communicate(feed, timeout=after)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        self.assertEqual(process.returncode, 0, err)
        self.right(texts, [json.loads(line)["embedding"] for line in out.splitlines()])
        paid = sum(e["texts"] for e in self.told()["log"])
        # the list, and the calls under way; kept only at the end of a whole call, it was 12,000 and more
        self.assertLess(paid, 6000 + 4 * (512 + 64 * 9))
        print("%d texts paid for, 6000 wanted, 4 kills" % paid)

    def test_local_models_when_asked(self):
        tiny = ["--model", self.model]
        env = {"QUERN_DIMENSIONS": "", "QUERN_BASE_URL": ""}
        first = self.ok("embed", "--format", "f32", "ban gut", *tiny, env=env).out
        for _ in range(2):
            self.assertEqual(self.ok("embed", "--format", "f32", "ban gut", "--cache-file", "t.cache", *tiny, env=env).out, first)
        self.assertEqual(self.ok("cache", "stats", "--cache-file", "t.cache", "--json", env=env).json["entries"], 1)


class Limits(ProviderTest):
    def test_calls_a_minute(self):
        texts = ["t%d" % i for i in range(20)]
        began = time.monotonic()
        answer = subprocess.Popen([BIN, "embed", "--max-inputs", "1", "--batch", "20", "--requests-per-minute", "10", *texts], cwd=self.cwd,
                                  env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        time.sleep(4)
        self.assertEqual(len(self.told()["log"]), 10)  # and not one more before a minute is over
        answer.terminate()
        answer.communicate(timeout=10)
        self.assertEqual(answer.returncode, 130)
        self.assertLess(time.monotonic() - began, 10)


    def test_tokens_of_a_run(self):
        """The call that would go over does not leave; what came before is saved, and the next run goes on."""
        self.write("in.jsonl", "".join(json.dumps({"id": i, "text": "document %d of some words" % i}) + "\n" for i in range(600)))
        self.ok("add", "in.jsonl")
        self.plan()
        answer = self.quern("fill", "--max-tokens", "1500", "--max-inputs", "20", "--json")
        self.assertEqual(answer.code, 1, answer.message)
        self.assertEqual(json.loads(answer.message.splitlines()[-1])["error"]["code"], "budget")
        self.assertRegex(answer.message, r"used 1[0-9]{3} of 1500 tokens, and the next call takes about [0-9]+; what is done is saved, [0-9]+ documents are left")
        sent = sum(e["texts"] for e in self.told()["log"])
        self.assertTrue(200 <= sent <= 300, sent)  # five tokens each
        done = self.ok("status", "--json").json["sources"][0]["done"]
        self.assertTrue(200 <= done <= sent, (done, sent))  # of a call that was cut off nothing is saved
        self.ok("fill", "--json", "--price", "0.02", "--max-price", "1")
        self.assertEqual(self.ok("status", "--json").json["sources"][0]["done"], 600)
        self.assertEqual(sum(e["texts"] for e in self.told()["log"]), 600 + sent - done)
        answer = self.embed(["a text of some length that costs more than this"], "--price", "20", "--max-price", "0.0001")
        self.assertEqual(answer.code, 1)
        self.assertIn("$0.0000 of $0.0001", answer.message)
        self.assertEqual(self.embed(["x"], "--max-price", "1").code, 2)  # of what price?
        self.ok("requeue", "--all", "--source", "documents")
        began = time.monotonic()
        answer = self.quern("work", "--max-tokens", "500", "--max-inputs", "10")  # ends by itself
        self.assertEqual(answer.code, 1, answer.message)
        self.assertIn("of 500 tokens, and the next call takes", answer.message)
        self.assertLess(time.monotonic() - began, 5)
        self.assertLess(self.ok("status", "--json").json["sources"][0]["done"], 600)


class Accounts(ProviderTest):
    def test_saved_by_the_cache(self):
        """Ten texts, each five times; then all of them again, from the file."""
        self.write("in.jsonl", "".join(json.dumps({"id": i, "text": "text %d of ten" % (i % 10)}) + "\n" for i in range(50)))
        self.ok("add", "in.jsonl")
        self.plan()
        how = ["--cache-file", "v.cache", "--price", "10"]
        first = self.ok("fill", "--json", *how).json
        self.assertEqual([first[k] for k in ("chunks", "tokens", "cached", "cached_tokens")], [50, 200, 40, 160])
        self.assertAlmostEqual(first["cost"], 0.4)
        self.assertAlmostEqual(first["saved"], 1.6)
        self.assertIn("50 of 50 chunks from the cache; $0.0000, $2.0000 saved by the cache", self.ok("fill", "--force", *how).out.decode())
        self.assertEqual(sum(e["texts"] for e in self.told()["log"]), 10)
        runs = self.ok("status", "--runs", "--json", "--price", "10").lines
        self.assertEqual([(r["tokens"], r["cached"], r["cached_tokens"]) for r in runs], [(200, 50, 200), (200, 40, 160)])
        self.assertAlmostEqual(runs[1]["saved"], 1.6)
        days = self.ok("status", "--usage", "--json", "--price", "10").lines
        self.assertEqual(sum(d["cached"] for d in days), 90)
        self.assertAlmostEqual(sum(d["cost"] for d in days), 0.4)
        self.assertAlmostEqual(sum(d["saved"] for d in days), 3.6)
        self.assertIn("tokens, 160 of them from the cache, $0.4000, $1.6000 saved", self.ok("status", "--runs", "--price", "10").out.decode())

    TABLE = """
model-price = openai:text-embedding-3-small = 20000
model-price = cohere:embed-v4.0=5
[other]
model = compatible:other
dimensions = 24
"""

    def sums(self, *args):
        days = self.ok("status", "--usage", "--json", *args).lines
        return [round(sum(d.get(k, 0) for d in days), 6) for k in ("cost", "saved")]

    def test_a_table_of_prices(self):
        """What a run cost is counted when it runs, by its model's price then, whatever the table says later."""
        self.write("in.jsonl", "".join(json.dumps({"id": i, "text": "text %d of ten" % (i % 10)}) + "\n" for i in range(20)))
        self.write("quern.ini", self.TABLE)
        self.ok("add", "in.jsonl")
        self.plan()
        how = ["--cache-file", "v.cache"]
        dry = self.ok("fill", "--dry-run", "--json", "--max-inputs", "3", "--requests-per-minute", "14").json
        self.assertEqual([dry[k] for k in ("chunks", "tokens", "calls", "seconds", "bytes")], [20, 80, 7, 30, 20 * 24 * 2])
        self.assertAlmostEqual(dry["cost"], 1.6)
        self.assertEqual(self.ok("fill", "--dry-run", "--json", "--tokens-per-minute", "40").json["seconds"], 120)
        self.assertEqual(self.told()["log"], [])
        first = self.ok("fill", "--json", *how).json
        self.assertEqual([round(first[k], 6) for k in ("cost", "saved")], [0.8, 0.8])
        self.assertEqual(self.sums(), [0.8, 0.8])
        self.write("quern.ini", self.TABLE.replace("20000", "99"))
        self.assertEqual(self.sums(), [0.8, 0.8])
        self.assertEqual(self.sums("--price", "10"), [0.4, 0.4])  # asked again by another
        self.ok("fill", "--model", "other", "--json")  # its price is not known
        self.assertEqual(self.sums(), [0.8, 0.8])
        runs = self.ok("status", "--runs", "--json").lines
        self.assertEqual([round(r.get("cost", -1), 6) for r in runs], [-1, 0.8])
        self.assertIn("$0.8000 saved", self.ok("status", "--usage").out.decode())

    def test_a_budget_by_the_table(self):
        self.write("quern.ini", self.TABLE)
        self.plan()
        answer = self.embed(["a text of some length that costs more than this"], "--max-price", "0.0001")
        self.assertEqual(answer.code, 1)
        self.assertIn("$0.0000 of $0.0001", answer.message)
        self.assertEqual(self.told()["log"], [])
        self.assertEqual(self.embed(["x"], "--max-price", "1", "--model", "other").code, 2)  # the price of what?

    def test_no_table(self):
        for line in ("openai", "=5", "a=", "a=x", "a=-1", "a=1e9", "a=nan", "a=5 dollars", "x" * 150):
            self.write("quern.ini", "model-price = %s\n" % line)
            answer = self.embed(["ban"])
            self.assertEqual((answer.code, answer.err.count(b"\n")), (2, 1), line)
            self.assertIn("model-price", answer.message)


class OtherNames(ProviderTest):
    """What other systems call it: weaker than QUERN_…, stronger than the file."""
    NAMES = {"EMBEDDING_MODEL": ("model", "text-embedding-3-large", "openai:text-embedding-3-large"), "EMBEDDING_API_BASE_URL": ("base-url", "http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1"),
             "EMBEDDING_REQUESTS_PER_MINUTE": ("requests-per-minute", "500", "500"), "EMBEDDING_SCHEDULER_INTERVAL_MINUTES": ("interval", "360", "360m"),
             "EMBEDDER_BATCH_SIZE": ("batch", "32", "32"), "EMBEDDER_CACHE_SIZE": ("cache-entries", "10000", "10000"),
             "EMBEDDING_ENABLED": ("enabled", "False", "no"), "EMBEDDER_MODEL_TYPE": ("model", "openai:other-2", "openai:other-2"), "EMBEDDER_MODEL_PATH": ("models", "/models", "/models"),
             "EMBEDDER_CACHE_PATH": ("cache-file", "/cache", "/cache/vectors.cache")}

    def environment(self, **env):
        own = super().environment()
        kept = {k: v for k, v in own.items() if not k.startswith("QUERN_") and k != "OPENAI_API_KEY"}
        return dict(kept, **{k: v for k, v in env.items() if v and k != "QUERN_MODEL" or k in self.NAMES})

    def said(self, code=0, **env):
        answer = self.quern("doctor", "--config", model=False, env=env)
        self.assertEqual(answer.code, code, answer.message)
        return answer.out.decode()

    def test_each(self):
        self.write("quern.ini", "batch = 7\nmodel = openai:other\n")
        for name, (option, value, kept) in self.NAMES.items():
            said = self.said(1, **{name: value})
            self.assertIn("%s = %s (%s)\n" % (option, kept, name), said)
        self.assertIn("batch = 5 (QUERN_BATCH)", self.said(1, EMBEDDER_BATCH_SIZE="32", QUERN_BATCH="5"))
        answer = self.quern("doctor", "--config", model=False, env={"EMBEDDER_BATCH_SIZE": "many"})
        self.assertEqual(answer.code, 2)
        self.assertIn("EMBEDDER_BATCH_SIZE: ", answer.message)

    def test_switched_off(self):
        """EMBEDDING_ENABLED: what would embed fails by name, and calls nobody; what does not goes on."""
        self.write("quern.ini", "model = openai:other\nbase-url = http://127.0.0.1:9/v1\n")
        off = {"EMBEDDING_ENABLED": "false"}
        self.write("in.jsonl", '{"id": 1, "text": "ban"}')
        self.assertEqual(self.quern("add", "in.jsonl", model=False, env=off).code, 0)
        for command in (["embed", "ban"], ["similarity", "ban", "gut"], ["cache", "warm", "ban", "--cache-file", "c"]):
            answer = self.quern(*command, "--json", model=False, env=off)
            self.assertEqual((answer.code, answer.error["code"]), (1, "embedding_disabled"), answer.message)
            self.assertIn("EMBEDDING_ENABLED", answer.error["message"])
        for command in (["fill"], ["work", "--once"]):
            answer = self.quern(*command, "--json", model=False, env=off)
            self.assertEqual((answer.code, answer.error["code"]), (1, "embedding_disabled"), answer.message)
        status = self.quern("status", "--json", "--attempts", "2", model=False, env=off)
        self.assertEqual((status.code, status.json["pending"]), (0, 1), status.message)
        for on in ("true", "TRUE", "1", "yes"):
            answer = self.quern("embed", "ban", "--json", model=False, env={"EMBEDDING_ENABLED": on})
            self.assertNotEqual(answer.error["code"], "embedding_disabled")  # nobody listens there
        answer = self.quern("embed", "ban", model=False, env={"EMBEDDING_ENABLED": "perhaps"})
        self.assertEqual(answer.code, 2)
        self.assertIn("EMBEDDING_ENABLED: ", answer.message)
        answer = self.quern("embed", "ban", "--json", model=False, env=dict(off, QUERN_ENABLED="yes"))
        self.assertNotEqual(answer.error["code"], "embedding_disabled")

    def test_where_models_are(self):
        """EMBEDDER_MODEL_PATH and EMBEDDER_MODEL_TYPE: a folder of model folders, and the name of one."""
        os.makedirs(os.path.join(self.cwd, "models"))
        shutil.copytree(self.model, os.path.join(self.cwd, "models", "all-tiny"))
        env = {"EMBEDDER_MODEL_PATH": os.path.join(self.cwd, "models"), "EMBEDDER_MODEL_TYPE": "all-tiny"}
        answer = self.quern("embed", "ban", "--json", model=False, env=env)
        self.assertEqual(answer.code, 0, answer.message)
        self.assertEqual(answer.json[0]["model"] if isinstance(answer.json, list) else answer.json["model"], "all-tiny")
        answer = self.quern("embed", "ban", model=False, env=dict(env, EMBEDDER_MODEL_TYPE="other"))
        self.assertEqual(answer.code, 4, answer.message)

    def test_from_where(self):
        said = self.said(1, EMBEDDING_MODEL="text-embedding-3-small")
        self.assertRegex(said, r"address +https://api.openai.com/v1 \(openai's own\)")
        self.assertRegex(said, r"FOUND +key +none; set OPENAI_API_KEY")
        said = self.said(EMBEDDING_MODEL="text-embedding-3-small", OPENAI_API_KEY=KEY, OPENAI_BASE_URL="http://u:geheim@127.0.0.1:9/v1?a=geheim")
        self.assertRegex(said, r"key +\(hidden\) \(OPENAI_API_KEY\)")
        self.assertRegex(said, r"address +http://127.0.0.1:9/v1 \(OPENAI_BASE_URL\)")
        self.write("quern.ini", "api-key = %s\nmodel-price = openai:text-embedding-3-small=0.02\nlimit-shared = redis://:geheim@h/1\n" % KEY)
        said += self.said(EMBEDDING_MODEL="text-embedding-3-small")
        self.assertRegex(said, r"key +\(hidden\) \(.*quern.ini:1\)")
        self.assertRegex(said, r"price +\$0.02 of 1,000,000 tokens of openai:text-embedding-3-small \(.*quern.ini:2\)")
        self.assertNotIn(KEY, said)
        self.assertNotIn("geheim", said)
        self.write("quern.ini", "")
        self.assertRegex(self.said(1, EMBEDDING_MODEL="tei:x"), r"FOUND +address +tei has none of its own")


class SecondWay(ProviderTest):
    def test_a_server_that_stands_in(self):
        texts = ["text %d" % i for i in range(40)]
        second = subprocess.Popen([sys.executable, os.path.join(HERE, "provider.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(second.stdout.close)
        self.addCleanup(second.wait)
        self.addCleanup(second.stdin.close)
        other = second.stdout.readline().strip()
        how = ["--max-inputs", "1", "--batch", "40", "--concurrency", "2", "--attempts", "1"]
        self.plan(*[503] * 40)
        self.assertEqual(self.embed(texts, *how).code, 1)
        self.plan(*[503] * 40)
        self.right(texts, self.vectors(texts, *how, "--fallback-url", other))
        self.assertLess(len(self.told()["log"]), 25)  # left alone after ten, and those that stood in line then
        with urllib.request.urlopen(other + "/log", timeout=30) as answer:
            self.assertEqual(len(json.load(answer)["log"]), 40)
        self.plan()  # the first one is the one that is wanted
        self.vectors(texts, *how, "--fallback-url", "http://127.0.0.1:1")
        self.assertEqual(len(self.told()["log"]), 40)
        self.plan(401)  # and what no other address mends is told at once
        answer = self.embed(texts[:1], *how, "--fallback-url", other)
        self.assertEqual((answer.code, len(self.told()["log"])), (1, 1))


class Repeats(ProviderTest):
    def test_checks_allow_for_what_a_provider_does(self):
        """No provider gives the same bits twice. What is stored is checked by likeness, and what is another text's is still found."""
        self.write("in.jsonl", "".join(json.dumps({"id": i, "text": "document %d" % i}) + "\n" for i in range(60)))
        self.ok("add", "in.jsonl")
        self.plan(jitter=0.002)
        self.ok("fill")
        self.plan(jitter=0.002)
        report = self.ok("verify", "--all", "--json", "--cache-file", "v.cache").json
        self.assertEqual((report["equal"], report["different"]), (60, 0))
        self.assertEqual(sum(e["texts"] for e in self.told()["log"]), 60)  # asked, not looked up
        self.ok("export", "--source", "documents", "out")
        self.ok("vector", "delete", "--source", "documents", "3")
        self.ok("import", "out")
        self.assertEqual(self.ok("status", "--json").json["done"], 60)
        with sqlite3.connect(os.path.join(self.cwd, "quern.db")) as db:
            db.execute("UPDATE quern_vectors SET data = (SELECT data FROM quern_vectors ORDER BY id LIMIT 1)"
                       " WHERE id = (SELECT max(id) FROM quern_vectors)")
        answer = self.quern("verify", "--all", "--json")
        self.assertEqual((answer.code, answer.json["different"]), (1, 1))


class Configured(ProviderTest):
    def test_the_readmes(self):
        """One short file: model, cache, limits; obeyed by every command, and said where it comes from."""
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
            block = re.search(r"```ini\n(model = .*?)```", file.read(), re.S).group(1)
        self.write("quern.ini", block)
        self.write("in.jsonl", "".join(json.dumps({"id": i, "text": "document %d" % i}) + "\n" for i in range(20)))
        env = {"QUERN_DIMENSIONS": ""}
        self.plan()
        # the harness names a model in the environment, which would win
        for words in (["add", "in.jsonl"], ["fill"], ["search", "document 7"], ["requeue", "--all", "--source", "documents"], ["fill"]):
            done = subprocess.run([BIN, *words], cwd=self.cwd, env={k: v for k, v in self.environment(**env).items() if k != "QUERN_MODEL"},
                                  capture_output=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
        log = self.told()["log"]
        self.assertEqual(sum(e["texts"] for e in log), 21)  # the second fill is the cache's
        self.assertEqual({e["body"]["dimensions"] for e in log}, {512})
        told = self.ok("doctor", "--config", env=env).out.decode()
        for line in block.split("\n")[1:-1]:
            name, value = line.split(" = ")
            self.assertIn("%s = %s (./quern.ini:" % (name, value), told)
        self.assertNotIn(KEY, told)


class Sections(ProviderTest):
    def test_models_by_a_name_of_their_own(self):
        self.write("quern.ini", "max-inputs = 9\n[far]\nmodel = openai:text-embedding-3-small\ndimensions = 48\n\n"
                                "[house]\nmodel = compatible:bge\napi-key = own\nmax-inputs = 2\n")
        env = {"QUERN_DIMENSIONS": ""}
        self.plan()
        self.right(["a", "b", "c"], self.vectors(["a", "b", "c"], "--model", "far", env=env), 48)
        self.right(["a", "b", "c"], self.vectors(["a", "b", "c"], "--model", "house", env=env), 24)
        log = self.told()["log"]
        self.assertEqual([(e["texts"], e["body"]["model"], e["headers"]["authorization"]) for e in log if e["first"] != "quern"][:1],
                         [(3, "text-embedding-3-small", "Bearer " + KEY)])
        self.assertEqual(sorted(e["texts"] for e in log if e["body"]["model"] == "bge" and e["first"] != "quern"), [1, 2])
        self.assertEqual({e["headers"]["authorization"] for e in log if e["body"]["model"] == "bge"}, {"Bearer own"})
        told = self.ok("doctor", "--config", "quern.ini", "--model", "house", env=env).out.decode()
        self.assertIn("model = compatible:bge (quern.ini:7)", told)
        self.assertIn("api-key = (hidden)", told)


class Whole(ProviderTest):
    def test_a_source(self):
        self.write("in.jsonl", "".join(json.dumps({"id": i, "text": "document %d about %s" % (i, "ban lan gut kolor".split()[i % 4])}) + "\n" for i in range(200)))
        self.ok("add", "in.jsonl")
        self.plan()
        dry = self.ok("fill", "--dry-run", "--json", env={"OPENAI_API_KEY": ""}, model=False)
        self.assertEqual(self.told()["log"], [])
        self.assertEqual(dry.json["pending"], 200)
        report = self.ok("fill", "--json").json
        self.assertEqual((report["done"], report["failed"]), (200, 0))
        hit = self.ok("search", "document 7 about kolor", "--json", "--limit", "1").json["hits"][0]
        self.assertEqual(hit["key"], "7")
        self.assertGreater(hit["similarity"], 0.999)
        self.assertEqual(self.ok("verify", "--all", "--json").json["different"], 0)
        # one that is refused is set aside, the rest go on
        self.plan(poison="rotten")
        self.write("in2.jsonl", "".join(json.dumps({"id": 1000 + i, "text": "more %d%s" % (i, " rotten" * (i == 5))}) + "\n" for i in range(10)))
        self.ok("add", "in2.jsonl")
        answer = self.quern("fill", "--json")
        self.assertEqual((answer.code, answer.json["failed"], answer.json["done"]), (3, 1, 209))
        self.assertIn("cannot be read", self.ok("status", "--list", "failed", "--json", "--source", "documents").out.decode())
        # its neighbours are paid for once, without a cache too, wherever it stands and however calls are cut
        no = ("--cache", "no")
        for n, how in enumerate((("--max-inputs", "4", "--concurrency", "1", *no), ("--max-inputs", "4", "--concurrency", "3", *no), ("--max-inputs", "64", *no),
                                 ("--max-inputs", "4", "--concurrency", "3"))):
            self.plan(poison="rotten", latency=20)
            self.write("in2.jsonl", "".join(json.dumps({"id": 2000 + 100 * n + i, "text": "other %d %d%s" % (n, i, " rotten" * (i in (3, 17)))}) + "\n" for i in range(32)))
            self.ok("add", "in2.jsonl")
            answer = self.quern("fill", "--json", *how)
            self.assertEqual((answer.code, answer.json["failed"], answer.json["processed"]), (3, 3 + 2 * n, 30))
            log = self.told()["log"]
            self.assertEqual(sum(e["texts"] for e in log if not e["poisoned"]), 30)
            self.assertLessEqual(max(e["texts"] for e in log), int(how[1]))
        # a key that is refused stops it at once
        self.write("in3.jsonl", '{"id": "z", "text": "later"}\n')
        self.ok("add", "in3.jsonl")
        self.plan(*[401] * 20)
        answer = self.quern("fill")
        self.assertEqual(answer.code, 1)
        self.assertIn("is the key the right one", answer.message)
        self.assertEqual(len(self.told()["log"]), 1)
        # another dimension is another generation
        self.plan()
        answer = self.quern("search", "later", "--dimensions", "12")
        self.assertEqual(answer.code, 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
