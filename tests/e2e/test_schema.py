"""--schema: quern's tables in a schema that it makes, in one of the user's (`public`), and several applications' side by
side in one database, where nothing of one may touch the other."""
import json
import signal
import subprocess
import time
import unittest

import test_postgres
from command import BIN, WITHOUT_POSTGRES

HOSTILE = 'a"b; DROP TABLE items --\'%s@@$$\\ é'
ROWS = 30
# Everything in the database that is no extension's, by its kind and name.
OBJECTS = """
SELECT 'relation', n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname !~ '^(pg_|information_schema)'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
UNION SELECT 'function', n.nspname, p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname !~ '^(pg_|information_schema)'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
UNION SELECT 'trigger', t.tgrelid::regclass::text, t.tgname FROM pg_trigger t WHERE NOT t.tgisinternal
UNION SELECT 'schema', nspname, coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname !~ '^pg_'
UNION SELECT 'server', srvname, '' FROM pg_foreign_server
ORDER BY 1, 2, 3"""


def setUpModule():
    test_postgres.setUpModule()


def tearDownModule():
    test_postgres.tearDownModule()


class SchemaTest(test_postgres.PostgresTest):
    def setUp(self):
        super().setUp()
        self.sql("CREATE TABLE items (id integer PRIMARY KEY, title text, rev integer DEFAULT 1);"
                 "INSERT INTO items SELECT i, 'ban ' || repeat('kolor ', mod(i, 7)) || i FROM generate_series(1, %d) i" % ROWS)
        self.before = self.sql(OBJECTS)

    def declare(self, schema, *more):
        self.ok("source", "add", "items", "--table", "items", "--key", "id", "--text", "{title}", "--revision", "rev",
                "--schema", schema, *more)

    def hits(self, schema, query="ban kolor 9", *more):
        return self.ok("search", query, "--limit", "100", "--json", "--schema", schema, *more).json["hits"]

    def all_is_true(self, schema, rows=ROWS):
        status = self.ok("status", "--json", "--schema", schema).json
        self.assertEqual((status["done"], status["total"], status["pending"], status["stale"]), (rows, rows, 0, 0), schema)
        verified = self.ok("verify", "--all", "--json", "--schema", schema).json
        self.assertEqual((verified["equal"], verified["different"], verified["orphans"]), (rows, 0, 0), schema)


class OneSchema(SchemaTest):
    def test_public(self):
        self.declare("public", "--live", "yes", "--text-search", "yes")
        self.assertEqual(self.ok("fill", "--schema", "public", "--json").json["done"], ROWS)
        self.assertEqual(self.sql("SELECT count(*) FROM public.quern_stamps"), [[str(ROWS)]])
        self.assertEqual(self.sql("SELECT count(*) FROM public.quern_vectors_1"), [[str(ROWS)]])
        self.assertEqual(self.sql("SELECT 1 FROM pg_namespace WHERE nspname = 'quern'"), [])
        new = [o for o in self.sql(OBJECTS) if o not in self.before]
        self.assertEqual([o for o in new if not o[2].startswith("quern_")], [])
        self.all_is_true("public")
        self.assertEqual(len(self.hits("public", "kolor", "--mode", "hybrid")), ROWS)
        self.ok("fill", "--schema", "public", "--index", "pgvector")
        self.assertEqual(self.sql("SELECT indexname FROM pg_indexes WHERE indexname ~ '_graph$'"), [["quern_vectors_1_graph"]])
        found = self.hits("public", "ban kolor 9", "--index", "pgvector")
        self.assertEqual([h["key"] for h in found], [h["key"] for h in self.hits("public")])
        statement = self.ok("generation", "sql", "items", "--schema", "public").out.decode()
        self.assertIn('FROM "public".quern_vectors_1', statement)
        self.ok("forget", "--source", "items", "--yes", "--schema", "public", "7")
        self.assertEqual(self.sql("SELECT count(*) FROM quern_stamps"), [[str(ROWS - 1)]])
        self.ok("doctor", "--schema", "public")
        self.refused(4, "no table of quern's", "search", "ban")  # none in the schema `quern`
        self.ok("migrate", "--down", "0", "--yes", "--schema", "public")
        self.assertEqual(self.sql(OBJECTS), self.before)
        self.assertEqual(self.sql("SELECT count(*), min(title), sum(rev) FROM items"), [[str(ROWS), "ban 14", str(ROWS)]])

    def test_a_schema_that_was_not_there_is_quern_s_own_for_good(self):
        for name in ("of_mine", HOSTILE):
            with self.subTest(name):
                self.declare(name, "--live", "yes")
                self.ok("fill", "--schema", name)
                self.all_is_true(name)
                quoted = '"%s"' % name.replace('"', '""')
                self.assertEqual(self.sql("SELECT count(*) FROM %s.stamps" % quoted), [[str(ROWS)]])
                self.ok("migrate", "--down", "0", "--yes", "--schema", name)
                left = [o for o in self.sql(OBJECTS) if o not in self.before]
                self.assertEqual(left, [["schema", name, "tables of quern"]])
                self.declare(name)  # plain names again
                self.ok("fill", "--schema", name)
                self.assertEqual(self.sql("SELECT count(*) FROM %s.stamps" % quoted), [[str(ROWS)]])
                self.sql("DROP SCHEMA %s CASCADE" % quoted)
        self.assertEqual(self.sql("SELECT count(*) FROM items"), [[str(ROWS)]])

    def test_names_that_are_none(self):
        for name, why in (("x" * 64, "at most 63 bytes"), ("pg_mine", "the server's"), ("information_schema", "the server's"),
                          ("a\nb", "control character")):
            self.refused(2, why, "status", "--schema", name)
            self.refused(2, why, "add", "-", "--schema", name)
        self.refused(2, "only PostgreSQL has schemas", "status", "--schema", "public", "--db", "file.db")
        self.refused(2, "only PostgreSQL has schemas", "migrate", "--schema", "public", "--db", "file.db")
        self.assertEqual(self.sql(OBJECTS), self.before)

    def test_names_that_somebody_else_has(self):
        for table in ("quern_tasks", "quern_migrations", "quern_one_active"):
            with self.subTest(table):
                self.sql("CREATE TABLE %s (mine text); INSERT INTO %s VALUES ('precious')" % (table, table))
                before = self.sql(OBJECTS)
                for command in (("add", "-", "--format", "jsonl"), ("migrate",)):
                    answer = self.refused(2, "schema 'public' holds something that is not quern's", *command, "--schema", "public",
                                          stdin='{"id": 1, "text": "ban"}')
                    self.assertIn(table, answer.message)
                code = self.quern("migrate", "--schema", "public", "--json").err.splitlines()[-1]
                self.assertEqual(json.loads(code)["error"]["code"], "name_taken")
                self.refused(4, "no table of quern's", "search", "ban", "--schema", "public")
                self.ok("migrate", "--down", "0", "--yes", "--schema", "public")
                self.assertEqual(self.sql(OBJECTS), before)
                self.assertEqual(self.sql("SELECT mine FROM " + table), [["precious"]])
                self.sql("DROP TABLE " + table)
        # a ledger of another program's, in its own shape, is nobody's business
        self.sql("CREATE TABLE migrations (version bigint, name text); INSERT INTO migrations VALUES (3, 'theirs')")
        self.declare("public")
        self.ok("fill", "--schema", "public")
        self.ok("migrate", "--down", "0", "--yes", "--schema", "public")
        self.assertEqual(self.sql("SELECT * FROM migrations"), [["3", "theirs"]])

    def test_what_is_printed_runs_elsewhere(self):
        """By a runner of the host's, in one transaction or in none, in every kind of schema; and down again."""
        for name in ("public", "of_mine", HOSTILE, "quern"):
            with self.subTest(name):
                printed = self.ok("migrate", "--print", "--schema", name).out.decode()
                self.assertEqual(printed, self.ok("migrate", "--print", "--schema", name).out.decode())
                self.refused(1, "schema 0, this quern's", "migrate", "--check", "--schema", name)
                self.sql(printed if name == "public" else "BEGIN;\n%s\nCOMMIT;" % printed)
                self.ok("migrate", "--check", "--schema", name)
                self.declare(name)
                self.ok("fill", "--schema", name)
                self.all_is_true(name)
                down = self.ok("migrate", "--print", "--down", "0", "--schema", name).out.decode()
                self.sql(down)
                self.refused(4, "no table of quern's", "search", "ban", "--schema", name)
                left = [o for o in self.sql(OBJECTS) if o not in self.before]
                self.assertEqual(left, [] if name == "public" else [["schema", name, "tables of quern"]])
                if name != "public":
                    self.sql('DROP SCHEMA "%s"' % name.replace('"', '""'))


class TwoApplications(SchemaTest):
    """One over `public`, one over a schema of its own, both over the same table of the user's."""
    BOTH = ("public", "second app")

    def start(self, schema):
        worker = subprocess.Popen([BIN, "work", "--quiet", "--tick", "50ms", "--interval", "0", "--backstop-interval", "0",
                                   "--schema", schema], cwd=self.cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, env=self.environment(QUERN_MODEL=self.model))
        self.addCleanup(worker.communicate)
        self.addCleanup(worker.kill)
        return worker

    def test_side_by_side(self):
        for schema in self.BOTH:
            self.declare(schema, "--live", "yes", "--text-search", "yes")
        fills = [subprocess.Popen([BIN, "fill", "--quiet", "--schema", schema], cwd=self.cwd, stderr=subprocess.PIPE,
                                  env=self.environment(QUERN_MODEL=self.model)) for schema in self.BOTH]
        for fill in fills:  # neither waits for the other's lock, or finds it busy
            self.assertEqual((fill.communicate()[1], fill.returncode), (b"", 0))
        for schema in self.BOTH:
            self.all_is_true(schema)
        self.assertEqual(*[self.hits(schema) for schema in self.BOTH])
        triggers = self.sql("SELECT tgname FROM pg_trigger WHERE tgrelid = 'items'::regclass AND NOT tgisinternal")
        self.assertEqual(len(triggers), 6)
        workers = [self.start(schema) for schema in self.BOTH]
        time.sleep(0.5)
        self.sql("UPDATE items SET title = 'zan zan mor', rev = 2 WHERE id = 4; DELETE FROM items WHERE id = 5")
        until = time.monotonic() + 10
        while [self.hits(schema, "zan zan mor")[0]["key"] for schema in self.BOTH] != [4, 4]:
            self.assertLess(time.monotonic(), until, "waited too long")
        for worker in workers:
            worker.send_signal(signal.SIGINT)
            self.assertEqual(worker.wait(10), 130, worker.stderr.read())
        for schema in self.BOTH:
            self.all_is_true(schema, ROWS - 1)

    def test_one_goes_down_and_up_and_the_other_keeps_all(self):
        for schema in self.BOTH:
            self.declare(schema, "--live", "yes")
            self.ok("fill", "--schema", schema)
        hits = self.hits("second app")
        for here, other in (self.BOTH, self.BOTH[::-1]):
            kept = self.sql("SELECT * FROM (%s) AS all_of_them (kind, place, name) WHERE place = '%s' OR kind = 'trigger'" % (OBJECTS, other))
            for to in (5, 1, 0):
                with self.subTest("%s down to %d" % (here, to)):
                    self.ok("migrate", "--down", to, "--yes", "--schema", here)
                    self.refused(1, "schema %d, this quern's" % to, "migrate", "--check", "--schema", here)
                    self.ok("migrate", "--check", "--schema", other)
                    self.all_is_true(other)
                    self.assertEqual(self.hits(other), hits)
                    self.ok("migrate", "--schema", here)
                    self.ok("migrate", "--check", "--schema", here)
                    if to == 0:
                        self.declare(here, "--live", "yes")
                    self.ok("source", "set", "items", "--live", "yes", "--schema", here)
                    self.ok("fill", "--schema", here)
                    self.all_is_true(here)
            self.assertEqual(kept, [o for o in self.sql("SELECT * FROM (%s) AS all_of_them (kind, place, name)"
                                                        " WHERE place = '%s' OR kind = 'trigger'" % (OBJECTS, other))])
        for schema in self.BOTH:  # triggers of both are there, and note for their own
            self.sql("UPDATE items SET title = 'mor mor', rev = rev + 1 WHERE id = 8")
            self.ok("work", "--once", "--interval", "0", "--backstop-interval", "0", "--schema", schema)
            self.assertEqual(self.hits(schema, "mor mor")[0]["key"], 8)

    def test_a_third_of_the_default_name(self):
        for schema in self.BOTH + ("quern",):
            self.write("in.jsonl", '{"id": "%s", "text": "ban"}\n' % schema)
            self.ok("add", "in.jsonl", "--schema", schema)
            self.ok("fill", "--schema", schema)
        for schema in self.BOTH + ("quern",):
            self.assertEqual([h["key"] for h in self.hits(schema, "ban")], [schema])
        self.assertEqual([h["key"] for h in self.ok("search", "ban", "--json").json["hits"]], ["quern"])
        self.ok("source", "remove", "documents", "--yes", "--schema", "public")
        self.ok("migrate", "--down", "0", "--yes", "--schema", "public")
        self.assertEqual([h["key"] for h in self.hits("second app", "ban")], ["second app"])


if __name__ == "__main__":
    if WITHOUT_POSTGRES:
        print("built without PostgreSQL")
        raise SystemExit(77)
    unittest.main()
