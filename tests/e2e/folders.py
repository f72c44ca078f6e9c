"""What test_fidelity and test_hostile_models share: tiny models, and embed_folder run over one."""
import functools
import importlib.machinery
import importlib.util
import os
import struct
import subprocess

import numpy as np

ROOT, BUILD = os.environ["QUERN_ROOT"], os.environ["QUERN_BUILD"]


@functools.cache
def make_tiny():
    """tools/make-tiny-model as a module."""
    loader = importlib.machinery.SourceFileLoader("make_tiny_model", os.path.join(ROOT, "tools", "make-tiny-model"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def tiny(folder, *arguments):
    """A tiny model in the folder; gives the options it was made with."""
    module = make_tiny()
    options = module.arguments([folder, *map(str, arguments)])
    module.make(folder, options)
    return options


def embed(folder, texts, timeout=60, cpu=None):
    """(vectors, "") or (None, stderr). Death by a signal or a sanitizer is an AssertionError."""
    data = b"".join(struct.pack("<I", len(t)) + t for t in (s if isinstance(s, bytes) else s.encode() for s in texts))
    command = [os.path.join(BUILD, "tests", "embed_folder"), folder] + ([cpu] if cpu else [])
    done = subprocess.run(command, input=data, capture_output=True, timeout=timeout)
    errors = done.stderr.decode(errors="replace")
    assert done.returncode in (0, 1) and "Sanitizer" not in errors, "%s: exit %d\n%s" % (folder, done.returncode, errors)
    if done.returncode:
        return None, errors
    dimension = struct.unpack("<I", done.stdout[:4])[0]
    return np.frombuffer(done.stdout[4:], "<f4").reshape(len(texts), dimension), ""
