"""Names and sizes: file names unique over the tree, functions within a screen or little more, files
with one subject, every file opens with what it is for, no unfinished work."""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import house

LONGEST_FUNCTION, LONGEST_FILE = 120, 1200
GENERATED = re.compile(r"_tables?\.(?:c|h|inc)$")
UNFINISHED = r"\b(?:TO" + "DO|FIX" + "ME|X" + "XX|HA" + r"CK)\b"


def functions(text):
    """(line of the opening brace, lines) of each brace that opens in the first column."""
    start = None
    for number, line in enumerate(house.code_only(text).split("\n"), 1):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and start is not None:
            yield start, number - start + 1
            start = None


def check(files):
    found, seen = [], {}
    for path, text in files.items():
        name = path.rsplit("/", 1)[-1]
        if path.startswith(("src/", "cli/")):
            if name in seen:
                found.append(f"{path}: {seen[name]} has the same name")
            seen[name] = path
        for line, match in house.lines_with(UNFINISHED, text):
            found.append(f"{path}:{line}: unfinished: {match.group()}")
        if not text.lstrip().startswith("/*"):
            found.append(f"{path}: opens without a comment that says what it is for")
        if GENERATED.search(name):
            continue
        count = text.count("\n")
        if count > LONGEST_FILE:
            found.append(f"{path}: {count} lines, at most {LONGEST_FILE}: two subjects?")
        for line, length in functions(text):
            if length > LONGEST_FUNCTION:
                found.append(f"{path}:{line}: a function of {length} lines, at most "
                             f"{LONGEST_FUNCTION}")
    return found


opening = "/* a.c */\n"
planted = {
    "same name": {"src/a/x.c": opening, "src/b/x.c": opening},
    "unfinished": {"src/a/x.c": opening + "/* TO" + "DO: later */\n"},
    "no opening": {"src/a/x.c": "int x;\n"},
    "long function": {"src/a/x.c": opening + "int f(void)\n{\n" + "    g();\n" * 119 + "}\n"},
    "long file": {"src/a/x.c": opening + "int x;\n" * 1200},
}
house.main(check, planted, house.tree("src", "cli", "include", "tests", "examples", "bench"))
