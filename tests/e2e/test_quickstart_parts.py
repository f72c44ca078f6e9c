"""What quickstart is made of: the corpus, filling in steps that resume, and its three searches.

The short form fills a sample of the four sections; the long one runs ./quickstart --all in a copy of the
tree, twice, with a model shelf and a home of its own, and asks the same of every package.
"""
import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.environ["QUERN_ROOT"]
QUERN = os.environ["QUERN_BIN"]
LONG = bool(os.environ.get("QUERN_LONG"))
SECTIONS = ("games", "graphics", "sound", "video")
CHESS = "play chess against the computer"
PICTURES = "edit and retouch pictures"
AUDIO = "convert audio files"
CONVERTERS = {"soundconverter", "soundkonverter", "pacpl", "xcfa", "dir2ogg", "audiofile-tools", "sox"}
ENV = {k: v for k, v in os.environ.items() if not k.startswith("QUERN_")}


def load_tool():
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("fetch_corpus", os.path.join(ROOT, "tools/fetch-corpus"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("fetch_corpus", loader))
    loader.exec_module(module)
    return module


def run(*args, code=0, **more):
    done = subprocess.run(args, capture_output=True, text=True, env=ENV, stdin=subprocess.DEVNULL, **more)
    assert done.returncode == code, (args, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done


def quern(db, command, *args):
    return run(QUERN, command, "--db", db, *args)


# ---- the corpus ----


def test_versions(tool):
    """The order of versions is dpkg's."""
    versions = ["1.0", "1.0-1", "1.0~rc1-1", "1:0.1", "1.0+dfsg-1", "1.10-1", "1.9-1", "1.0-1+deb12u1",
                "1.0-1+deb12u10", "1.0-1+b2", "2", "1.0a", "0", "1.0.0", "1.0-1~bpo", "20230101-3"]
    for a in versions:
        for b in versions:
            less = subprocess.run(["dpkg", "--compare-versions", a, "lt", b]).returncode == 0
            assert (tool.version_key(a) < tool.version_key(b)) == less, (a, b)


def test_prose(tool):
    assert tool.prose("title\none\ntwo\n.\n * item\n * item two\nlast") == "one two\n\n* item\n* item two\nlast"
    assert tool.prose("title") == ""


def apt_state():
    found = {}
    for top in ("/var/lib/apt/lists", "/var/cache/apt"):
        for folder, _, names in os.walk(top):
            for name in names:
                st = os.lstat(os.path.join(folder, name))
                found[os.path.join(folder, name)] = (st.st_size, st.st_mtime_ns)
    return found


def test_corpus(tool):
    """≥ 60,000 packages with their long texts; apt's own state is as before; root is not needed."""
    before = apt_state()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "packages.jsonl")
        as_user = []
        if os.getuid() == 0:
            os.chmod(folder, 0o777)
            as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        tool_copy = os.path.join(folder, "fetch-corpus")
        shutil.copy(os.path.join(ROOT, "tools/fetch-corpus"), tool_copy)
        run(*as_user, "/usr/bin/python3", tool_copy, path, cwd=folder)
        assert apt_state() == before
        with open(path, encoding="utf-8") as f:
            documents = [json.loads(line) for line in f]
    assert len(documents) >= 60000, len(documents)
    names = [d["package"] for d in documents]
    assert names == sorted(set(names))
    assert all(set(d) == {"package", "title", "section", "text"} for d in documents)
    assert sum(1 for d in documents if len(d["text"]) >= 100) > 0.8 * len(documents)
    mean = sum(len(d["title"]) + len(d["text"]) for d in documents) / len(documents)
    assert 300 < mean < 600, mean
    by_name = {d["package"]: d for d in documents}
    assert by_name["gimp"]["section"] == "graphics" and "retouch" in by_name["gimp"]["text"]
    assert 2000 < sum(1 for d in documents if d["section"] in SECTIONS) < 5000
    return documents


# ---- the searches ----


def check_searches(search, by_name):
    chess, pictures, audio = search(CHESS), search(PICTURES), search(AUDIO)
    assert any("chess" in by_name[k]["text"].lower() and by_name[k]["section"] == "games" for k in chess[:3]), chess
    assert {"gimp", "darktable"} & set(pictures[:10]), pictures
    assert CONVERTERS & set(audio[:3]), audio


def test_filling_and_searches(documents):
    """Two adds into one table, fills with a limit that resume, and answers that are visibly right."""
    words = re.compile(r"chess|retouch|photo edit|image edit|(convert|encod)[^.]{0,30}(audio|sound|mp3|ogg)|gimp")
    by_name = {d["package"]: d for d in documents}
    wanted = [d for i, d in enumerate(d for d in documents if d["section"] in SECTIONS)
              if words.search(d["text"].lower()) or i % 25 == 0]
    others = [d for d in documents if d["section"] not in SECTIONS][:2000]
    for name in (CHESS, PICTURES, AUDIO):
        assert name in open(os.path.join(ROOT, "quickstart")).read(), name
    with tempfile.TemporaryDirectory() as folder:
        db = os.path.join(folder, "quern.db")
        model = ["--model", os.environ["QUERN_TEST_MODEL"]]
        fields = ["--id-field", "package", "--text", "{title}. {text}"]
        first, both = os.path.join(folder, "first.jsonl"), os.path.join(folder, "all.jsonl")
        for path, rows in ((first, wanted), (both, others + wanted)):
            with open(path, "w", encoding="utf-8") as f:
                f.writelines(json.dumps(d, ensure_ascii=False) + "\n" for d in rows)
        status = lambda: json.loads(quern(db, "status", "--json", *model).stdout)
        quern(db, "add", *fields, first)
        half = len(wanted) // 2
        quern(db, "fill", *model, "--limit", str(half))
        assert status()["done"] == half and status()["total"] == len(wanted), status()
        quern(db, "add", *fields, first)  # again: nothing changes, nothing is lost
        assert status()["done"] == half
        quern(db, "fill", *model, "--limit", str(len(wanted) - half))
        assert status()["done"] == len(wanted), status()
        quern(db, "add", *fields, both)
        assert (status()["done"], status()["total"]) == (len(wanted), len(wanted) + len(others)), status()
        search = lambda q: [h["key"] for h in json.loads(
            quern(db, "search", *model, "--limit", "10", "--json", q).stdout)["hits"]]
        check_searches(search, by_name)
    print("   %d documents filled of %d" % (len(wanted), len(wanted) + len(others)))


def test_script():
    run("bash", "-n", os.path.join(ROOT, "quickstart"))
    done = run("bash", os.path.join(ROOT, "quickstart"), "--nonsense", code=2)
    assert "usage" in done.stderr, done


def test_quickstart_all(documents):
    """The whole, in a copy of the tree; the second run finds everything done."""
    by_name = {d["package"]: d for d in documents}
    with tempfile.TemporaryDirectory() as folder:
        tree = os.path.join(folder, "tree")
        shutil.copytree(ROOT, tree, symlinks=True,
                        ignore=shutil.ignore_patterns("build", ".git", "quickstart-data", "__pycache__"))
        env = dict(ENV, XDG_DATA_HOME=os.path.join(folder, "share"))
        for _ in range(2):
            done = subprocess.run(["./quickstart", "--all"], cwd=tree, env=env, stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True)
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
            assert "%d of %d descriptions" % (len(documents), len(documents)) in done.stdout, done.stdout[-3000:]
        assert "0 added, 0 changed" in done.stdout
        binary = os.path.join(tree, "build/release/quern")

        def search(query):
            answer = subprocess.run([binary, "search", "--db", "quickstart-data/quern.db", "--json", query],
                                    cwd=tree, env=env, capture_output=True, text=True, check=True)
            return [h["key"] for h in json.loads(answer.stdout)["hits"]]

        check_searches(search, by_name)


def main():
    tool = load_tool()
    steps = [("versions", lambda: test_versions(tool)), ("prose", lambda: test_prose(tool)),
             ("script", test_script)]
    for name, step in steps:
        step()
        print("ok", name, flush=True)
    documents = test_corpus(tool)
    print("ok corpus (%d packages)" % len(documents), flush=True)
    if os.environ.get("QUERN_SKIP_MODEL_TESTS"):
        print("skipped: QUERN_SKIP_MODEL_TESTS is set, and the searches need the model")
        return 77
    start = time.monotonic()
    test_filling_and_searches(documents)
    print("ok filling and searches (%.1f s)" % (time.monotonic() - start), flush=True)
    if LONG:
        test_quickstart_all(documents)
        print("ok quickstart --all", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
