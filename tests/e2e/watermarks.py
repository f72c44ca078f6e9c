"""What test_pipeline and test_postgres share about watermarks: a first build is killed (SIGKILL), rows are edited, added and
removed on both sides of where it had come to, and the next fill begins there and still makes every row current.
"""
import signal
import subprocess
import time

from command import BIN

ROWS = 1500


def killed_edited_and_resumed(test, execute):
    """execute(sql) gives rows as lists; the test's database is empty."""
    execute("CREATE TABLE items (id integer PRIMARY KEY, body text)")
    for first in range(0, ROWS, 500):
        execute("INSERT INTO items VALUES " + ",".join("(%d, '%s %d')" % (i, "gut lan kolor ban zan " * 6, i)
                                                       for i in range(first, first + 500)))
    test.ok("source", "add", "items", "--table", "items", "--key", "id", "--text", "{body}")
    test.assertIsNone(test.ok("status", "--json").json["sources"][0]["watermark"])
    args = [BIN, "fill", "--threads", "1", "--cpu", "scalar", "--model", test.model]
    with subprocess.Popen(args, cwd=test.cwd, env=test.environment(), stderr=subprocess.PIPE) as fill:
        until = time.monotonic() + 60
        mark = None
        while mark is None:
            test.assertLess(time.monotonic(), until)
            test.assertIsNone(fill.poll(), "the fill was over too soon")
            mark = test.ok("status", "--json").json["sources"][0]["watermark"]
            time.sleep(0.05)
        fill.send_signal(signal.SIGKILL)
    mark = test.ok("status", "--json").json["sources"][0]["watermark"]
    test.assertTrue(0 < mark < ROWS - 1, mark)
    test.assertIn("behind key %d" % mark, test.ok("status").out.decode())
    execute("UPDATE items SET body = 'edited' WHERE id IN (0, 1, %d, %d, %d)" % (mark // 2, mark - 1, ROWS - 1))
    execute("DELETE FROM items WHERE id IN (3, %d, %d)" % (mark, mark + 1))
    execute("INSERT INTO items VALUES (-5, 'in front of all'), (%d, 'behind all')" % (ROWS + 7))
    pending = test.ok("status", "--json").json["pending"]
    test.assertEqual(test.ok("fill", "--dry-run", "--json").json["processed"], pending)
    report = test.ok("fill", "--json").json
    total = ROWS - 3 + 2
    test.assertEqual((report["total"], report["done"], report["pending"]), (total, total, 0))
    test.assertEqual((report["processed"], report["processed"] + report["skipped"]), (pending, total))
    test.assertEqual(test.ok("verify", "--all", "--json").json["equal"], total)
    after = test.ok("status", "--json").json
    test.assertEqual((after["done"], after["stale"], after["sources"][0]["watermark"]), (total, 0, None))
    test.assertEqual(test.ok("fill", "--json").json["processed"], 0)
