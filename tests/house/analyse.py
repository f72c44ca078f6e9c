"""tools/analyse (clang-tidy with clang's analyser, and cppcheck) finds nothing in src/ and cli/; and
both do find a planted fault."""
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import house

FAULT = "int f(int *p, int n)\n{\n    int a[2] = {0, n};\n    if (!p)\n        *p = 1;\n    return a[5];\n}\n"

with tempfile.TemporaryDirectory() as folder:
    bad = pathlib.Path(folder, "planted.c")
    bad.write_text(FAULT)
    tidy = house.run("clang-tidy", "-quiet", f"--config-file={house.ROOT}/.clang-tidy", str(bad),
                     "--", "-std=c11")
    if tidy.returncode == 0 or "NullDereference" not in tidy.stdout:
        sys.exit(f"clang-tidy did not see the planted fault:\n{tidy.stdout}{tidy.stderr}")
    check = house.run("cppcheck", "--quiet", "--error-exitcode=1",
                      f"--suppressions-list={house.ROOT}/tools/cppcheck.txt", str(bad))
    if check.returncode == 0 or "arrayIndexOutOfBounds" not in check.stderr:
        sys.exit(f"cppcheck did not see the planted fault:\n{check.stderr}")

sys.exit(subprocess.run([str(house.ROOT / "tools/analyse"), str(house.BUILD)]).returncode)
