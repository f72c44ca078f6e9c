"""skips.py FILE [--none] — which tests a run skipped, and why, from what ctest --output-junit wrote.
A case skipped inside a program that passed counts too. With --none a skipped test is a failure: a
full run has everything it needs."""
import re
import sys
import xml.etree.ElementTree as xml

INSIDE = re.compile(r"\(skipped=\d+\)|\[ +SKIPPED +\]")

count = 0
for case in xml.parse(sys.argv[1]).iter("testcase"):
    said = (case.findtext("system-out") or "").strip()
    whole = case.get("status") in ("notrun", "disabled") or case.find("skipped") is not None
    if whole or INSIDE.search(said):
        count += 1
        what = "skipped" if whole else "skipped a part of"
        print(f"{what} {case.get('name')}: {said.splitlines()[-1] if said else 'it does not say why'}")
print(f"{count} skipped")
if count and "--none" in sys.argv[2:]:
    sys.exit(1)
