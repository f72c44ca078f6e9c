"""Every public header compiles alone as C99, C11 and C++17, with each compiler that is here, under
strict warnings, twice included. The library's own headers compile alone as C11 (but for generated
tables, which are part of the one file that includes them)."""
import concurrent.futures
import pathlib
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import house

STRICT = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]
WAYS = [(compiler, "c", std) for compiler in ("gcc", "clang") for std in ("c99", "c11")]
WAYS += [(compiler, "c++", "c++17") for compiler in ("g++", "clang++")]


def compile_alone(compiler, language, std, top, header):
    """None, or the first line of what the compiler said."""
    text = f'#include "{header}"\n#include "{header}"\nint house_test;\n'
    done = house.run(compiler, "-x", language, f"-std={std}", *STRICT, "-I", str(top / "include"),
                     "-I", str(top / "src"), "-", input=text)
    if done.returncode == 0:
        return None
    said = (done.stderr.strip() or "failed").split("\n")
    return f"{header}: {compiler} -std={std}: " + next((s for s in said if "error" in s), said[0])


def jobs(top):
    for path in sorted((top / "include").rglob("*.h")):
        for way in WAYS:
            yield (*way, top, path.relative_to(top / "include").as_posix())
    for path in sorted((top / "src").rglob("*.h")):
        if path.name.endswith("_tables.h"):
            continue
        yield ("gcc", "c", "c11", top, path.relative_to(top / "src").as_posix())


def check(files):
    with tempfile.TemporaryDirectory() as folder:
        top = pathlib.Path(folder)
        for path, text in files.items():
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).write_text(text, encoding="utf-8")
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return [c for c in pool.map(lambda job: compile_alone(*job), jobs(top)) if c]


missing = [c for c in ("gcc", "g++", "clang", "clang++") if not shutil.which(c)]
if missing:
    sys.exit(f"not installed: {', '.join(missing)}; run tools/install-deps test")
guard = "#ifndef A\n#define A\n%s\n#endif\n"
planted = {
    "needs another header": {"include/quern/a.h": guard % "size_t f(void);"},
    "not C99": {"include/quern/a.h": guard % "_Static_assert(1, \"\");"},
    "not C++": {"include/quern/a.h": guard % "extern int class;"},
    "no guard": {"include/quern/a.h": "typedef struct a { int x; } a;\n"},
    "internal, not alone": {"src/base/a.h": guard % "void f(FILE *f);"},
}
house.main(check, planted, {p: t for p, t in house.tree("include", "src").items()
                            if p.endswith((".h", ".inc"))})
