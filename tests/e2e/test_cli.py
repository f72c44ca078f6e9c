"""The command: help and its pages, flags, environment and file, what is refused and with which exit code."""
import glob
import json
import os
import re
import subprocess
import unittest

from command import BIN, ROOT, CommandTest, WITHOUT_POSTGRES

PAGES = {"--markdown": "docs/configuration.md", "--man": "man/quern.1", "--bash": "completions/quern.bash"}


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def table():
    """[(option, environment, commands)] as docs/configuration.md has it."""
    rows = re.findall(r"^\| `(?:--)?([a-z0-9-]+)[^`]*` \| `(\w+)` \|.*\| ([^|]*) \|$", read("docs", "configuration.md"), re.M)
    return [(name, env, [c.strip() for c in commands.split(",")]) for name, env, commands in rows]


def commands():
    out = subprocess.run([BIN, "--help"], capture_output=True, text=True, check=True).stdout
    return re.findall(r"^  (shard status|cache [a-z]+|vector [a-z]+|[a-z]+(?: (?:pull|import|list|info|verify|quantize|remove|add|set|show|build|activate|retire|purge|sql|plan|apply))?)\b", out.split("Commands:")[1].split("Exit codes")[0], re.M)


class Help(CommandTest):
    def test_pages_are_what_the_table_says(self):
        for flag, page in PAGES.items():
            self.assertEqual(self.ok("help", flag).out.decode(), read(page),
                             "%s is old: quern help %s > %s" % (page, flag, page))

    def test_every_command_has_help_with_an_example(self):
        names = commands()
        self.assertGreaterEqual(len(names), 22)
        for name in names:
            page = self.ok(*name.split(), "--help").out.decode()
            self.assertTrue(page.startswith("quern %s" % name), page)
            self.assertRegex(page, r"\nExample:\n  quern %s" % name)
            self.assertEqual(page, self.ok("help", *name.split()).out.decode())

    def test_help_lists_each_option_with_its_environment_name_and_default(self):
        rows = table()
        self.assertGreater(len(rows), 50)
        for name, env, takers in rows:
            if name in ("hf-token", "api-key"):  # never flags
                continue
            for command in (commands() if takers == ["every command"] else takers):
                page = self.ok(*command.split(), "--help").out.decode()
                self.assertIn("--%s" % name, page)
                self.assertIn("[%s]" % env, page)

    def test_families_version_and_nothing(self):
        self.assertIn("model pull", self.ok("model", "--help").out.decode())
        self.assertIn("source add", self.ok("help", "source").out.decode())
        self.assertRegex(self.ok("--version").out.decode(), r"^quern \d+\.\d+\.\d+\n$")
        self.assertIn("Commands:", self.ok().out.decode())

    def test_completion_completes(self):
        def complete(*words):
            script = "source %s; COMP_WORDS=(%s); COMP_CWORD=%d; _quern; echo ${COMPREPLY[@]}" % (
                os.path.join(ROOT, "completions", "quern.bash"), " ".join("'%s'" % w for w in words), len(words) - 1)
            return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split()
        self.assertIn("search", complete("quern", "se"))
        self.assertEqual(complete("quern", "model", "ve"), ["verify"])
        self.assertEqual(complete("quern", "embed", "--format", "n"), ["npy"])
        self.assertEqual(sorted(complete("quern", "source", "add", "--t")), ["--table", "--text", "--text-search"])

    def test_every_option_is_read_by_the_code(self):
        text = "".join(read(path) for path in glob.glob(os.path.join(ROOT, "cli", "*.c")))
        for name, _, _ in table():
            self.assertRegex(text, r'quern_config_(flag|count|real|text)\([^;]*?"%s"\)' % name, "--%s is read nowhere" % name)


class Usage(CommandTest):
    def test_wrong_words(self):
        self.refused(2, 'did you mean "search"?', "serach", "x")
        self.refused(2, 'did you mean "model pull"?', "model", "pul", "x")
        self.refused(2, "there is no command", "chunks", "x")
        self.refused(2, "one word more", "model")
        self.refused(2, "did you mean --format?", "embed", "--formt", "npy", "x")
        self.refused(2, "it belongs to source add, source set", "search", "--table", "t", "x")
        self.refused(2, "the command comes first", "--db", "x")
        self.refused(2, "flags are long words", "embed", "-n", "x")
        self.refused(2, "usage: quern model info NAME", "model", "info")
        self.refused(2, "usage: quern fill", "fill", "everything")
        self.refused(2, "usage: quern similarity A B", "similarity", "only one")
        self.refused(2, "there is no command", "help", "nonsense")

    def test_wrong_values(self):
        self.refused(2, "--batch: \"0\" is not a whole number from 1 to 4096", "embed", "--batch", "0", "x")
        self.refused(2, "--batch needs a value", "embed", "x", "--batch")
        self.refused(2, "--model needs a value", "embed", "--model", "--json")
        self.refused(2, "one of auto, text, jsonl, csv", "add", "--format", "npy", "x")
        self.refused(2, "one of jsonl, json, npy", "embed", "--format", "csv", "x")
        self.refused(2, "given twice", "embed", "--batch", "1", "--batch", "2", "x")
        self.refused(2, "a secret is not a flag", "embed", "--hf-token", "abc", "x")
        self.refused(2, "unknown instruction set 'mmx'", "embed", "--cpu", "scalar,mmx", "x")
        self.refused(2, "--jsonl reads standard input", "embed", "--jsonl", "x")
        self.refused(2, "did you mean \"embed\"", "bench", "--only", "embd")
        self.refused(2, "letters, digits", "bench", "--baseline", "../x")

    def test_conflicts(self):
        self.refused(2, "exclude each other", "source", "add", "s", "--table", "t", "--query", "select 1")
        self.refused(2, "exclude each other", "fill", "--wal", "--store", "s.db")
        self.refused(2, "exclude each other", "embed", "--json", "--format", "npy", "x")
        self.refused(2, "exclude each other", "embed", "--offline", "--auto-pull", "yes", "x")
        self.refused(2, "exclude each other", "bench", "--baseline", "a", "--save-baseline", "b")

    def test_what_this_version_cannot(self):
        self.refused(4, "no int4 weights yet", "embed", "--precision", "int4", "x")
        nobody = "postgres://user:secret@127.0.0.1:1/x"
        self.refused(1, "PostgreSQL" if WITHOUT_POSTGRES else "127.0.0.1:1/x: no connection", "search", "--db", nobody, "x")
        doctor = self.quern("doctor", "--db", nobody)
        self.assertEqual(doctor.code, 1)
        self.assertNotIn("secret", doctor.out.decode() + doctor.message)
        self.ok("embed", "--precision", "fp32", "x")

    def test_missing_things(self):
        self.refused(4, "quern model pull all-MiniLM-L6-v2", "embed", "x", model=False)
        self.refused(4, "nothing-here", "embed", "--model", "nothing-here", "x")
        self.refused(4, "nothing-here", "model", "info", "nothing-here")
        self.assertEqual(self.quern("bench", "--only", "tokenize", "--measurement-time", "1ms", "--baseline", "none").code, 4)

    def test_nothing_is_made_by_what_fails(self):
        self.quern("search", "x")
        self.quern("status")
        self.quern("verify")
        self.assertEqual(os.listdir(self.cwd), [])

    def test_errors_in_json(self):
        answer = self.quern("embed", "--model", "nothing-here", "--log-format", "json", "x")
        self.assertEqual(answer.code, 4)
        record = json.loads(answer.err)
        self.assertEqual((record["level"], record["component"]), ("error", "cli"))
        self.assertIn("nothing-here", record["message"])

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([BIN, "embed", "x"], stdout=full, stderr=subprocess.PIPE, cwd=self.cwd,
                                  env=self.environment(QUERN_MODEL=self.model))
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"standard output: cannot write", done.stderr)

    def test_a_reader_that_goes_away_is_no_error(self):
        texts = b"some words\n" * 5000
        with subprocess.Popen([BIN, "tokenize", "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, cwd=self.cwd, env=self.environment(QUERN_MODEL=self.model)) as p:
            p.stdin.write(texts[:2000])
            p.stdin.flush()
            p.stdout.read(10)
            p.stdout.close()
            try:
                p.stdin.write(texts)
                p.stdin.close()
            except BrokenPipeError:
                pass
            self.assertEqual(p.wait(20), 0)
            self.assertEqual(p.stderr.read(), b"")


class Configuration(CommandTest):
    def tokens(self, *args, **how):
        """How many tokens are read: --max-length shows which value is in force."""
        return self.ok("embed", "--truncate", *args, "a b c d e f g h i j k l m n o p", **how).lines[0]["tokens"]

    def test_flag_beats_environment_beats_file_beats_default(self):
        self.assertEqual(self.tokens(), 18)
        self.write("quern.ini", "# tokens\nmax-length = 5\n")
        self.assertEqual(self.tokens(), 5)
        self.assertEqual(self.tokens(env={"QUERN_MAX_LENGTH": "7"}), 7)
        self.assertEqual(self.tokens("--max-length", "9", env={"QUERN_MAX_LENGTH": "7"}), 9)
        self.assertEqual(self.tokens("--max-length=11"), 11)
        self.write("other.ini", "max-length = 6\n")
        self.assertEqual(self.tokens("--config", "other.ini"), 6)
        self.assertEqual(self.tokens(env={"QUERN_CONFIG": "other.ini"}), 6)

    def test_a_bad_file_stops_every_command_before_any_work(self):
        self.write("quern.ini", "db = made.db\n\nbacth = 5\n")
        for command in (["embed", "x"], ["add", "x"], ["fill"], ["search", "x"], ["status"], ["verify"], ["bench"],
                        ["doctor"], ["doctor", "--config"], ["model", "list"], ["source", "list"], ["tokenize", "x"]):
            self.refused(2, './quern.ini:3: there is no option "bacth"; did you mean "batch"?', *command)
        self.assertEqual(os.listdir(self.cwd), ["quern.ini"])

    def test_bad_values_name_their_place(self):
        self.write("quern.ini", "threads = many\n")
        self.refused(2, './quern.ini:1: threads = "many" is not a whole number', "embed", "x")
        self.refused(2, 'QUERN_THREADS: "-1"', "embed", "--config", "/dev/null", "x", env={"QUERN_THREADS": "-1"})
        self.refused(2, "QUERN_THREADS", "embed", "x", env={"QUERN_THREDS": "2"})
        self.refused(2, "nothing.ini", "embed", "--config", "nothing.ini", "x")
        self.refused(2, "unknown instruction set", "tokenize", "--config=/dev/null", "x", env={"QUERN_CPU": "foo"})

    def test_doctor_checks_the_configuration_only(self):
        self.write("quern.ini", "batch = 8\nmodel = no-such-model\n")
        out = self.ok("doctor", "--config", model=False).out.decode()
        self.assertIn("batch = 8 (./quern.ini:1)", out)
        self.assertNotIn("processor", out)
        self.assertEqual(self.quern("doctor", "--config", "nothing.ini").code, 2)
        out = self.ok("doctor", "--config", env={"HF_TOKEN": "sesame"}).out.decode()
        self.assertIn("hf-token = (hidden)", out)
        self.assertNotIn("sesame", out)


if __name__ == "__main__":
    unittest.main()
