"""What the test_cli files share: run the command in a folder of its own, with nothing of the caller's settings."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

from folders import tiny

BIN, ROOT = os.environ["QUERN_BIN"], os.environ["QUERN_ROOT"]
NO_WEIGHTS = bool(os.environ.get("QUERN_SKIP_MODEL_TESTS"))
LONG = bool(os.environ.get("QUERN_LONG"))
SANITIZED = bool(os.environ.get("QUERN_SANITIZE"))
WITHOUT_POSTGRES = os.environ.get("QUERN_TEST_POSTGRES") == "0"
WEIGHTS = os.environ.get("QUERN_TEST_MODEL", "")


class Answer:
    def __init__(self, done, args):
        self.args, self.code, self.out, self.err = args, done.returncode, done.stdout, done.stderr

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def lines(self):
        return [json.loads(line) for line in self.out.decode().splitlines()]

    @property
    def error(self):
        """Why a command under --json failed: {"code": …, "message": …}, the last line of standard error."""
        (error,) = json.loads(self.err.splitlines()[-1]).values()
        assert sorted(error) == ["code", "message"], error
        return error

    @property
    def message(self):
        return self.err.decode("utf-8", "replace")


class CommandTest(unittest.TestCase):
    """A folder, a shelf and a tiny model; self.quern runs the command there."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="quern-cli-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        cls.model = os.path.join(cls.folder, "tiny-model")
        tiny(cls.model, "--seed", "7", "--matryoshka", "24,48")

    def setUp(self):
        self.cwd = tempfile.mkdtemp(dir=self.folder)

    def environment(self, **env):
        keep = {k: v for k, v in os.environ.items() if not k.startswith("QUERN_") and k != "HF_TOKEN"}
        keep.update(XDG_DATA_HOME=os.path.join(self.folder, "data"), XDG_CACHE_HOME=os.path.join(self.folder, "cache"), LC_ALL="C.UTF-8", **env)
        return keep

    def quern(self, *args, stdin=b"", model=True, env=None, timeout=120):
        """model: name the tiny one in the environment, where a --model on the command line still wins."""
        env = dict(env or {})
        if model:
            env.setdefault("QUERN_MODEL", self.model)
        if isinstance(stdin, str):
            stdin = stdin.encode()
        done = subprocess.run([BIN, *map(str, args)], input=stdin, capture_output=True, cwd=self.cwd,
                              env=self.environment(**env), timeout=timeout)
        answer = Answer(done, args)
        self.assertGreaterEqual(done.returncode, 0, "quern %s died by signal %d\n%s" % (args, -done.returncode, answer.message))
        self.assertNotIn("Sanitizer", answer.message)
        return answer

    def ok(self, *args, **how):
        answer = self.quern(*args, **how)
        self.assertEqual(answer.code, 0, "quern %s: exit %d\n%s" % (args, answer.code, answer.message))
        return answer

    def refused(self, code, saying, *args, **how):
        """Fails with this exit code, one line that holds `saying`, and nothing on standard output."""
        answer = self.quern(*args, **how)
        what = "quern %s: exit %d\n%s" % (args, answer.code, answer.message)
        self.assertEqual(answer.code, code, what)
        self.assertEqual(answer.message.count("\n"), 1, what)
        if "--json" in args:
            self.assertIn(saying, answer.error["message"], what)
        else:
            self.assertIn(saying, answer.message, what)
            self.assertTrue(answer.message.startswith("quern: "), what)
        self.assertEqual(answer.out, b"", what)
        return answer

    def write(self, name, text):
        path = os.path.join(self.cwd, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return path

    def add_texts(self, texts):
        """Documents in the store; their keys are 0, 1, 2…"""
        self.write("in.jsonl", "\n".join(json.dumps({"id": i, "text": t}) for i, t in enumerate(texts)))
        self.ok("add", "in.jsonl")
