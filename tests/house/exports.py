"""The shared library exports exactly the functions that the public headers declare, each with the
version QUERN_0."""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import house


def declared(files):
    names = set()
    for path, text in files.items():
        if path.startswith("include/"):
            code = re.sub(r"(?m)^\s*#.*(?:\\\n.*)*$", "", house.code_only(text))
            names |= set(re.findall(r"\bQUERN_API\b[^;(]*?\b(\w+)\s*\(", code))
    return names


def check(files):
    """files: headers, and under 'nm' what nm -D says of the library."""
    found, exported = [], set()
    for line in files["nm"].splitlines():
        symbol = line.split()[-1]
        name, _, version = symbol.partition("@@")
        if name == "QUERN_0":
            continue
        if not re.fullmatch(r"quern_[a-z]\w*", name) or version != "QUERN_0":
            found.append(f"exported, but no name of ours: {symbol}")
        exported.add(name)
    names = declared(files)
    found += [f"declared in a public header, not exported: {n}" for n in sorted(names - exported)]
    found += [f"exported, in no public header: {n}" for n in sorted(exported - names)]
    return found


library = house.BUILD / "libquern.so"
if not library.exists():
    sys.exit(f"{library}: not built")
nm = house.run("nm", "-D", "--defined-only", str(library))
if nm.returncode != 0:
    sys.exit(nm.stderr)
header = {"include/quern/a.h": "QUERN_API int quern_a(int (*fn)(void));"}
planted = {
    "not exported": {**header, "nm": ""},
    "not declared": {**header, "nm": "0 T quern_a@@QUERN_0\n0 T quern_b@@QUERN_0\n"},
    "internal name": {**header, "nm": "0 T quern_a@@QUERN_0\n0 T quern__c@@QUERN_0\n"},
    "no version": {**header, "nm": "0 T quern_a\n"},
}
house.main(check, planted, {**house.tree("include"), "nm": nm.stdout})
