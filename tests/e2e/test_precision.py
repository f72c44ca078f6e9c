"""--precision auto: which class it is, and that neither quantising nor an upgrade takes a store to another."""
import hashlib
import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import unittest

from command import CommandTest

TEXTS = ["the cat sat on the mat", "a dog sleeps", "interest rates rose again"]


def rejudge(path, mean=0.9999, worst=0.999, ranking=1.0, source=None, version=None):
    """Another judgement of a quantised file, in a file that is whole."""
    with open(path, "rb") as f:
        data = bytearray(f.read())
    (header,) = struct.unpack("<Q", data[:8])
    tensors = json.loads(data[8:8 + header])
    at = {name: slice(*[8 + header + n for n in t["data_offsets"]]) for name, t in tensors.items()}
    data[at["fidelity"]] = struct.pack("<3f", mean, worst, ranking)
    if source:
        data[at["source"]] = source
    if version:
        data[at["version"]] = version
    digest = hashlib.sha256()
    for name in sorted(at):
        if name != "checksum":
            digest.update(name.encode() + b"\0" + data[at[name]])
    data[at["checksum"]] = digest.digest()
    with open(path + ".new", "wb") as f:
        f.write(data)
    os.rename(path + ".new", path)


class Auto(CommandTest):
    def setUp(self):
        super().setUp()
        shutil.copytree(self.model, os.path.join(self.cwd, "tiny"))
        self.file = os.path.join(self.cwd, "tiny", "model.int8.safetensors")
        self.write("in.jsonl", "\n".join(json.dumps({"id": i, "text": t}) for i, t in enumerate(TEXTS)))

    def quern(self, *args, **how):
        how["env"] = {"QUERN_MODEL": "./tiny", **how.get("env", {})}
        return super().quern(*args, **how)

    def quantize(self, **judgement):
        self.ok("model", "quantize", "--force", "./tiny")
        rejudge(self.file, **judgement)

    def made(self):
        """Classes of the generations, by source and state."""
        rows = self.ok("generation", "list", "--json").json["generations"]
        return sorted((r["source"], r["state"], json.loads(r["settings"])["precision"] if isinstance(r["settings"], str)
                       else r["settings"]["precision"]) for r in rows if r["state"] != "retired")

    def declare_another(self):
        db = sqlite3.connect(os.path.join(self.cwd, "quern.db"))
        db.executescript("create table t (id integer primary key, title text); insert into t values (1, 'one'), (2, 'two')")
        db.close()
        self.ok("source", "add", "again", "--table", "t", "--key", "id", "--text", "{title}")

    def klass(self, *flags):
        return self.ok("embed", *flags, "x").lines[0]["precision"]

    def test_what_it_is_without_a_store(self):
        self.assertEqual(self.klass(), "fp32")
        self.quantize(worst=0.994)  # below the gate, and forced
        self.assertEqual(self.klass(), "fp32")
        self.quantize(mean=0.9989)
        self.assertEqual(self.klass(), "fp32")
        self.quantize(mean=float("nan"))
        self.refused(1, "fidelity", "embed", "x")
        self.quantize()
        self.assertEqual(self.klass(), "int8")
        self.assertEqual(self.klass("--precision", "fp32"), "fp32")
        for cpu in ("scalar", "avx2"):
            self.assertEqual(self.klass("--cpu", cpu), "int8")
        self.quantize(source=b"\1" * 32)  # of weights that are not these
        self.assertEqual(self.klass(), "fp32")
        self.refused(1, "other weights", "embed", "--precision", "int8", "x")
        subprocess.run([sys.executable, os.path.join(os.environ["QUERN_ROOT"], "tools/make-tiny-model"), "--layers", "3", "deep"],
                       cwd=self.cwd, check=True)
        self.ok("model", "quantize", "--force", "./deep")
        shutil.copy(os.path.join(self.cwd, "deep", "model.int8.safetensors"), self.file)  # of another shape, too
        self.assertEqual(self.klass(), "fp32")

    def config(self, **changes):
        path = os.path.join(self.cwd, "tiny", "config.json")
        with open(path) as f:
            config = json.load(f)
        with open(path, "w") as f:
            json.dump({**config, **changes}, f)

    def test_of_another_config_or_version(self):
        """Passed over by name; refused by name where it is asked for."""
        self.quantize()
        self.assertEqual(self.klass(), "int8")
        for changes in ({"num_attention_heads": 4}, {"num_attention_heads": 5, "layer_norm_eps": 0.0625},
                        {"layer_norm_eps": 1e-12, "num_hidden_layers": 2}):
            self.config(**changes)
            answer = self.ok("embed", "x")
            self.assertEqual(answer.lines[0]["precision"], "fp32")
            self.assertIn("under another config.json", answer.message)
            self.refused(1, "under another config.json", "embed", "--precision", "int8", "x")
        self.config(num_hidden_layers=3)
        self.assertEqual(self.klass(), "int8")
        for old in (1, 3):
            self.quantize(version=bytes([old]))
            saying = "its version is %d; this quern reads 4 (quern model quantize)" % old
            answer = self.ok("embed", "x")
            self.assertEqual(answer.lines[0]["precision"], "fp32")
            self.assertIn(saying, answer.message)
            self.refused(1, saying, "embed", "--precision", "int8", "x")
        with open(self.file, "r+b") as f:  # damage is none of them
            f.seek(-3000, os.SEEK_END)
            byte = f.read(1)
            f.seek(-3000, os.SEEK_END)
            f.write(bytes([byte[0] ^ 1]))
        self.refused(1, "damaged", "embed", "x")

    def test_a_store_of_a_file_that_is_not_its(self):
        """What the int8 vectors were made with is not there: named, and the store is still looked at."""
        self.quantize()
        self.ok("add", "in.jsonl")
        self.ok("fill")
        before = self.made()
        for saying, change in (("its version is 2", lambda: self.quantize(version=b"\2")), ("config.json", lambda: self.config(layer_norm_eps=0.0625))):
            change()
            for args in (("search", "--json", "x"), ("fill", "--json")):
                self.assertEqual(self.refused(1, saying, *args).error["code"], "index_stale", args)
            status = self.ok("status", "--json")
            self.assertIn(saying, status.message)
            self.assertEqual(status.json["sources"][0]["done"], 3)
            self.quantize()
        self.assertEqual(self.made(), before)
        self.refused(1, "calibration", "search", "x")
        self.ok("fill", "--precision", "int8")
        self.ok("search", "x")

    def test_a_store_under_another_config(self):
        """Its vectors are another model's: named, never compared, and made anew beside those that serve."""
        self.ok("add", "in.jsonl")
        self.ok("fill")
        self.config(num_attention_heads=4)
        for args in (("search", "--json", "x"), ("verify", "--json")):
            answer = self.refused(1, "architecture differs", *args)
            self.assertEqual(answer.error["code"], "index_stale", args)
        (row,) = self.ok("status", "--json").json["sources"]
        self.assertEqual((row["done"], row["state"]), (3, "active"))
        self.assertIn("architecture", row["note"])
        self.ok("fill")
        self.ok("search", "x")
        self.assertEqual(self.ok("verify", "--all", "--json").json["equal"], 3)

    def test_a_damaged_file_is_not_passed_over(self):
        for judgement in ({}, {"worst": 0.9}):
            self.quantize(**judgement)
            with open(self.file, "r+b") as f:
                f.seek(-3000, os.SEEK_END)
                byte = f.read(1)
                f.seek(-3000, os.SEEK_END)
                f.write(bytes([byte[0] ^ 1]))
            self.refused(1, "model.int8.safetensors", "embed", "x")
            self.assertEqual(self.klass("--precision", "fp32"), "fp32")

    def test_a_store_is_never_flipped(self):
        self.ok("add", "in.jsonl")
        self.ok("fill")
        self.assertEqual(self.made(), [("documents", "active", "fp32")])
        self.assertEqual(self.ok("status", "--json").json["sources"][0]["note"], "")
        self.quantize()
        (row,) = self.ok("status", "--json").json["sources"]
        self.assertIn("quern generation build --source documents", row["note"])
        self.assertIn("quern generation build", self.ok("status").out.decode())
        self.write("more.jsonl", json.dumps({"id": 9, "text": "a ninth text"}))
        self.ok("add", "more.jsonl")
        self.ok("fill")
        self.ok("work", "--once")
        self.assertEqual(self.made(), [("documents", "active", "fp32")])
        self.assertEqual(self.ok("search", "--json", "a ninth text").json["hits"][0]["key"], "9")
        self.ok("similar", "9")
        self.ok("verify", "--all")
        self.ok("doctor")
        # proposed, made, switched to
        self.ok("generation", "build", "--source", "documents")
        self.assertEqual(self.made(), [("documents", "active", "fp32"), ("documents", "building", "int8")])
        self.ok("fill")  # the active one's class meanwhile
        self.assertEqual(self.made()[0], ("documents", "active", "fp32"))
        building = [r["id"] for r in self.ok("generation", "list", "--json").json["generations"] if r["state"] == "building"]
        self.ok("generation", "activate", building[0])
        self.assertEqual(self.made(), [("documents", "active", "int8")])
        self.ok("fill")
        self.ok("verify", "--all")
        self.assertEqual(self.ok("search", "--json", "a ninth text").json["hits"][0]["key"], "9")
        self.assertEqual(self.ok("status", "--json").json["sources"][0]["note"], "")
        # the class stays when the file fails its gate, is of another calibration, or is gone
        rejudge(self.file, worst=0.5)
        self.refused(1, "calibration", "search", "x")
        self.assertEqual(self.ok("status", "--json").json["sources"][0]["done"], 4)
        self.refused(1, "calibration", "fill")
        os.remove(self.file)
        self.refused(1, "quern model quantize", "fill")
        self.assertEqual(self.made(), [("documents", "active", "int8")])

    def test_a_new_source_takes_the_store_s_class(self):
        self.ok("add", "in.jsonl")
        self.ok("fill")
        self.quantize()
        self.declare_another()
        self.ok("fill", "--source", "again")
        self.assertEqual(self.made(), [("again", "active", "fp32"), ("documents", "active", "fp32")])
        self.ok("fill")

    def test_classes_that_differ(self):
        self.quantize()
        self.ok("add", "in.jsonl")
        self.ok("fill")
        self.assertEqual(self.made(), [("documents", "active", "int8")])
        self.declare_another()
        self.ok("fill", "--source", "again", "--precision", "fp32")
        answer = self.refused(1, "one class of precision", "fill", "--json")
        self.assertEqual(answer.error["code"], "precision_mixed")
        self.assertEqual(len(self.ok("status", "--json").json["sources"]), 2)
        for source in ("again", "documents"):
            self.ok("fill", "--source", source)
            self.ok("search", "--source", source, "x")
        self.assertEqual(self.made(), [("again", "active", "fp32"), ("documents", "active", "int8")])


if __name__ == "__main__":
    unittest.main()
