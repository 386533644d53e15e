"""The example scripts, on a few hundred rows of real data with an encoder that is made here."""

import json
import re

import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import trainers
from transformers import BertConfig, BertForSequenceClassification

from examples import pair_matching, sentiment_at_scale, steps, topic_routing
from tests import tiny
from tests.jobs import ROOT


def encoder(folder, texts):
    """A small BERT with random weights, whose word pieces are those of the texts."""
    backend = tiny.tokenizer()
    trained = trainers.WordPieceTrainer(vocab_size=3000, special_tokens=tiny.SPECIAL)
    backend.train_from_iterator(texts, trained)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=backend.get_vocab_size(),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=128,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tiny.fast(backend, 128).save_pretrained(folder)
    return str(folder)


def texts_of(path):
    table = pq.read_table(path)
    return [
        text for name in table.schema.names if "text" in name for text in table[name].to_pylist()
    ]


def printed(said, name):
    """The line of figures under a name."""
    return re.findall(rf"^{name} +(.*)", said, re.MULTILINE)[-1]


@pytest.mark.slow
@pytest.mark.data
def test_sentiment_is_certified_audited_and_drawn(data, tmp_path, capsys):
    # Sentences: whole reviews would take minutes.
    given = f"--reviews {data}/sst2/dev.parquet --rows 500 --sample_rows 400 --agreement 0.95"
    more = f"--label_column label --audit_rows 50 --output {tmp_path}/out"
    sentiment_at_scale.main([*given.split(), *more.split()])
    said = capsys.readouterr().out
    manifest = json.loads((tmp_path / "out/answers/_manifest.json").read_text())
    assert printed(said, "certificate") == "covered"
    assert printed(said, "answered") == "500 of 500; 0 dead"
    assert float(printed(said, "right").split("%")[0]) > 80
    assert manifest["audit"]["checked"] > 0 and "checked answers disagree" in printed(said, "audit")
    assert "threshold" in (tmp_path / "out/sentiment.svg").read_text()
    assert (tmp_path / "out/answers/_report.html").exists()


@pytest.mark.slow
@pytest.mark.data
def test_a_rare_topic_is_kept_with_a_promise_of_its_own(data, tmp_path, capsys):
    path = data / "agnews" / "train_10k.parquet"
    small = encoder(tmp_path / "encoder", texts_of(path))
    # Not that rare here: a teacher of seconds might call no row by a topic that it hardly saw.
    given = f"--labelled {path} --label Sports --recall 0.8 --encoder {small} --rows 2600"
    more = "--keep_rows 700 --train_rows 1000 --sample_rows 1500 --augmented 500 --epochs 6"
    size = f"--learning_rate 2e-3 --max_length 48 --output {tmp_path}/out"
    topic_routing.main([*given.split(), *more.split(), *size.split()])
    said = capsys.readouterr().out
    kept = steps.read(f"{tmp_path}/out/answers/part-*.parquet")
    assert set(kept["prediction"].to_pylist()) == {"Sports"}
    manifest = json.loads((tmp_path / "out/answers/_manifest.json").read_text())
    assert manifest["cascade"]["certificate"]["status"] == "covered"
    assert printed(said, "kept") == f"{len(kept):,} of {manifest['rows']['read']:,} rows"
    assert float(printed(said, "precision").rstrip("%")) > 35  # one row in four is of the topic
    assert "Sports" in (tmp_path / "out/topics.svg").read_text()


@pytest.mark.slow
@pytest.mark.data
def test_pairs_are_matched_and_every_pair_is_answered(data, tmp_path, capsys):
    path = data / "mrpc" / "train.parquet"
    small = encoder(tmp_path / "encoder", texts_of(path))
    given = f"--labelled {path} --encoder {small} --rows 800 --train_rows 400 --sample_rows 300"
    more = f"--agreement 0.8 --epochs 1 --student_epochs 2 --max_length 64 --output {tmp_path}/out"
    pair_matching.main([*given.split(), *more.split()])
    said = capsys.readouterr().out
    assert printed(said, "escalated").endswith("of 400 pairs")
    assert "are paraphrase" in printed(said, "right")
    assert "cascade" in (tmp_path / "out/pairs.svg").read_text()


@pytest.mark.parametrize("script", [sentiment_at_scale, topic_routing, pair_matching])
def test_a_script_is_on_the_page_with_a_command_that_it_reads(script):
    page = (ROOT / "docs" / "examples.md").read_text()
    name = script.__name__
    (command,) = re.findall(rf"python -m {name} ((?:.*\\\n)*.*)", page)
    words = command.replace("\\\n", " ").split()
    assert script._options(words).output
