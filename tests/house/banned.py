"""Functions nobody may call, memory only through base/alloc.h, the operating system only in
base/os_*.c (and cli/os_term.c), each library only on the floor that wraps it."""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import house

NEVER = ("strcpy strcat sprintf vsprintf stpcpy strtok strtok_r gets atoi atol atoll atof alloca "
         "rand srand random tmpnam tempnam mktemp setjmp longjmp system popen signal").split()
MEMORY = ("malloc calloc realloc reallocarray free strdup strndup asprintf vasprintf getline "
          "aligned_alloc posix_memalign memalign").split()
# Prints, exits or ends the process: never in library code.
VOICE = ("printf fprintf vprintf vfprintf puts putchar fputs perror exit _exit abort "
         "quick_exit raise kill").split()
SYSTEM = (
    "open openat creat close read write pread pwrite readv writev lseek mmap munmap madvise mprotect "
    "fsync fdatasync ftruncate truncate stat fstat lstat fstatat mkdir rmdir unlink unlinkat rename "
    "renameat link symlink readlink realpath opendir readdir closedir fopen fdopen freopen fclose "
    "fread fwrite fgets fgetc fputc fseek ftell fflush remove tmpfile getenv secure_getenv setenv "
    "putenv time clock clock_gettime gettimeofday nanosleep usleep sleep localtime localtime_r gmtime "
    "gmtime_r strftime mktime getpid gethostname sysconf sched_getaffinity sched_yield isatty ioctl "
    "fcntl flock select poll epoll_wait socket connect bind listen accept send recv fork execve "
    "execvp waitpid pipe dup dup2 dlopen dlsym sigaction getrandom syscall setlocale localeconv "
    "getcwd chdir chmod fchmod access umask").split()
SYSTEM_PREFIX = ("pthread_", "sem_", "thrd_", "mtx_", "cnd_", "aio_", "timer_")
C_HEADERS = set("assert ctype errno fenv float inttypes iso646 limits locale math setjmp signal "
                "stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string "
                "tgmath time uchar wchar wctype".split())
NO_C_HEADERS = {"time", "locale", "signal", "setjmp", "uchar", "wchar", "wctype"}
COMPILER_HEADERS = {"immintrin.h", "xmmintrin.h", "emmintrin.h", "cpuid.h", "arm_neon.h"}
LIBRARIES = {
    "sqlite3.h": ("src/db/", "src/store/", "include/quern/sys/"),
    "libpq-fe.h": ("src/db/", "src/store/postgres/"),
    "curl/curl.h": ("src/http/",),
    "hiredis/hiredis.h": ("src/db/",),
    "zip.h": ("src/shelf/",),
    "openssl/": ("src/base/sha256.c",),
    "jansson.h": ("src/format/", "src/shelf/", "src/store/", "src/pipeline/", "src/embedder/",
                  "src/text/", "src/search/", "src/eval/"),
    "ini.h": ("src/base/",),
}


def calls(names, code):
    """Calls of a plain function of one of these names: not x.name(…), not x->name(…)."""
    pattern = r"(?<![\w.])(?<!->)(" + "|".join(names) + r")\s*\("
    for line, match in house.lines_with(pattern, code):
        before = code[: match.start()].rstrip()
        if re.search(r"(?:\bstatic|\b(?:void|int|bool|char|size_t)|\*)$", before) and \
                re.search(r"\n[^\n(){};=]*$", before):
            continue  # a definition or declaration of our own, file-local
        yield line, match.group(1)


def header_complaint(path, header):
    for library, places in LIBRARIES.items():
        if header == library or (library.endswith("/") and header.startswith(library)):
            return None if path.startswith(places) else f"<{header}> belongs to {', '.join(places)}"
    name = header[:-2] if header.endswith(".h") else header
    if header in COMPILER_HEADERS or (name in C_HEADERS and name not in NO_C_HEADERS):
        return None
    return f"<{header}> is the operating system's: only base/os_*.c may ask it"


def check_library(path, code):
    os_file = re.match(r"src/base/os_\w+\.c$", path)
    for line, name in calls(VOICE, code):
        if path == "src/base/os_child.c" and name in ("_exit", "kill"):
            continue  # between fork and exec; the child's group
        yield line, f"{name}: library code neither prints nor ends the process"
    if path != "src/base/alloc.c":
        for line, name in calls(MEMORY, code):
            yield line, f"{name}: memory comes from base/alloc.h"
    if os_file:
        return
    for line, name in calls(SYSTEM, code):
        yield line, f"{name}: only base/os_*.c calls the operating system"
    for line, match in house.lines_with(r"\b(?:%s)\w+" % "|".join(SYSTEM_PREFIX), code):
        yield line, f"{match.group()}: only base/os_*.c calls the operating system"
    for line, match in house.lines_with(r"_(?:GNU|POSIX_C|DEFAULT|XOPEN)_SOURCE", code):
        yield line, f"{match.group()}: only at the top of base/os_*.c"


def check(files):
    found = []
    for path, text in files.items():
        code = house.code_only(text)
        for line, name in calls(NEVER, code):
            if not (name == "signal" and path == "cli/os_term.c"):
                found.append(f"{path}:{line}: {name} is banned")
        if not path.startswith("src/"):
            if path.startswith("cli/") and path != "cli/os_term.c":
                for line, match in house.lines_with(r"^\s*#\s*include\s*<((?:sys/|unistd|fcntl|"
                                                    r"pthread|signal|termios|poll)[^>]*)>", code):
                    found.append(f"{path}:{line}: <{match.group(1)}> only in cli/os_term.c")
            continue
        found += [f"{path}:{line}: {why}" for line, why in check_library(path, code)]
        if not re.match(r"src/base/os_\w+\.c$", path):
            for line, match in house.lines_with(r"^\s*#\s*include\s*<([^>]+)>", code):
                why = header_complaint(path, match.group(1))
                if why:
                    found.append(f"{path}:{line}: {why}")
    return found


planted = {
    "strcpy": {"src/text/a.c": "void f(char *a) { strcpy(a, a); }"},
    "sprintf in cli": {"cli/a.c": "int f(char *a) { return sprintf(a, a); }"},
    "atoi": {"src/base/a.c": "int f(void) { return atoi (\"1\"); }"},
    "malloc": {"src/text/a.c": "void *f(void) { return malloc(1); }"},
    "free in an os file": {"src/base/os_a.c": "void f(void *p) { free(p); }"},
    "print": {"src/text/a.c": "void f(void) { printf(\"\"); }"},
    "exit": {"src/base/os_a.c": "void f(void) { exit(1); }"},
    "exit where a child may": {"src/base/os_child.c": "void f(void) { exit(1); }"},
    "kill": {"src/base/os_a.c": "void f(void) { kill(1, 2); }"},
    "open": {"src/format/a.c": "int f(void) { return open(\"a\", 0); }"},
    "time": {"src/store/a.c": "void f(void) { g(time(NULL)); }"},
    "getenv": {"src/shelf/a.c": "const char *f(void) { return getenv(\"HOME\"); }"},
    "pthread": {"src/store/a.c": "static pthread_mutex_t m;"},
    "unistd.h": {"src/store/a.c": "#include <unistd.h>\n"},
    "sys/stat.h": {"src/store/a.c": "# include <sys/stat.h>\n"},
    "time.h": {"src/store/a.c": "#include <time.h>\n"},
    "GNU": {"src/store/a.c": "#define _GNU_SOURCE\n"},
    "sqlite above its floor": {"src/search/a.c": "#include <sqlite3.h>\n"},
    "libpq above its floor": {"src/pipeline/a.c": "#include <libpq-fe.h>\n"},
    "curl in shelf": {"src/shelf/a.c": "#include <curl/curl.h>\n"},
    "termios in cli": {"cli/a.c": "#include <termios.h>\n"},
}
innocent = {
    "src/text/a.c": '/* malloc( */ #include <stdio.h>\nint f(struct t *s) { s->read(s); '
                    's->table.open(s); return quern__free("malloc(1)"); }\n'
                    "static int read(quern__file *f)\n{\n    return reader_close(f);\n}\n"
}
complaints = check(innocent)
if complaints:
    sys.exit(f"innocent code drew: {complaints}")
house.main(check, planted, house.tree("src", "cli", "include"))
