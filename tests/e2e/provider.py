"""A provider of embeddings on a free loopback port, in a process of its own, that speaks every dialect and misbehaves by a plan.

    python provider.py [--latency MS] [--dimensions N] [--faults COUNT] [--seed N]

prints its address on one line and serves until its standard input ends. A vector is a function of the text alone
(vector(text, n) below), so whoever calls can compare every one. POST /plan {"faults": […], "latency": ms, …} sets what the next
calls get; GET /log tells of each call: path, texts, headers, when it came, what it got.

Faults, one used up a call: 429 and other numbers (a status; [429, {"Retry-After": "1"}, body] with headers and a body), "cut" (half
an answer), "hang", "twice" (an index twice), "short" (a vector too few), "long" (a number too many in a vector), "quarter" (a vector of a
quarter of the length), "other" (by another model), "nan", "zero", "html", "junk", "empty" (no data), "error" (an error in an answer of status 200), "redirect",
"huge" (more than any answer can have), "drip" (a byte at a time), "shuffle" (right, in another order), "floats" (whatever was asked for).
"""
import argparse
import base64
import hashlib
import http.server
import json
import random
import socket
import struct
import sys
import threading
import time


def vector(text, n):
    """Unit-length, and nothing but a function of the text: 32-bit floats as the wire has them."""
    raw = b"".join(hashlib.sha256(b"%d:" % i + text.encode()).digest() for i in range((n + 15) // 16))
    values = [(b - 32767.5) / 32768 for b in struct.unpack("<%dH" % n, raw[: 2 * n])]
    norm = sum(v * v for v in values) ** 0.5
    return [struct.unpack("<f", struct.pack("<f", v / norm))[0] for v in values]


def parts_of(path, body):
    """What is to become one vector each: texts; of pictures and videos their URLs; of several that are to be one, joined by spaces."""
    if path.endswith("/multimodal-embedding"):  # DashScope
        parts = [" ".join(c.values()) for c in body["input"]["contents"]]
        return [" ".join(parts)] if body.get("parameters", {}).get("enable_fusion") else parts
    if path == "/multimodalembeddings":  # Voyage
        return [" ".join(piece[piece["type"]] for piece in i["content"]) for i in body["inputs"]]
    texts = next(body[k] for k in ("input", "texts", "inputs") if k in body)
    if isinstance(texts, list) and texts and isinstance(texts[0], dict):  # Jina
        return [t.get("text", t.get("image")) for t in texts]
    return [texts] if isinstance(texts, str) else texts


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, options):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.plan = {"faults": [], "latency": options.latency, "dimensions": options.dimensions, "max_inputs": 0, "poison": "", "stumble": "", "counted": 0, "jitter": 0, "named": ""}
        if options.faults:
            kinds = [429, 500, "cut", "twice", "short"]
            self.plan["faults"] = kinds * options.faults
            # one in a few calls fails, so that no call fails three times
            calls = self.plan["faults"] + [None] * (len(self.plan["faults"]) * 4)
            random.Random(options.seed).shuffle(calls)
            self.plan["faults"] = calls
        self.log = []
        self.now = self.peak = 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, *_):
        pass

    def send(self, status, body, headers=()):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        given = dict(headers)
        for name, value in given.items():
            self.send_header(name, value)
        if "Content-Type" not in given:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        server = self.server
        with server.lock:
            answer = {"log": server.log, "peak": server.peak, "left": len([f for f in server.plan["faults"] if f is not None])}
        self.send(200, answer)

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/plan":
            with server.lock:
                server.plan.update(body)
                server.log.clear()
                server.peak = 0
            return self.send(200, {})
        came = time.monotonic()
        with server.lock:
            fault = server.plan["faults"].pop(0) if server.plan["faults"] else None
            plan = dict(server.plan)
            server.now += 1
            server.peak = max(server.peak, server.now)
        try:
            texts = parts_of(self.path, body)
            time.sleep(plan["latency"] / 1000)
            poisoned = bool(plan["poison"]) and any(plan["poison"] in t for t in texts)
            entry = dict(path=self.path, texts=len(texts), fault=fault, poisoned=poisoned, at=came, body={k: v for k, v in body.items() if v is not texts},
                         headers={k.lower(): v for k, v in self.headers.items()}, first=texts[0] if texts else None)
            with server.lock:
                server.log.append(entry)
            self.answer(body, texts, fault, plan)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with server.lock:
                server.now -= 1

    def answer(self, body, texts, fault, plan):
        if isinstance(fault, int):
            fault = [fault, {}, {"error": {"message": "the plan says %d" % fault}}]
        if isinstance(fault, list):
            status, headers, page = (fault + [{}, {}])[:3]
            return self.send(status, page.encode() if isinstance(page, str) else page, headers)
        if plan["max_inputs"] and len(texts) > plan["max_inputs"]:
            return self.send(400, {"error": {"message": "at most %d inputs" % plan["max_inputs"]}})
        if plan["poison"] and any(plan["poison"] in t for t in texts):
            return self.send(400, {"error": {"message": "an input that cannot be read"}})
        if plan["stumble"] and any(plan["stumble"] in t for t in texts):
            return self.send(500, {"error": {"code": 500, "message": "input is too large to process", "type": "server_error"}})
        if fault == "hang":
            time.sleep(20)
            return self.send(200, {})
        if fault == "html":
            return self.send(200, b"<html><body>Sign in</body></html>", {"Content-Type": "text/html"})
        if fault == "junk":
            return self.send(200, b'{"data": [{"embedding": [0.1, ')
        if fault == "empty":
            return self.send(200, {"output": {"embeddings": []}} if "multimodal-" in self.path else {"data": [], "embeddings": []})
        if fault == "error":
            return self.send(200, {"error": {"message": "something went wrong behind a smile"}})
        if fault == "redirect":
            return self.send(307, b"", {"Location": "http://elsewhere.example/v1/embeddings"})
        n = body.get("dimensions") or body.get("output_dimension") or body.get("parameters", {}).get("dimension") or plan["dimensions"]
        vectors = [vector(t, n) for t in texts]
        if plan["jitter"]:  # as real ones do, from call to call
            vectors = [[x + random.uniform(-1, 1) * plan["jitter"] for x in v] for v in vectors]
        data = self.shape(body, texts, vectors, fault, plan)
        if fault == "huge":
            data = data[:-1] + b" " * (64 << 20) + data[-1:]
        if fault in ("cut", "drip"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.close_connection = True
            for i in range(0, len(data) // 2):
                if fault == "drip":
                    self.wfile.write(data[i : i + 1])
                    self.wfile.flush()
                    time.sleep(0.05)
            if fault == "cut":
                self.wfile.write(data[: len(data) // 2])
            return None
        return self.send(200, data)

    def shape(self, body, texts, vectors, fault, plan):
        if fault == "short":
            vectors = vectors[:-1]
        elif fault == "long":
            vectors[0] = vectors[0] + [0.5]
        elif fault == "quarter":
            vectors[0] = vectors[0][: len(vectors[0]) // 4]
        elif fault == "zero":
            vectors[0] = [0.0] * len(vectors[0])
        elif fault == "nan":
            vectors[0] = [float("nan")] + vectors[0][1:]
        tokens = plan["counted"] or sum(len(t.split()) for t in texts)
        if self.path == "/embed":
            return json.dumps(vectors).encode()
        model = "another-model" if fault == "other" else plan["named"] or body.get("model")
        if self.path == "/api/embed":
            return json.dumps({"model": model, "embeddings": vectors, "prompt_eval_count": tokens}).encode()
        if self.path == "/v2/embed":
            return json.dumps({"id": "x", "embeddings": {"float": vectors}, "texts": texts,
                               "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": tokens}}}).encode()
        packed = "base64" in (body.get("encoding_format"), body.get("embedding_type")) and fault not in ("floats", "nan", "zero", "long", "quarter")
        entries = [{"object": "embedding", "index": i, "embedding":
                    base64.b64encode(struct.pack("<%df" % len(v), *v)).decode() if packed else v} for i, v in enumerate(vectors)]
        if fault == "twice":
            entries[-1]["index"] = 0
            if len(entries) == 1:
                entries.append(dict(entries[0]))
        if fault == "shuffle":
            random.shuffle(entries)
        if self.path.endswith("/multimodal-embedding"):
            return json.dumps({"output": {"embeddings": [{"index": e["index"], "embedding": e["embedding"], "type": "text"} for e in entries]},
                               "usage": {"input_tokens": tokens, "image_tokens": 0}, "request_id": "x"}).encode()
        return json.dumps({"object": "list", "data": entries, "model": model,
                           "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}).encode()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0)
    parser.add_argument("--dimensions", type=int, default=24)
    parser.add_argument("--faults", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    server = Server(parser.parse_args())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("http://127.0.0.1:%d" % server.server_address[1], flush=True)
    sys.stdin.read()
