"""The floors of docs/design.md, section 3: an upper floor includes lower floors, never up, never
sideways. Public headers belong to floors too; cli/ and examples/ see only them."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import house

FLOOR = {
    "base": 0,
    "text": 1, "kernels": 1, "db": 1, "http": 1,
    "tokenizer": 2, "format": 2, "index": 2, "cache": 2,
    "encoder": 3, "shelf": 3, "store": 3,
    "embedder": 4,
    "pipeline": 5,
    "search": 6,
    "eval": 7,
}
# The lowest floor that may include a public header: the one that implements it. The types of
# store.h and embedder.h are what the floors above pass around.
PUBLIC = {
    "status.h": 0, "options.h": 0, "text.h": 0, "vector.h": 1,
    "shelf.h": 3, "store.h": 3, "sys/store.h": 3, "shard.h": 3, "tasks.h": 3,
    "model.h": 4, "embedder.h": 4, "sys/embedder.h": 4, "provider.h": 4, "registry.h": 4, "cache.h": 2,
    "chunk.h": 5, "pipeline.h": 5, "work.h": 5, "generation.h": 5, "carry.h": 5, "search.h": 6, "eval.h": 7,
}
PUBLIC_ONLY = ("cli", "examples", "server")


def source_complaint(folder, target):
    part, _, rest = target.partition("/")
    if part == "quern":
        if rest not in PUBLIC:
            return f"unknown public header, or the umbrella: {target}"
        if PUBLIC[rest] > FLOOR[folder]:
            return f"floor {FLOOR[folder]} looks up to {target} of floor {PUBLIC[rest]}"
        return None
    if not rest or part not in FLOOR:
        return f'"{target}": write includes relative to src/, as "folder/file.h"'
    if part != folder and FLOOR[part] >= FLOOR[folder]:
        way = "sideways" if FLOOR[part] == FLOOR[folder] else "up"
        return f"floor {FLOOR[folder]} looks {way} to {target} of floor {FLOOR[part]}"
    return None


def complaint(path, target):
    parts = path.split("/")
    if parts[0] in PUBLIC_ONLY:
        own = "/" not in target and parts[0] != "examples"
        return None if target.startswith("quern/") or own else f"{target} is not a public header"
    if parts[0] == "include":
        return None if target.startswith("quern/") else f"a public header includes {target}"
    if len(parts) < 3 or parts[1] not in FLOOR:
        return "no floor of the design: add the folder to docs/design.md and to this test"
    return source_complaint(parts[1], target)


def check(files):
    found = []
    for path, text in files.items():
        if path.startswith("src/") and path.split("/")[1] not in FLOOR:
            found.append(f"{path}: {path.split('/')[1]} is no floor of the design")
            continue
        code = house.code_only(text, keep_strings=True)
        for line, match in house.lines_with(r'^[ \t]*#[ \t]*include[ \t]*"([^"]*)"', code):
            why = complaint(path, match.group(1))
            if why:
                found.append(f"{path}:{line}: {why}")
    return found


planted = {
    "up": {"src/base/a.c": '#include "text/utf8.h"\n'},
    "sideways": {"src/text/a.c": '#include "kernels/kernels.h"\n'},
    "public header from above": {"src/kernels/a.c": '#include "quern/search.h"\n'},
    "relative": {"src/base/a.c": '#include "alloc.h"\n'},
    "internal header in cli": {"cli/a.c": '#include "base/alloc.h"\n'},
    "internal header in an example": {"examples/a.c": '# include "store/store.h"\n'},
    "internal header in a public one": {"include/quern/a.h": '#include "base/alloc.h"\n'},
    "new folder": {"src/misc/a.c": "\n"},
}
house.main(check, planted, house.tree("src", "cli", "examples", "include", "server"))
