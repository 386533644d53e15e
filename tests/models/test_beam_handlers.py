"""Beam's own handlers as tiers, by way of examples/handlers.py."""

import pickle
import time

import numpy as np
import pytest
import torch
from apache_beam.ml.inference.base import PredictionResult

from examples import handlers
from tango_beam.models import handler
from tango_beam.models.handler import HandlerTier
from tests.models.test_handler import answered, probabilities

TEXTS = {
    "I was charged twice for the same order.": "billing",
    "The parcel has been stuck in the depot for a week.": "delivery",
    "The app asks for a code that I do not get.": "account",
    "It is louder than the page says.": "product",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, one_thread):
    pytest.importorskip("sklearn")
    pytest.importorskip("pandas")  # Beam's handler of scikit-learn imports it
    folder = tmp_path_factory.mktemp("handlers")
    handlers.train(folder)
    return folder


@pytest.fixture
def models(trained, monkeypatch):
    monkeypatch.setenv("EXAMPLE_HANDLERS", str(trained))
    return trained


def alone(models, name):
    """What a model says without Beam and without us."""
    if name == "scikit_learn":
        return pickle.loads((models / "sklearn.pickle").read_bytes()).predict_proba([*TEXTS])
    network = handlers.WordNetwork(len(handlers.LABELS))
    network.load_state_dict(torch.load(models / "torch.pt"))
    inputs = torch.stack([handlers.word_ids(text) for text in TEXTS])
    return network(inputs).softmax(dim=-1).detach().numpy()


@pytest.mark.parametrize("name", ["scikit_learn", "pytorch"])
def test_beams_handlers_answer_as_their_models_do(models, name):
    model = handler.load(f"handler:examples.handlers:{name}")
    assert answered(model, [*TEXTS]) == (TEXTS, {})
    found = probabilities(model, [*TEXTS], labels=handlers.LABELS)
    assert np.array(found) == pytest.approx(alone(models, name), abs=1e-4)


def test_labels_may_come_in_another_order(models):
    model = handler.load("handler:examples.handlers:scikit_learn", handlers.LABELS[::-1])
    assert answered(model, [*TEXTS])[0] == TEXTS


def test_scikit_learns_predict_gives_labels_alone(models, monkeypatch):
    from apache_beam.ml.inference.sklearn_inference import SklearnModelHandlerNumpy

    inner = SklearnModelHandlerNumpy(str(models / "sklearn.pickle")).with_preprocess_fn(np.array)
    made = HandlerTier(inner, lambda result: result.inference)
    monkeypatch.setattr(handlers, "made", lambda: made, raising=False)
    model = handler.load("handler:examples.handlers:made", handlers.LABELS)
    assert answered(model, [*TEXTS]) == (TEXTS, {})
    assert {*np.ravel(probabilities(model, [*TEXTS], labels=handlers.LABELS))} == {0, 1}


def test_a_text_whose_tensor_has_another_shape_passes_alone(models, monkeypatch):
    ids = handlers.word_ids
    monkeypatch.setattr(handlers, "word_ids", lambda text: ids(text, 3 if text == "odd" else 64))
    model = handler.load("handler:examples.handlers:pytorch")
    said, failed = answered(model, [*TEXTS, "odd"])
    assert not failed
    assert {text: said[text] for text in TEXTS} == TEXTS


# Beam's handlers start `python -m vllm.entrypoints.openai.api_server` and ask it with the `openai`
# client. This program stands in for vLLM, which wants a GPU: its replies have the form of the
# protocol, and what they say is fixed by a word of the prompt.
SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = {"charged": "billing", "parcel": "delivery", "code": "account", "louder": "product"}


class Answers(BaseHTTPRequestHandler):
    def log_message(self, *rest): pass

    def do_GET(self):
        self.reply({"object": "list", "data": [
            {"id": "m", "object": "model", "created": 1, "owned_by": "x"}]})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        chat = self.path == "/v1/chat/completions"
        prompt = asked["messages"][0]["content"] if chat else asked["prompt"]
        said = next((said for word, said in WORDS.items() if word in prompt), "who knows")
        choice = {"index": 0, "finish_reason": "stop"}
        if chat:
            choice["message"] = {"role": "assistant", "content": said.title() + "."}
        else:
            assert asked["logprobs"] == 5
            likely = {" the": -4.0, " bill": -3.0, " " + said[:4]: -0.1}
            choice |= {"text": " " + said[:4], "logprobs": {
                "tokens": [" " + said[:4]], "token_logprobs": [-0.1], "text_offset": [0],
                "top_logprobs": [likely]}}
        self.reply({"id": "1", "object": "x", "created": 1, "model": "m", "choices": [choice]})

    def reply(self, body):
        body = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


port = int(sys.argv[sys.argv.index("--port") + 1])
ThreadingHTTPServer(("127.0.0.1", port), Answers).serve_forever()
"""


@pytest.fixture
def vllm(tmp_path, monkeypatch):
    """What Beam's handlers start in place of vLLM."""
    pytest.importorskip("openai")
    folder = tmp_path / "vllm" / "entrypoints" / "openai"
    folder.mkdir(parents=True)
    (folder / "api_server.py").write_text(SERVER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    # Beam waits five seconds between looks whether the server is up.
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.2)))


@pytest.mark.parametrize("name", ["vllm_completions", "vllm_chat"])
def test_beams_vllm_handlers_are_asked_and_read(vllm, name, caplog):
    model = handler.load(f"handler:examples.handlers:{name}")
    assert "one copy of its model on a machine" in caplog.text
    said, failed = answered(model, [*TEXTS, "What a day"])
    assert said == TEXTS
    (complaint,) = failed.values()
    assert "expected one of account, billing, delivery, product, found" in complaint
    assert "who" in complaint


def test_probabilities_of_labels_are_those_of_the_tokens_that_begin_them():
    types = pytest.importorskip("openai.types")
    likely = {" bill": np.log(0.6), " Bil": np.log(0.1), " acc": np.log(0.1), " the": np.log(0.2)}
    logprobs = {"top_logprobs": [likely], "tokens": [" bill"], "token_logprobs": [-0.5]}
    choice = {"index": 0, "finish_reason": "length", "text": " bill", "logprobs": logprobs}
    stated = {"id": "1", "object": "text_completion", "created": 1, "model": "m"}
    completion = types.Completion.model_validate({**stated, "choices": [choice]})
    found = handlers.first_token_probabilities(PredictionResult("a prompt", completion))
    expected = {"account": 0.125, "billing": 0.875, "delivery": 0, "product": 0}
    assert found == pytest.approx(expected)
