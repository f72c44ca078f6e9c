"""A PostgreSQL server of the test's own, made by tools/test-postgres, and psql. It ends with this process at the latest."""
import os
import shutil
import subprocess
import tempfile

from command import ROOT

TOOL = os.path.join(ROOT, "tools/test-postgres")


class Server:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="quern-postgres-")
        os.chmod(self.folder, 0o755)  # for the account that the server runs under
        self.url = subprocess.run([TOOL, "start", self.folder, str(os.getpid())], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    def close(self):
        subprocess.run([TOOL, "stop", self.folder], check=True)
        shutil.rmtree(self.folder)

    def of(self, name):
        """The URL of another of its databases."""
        return self.url.rsplit("/", 1)[0] + "/" + name


def psql(url, sql):
    """Rows as lists of text."""
    done = subprocess.run([TOOL, "psql", "-At", "-F\t", url], input=sql, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError("%s\n%s" % (sql, done.stderr))
    return [line.split("\t") for line in done.stdout.splitlines()]
