"""README does what it says: its C program compiles and prints what stands there, and its command-line
tour, run in order in an empty folder, gives the output shown. `test_readme.py --write` puts the real output
in; seconds are the only thing that may differ.
"""
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("QUERN_ROOT", pathlib.Path(__file__).parents[2]))
BUILD = pathlib.Path(os.environ["QUERN_BUILD"])
BLOCK = re.compile(r"```console\n(.*?)```", re.S)


@contextlib.contextmanager
def postgres(d):
    """The URL of a database on a server of our own; its psql is put into folder d."""
    tool, server = str(ROOT / "tools/test-postgres"), os.path.join(d, "server")
    psql = pathlib.Path(d, "psql")
    psql.write_text(f'#!/bin/sh\nexec {tool} psql "$@"\n')
    psql.chmod(0o755)
    os.chmod(d, 0o755)
    url = subprocess.run([tool, "start", server, str(os.getpid())], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    try:
        subprocess.run([psql, url, "-c", "CREATE EXTENSION vector"], check=True)
        yield url
    finally:
        subprocess.run([tool, "stop", server], check=True)


def run_tour(readme):
    """The readme's text with every block's output replaced by what its commands print now."""
    with tempfile.TemporaryDirectory() as tools, tempfile.TemporaryDirectory() as d, postgres(tools) as url:
        env = {"PATH": f"{BUILD}:{tools}:{os.environ['PATH']}", "HOME": d, "XDG_DATA_HOME": f"{d}/share", "LC_ALL": "C.UTF-8",
               "DATABASE": url}
        subprocess.run(["quern", "model", "import", os.environ["QUERN_TEST_MODEL"], "--name", "all-MiniLM-L6-v2"],
                       env=env, cwd=d, check=True, capture_output=True)

        def block(match):
            out = []
            for line in match.group(1).splitlines():
                if line.startswith("$ "):
                    done = subprocess.run(line[2:], shell=True, env=env, cwd=d, text=True, capture_output=True)
                    if done.returncode:
                        raise AssertionError(f"{line}\n{done.stderr}")
                    out += [line, *(done.stdout + done.stderr).splitlines()]
            return "```console\n" + "\n".join(out) + "\n```"

        return BLOCK.sub(block, readme)


def without_seconds(text):
    return re.sub(r"\b[0-9.]+ s\b", "N s", text)


class Readme(unittest.TestCase):
    maxDiff = None

    def test_c_program(self):
        readme = (ROOT / "README.md").read_text()
        source = re.search(r"```c\n(.*?)```", readme, re.S).group(1)
        printed = re.search(r"It prints\s+`([^`]+)`", readme).group(1)
        self.assertLessEqual(len(source.strip().splitlines()), 18)
        with tempfile.TemporaryDirectory() as d:
            (pathlib.Path(d) / "readme.c").write_text(source)
            program = os.path.join(d, "readme")
            subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/include", "-o", program,
                            os.path.join(d, "readme.c"), f"-L{BUILD}", "-lquern", f"-Wl,-rpath,{BUILD}"], check=True)
            if os.environ.get("QUERN_SKIP_MODEL_TESTS"):
                return
            out = subprocess.run([program, os.environ["QUERN_TEST_MODEL"]], check=True, capture_output=True, text=True)
            self.assertEqual(out.stdout.strip(), printed)

    @unittest.skipIf(os.environ.get("QUERN_TEST_POSTGRES") == "0", "built without PostgreSQL")
    @unittest.skipIf(os.environ.get("QUERN_SKIP_MODEL_TESTS"), "QUERN_SKIP_MODEL_TESTS is set, no weights wanted")
    def test_tour(self):
        readme = (ROOT / "README.md").read_text()
        self.assertEqual(without_seconds(run_tour(readme)), without_seconds(readme))

    def test_links_inside_the_tree_exist(self):
        for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
                self.assertTrue((page.parent / target).exists(), f"{page.name} links to {target}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        (ROOT / "README.md").write_text(run_tour((ROOT / "README.md").read_text()))
        sys.exit(0)
    unittest.main()
