"""The formatter decides: every C file is as .clang-format has it."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import house


def check(files):
    found = []
    for path, text in files.items():
        done = house.run("clang-format", "--style=file", f"--assume-filename={house.ROOT / path}",
                         input=text, cwd=house.ROOT)
        if done.returncode != 0:
            found.append(f"{path}: {done.stderr.strip()}")
        elif done.stdout != text:
            found.append(f"{path}: run clang-format -i {path}")
    return found


planted = {"two spaces": {"src/base/a.c": "/* a */\nint f(void)\n{\n  return 1;\n}\n"}}
house.main(check, planted, house.tree("include", "src", "cli", "tests", "examples", "bench"))
