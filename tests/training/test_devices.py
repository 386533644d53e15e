"""Training on a GPU: refused where there is none; nothing stays behind on the processor."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipelines import distill, finetune
from tango_beam.config import Compute, TierConfig
from tango_beam.errors import RefusedError
from tango_beam.models import loading, transformer
from tango_beam.training import dropout, kept_answers, networks
from tango_beam.training.imitation import Imitation, layer_map
from tango_beam.training.packed_network import PackedNetwork
from tango_beam.training.shown_encoder import ShownEncoder
from tango_beam.training.teacher_logits import TeacherLogits
from tests import tiny
from tests.models.families import PACKED, checkpoint
from tests.training.taught import teach
from tests.training.test_networks import HEADS, outputs, rows
from tests.training.test_teacher_logits import Counted, texts

pytestmark = pytest.mark.usefixtures("one_thread")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
SPANS = "ForQuestionAnswering"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_by_its_option(tmp_path):
    tiny.transformer(tmp_path / "encoder")
    (tmp_path / "train.jsonl").write_text(
        "".join(json.dumps({"text": f"a {n}", "label": "ab"[n % 2]}) + "\n" for n in range(9))
    )
    given = f"--encoder {tmp_path}/encoder --train {tmp_path}/train.jsonl --output {tmp_path}/out"
    with pytest.raises(RefusedError, match=r"^--device cuda: expected a GPU .*, found none"):
        finetune.main([*given.split(), "--device", "cuda"])


def load(folder, family, head, device):
    """A model on a device; `meta` holds no numbers, and refuses those of other devices."""
    checkpoint(folder, family, head=head)
    model = transformer.load_as(*HEADS[head], TierConfig(str(folder)), Compute("cpu", "fp32"))
    model.network.to(device)
    model.device = device
    return model


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", PACKED)
def test_packed_networks_compute_where_their_weights_are(tmp_path, family, head):
    model = load(tmp_path, family, head, "meta")
    tokens, made = rows(model, head), list[PackedNetwork]()
    given = model.network, model.tokenizer.pad_id
    made.append(PackedNetwork(*given, segments=model.segments, dtype=torch.float32))
    if family != "MPNet":
        made.append(networks.shortening(model, "fp32"))
    model.network.train()
    for network in made:
        call = network.edges if head == SPANS else network.logits
        assert call(tokens, np.arange(tokens.rows)).device.type == "meta"
    if family != "MPNet":
        with made[1].keeping([0.6] * made[1].droppers):
            call(tokens, np.arange(tokens.rows)).sum().backward()
    else:
        call(tokens, np.arange(tokens.rows)).sum().backward()


@pytest.mark.parametrize("heads", [(2, 2), (2, 1)])
@pytest.mark.parametrize("family", PACKED)
def test_layers_are_compared_where_their_weights_are(tmp_path, family, heads):
    model = load(tmp_path, family, "ForSequenceClassification", "meta")
    tokens = model.tokenize(pa.array(["a good film", "the plot sad"]))
    shown = ShownEncoder(
        model.network, model.tokenizer.pad_id, segments=model.segments, dtype=torch.float32
    )
    width, layers = shown.hidden_size, layer_map(shown.depth, shown.depth)
    imitation = Imitation(width, width, layers, heads).to("meta")
    seen = shown(tokens, np.arange(2), range(shown.depth))
    assert imitation(seen, seen).device.type == "meta"


def test_a_gpu_draws_its_dropout_itself():
    states = torch.ones(8, 8, device="meta")
    assert dropout.Dropout(active=True)(states, 0.1).device.type == "meta"


def test_a_gpu_is_given_many_texts_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_answers, "CHARACTERS", 100)
    tiny.transformer(tmp_path / "teacher")
    turns = {}
    for device in ("cpu", "cuda"):
        teacher = Counted(tiny.load(tmp_path / "teacher"))
        teacher.device = device  # says how much it is given; the model stays where it is
        kept = TeacherLogits(tmp_path / device, "8 fp32")
        assert len(kept.of(teacher, texts(60))) == 60
        turns[device] = teacher.turns
    assert turns["cuda"] == 1 < turns["cpu"]


@GPU
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", PACKED)
def test_a_gpu_gives_the_same_answers(tmp_path, family, head):
    found = {}
    for device in ("cpu", "cuda"):
        model = load(tmp_path / device, family, head, device)
        tokens, network = rows(model, head), networks.of(model, "fp32")
        model.network.eval()
        found[device] = outputs(network, tokens, np.arange(tokens.rows), head).detach().cpu()
    assert isinstance(network, networks.Padded)
    torch.testing.assert_close(found["cuda"], found["cpu"], atol=1e-3, rtol=1e-2)


@GPU
def test_trainings_run_on_a_gpu_and_their_checkpoints_answer_anywhere(tmp_path):
    corpus = teach(tmp_path / "corpus", epochs=2)
    given = f"--teacher {corpus}/teacher --train {corpus}/train.parquet --held_out 20 --device cuda"
    shape = "--layers 2 --hidden_size 16 --feed_forward_size 32 --epochs 2 --augmented 100"
    made = {
        "tinybert": f"--student tinybert --encoder {corpus}/encoder {shape}",
        "pieces": "--student pieces --epochs 1 --augmented 0",
        "exits": "--student exits --epochs 1 --augmented 0",
    }
    for name, more in made.items():
        assert distill.main([*given.split(), *more.split(), "--output", str(tmp_path / name)]) == 0
    drop = f"--encoder {corpus}/encoder --train {corpus}/train.parquet --held_out 20 --device cuda"
    more = f"--length_drop 0.2 --length_settings 3 --epochs 1 --output {tmp_path}/drop"
    assert finetune.main([*drop.split(), *more.split()]) == 0
    for name in [*made, "drop"]:
        tier = TierConfig(str(tmp_path / name))
        assert loading.load(tier, Compute("cpu", "fp32")).tokenize(pa.array(["a film"])).rows == 1
