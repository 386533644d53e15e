"""ModelHandlers of Beam's as tiers of a cascade: scikit-learn, PyTorch and vLLM.

    pip install pandas scikit-learn
    python -m examples.handlers handlers

trains the models of the first two on messages.jsonl, in seconds, and writes them into a folder
`handlers`, where the functions below look for them (or where `EXAMPLE_HANDLERS` says). Then

    --first_tier handler:examples.handlers:scikit_learn
    --second_tier handler:examples.handlers:pytorch

name tiers that tell which team a message is for. vLLM wants a GPU, and `pip install openai vllm`.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tango_beam.models.handler import HandlerTier

LABELS = ("account", "billing", "delivery", "product")
MESSAGES = Path(__file__).parent / "messages.jsonl"
LANGUAGE_MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
PROMPT = "Which of {labels} is this message about? Answer with one word.\n\n{text}\n\nAnswer:"


def scikit_learn() -> HandlerTier:
    """A pipeline of scikit-learn's, whose probabilities stand in the order of its classes."""
    from apache_beam.ml.inference.sklearn_inference import SklearnModelHandlerNumpy

    handler = SklearnModelHandlerNumpy(
        str(_folder() / "sklearn.pickle"), inference_fn=class_probabilities, max_batch_size=1024
    )
    return HandlerTier(handler, lambda result: result.inference, LABELS)


def class_probabilities(
    model: Any, batch: Sequence[str], inference_args: dict[str, Any] | None = None
) -> Any:
    """What Beam's handler calls with a batch: here of texts, since the pipeline reads those."""
    return model.predict_proba(batch)


def pytorch() -> HandlerTier:
    """A network of torch's. Beam's handler stacks its inputs, so all have one shape."""
    from apache_beam.ml.inference.pytorch_inference import PytorchModelHandlerTensor

    handler = PytorchModelHandlerTensor(
        str(_folder() / "torch.pt"),
        WordNetwork,
        {"classes": len(LABELS)},
        max_batch_size=256,
    )
    return HandlerTier(
        handler.with_preprocess_fn(word_ids),
        lambda result: torch.softmax(result.inference, dim=-1),
        LABELS,
    )


def word_ids(text: str, length: int = 64) -> torch.Tensor:
    """Numbers of a text's first words, int64, shape [length]; 0 where there are no more."""
    words = re.findall(r"\w+", text.lower())[:length]
    ids = [1 + zlib.crc32(word.encode()) % (WordNetwork.WORDS - 1) for word in words]
    return torch.tensor(ids + [0] * (length - len(ids)))


class WordNetwork(torch.nn.Module):
    """The mean of a text's word embeddings, and a linear layer: logits, shape [rows, classes]."""

    WORDS = 4096

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.words = torch.nn.EmbeddingBag(self.WORDS, 32, padding_idx=0)
        self.head = torch.nn.Linear(32, classes)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.words(ids))


def vllm_completions() -> HandlerTier:
    """A language model that Beam's handler serves with vLLM; its first token tells the label."""
    from apache_beam.ml.inference.vllm_inference import VLLMCompletionsModelHandler

    handler = VLLMCompletionsModelHandler(LANGUAGE_MODEL, max_batch_size=64)
    return HandlerTier(
        handler.with_preprocess_fn(prompt_of),
        first_token_probabilities,
        LABELS,
        {"max_tokens": 1, "temperature": 0, "logprobs": 5},
    )


def vllm_chat() -> HandlerTier:
    """The same as a conversation. It answers with a label alone, which then has probability 1."""
    from apache_beam.ml.inference.vllm_inference import OpenAIChatMessage, VLLMChatModelHandler

    handler = VLLMChatModelHandler(LANGUAGE_MODEL, max_batch_size=64)
    return HandlerTier(
        handler.with_preprocess_fn(lambda text: [OpenAIChatMessage("user", prompt_of(text))]),
        lambda result: result.inference.choices[0].message.content.strip(" .\n").lower(),
        LABELS,
        {"max_tokens": 8, "temperature": 0},
    )


def prompt_of(text: str) -> str:
    """What the language model is sent of a text."""
    return PROMPT.format(labels=", ".join(LABELS), text=text)


def first_token_probabilities(result: Any) -> dict[str, float] | str:
    """Probabilities of the labels that begin with one of the likeliest first tokens.

    Args:
      result: its `inference` is an `openai.types.Completion`.

    Returns:
      What was said instead, where it was more likely no label; the row is then dead with it.
    """
    choice = result.inference.choices[0]
    found = dict.fromkeys(LABELS, 0.0)
    for token, log_probability in choice.logprobs.top_logprobs[0].items():
        begun = token.strip().lower()
        fits = [label for label in LABELS if begun and label.startswith(begun)]
        if len(fits) == 1:
            found[fits[0]] += math.exp(log_probability)
    total = sum(found.values())
    if total < 0.5:
        return choice.text
    return {label: probability / total for label, probability in found.items()}


def train(folder: Path) -> None:
    """Writes the models of `scikit_learn` and `pytorch` into a folder."""
    rows = [json.loads(line) for line in MESSAGES.read_text(encoding="utf-8").splitlines()]
    one = [row for row in rows if len(row["labels"]) == 1 and row["labels"][0] in LABELS]
    texts, labels = [row["text"] for row in one], [row["labels"][0] for row in one]
    folder.mkdir(parents=True, exist_ok=True)
    _train_scikit_learn(texts, labels, folder / "sklearn.pickle")
    _train_pytorch(texts, labels, folder / "torch.pt")


def _train_scikit_learn(texts: list[str], labels: list[str], path: Path) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10)).fit(texts, labels)
    assert tuple(model.classes_) == LABELS  # sorted, as ours are
    path.write_bytes(pickle.dumps(model))


def _train_pytorch(texts: list[str], labels: list[str], path: Path) -> None:
    torch.manual_seed(1)
    network = WordNetwork(len(LABELS))
    inputs = torch.stack([word_ids(text) for text in texts])
    targets = torch.tensor([LABELS.index(label) for label in labels])
    optimizer = torch.optim.Adam(network.parameters(), 0.05)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(inputs), targets).backward()
        optimizer.step()
    torch.save(network.state_dict(), path)


def _folder() -> Path:
    return Path(os.environ.get("EXAMPLE_HANDLERS", "handlers"))


if __name__ == "__main__":
    train(Path(sys.argv[1]))
