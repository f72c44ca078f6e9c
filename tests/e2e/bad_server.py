"""A model hub on a free loopback port that misbehaves to order.

Hub(folder) serves the files of `folder` under any /…/resolve/REVISION/FILE. hub.plan["FILE"] is a list of
behaviours, one used up by each request for that file; without any left it behaves. hub.log has one entry
a request: file, range, if_range, authorization, status, sent (bytes of body).

Behaviours: ("status", CODE[, {headers}])   ("cut", N): N bytes of the body, then the connection ends
  ("stall", N, SECONDS): N bytes, then silence   ("wrong",): right length, wrong bytes
  ("etag", TAG): another ETag   ("noetag",)   ("norange",): all of it, whatever was asked
  ("otherpart",): 206 for other bytes than asked   ("short",): another length   ("endless",): no length, and
  it goes on and on   ("redirect", URL-PREFIX)   ("garbage",): no HTTP   ("slow", BYTES_PER_SECOND)
"""
import http.server
import os
import re
import socket
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        try:
            self.answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self):
        hub = self.server.hub
        match = re.match(r".*/resolve/[^/]+/(.+)$", self.path)
        name = match.group(1) if match else self.path
        entry = dict(file=name, range=self.headers.get("Range"), if_range=self.headers.get("If-Range"),
                     authorization=self.headers.get("Authorization"), path=self.path, status=0, sent=0)
        with hub.lock:
            hub.log.append(entry)
            planned = hub.plan.get(name) or hub.plan.get("*") or []
            act = planned.pop(0) if planned else ("ok",)
        self.entry = entry
        if act[0] == "status":
            return self.plain(act[1], act[2] if len(act) > 2 else {})
        if act[0] == "redirect":
            return self.plain(302, {"Location": act[1] + self.path})
        if act[0] == "garbage":
            self.wfile.write(b"\x00\x01not http at all\r\n\r\n" * 20)
            self.close_connection = True
            return None
        if act[0] == "endless":
            return self.endless()
        path = os.path.join(hub.folder, name)
        if not os.path.isfile(path):
            return self.plain(404, {})
        with open(path, "rb") as f:
            data = f.read()
        return self.file(data, act)

    def plain(self, code, headers):
        body = b"no\n"
        self.entry["status"] = code
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def endless(self):
        self.entry["status"] = 200
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for _ in range(200):
            self.wfile.write(b"x" * 65536)
            self.entry["sent"] += 65536

    def file(self, data, act):
        tag = '"v1-%d"' % len(data)
        if act[0] == "etag":
            tag = act[1]
        first = 0
        match = re.match(r"bytes=(\d+)-$", self.headers.get("Range") or "")
        fresh = self.headers.get("If-Range") in (None, tag)
        if match and fresh and act[0] != "norange":
            first = int(match.group(1))
            if first >= len(data):
                return self.plain(416, {"Content-Range": "bytes */%d" % len(data)})
        total = len(data)
        if act[0] == "otherpart":
            first = max(0, first - 1000)
        body = data[first:]
        if act[0] == "wrong":
            body = bytes(b ^ 1 for b in body[:4096]) + body[4096:]
        if act[0] == "short":
            body = body[:-1]
            total -= 1
        self.entry["status"] = 206 if first or act[0] == "otherpart" else 200
        self.send_response(self.entry["status"])
        if self.entry["status"] == 206:
            self.send_header("Content-Range", "bytes %d-%d/%d" % (first, first + len(body) - 1, total))
        if act[0] != "noetag":
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if act[0] == "cut":
            self.pour(body[: act[1]])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif act[0] == "stall":
            self.pour(body[: act[1]])
            time.sleep(act[2])
            self.close_connection = True
        elif act[0] == "slow":
            for at in range(0, len(body), act[1] // 20):
                self.pour(body[at : at + act[1] // 20])
                time.sleep(0.05)
        else:
            self.pour(body)
        return None

    def pour(self, body):
        for at in range(0, len(body), 1 << 18):
            piece = body[at : at + (1 << 18)]
            self.wfile.write(piece)
            self.entry["sent"] += len(piece)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    hub = None

    def handle_error(self, request, client_address):
        pass


class Hub:
    def __init__(self, folder):
        self.folder = folder
        self.plan = {}
        self.log = []
        self.lock = threading.Lock()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.hub = self
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def of(self, name):
        return [e for e in self.log if e["file"] == name]
