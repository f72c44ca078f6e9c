"""README's C program compiles as it stands there, runs, and says what README says it says."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ["QUERN_ROOT"])
BUILD = pathlib.Path(os.environ["QUERN_BUILD"])


class Readme(unittest.TestCase):
    def test_c_program(self):
        readme = (ROOT / "README.md").read_text()
        source = re.search(r"```c\n(.*?)```", readme, re.S).group(1)
        printed = re.search(r"It prints\s+`([^`]+)`", readme).group(1)
        with tempfile.TemporaryDirectory() as d:
            (pathlib.Path(d) / "readme.c").write_text(source)
            program = os.path.join(d, "readme")
            flags = os.environ.get("QUERN_TEST_CFLAGS", "").split()
            subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/include", *flags, "-o", program,
                            os.path.join(d, "readme.c"), f"-L{BUILD}", "-lquern", f"-Wl,-rpath,{BUILD}"], check=True)
            if os.environ.get("QUERN_SKIP_MODEL_TESTS"):
                return
            out = subprocess.run([program, os.environ["QUERN_TEST_MODEL"]], check=True, capture_output=True, text=True)
            self.assertEqual(out.stdout.strip(), printed)

    def test_links_inside_the_tree_exist(self):
        for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
                self.assertTrue((page.parent / target).exists(), f"{page.name} links to {target}")


if __name__ == "__main__":
    unittest.main()
