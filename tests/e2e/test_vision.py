"""Models that can see, played by the stand-in: the exact request of each provider for pictures, frames and videos by URL, fused by the model and by the
mean, and for texts alone, which find them; answers and pages of every wrong kind."""
import json
import os
import subprocess
import unittest

from provider import vector
from test_providers import ProviderTest

DRIVER = os.path.join(os.environ["QUERN_BUILD"], "tests", "embed_assets")
A, B, V = "https://pictures.example/a.png", "https://pictures.example/b.jpg?X-Signature=0123456789abcdef&n=1", "https://pictures.example/v.mp4"
KEYS = {"VOYAGE_API_KEY": "voyage-key-0123", "JINA_API_KEY": "jina-key-0123", "DASHSCOPE_API_KEY": "dashscope-key-0123"}
MULTIMODAL = "/services/embeddings/multimodal-embedding/multimodal-embedding"
N = 24


def mean(*vectors):
    sums = [sum(column) for column in zip(*vectors)]
    norm = sum(s * s for s in sums) ** 0.5
    return [s / norm for s in sums]


class VisionTest(ProviderTest):
    def see(self, model, *args, dimensions=N):
        provider, name = model.split(":")
        return subprocess.run([DRIVER, provider, name, self.url, str(dimensions), *args], env=dict(os.environ, **KEYS), capture_output=True, text=True, timeout=60)

    def seen(self, model, *args, **how):
        answer = self.see(model, *args, **how)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        return json.loads(answer.stdout)

    def fails(self, model, *args):
        answer = self.see(model, *args)
        self.assertEqual((answer.returncode, answer.stdout), (1, ""))
        self.assertEqual(answer.stderr.count("\n"), 1)
        for secret in list(KEYS.values()) + ["0123456789abcdef"]:
            self.assertNotIn(secret, answer.stderr)
        return answer.stderr

    def near(self, got, expected):
        self.assertEqual(len(got), len(expected))
        self.assertLess(max(abs(a - b) for a, b in zip(got, expected)), 1e-6)

    def bodies(self):
        return [(e["path"], e["body"]) for e in self.told()["log"]]


class Requests(VisionTest):
    def test_voyage(self):
        self.plan()
        told = self.seen("voyage-vision:voyage-multimodal-3.5", "text=a \"red\" door", "image=" + A, "image=", "frame=" + B, "video=" + V)
        self.near(told["fused"], vector(" ".join(['a "red" door', A, B, V]), N))
        self.near(told["each"][0], vector(A, N))
        self.assertIsNone(told["each"][1])
        self.near(told["each"][2], vector(B, N))
        self.near(told["each"][3], vector(V, N))
        self.assertEqual((told["used"], told["skipped"], told["cut"], told["empty"]), (3, 1, 0, 0))
        self.assertEqual(told["fingerprint"]["fusion"], "model")
        pieces = [{"type": "text", "text": 'a "red" door'}, {"type": "image_url", "image_url": A}, {"type": "image_url", "image_url": B},
                  {"type": "video_url", "video_url": V}]
        rest = {"model": "voyage-multimodal-3.5", "input_type": "document", "truncation": False, "output_dimension": N}
        self.assertEqual(self.bodies(), [("/multimodalembeddings", dict(rest, inputs=[{"content": pieces}])),
                                         ("/multimodalembeddings", dict(rest, inputs=[{"content": [p]} for p in pieces[1:]]))])
        headers = self.told()["log"][0]["headers"]
        self.assertEqual((headers["authorization"], headers["content-type"]), ("Bearer voyage-key-0123", "application/json"))

    def test_voyage_without_a_dimension_and_alone(self):
        self.plan(dimensions=1024)
        told = self.seen("voyage-vision:voyage-multimodal-3", "as=query", "image=" + A, dimensions=0)
        self.near(told["fused"], vector(A, 1024))
        self.assertEqual(told["each"], [told["fused"]])
        self.assertEqual(self.bodies(), [("/multimodalembeddings", {"model": "voyage-multimodal-3", "input_type": "query", "truncation": False,
                                                                    "inputs": [{"content": [{"type": "image_url", "image_url": A}]}]})])

    def test_jina(self):
        self.plan()
        told = self.seen("jina-vision:jina-embeddings-v4", "text=red door", "image=" + A, "frame=" + B)
        self.near(told["fused"], mean(vector("red door", N), vector(A, N), vector(B, N)))
        self.near(told["each"][1], vector(B, N))
        self.assertEqual(told["fingerprint"]["fusion"], "mean")
        parts = [{"text": "red door"}, {"image": A}, {"image": B}]
        self.assertEqual(self.bodies(), [("/embeddings", {"model": "jina-embeddings-v4", "input": parts, "task": "retrieval.passage", "truncate": False,
                                                          "dimensions": N, "embedding_type": "base64"})])
        self.plan()
        self.seen("jina-vision:jina-clip-v2", "image=" + A, "fused=1")
        self.assertEqual(self.bodies()[0][1], {"model": "jina-clip-v2", "input": [{"image": A}], "dimensions": N, "embedding_type": "base64"})
        self.plan()
        self.assertRegex(self.fails("jina-vision:jina-clip-v2", "text=x", "image=" + A, "video=" + V), "^EUNSUPPORTED 1: .*no videos")
        self.assertEqual(self.bodies(), [])

    def test_dashscope(self):
        self.plan()
        told = self.seen("dashscope-vision:qwen3-vl-embedding", "text=red door", "image=" + A, "video=" + V)
        self.near(told["fused"], vector(" ".join(["red door", A, V]), N))
        self.near(told["each"][1], vector(V, N))
        parts = [{"text": "red door"}, {"image": A}, {"video": V}]
        self.assertEqual(self.bodies(), [
            (MULTIMODAL, {"model": "qwen3-vl-embedding", "input": {"contents": parts}, "parameters": {"dimension": N, "enable_fusion": True}}),
            (MULTIMODAL, {"model": "qwen3-vl-embedding", "input": {"contents": parts[1:]}, "parameters": {"dimension": N}})])
        self.plan(dimensions=1152)
        told = self.seen("dashscope-vision:tongyi-embedding-vision-plus", "text=red door", "image=" + A, dimensions=0)
        self.near(told["fused"], mean(vector("red door", 1152), vector(A, 1152)))
        self.assertEqual(self.bodies(), [(MULTIMODAL, {"model": "tongyi-embedding-vision-plus", "input": {"contents": parts[:2]}})])

    def test_texts_through_the_same_door(self):
        texts = ["ban lan", "gut"]
        for model, key in (("voyage-vision:voyage-multimodal-3.5", "VOYAGE_API_KEY"), ("jina-vision:jina-clip-v2", "JINA_API_KEY"),
                           ("dashscope-vision:qwen3-vl-embedding", "DASHSCOPE_API_KEY")):
            self.plan()
            self.right(texts, self.vectors(texts, "--model", model, env={key: "key-of-some-length"}))
            (path, body), = self.bodies()
            self.assertNotIn("enable_fusion", json.dumps(body))
            self.assertIn('"text": "gut"', json.dumps(body))

    def test_cut_and_empty(self):
        self.plan()
        told = self.seen("jina-vision:jina-clip-v2", *["image=" + A] * 11)
        self.assertEqual((told["used"], told["cut"]), (8, 3))
        self.assertEqual(self.bodies()[0][1]["input"], [{"image": A}] * 8)
        self.plan()
        told = self.seen("jina-vision:jina-clip-v2", "image=", "frame=")
        self.assertEqual((told["empty"], told["skipped"], told["used"]), (1, 2, 0))
        self.assertEqual(self.bodies(), [])
        self.assertRegex(self.fails("voyage-vision:voyage-multimodal-3.5", "text=x", "video=" + V, "video=" + V), "^EINVAL 2: 2 videos")
        self.assertRegex(self.fails("openai:text-embedding-3-small", "image=" + A), "EINVAL -1: openai needs a key")
        self.assertRegex(self.fails("voyage:voyage-3.5", "image=" + A), "EUNSUPPORTED -1: voyage:voyage-3.5 reads texts only")
        self.assertEqual(self.bodies(), [])


class Faults(VisionTest):
    MODELS = ["voyage-vision:voyage-multimodal-3.5", "jina-vision:jina-embeddings-v4", "dashscope-vision:qwen3-vl-embedding"]

    def test_answers_of_every_wrong_shape(self):
        for model in self.MODELS:
            for fault in ("short", "long", "quarter", "nan", "zero", "html", "junk", "empty", "error", "cut", 503, "redirect"):
                if fault == "short" and "jina" not in model:  # one vector too few of one
                    continue
                self.plan(*[fault] * 3)
                says = self.fails(model, "text=door", "image=" + A, "image=" + B)
                subject = 2 if fault == "zero" else -1  # what is zero is the text's vector, or that of all together
                self.assertTrue(says.startswith("EREMOTE %d: %s" % (subject, model)), (model, fault, says))
                self.assertEqual(len(self.bodies()), 1 if fault == "redirect" else 3, (model, fault, says))
                # once is mended
                if fault != "redirect":
                    self.plan(fault)
                    self.near(self.seen(model, "text=door", "image=" + A)["each"][0], vector(A, N))

    def test_pages(self):
        page = {"code": "InvalidParameter", "message": "cannot download %s: denied" % B, "request_id": "x"}
        self.plan([400, {}, page])
        says = self.fails("dashscope-vision:qwen3-vl-embedding", "text=door", "image=" + A, "image=" + B)
        self.assertRegex(says, "^EREMOTE 2: dashscope-vision:qwen3-vl-embedding answers 400: cannot download https://pictures.example/b.jpg")
        for status, words in ((401, "is the key the right one"), (403, "is the key"), (404, "is the address right")):
            self.plan([status, {}, {"detail": "no"}])
            self.assertRegex(self.fails("voyage-vision:voyage-multimodal-3.5", "image=" + A), "^EREMOTE -1: .*%d: no.*%s" % (status, words))
            self.assertEqual(len(self.bodies()), 1)

    def test_who_is_at_fault(self):
        """A part that is refused is found by halving; of what is fused each alone is asked about."""
        self.plan(poison="b.jpg")
        self.assertRegex(self.fails("jina-vision:jina-embeddings-v4", "text=door", "image=" + A, "image=" + B, "image=" + A), "^EREMOTE 1: .*cannot be read")
        self.assertRegex(self.fails("voyage-vision:voyage-multimodal-3.5", "text=door", "image=" + A, "image=" + B), "^EREMOTE 1: ")
        self.assertRegex(self.fails("voyage-vision:voyage-multimodal-3.5", "image=" + B), "^EREMOTE 0: ")
        # more than the provider takes at once: what each has goes in halves
        self.plan(max_inputs=2)
        told = self.seen("voyage-vision:voyage-multimodal-3.5", "text=door", *["image=%s%d" % (A, i) for i in range(5)])
        for i in range(5):
            self.near(told["each"][i], vector("%s%d" % (A, i), N))


if __name__ == "__main__":
    unittest.main(verbosity=2)
