"""Spans are those of a plain reference over transformers' own offsets, one window at a time."""

import random

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.special import logsumexp
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, PreTrainedTokenizerFast

from tango_beam.answers import span
from tango_beam.config import Compute, TierConfig
from tango_beam.models import loading, span_transformer
from tango_beam.models.logits import logits_of
from tests import tiny
from tests.models.families import checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")

LONGEST, QUESTION = 30, 64
FAMILIES = ["Bert", "DistilBert", "Roberta", "Electra", "MPNet", "Albert"]


class Reference:
    """The best span of a row, how likely it is, and every span with its score."""

    def __init__(self, folder, max_length, stride):
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.network = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
        self.max_length, self.stride = max_length, stride

    def read(self, text):
        """What is read of a question, and whether it was cut."""
        room = self.max_length - self.tokenizer.num_special_tokens_to_add(pair=True)
        most = min(QUESTION, room // 4)
        plain = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        if len(plain["input_ids"]) <= most:
            return text, False
        return text[: plain["offset_mapping"][most - 1][1]], True

    @torch.inference_mode()
    def __call__(self, question, context):
        cut = {"truncation": "only_second", "max_length": self.max_length, "stride": self.stride}
        asked, truncated = self.read(question)
        # Lists: an empty context on its own would be taken for none.
        windows = self.tokenizer(
            *([asked], [context]),
            **cut,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        whole = self.tokenizer(context, add_special_tokens=False)["input_ids"]
        spans, scores, empty, at = {}, {}, [], 0
        for number, ids in enumerate(windows["input_ids"]):
            inside = [n for n, side in enumerate(windows.sequence_ids(number)) if side == 1]
            assert [ids[n] for n in inside] == whole[at : at + len(inside)]
            names = self.tokenizer.model_input_names
            found = self.network(**{n: torch.tensor([windows[n][number]]) for n in names})
            starts, ends = found.start_logits[0].tolist(), found.end_logits[0].tolist()
            empty.append(starts[0] + ends[0])
            offsets = windows["offset_mapping"][number]
            for first in inside:
                for last in range(first, min(first + LONGEST, inside[-1] + 1)):
                    score, where = starts[first] + ends[last], (offsets[first][0], offsets[last][1])
                    tokens = at + first - inside[0], at + last - inside[0]
                    spans[tokens] = score  # of two windows, the later one's
                    scores[where] = max(score, scores.get(where, -np.inf))
            at += len(inside) - self.stride
        best = max(scores, key=scores.get, default=None)
        return best, scores, logsumexp([*spans.values(), -np.inf]), min(empty), truncated


def compare(folder, questions, contexts, max_length=40, stride=8):
    """Asserts that both give the same; returns how many rows have several windows."""
    reference = Reference(folder, max_length, stride)
    model = tiny.load(folder, max_length=max_length, stride=stride)
    outputs = logits_of(model, questions, contexts)
    tokens = model.tokenize(pa.array(questions), pa.array(contexts))
    answers = span.SpanDecoder()(outputs, (), pa.array(contexts))
    texts, (starts, stops) = (
        answers.predictions.to_pylist(),
        (answers.more[f"answer_{side}"].to_pylist() for side in ("start", "end")),
    )
    for row, (question, context) in enumerate(zip(questions, contexts, strict=True)):
        best, scores, total, empty, truncated = reference(question, context)
        assert tokens.truncated[row] == truncated
        assert outputs[row, span.NONE] == pytest.approx(empty, abs=1e-4)
        assert texts[row] == context[starts[row] : stops[row]]
        if best is None:
            assert outputs[row, span.SCORE] == -np.inf
            continue
        assert outputs[row, span.SCORE] == pytest.approx(scores[best], abs=1e-4)
        assert scores[starts[row], stops[row]] == pytest.approx(scores[best], abs=1e-4)
        assert outputs[row, span.TOTAL] == pytest.approx(total, abs=1e-4)
        expected = min(1, np.exp(scores[best] - total))
        assert answers.confidences[row] == pytest.approx(expected, abs=1e-4)
    assert np.ptp(answers.confidences[np.isfinite(answers.confidences)]) > 0.01
    return int((np.bincount(tokens.of_row) > 1).sum())


def test_one_checkpoint_may_be_read_with_two_strides(tmp_path):
    folder = tiny.reader(tmp_path)
    strides = [tiny.load(folder, max_length=40, stride=stride).windows.stride for stride in (8, 12)]
    assert strides == [8, 12]


# A flag and a family are several characters; the letter and its accent are two.
ODD = [
    "😀",
    "👩‍👩‍👧",
    "🇫🇷",
    "e\u0301",
    "ñ",
    "n\u0303",
    "字",
    "ﬁlm",
    "İ",
    "\u200b",
    "[SEP]",
    "</s>",
    "—",
]


def passages(rng, count, most, odd=0.1):
    """Texts of one to `most` words, some of them of odd characters."""

    def word():
        return rng.choice(ODD if rng.random() < odd else tiny.WORDS)

    return [" ".join(word() for _ in range(rng.randint(1, most))) for _ in range(count)]


@pytest.fixture
def chance():
    return random.Random(7)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("max_length", "stride"), [(40, 8), (40, 0), (24, 12), (384, 128)])
def test_every_family_in_windows_of_every_size(tmp_path, chance, family, max_length, stride):
    checkpoint(tmp_path, family, head="ForQuestionAnswering")
    questions, contexts = passages(chance, 12, 12), passages(chance, 12, 120)
    several = compare(tmp_path, questions, contexts, max_length, stride)
    assert several == 0 if max_length == 384 else several > 4


@pytest.mark.parametrize("family", ["Bert", "DistilBert", "Roberta", "MPNet"])
def test_padded_windows_give_what_packed_ones_give(tmp_path, chance, family):
    """On an accelerator, and in training, every family is padded."""
    checkpoint(tmp_path, family, head="ForQuestionAnswering")
    tier = TierConfig(str(tmp_path), max_length=40, stride=8)
    rows = passages(chance, 30, 12), passages(chance, 30, 200)
    compute = Compute("cpu", "fp32")
    models = span_transformer.load(tier, compute), loading.load(tier, compute)
    assert isinstance(models[1], span_transformer.PackedSpanTransformer)
    padded, packed = (logits_of(model, *rows) for model in models)
    np.testing.assert_allclose(padded, packed, atol=1e-4)


@pytest.mark.parametrize("family", ["Bert", "MPNet"])
def test_contexts_of_one_to_twenty_thousand_characters(tmp_path, chance, family):
    checkpoint(tmp_path, family, head="ForQuestionAnswering")
    whole = passages(chance, 1, 8000)[0].ljust(20_000, "a")
    contexts = [whole[:size] for size in (1, 2, 3, 10, 100, 1000, 5000, 20_000)]
    assert compare(tmp_path, passages(chance, 8, 12), contexts, 120, 30) >= 3


@pytest.mark.parametrize("family", ["DistilBert", "Albert"])
@pytest.mark.parametrize(("max_length", "stride"), [(384, 128), (40, 8)])
def test_questions_that_are_too_long_are_cut(tmp_path, chance, family, max_length, stride):
    checkpoint(tmp_path, family, head="ForQuestionAnswering")
    lengths = (1, 8, 9, 10, 63, 64, 65, 66, 300)
    questions = [" ".join(chance.choices(tiny.WORDS, k=length)) for length in lengths]
    compare(tmp_path, questions, passages(chance, 9, 200), max_length, stride)


@pytest.mark.parametrize("family", ["Bert", "Electra"])
def test_contexts_without_a_word_have_no_span(tmp_path, chance, family):
    checkpoint(tmp_path, family, head="ForQuestionAnswering")
    contexts = ["", " ", "\u200b", *passages(chance, 5, 60)]
    compare(tmp_path, ["", " ", *passages(chance, 6, 9)], contexts)


def byte_level(folder):
    """RoBERTa's own kind of tokenizer: an emoji is four tokens of one character."""
    names = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(
        models.BPE({name: n for n, name in enumerate(names)}, [], unk_token="<unk>")
    )
    backend.add_special_tokens(names[:4])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    special = {
        f"{name}_token": token
        for name, token in zip(("bos", "pad", "eos", "unk"), names, strict=False)
    }
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=["input_ids", "attention_mask"],
        **special,
        cls_token="<s>",
        sep_token="</s>",
    ).save_pretrained(folder)


@pytest.mark.parametrize("stride", [5, 6, 7, 8])
def test_a_window_may_begin_within_a_character(tmp_path, chance, stride):
    checkpoint(
        tmp_path,
        "Roberta",
        head="ForQuestionAnswering",
        stated={"vocab_size": 300, "pad_token_id": 1},
        pad=1,
    )
    byte_level(tmp_path)
    contexts = ["😀" * 60, "字" * 70, *passages(chance, 6, 40, odd=0.6)]
    assert compare(tmp_path, passages(chance, 8, 3), contexts, 64, stride) >= 6
