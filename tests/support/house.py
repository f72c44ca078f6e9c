"""What the house tests share: reading the tree, blanking comments, planting violations.

A house test is a function files -> list of complaints, where files maps a path to its text. Each
brings planted violations, small made-up trees that must draw a complaint: a rule that cannot fail
is no rule. They run first, then the real tree.
"""
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(os.environ.get("QUERN_ROOT", pathlib.Path(__file__).resolve().parents[2]))
BUILD = pathlib.Path(os.environ.get("QUERN_BUILD", ROOT / "build/dev"))


def tree(*tops):
    """C files and headers below the given folders, {relative path: text}."""
    found = {}
    for top in tops:
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix in (".c", ".h", ".inc") and path.is_file():
                found[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
    return found


_TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)


def code_only(text, keep_strings=False):
    """The text with comments (and strings) blanked, line numbers unchanged."""

    def blank(match):
        token = match.group()
        if token[0] in "\"'":
            return token if keep_strings else token[0] * 2
        return " " + "\n" * token.count("\n")

    return _TOKEN.sub(blank, text)


def lines_with(pattern, text):
    """(line number, match) for every match of pattern in text."""
    for match in re.finditer(pattern, text, re.M):
        yield text.count("\n", 0, match.start()) + 1, match


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, **options)


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def main(check, planted, files):
    for name, bad in planted.items():
        if not check(bad):
            sys.exit(f"this test cannot fail: the planted violation '{name}' drew no complaint")
    complaints = check(files)
    for complaint in complaints:
        print(complaint)
    if complaints:
        sys.exit(f"{len(complaints)} complaint(s)")
    print(f"{len(files)} files, {len(planted)} planted violations seen")
