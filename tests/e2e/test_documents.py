"""From a row to text to chunks, by the command, on SQLite and on PostgreSQL: templates over JSON and lists, the steps that
clean a text."""
import datetime
import json
import sqlite3
import unittest

import test_postgres as postgres
from command import WITHOUT_POSTGRES, CommandTest

CLIP = "Title: {title}. Broadcaster: {broadcaster}. Clipped by: {creator|unless=broadcaster}. Game: {game}"


def setUpModule():
    if not WITHOUT_POSTGRES:
        postgres.setUpModule()


def tearDownModule():
    if not WITHOUT_POSTGRES:
        postgres.tearDownModule()


class Documents:
    JSON = "text"  # the types of such columns
    LIST = "text"

    def texts(self, source, *args):
        """Each document's text (its first 240 bytes) by key, empty ones left out."""
        self.ok("fill", "--source", source, *args)
        hits = self.ok("search", "ban", "--source", source, "--limit", "1000", "--json").json["hits"]
        return {hit["key"]: hit["excerpt"] for hit in hits}

    def declare(self, name, text, *args):
        self.ok("source", "add", name, "--table", name, "--key", "id", "--text", text, *args)

    def test_every_combination(self):
        self.sql("CREATE TABLE clips (id integer PRIMARY KEY, title text, broadcaster text, creator text, game text)")
        value, said = ("Ban", "Gut", "Lan", "Ber"), ("Title: Ban", "Broadcaster: Gut", "Clipped by: Lan", "Game: Ber")
        want = {}
        for mask in range(16):
            here = [bool(mask >> i & 1) for i in range(4)]
            row = ["'%s'" % v if there else ("NULL", "''")[mask % 2] for v, there in zip(value, here)]
            self.sql("INSERT INTO clips VALUES (%d, %s)" % (mask, ", ".join(row)))
            want[mask] = ". ".join(s for s, there in zip(said, here) if there)
        self.sql("INSERT INTO clips VALUES (16, 'Ban', 'Gut', 'Gut', 'Ber')")
        want[16] = "Title: Ban. Broadcaster: Gut. Game: Ber"
        del want[0]
        self.declare("clips", CLIP)
        self.assertEqual(self.texts("clips"), want)

    def test_lists_and_paths(self):
        self.sql('CREATE TABLE said (id integer PRIMARY KEY, predicates %s, subjects %s, contexts %s, attributes %s, message text,'
                 ' msg text, "attributes.own" text)' % (self.LIST, self.LIST, self.LIST, self.JSON))
        rows = [(["ban"], ["gut", "lan"], [], {"message": "zan"}, "ber", None, None),
                ([], None, None, {"message": ""}, "ber", "kolor", "mine"),
                ([], [], [], {"own": "x", "list": [1, {"deep": ["a", None, "b"]}]}, None, "kolor", None),
                (None, [""], [], {"message": None}, "", " ", None)]
        for i, row in enumerate(rows):
            self.sql("INSERT INTO said VALUES (%d, %s)" % (i, ", ".join(self.literal(v) for v in row)))
        self.declare("said", '{predicates|join=" "} {subjects|join=" "} {contexts|join=" "} {attributes.message|message|msg}')
        self.assertEqual(self.texts("said"), {0: "ban gut lan zan", 1: "ber", 2: "kolor"})
        status = self.ok("status", "--json").json
        self.assertEqual((status["total"], status["empty"], status["stale"]), (4, 1, 0))
        self.ok("source", "set", "said", "--text", '{attributes.own} {attributes.list.1.deep|join="+"}')
        self.assertEqual(self.texts("said"), {1: "mine", 2: "a+b"})  # a column of that very name, not the path
        self.ok("source", "add", "asked", "--query", 'SELECT id, attributes, attributes AS "b.c" FROM said', "--key", "id",
                "--text", "{attributes.message}")
        self.assertEqual(self.texts("asked"), {0: "zan"})
        self.ok("source", "set", "asked", "--text", "{b.c}")
        self.assertEqual(len(self.texts("asked")), 4)
        self.refused(4, "no column 'attribute'", "source", "set", "said", "--text", "{attribute.message}")

    def test_added_documents(self):
        lines = [{"id": "a", "attributes": {"message": "ban"}, "tags": ["gut", "lan"]}, {"id": "b", "msg": "zan", "tags": []},
                 {"id": "c", "attributes.message": "kolor", "attributes": {"message": "no"}, "tags": None}]
        self.write("in.jsonl", "\n".join(map(json.dumps, lines)))
        self.refused(2, "no record has the field note", "add", "in.jsonl", "--text", "{id} {note|notes}")
        self.refused(1, "tags is an array or object", "add", "in.jsonl", "--text", "{id} {tags}")
        self.ok("add", "in.jsonl", "--text", '{attributes.message|msg} {tags|join=", "}')
        want = {"a": "ban gut, lan", "b": "zan", "c": "kolor"}
        self.assertEqual(self.texts("documents"), want)
        self.ok("source", "set", "documents", "--text", '{attributes.message|msg} {tags|join=", "}')
        self.assertEqual(self.texts("documents"), want)  # the same from the fields that were kept

    def test_prepare(self):
        self.sql("CREATE TABLE mails (id integer PRIMARY KEY, body text)")
        html = "<style>p {}</style><p>Ban&nbsp;&eacute; <b>gut</b></p><p>lan https://a.b/?id=1&amp;utm_source=x</p>"
        self.sql("INSERT INTO mails VALUES (1, '%s')" % html)
        self.sql("INSERT INTO mails VALUES (2, 'zan\n> ber ber\n-- \nkolor')")
        self.sql("INSERT INTO mails VALUES (3, '<p> </p>')")
        self.refused(2, 'did you mean "html"', "source", "add", "mails", "--table", "mails", "--key", "id", "--text", "{body}",
                     "--prepare", "htlm")
        self.declare("mails", "{body}")
        plain = self.texts("mails")
        self.assertTrue(html.endswith(plain[1]))
        self.assertEqual(plain[2], "zan > ber ber -- kolor")
        before = self.ok("status", "--json").json["sources"][0]
        self.ok("source", "set", "mails", "--prepare", "whitespace, html,tracking,quoted,signature")
        self.assertEqual(self.ok("source", "show", "mails", "--json").json["prepare"], "whitespace, html,tracking,quoted,signature")
        want = {1: "Ban \u00e9 gut lan https://a.b/?id=1", 2: "zan"}
        self.assertEqual(self.texts("mails"), want)
        after = self.ok("status", "--json").json["sources"][0]
        self.assertNotEqual(after["fingerprint"], before["fingerprint"])
        self.assertEqual((after["done"], after["empty"], after["stale"]), (3, 1, 0))
        hit = self.ok("search", "ban gut", "--json").json["hits"][0]
        self.assertEqual((hit["start"], hit["end"]), (0, len("Ban \u00e9 gut\n\nlan https://a.b/?id=1".encode())))
        self.assertEqual(self.ok("verify", "--all", "--json").json["equal"], 2)
        self.ok("source", "set", "mails", "--prepare", "tracking,html,quoted,signature,whitespace")  # the same, in another order
        self.assertEqual(self.ok("fill", "--json").json["processed"], 0)
        self.ok("source", "set", "mails", "--prepare", "")
        self.assertEqual(self.texts("mails"), plain)
        self.assertEqual(self.ok("status", "--json").json["sources"][0]["fingerprint"], before["fingerprint"])

    def test_headings(self):
        body = "# Ban\n\n" + "gut lan kolor. " * 12 + "\n\n## Zan ber\n\n" + "lan kolor ban. " * 12
        self.sql("CREATE TABLE pages (id integer PRIMARY KEY, body text)")
        self.sql("INSERT INTO pages VALUES (1, '%s')" % body)
        self.declare("pages", "{body}")
        self.ok("fill")
        plain = self.ok("status", "--json").json["sources"][0]
        self.ok("fill", "--headings")
        with_headings = self.ok("status", "--json").json["sources"][0]
        self.assertNotEqual(plain["fingerprint"], with_headings["fingerprint"])
        self.assertEqual(with_headings["note"], "")
        self.assertEqual(self.ok("verify", "--all", "--json").json["equal"], 1)
        shown = self.ok("chunk", "--json", "--headings", body).lines[0]["chunks"]
        self.assertEqual(len(shown), with_headings["chunks"])
        self.assertEqual(shown[-1]["heading"], "Ban > Zan ber")
        self.assertNotIn("heading", shown[0])
        chunk = shown[-1]  # what was stored is the vector of heading and slice
        best = self.ok("search", "--json", "--as", "document", "Ban > Zan ber\n\n" + chunk["text"]).json["hits"][0]
        self.assertEqual((best["start"], best["end"]), (chunk["start"], chunk["end"]))
        self.assertGreater(best["similarity"], 0.999)
        self.assertEqual(best["heading"], "Ban > Zan ber")

    def test_details_of_hits(self):
        reference = {"chunk": "b", "type": "cites", "confidence": 0.5}
        lines = [{"id": "a", "text": "ban gut", "page": 7, "section": "Intro", "properties": {"k": [1, None]}, "references": [reference]},
                 {"id": "b", "text": "zan " * 80 + "\f" + "lan " * 80, "page": "3", "references": "none", "properties": None},
                 {"id": "c", "text": "kolor", "page": "xii", "section": 5},
                 {"id": "d", "text": "gut zan", "lang": "en", "tags": ["x", None], "properties": {"n": 1}, "created_at": "2026-01-02"}]
        for bad, saying in (({"properties": [1]}, "properties must be a JSON object"), ({"references": {}}, "references must be a JSON array"),
                            ({"properties": {"k": "x" * 66000}}, "at most 65536"), ({"k": "x" * 66000}, "make properties of"), ({"references": [reference, 1]}, "references[1] must be"),
                            ({"references": [dict(reference, confidence=1.5)]}, "confidence must be a number from 0 to 1"),
                            ({"references": [dict(reference, confidence=None)]}, "confidence must be")):
            self.write("bad.jsonl", json.dumps(lines[0]) + "\n" + json.dumps(dict(bad, id="x", text="ban")))
            self.refused(1, saying, "add", "bad.jsonl")
        self.write("in.jsonl", "\n".join(map(json.dumps, lines)))
        self.ok("add", "in.jsonl")
        self.ok("fill")
        hits = {}
        for hit in self.ok("search", "ban", "--chunks", "--limit", "100", "--json").json["hits"]:
            hits.setdefault(hit["key"], []).append(hit)
        best = hits["a"][0]
        self.assertEqual([best[k] for k in ("page", "section", "properties", "references")],
                         [7, "Intro", {"k": [1, None]}, [reference]])
        pages = {hit["page"] for hit in hits["b"]}  # counted on from the field by form feeds
        self.assertEqual(pages, {3, 4})
        self.assertTrue({"properties", "references", "section"}.isdisjoint(hits["b"][0]))
        self.assertTrue({"page", "section"}.isdisjoint(hits["c"][0]))
        self.assertEqual(hits["d"][0]["properties"], {"n": 1, "lang": "en", "tags": ["x", None], "created_at": "2026-01-02"})
        lines[0]["section"] = "Outro"  # another section, the same text: nothing to embed, and known at once
        self.write("in.jsonl", "\n".join(map(json.dumps, lines)))
        self.ok("add", "in.jsonl")
        best = self.ok("search", "ban gut", "--json", "--provenance").json["hits"][0]
        self.assertEqual((best["key"], best["section"]), ("a", "Outro"))
        status = self.ok("status", "--json").json["sources"][0]
        self.assertEqual([best[k] for k in ("model", "fingerprint", "dimensions")],
                         [status[k] for k in ("model", "fingerprint", "dimensions")])
        made = datetime.datetime.fromisoformat(best["updated_at"].replace("Z", "+00:00"))
        self.assertLess(abs((datetime.datetime.now(datetime.timezone.utc) - made).total_seconds()), 300)
        self.assertEqual(best["created_at"], best["updated_at"])
        self.write("in.jsonl", json.dumps(dict(lines[0], text="ban gut zan")))
        self.ok("add", "in.jsonl")
        self.ok("fill")
        later = self.ok("search", "ban gut zan", "--json", "--provenance").json["hits"][0]
        self.assertEqual(later["created_at"], best["created_at"])
        self.assertGreater(later["updated_at"], best["updated_at"])
        text = self.ok("search", "ban gut zan", "--limit", "1", "--provenance").out.decode()
        self.assertIn("    page 7, Outro\n    embedded 20", text)


class OnSqlite(Documents, CommandTest):
    def sql(self, text):
        with sqlite3.connect(self.cwd + "/quern.db") as db:
            db.execute(text)
        db.close()

    @staticmethod
    def literal(value):
        text = value if isinstance(value, str) else json.dumps(value)
        return "NULL" if value is None else "'%s'" % text.replace("'", "''")


@unittest.skipIf(WITHOUT_POSTGRES, "built without PostgreSQL")
class OnPostgres(Documents, postgres.PostgresTest):
    JSON = "jsonb"
    LIST = "text[]"

    @staticmethod
    def literal(value):
        if isinstance(value, list):
            return "ARRAY[%s]::text[]" % ", ".join("'%s'" % v for v in value)
        return OnSqlite.literal(value)


if __name__ == "__main__":
    unittest.main()
