"""enqueue, and what status says of tasks."""
import sqlite3
import unittest

from command import CommandTest


class Enqueue(CommandTest):
    def tasks(self, source="documents"):
        rows = self.ok("status", "--json").json["sources"]
        return next(r["tasks"] for r in rows if r["source"] == source)

    def test_keys_come_in(self):
        self.write("a.txt", "ban kolor")
        self.ok("add", "a.txt")
        self.assertEqual(self.tasks(), {"ready": 0, "waiting": 0, "leased": 0, "dead": 0, "rescued": 0, "oldest_ms": 0,
                                        "attempts": [0] * 12})
        said = self.ok("enqueue", "--source", "documents", "--reason", "edited", "a.txt", "42", "--json").json
        self.assertEqual(said, {"source": "documents", "keys": 2, "added": 2})
        lines = "".join("key %d\n" % i for i in range(1300)) + '"42"\n[1,"x"]\n'
        said = self.ok("enqueue", "--source", "documents", "--json", stdin=lines).json
        self.assertEqual((said["keys"], said["added"]), (1302, 1301))
        tasks = self.tasks()
        self.assertEqual((tasks["ready"], tasks["attempts"][0]), (1303, 1303))
        self.assertIn("tasks: 1303 ready, 0 waiting", self.ok("status").out.decode())
        with sqlite3.connect(self.cwd + "/quern.db") as db:
            self.assertEqual(db.execute("SELECT reason FROM quern_tasks WHERE key = '\"a.txt\"'").fetchone(), ("edited",))

    def test_what_is_refused(self):
        self.write("a.txt", "ban kolor")
        self.ok("add", "a.txt")
        self.refused(2, "--source names the one", "enqueue", "a.txt")
        self.refused(2, "--source names the one", "enqueue", "--source", "a", "--source", "b", "x")
        self.refused(2, "--source", "enqueue", "--source", "", "x")
        self.refused(2, "empty key", "enqueue", "--source", "documents", "")
        self.refused(2, "line 2: an empty key", "enqueue", "--source", "documents", stdin="x\n\ny\n")
        self.refused(2, "is no key", "enqueue", "--source", "documents", "{no")
        self.refused(4, "there is no source 'books'", "enqueue", "--source", "books", "1")
        self.assertEqual(self.tasks()["ready"], 0)


if __name__ == "__main__":
    unittest.main()
