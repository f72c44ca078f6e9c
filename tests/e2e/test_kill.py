"""kill -9 at random moments of `quern add` and `quern fill`: the next run completes, and the end is that of
a run that nobody disturbed, vector for vector. 5 kills of each in the short form, 50 with QUERN_LONG=1.
"""
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

import folders

QUERN = os.environ["QUERN_BIN"]
LONG = os.environ.get("QUERN_LONG") == "1"
KILLS = 50 if LONG else 5
DOCUMENTS = 3000 if LONG else 1200


def write_corpus(path, rng, edition):
    """Records with ids; a second edition changes some, drops some and adds some."""
    words = ["ba", "ce", "di", "fo", "gu", "han", "jer", "kin", "lor", "mu", "na", "po"]
    with open(path, "w", encoding="utf-8") as out:
        for i in range(DOCUMENTS):
            if edition == 2 and i % 10 == 3:
                continue
            rng.seed(i if edition == 1 or i % 5 else -i)
            n = 200 if i % 40 == 0 else rng.randrange(0, 30)  # some long, some empty
            text = " ".join(rng.choice(words) + rng.choice(words) for _ in range(n))
            out.write(json.dumps({"id": i, "text": text, "n": edition if i % 7 == 0 else 0}) + "\n")
        if edition == 2:
            for i in range(DOCUMENTS, DOCUMENTS + 100):
                out.write(json.dumps({"id": i, "text": "na po %d" % i}) + "\n")


def run(folder, *arguments, kill_after=None):
    """Exit status; None when it was killed before its end."""
    env = dict(os.environ, XDG_DATA_HOME=folder, QUERN_OFFLINE="yes")
    process = subprocess.Popen([QUERN, *arguments], cwd=folder, env=env, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
    if kill_after is not None:
        try:
            process.wait(kill_after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stderr.close()
            return None
    errors = process.communicate()[1].decode()
    if process.returncode:
        raise SystemExit("quern %s: exit %d\n%s" % (" ".join(arguments), process.returncode, errors))
    return 0


def state(db):
    """Documents, stamps, chunks and vectors, without the ids and times that may differ."""
    with sqlite3.connect(db) as c:
        assert c.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        documents = c.execute("SELECT id, fields FROM quern_documents ORDER BY id").fetchall()
        live = "JOIN quern_generations g ON g.id = s.generation AND g.state = 'active'"
        stamps = c.execute("SELECT s.key, s.outcome, s.revision, s.chunks FROM quern_stamps s %s ORDER BY s.key"
                           % live).fetchall()
        vectors = c.execute("SELECT s.key, s.chunk, s.byte_start, s.byte_end, v.data FROM quern_chunks s JOIN "
                            "quern_vectors v ON v.id = s.id %s ORDER BY s.key, s.chunk" % live).fetchall()
        strays = c.execute("SELECT (SELECT count(*) FROM quern_vectors), (SELECT count(*) FROM quern_staging), "
                           "(SELECT count(*) FROM quern_generations)").fetchone()
    return documents, stamps, vectors, strays


def timed(folder, *arguments):
    began = time.monotonic()
    run(folder, *arguments)
    return time.monotonic() - began


def killed_often(folder, db, rng, span, *arguments):
    """Kills runs at random moments of `span` seconds; gives how many really died."""
    died = 0
    for _ in range(KILLS):
        if run(folder, *arguments, kill_after=rng.uniform(0.005, max(0.02, span))) is None:
            died += 1
    return died


def main():
    rng = random.Random(int(os.environ.get("QUERN_SEED", "20261121")))
    with tempfile.TemporaryDirectory() as folder:
        folders.tiny(os.path.join(folder, "model"))
        for edition in (1, 2):
            write_corpus(os.path.join(folder, "corpus%d.jsonl" % edition), random.Random(edition), edition)
        whole, torn = os.path.join(folder, "whole.db"), os.path.join(folder, "torn.db")
        died = {"add": 0, "fill": 0}
        for edition in (1, 2):
            add = ["add", "--sync", "corpus.jsonl", "--db"]
            fill = ["fill", "--model", "./model", "--db"]
            os.replace(os.path.join(folder, "corpus%d.jsonl" % edition), os.path.join(folder, "corpus.jsonl"))
            spans = [timed(folder, *add, whole), timed(folder, *fill, whole)]
            for name, span, command in (("add", spans[0], add), ("fill", spans[1], fill)):
                # Parts of a fill add up, so later kills come sooner: spread them over what is left.
                share = span if name == "add" else span / (KILLS / 4)
                died[name] += killed_often(folder, torn, rng, share, *command, torn)
                run(folder, *command, torn)
            a, b = state(whole), state(torn)
            for what, x, y in zip(("documents", "stamps", "vectors", "strays"), a, b):
                if x != y:
                    print("edition %d: %s differ: %d and %d" % (edition, what, len(x), len(y)))
                    print([p for p in zip(x, y) if p[0] != p[1]][:2])
                    sys.exit(1)
            assert len(a[2]) > DOCUMENTS / 2, "too few vectors to mean anything"
        if died["add"] < KILLS // 3 or died["fill"] < KILLS // 3:
            sys.exit("too few runs were really killed: %s of %d each" % (died, 2 * KILLS))
        print("killed %(add)d adds and %(fill)d fills: the same state" % died)


main()
