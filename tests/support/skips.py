"""skips.py FILE [--none] — which tests a run skipped, and why, from what ctest --output-junit wrote.
With --none a skipped test is a failure: a full run has everything it needs."""
import sys
import xml.etree.ElementTree as xml

names = [case for case in xml.parse(sys.argv[1]).iter("testcase")
         if case.get("status") in ("notrun", "disabled") or case.find("skipped") is not None]
for case in names:
    said = (case.findtext("system-out") or "").strip().split("\n")
    print(f"skipped {case.get('name')}: {said[-1] or 'it does not say why'}")
print(f"{len(names)} skipped")
if names and "--none" in sys.argv[2:]:
    sys.exit(1)
