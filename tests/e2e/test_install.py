"""cmake --install into an empty prefix, moved afterwards; a consumer built by pkg-config (shared and
static) and one by find_package; each runs and says the library's version."""
import os
import pathlib
import subprocess
import sys
import tempfile

BUILD = pathlib.Path(os.environ["QUERN_BUILD"])
FLAGS = "-fsanitize=" + os.environ["QUERN_SANITIZE"] if os.environ.get("QUERN_SANITIZE") else ""

CONSUMER = r"""
#include <stdio.h>
#include <quern/quern.h>

int main(void)
{
    quern_error err;
    if (quern_cpu_limit("no-such-level", &err) != QUERN_EINVAL || quern_utf8_check(quern_str_of("ab")) != 2)
        return 1;
    printf("quern %s\n", quern_version_string());
    return 0;
}
"""
CMAKE = """
cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES C)
find_package(quern 0.1 REQUIRED)
add_executable(shared consumer.c)
target_link_libraries(shared quern::quern)
add_executable(static consumer.c)
target_link_libraries(static quern::static)
"""


def run(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(str(c) for c in command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def pkg_config(prefix, *flags):
    env = {**os.environ, "PKG_CONFIG_PATH": str(next(prefix.rglob("quern.pc")).parent)}
    return run("pkg-config", *flags, "quern", env=env).split()


def check_says(program, libdir, version):
    said = run(program, env={**os.environ, "LD_LIBRARY_PATH": str(libdir)}).strip()
    assert said == f"quern {version}", f"{program}: {said!r}"


with tempfile.TemporaryDirectory() as folder:
    work = pathlib.Path(folder)
    run("cmake", "--install", BUILD, "--prefix", work / "first")
    prefix = (work / "first").rename(work / "moved")
    source = work / "consumer.c"
    source.write_text(CONSUMER)
    version = pkg_config(prefix, "--modversion")[0]
    libdir = next(prefix.rglob("libquern.so")).parent
    installed = {p.relative_to(prefix / "include").as_posix() for p in prefix.rglob("*.h")}
    wanted = {p.relative_to(pathlib.Path(os.environ["QUERN_ROOT"], "include")).as_posix()
              for p in pathlib.Path(os.environ["QUERN_ROOT"], "include").rglob("*.h")}
    assert installed == wanted, installed ^ wanted

    strict = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", *FLAGS.split()]
    run("gcc", *strict, source, "-o", work / "by-pc", *pkg_config(prefix, "--cflags", "--libs"))
    check_says(work / "by-pc", libdir, version)
    # --static would ask for every library that libcurl itself was linked with: name ours only.
    needs = pkg_config(prefix, "--print-requires-private")
    run("gcc", *strict, source, "-o", work / "by-pc-static", *pkg_config(prefix, "--cflags"),
        libdir / "libquern.a", *run("pkg-config", "--libs", *needs).split(), "-lm", "-pthread")
    check_says(work / "by-pc-static", "/nowhere", version)

    (work / "CMakeLists.txt").write_text(CMAKE)
    run("cmake", "-G", "Ninja", "-S", work, "-B", work / "build", f"-DCMAKE_PREFIX_PATH={prefix}",
        f"-DCMAKE_C_FLAGS={FLAGS}")
    run("cmake", "--build", work / "build")
    check_says(work / "build/shared", libdir, version)
    check_says(work / "build/static", "/nowhere", version)

    if (prefix / "bin/quern").exists():
        said = run(prefix / "bin/quern", "--version")
        assert version in said, said
print(f"installed, moved and used by five programs: quern {version}")
