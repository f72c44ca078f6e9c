"""src/text/unicode_bert_tables.inc is what the pinned reference says: made again and compared."""
import os
import subprocess
import sys

ROOT = os.environ["QUERN_ROOT"]
done = subprocess.run([sys.executable, os.path.join(ROOT, "tools", "make-unicode-tables"), "--check"])
sys.exit(done.returncode)
