"""A small BERT learns a teacher's layers: what it is shown, its losses, its stages."""

import json
import re
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForSequenceClassification

from pipelines import classify, distill
from tango_beam.errors import RefusedError
from tango_beam.training import imitation, pretrained_start, resume, tinybert
from tango_beam.training.distill_options import DistillOptions
from tango_beam.training.imitation import Imitation, layer_map, relation_heads
from tango_beam.training.shown_encoder import Shown, ShownEncoder
from tests import jobs, tiny
from tests.models import families
from tests.models.families import PACKED, checkpoint
from tests.training.taught import teach

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("family", PACKED)
def test_what_is_shown_is_what_transformers_computes(tmp_path, family):
    """States of all layers, and scores whose softmax is the attention that transformers gives."""
    checkpoint(tmp_path, family)
    model = tiny.to_train(tmp_path)
    theirs = AutoModelForSequenceClassification.from_pretrained(
        tmp_path, attn_implementation="eager"
    ).eval()
    tokens = model.tokenize(pa.array(["a good film", "the plot sad"]))
    rows = np.arange(2)
    encoder = ShownEncoder(
        model.network, model.tokenizer.pad_id, segments=model.segments, dtype=torch.float32
    )
    shown = encoder(tokens, rows, range(encoder.depth))
    with torch.no_grad():
        given = model.inputs(tokens, rows)
        found = theirs(**given, output_hidden_states=True, output_attentions=True)
    torch.testing.assert_close(shown.embeddings, found.hidden_states[0], atol=1e-5, rtol=1e-4)
    for layer in range(encoder.depth):
        states, attention = found.hidden_states[layer + 1], found.attentions[layer]
        torch.testing.assert_close(shown.states[layer], states, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(
            shown.scores[layer].softmax(dim=-1), attention, atol=1e-5, rtol=1e-3
        )


@pytest.mark.parametrize(
    ("depths", "expected"),
    [((12, 4), [2, 5, 8, 11]), ((6, 4), [1, 2, 4, 5]), ((6, 6), [*range(6)]), ((5, 1), [4])],
)
def test_layers_learn_from_evenly_spaced_ones_and_the_last_from_the_last(depths, expected):
    assert layer_map(*depths) == expected


@pytest.mark.parametrize("depths", [(4, 6), (4, 0)])
def test_a_student_that_is_deeper_than_its_teacher_is_refused(depths):
    with pytest.raises(ValueError, match="expected 1 to 4 layers"):
        layer_map(*depths)


def test_relation_heads_cut_both_hidden_sizes():
    assert relation_heads(768, 312) == 24
    assert relation_heads(384, 384) == 48
    assert relation_heads(7, 5) == 1


def shown(rng, width, heads, rows=3, tokens=5, layers=2):
    def drawn(*shape):
        return torch.from_numpy(rng.normal(size=shape).astype(np.float32))

    each = range(layers)
    return Shown(
        drawn(rows, tokens, width),
        {n: drawn(rows, tokens, width) for n in each},
        {n: drawn(rows, heads, tokens, tokens) for n in each},
        {n: tuple(drawn(rows, tokens, width) for _ in range(3)) for n in each},
    )


def test_a_student_that_is_its_teacher_has_nothing_to_learn(rng):
    same = shown(rng, 8, 2)
    for heads in ((2, 2), (2, 4)):
        loss = Imitation(8, 8, [0, 1], heads)
        for projection in loss.projections:
            torch.nn.init.eye_(projection.weight)
            torch.nn.init.zeros_(projection.bias)
        assert loss(same, same).item() == pytest.approx(0, abs=1e-6)


def test_the_losses_are_the_papers(rng):
    student, teacher = shown(rng, 4, 2), shown(rng, 8, 2, layers=4)
    loss = Imitation(4, 8, [1, 3], (2, 2))
    pairs = [(student.embeddings, teacher.embeddings)]
    pairs += [(student.states[own], teacher.states[of]) for own, of in ((0, 1), (1, 3))]
    expected = sum(
        ((own @ one.weight.T + one.bias - of) ** 2).mean()
        for one, (own, of) in zip(loss.projections, pairs, strict=True)
    )
    expected += sum(
        ((student.scores[own] - teacher.scores[of]) ** 2).mean() for own, of in ((0, 1), (1, 3))
    )
    torch.testing.assert_close(loss(student, teacher), expected)


def test_relations_are_compared_where_heads_differ(rng):
    """As many relation heads as both widths allow; the divergence of softmaxed relations."""
    student, teacher = shown(rng, 16, 2), shown(rng, 32, 4)
    total = 0.0
    for own, of in zip(student.asked[1], teacher.asked[1], strict=True):
        each = []
        for states, width in ((own, 8), (of, 16)):
            cut = states.view(3, 5, 2, width).permute(0, 2, 1, 3)
            each.append((cut @ cut.mT / width**0.5).softmax(-1))
        total += (each[1] * (each[1].log() - each[0].log())).sum(-1).mean()
    found = imitation.relation_loss(student.asked[1], teacher.asked[1], relation_heads(32, 16))
    torch.testing.assert_close(found, total)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return teach(tmp_path_factory.mktemp("corpus"), epochs=6)


def arguments(corpus, output, *more):
    return [
        *f"--student tinybert --teacher {corpus}/teacher --train {corpus}/train.parquet".split(),
        *f"--output {output} --held_out 20 --augmented 100 --layers 2 --hidden_size 16".split(),
        *["--feed_forward_size", "32", "--epochs", "2", "--max_length", "32"],
        *more,
    ]


def test_a_student_learns_in_three_stages_and_answers_in_a_cascade(corpus, tmp_path):
    teacher = str(shutil.copytree(corpus / "teacher", tmp_path / "mine" / "teacher"))
    out = tmp_path / "mine" / "student"
    given = arguments(corpus, out, "--encoder", f"{corpus}/encoder", "--cascade", "mine")
    given[given.index("--teacher") + 1] = teacher
    assert distill.main(given) == 0
    log = json.loads((out / "training.json").read_text())
    assert log["scores"]["agreement of cascade and second tier, held-out"] >= 0.99
    config = json.loads((out / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert (config["num_hidden_layers"], config["hidden_size"]) == (2, 16)
    assert not [*out.glob("_*")]
    rows = jobs.arguments(tmp_path / "mine", f"{corpus}/train.parquet", tmp_path / "out")
    assert classify.main(rows) == 0
    assert jobs.read_output(tmp_path / "out")[2]["rows"]["dead"] == 0


def test_each_epoch_brings_the_student_nearer(corpus, tmp_path, capsys):
    given = arguments(corpus, tmp_path / "out", "--encoder", f"{corpus}/encoder")
    assert distill.main([*given, "--general_epochs", "3", "--layer_epochs", "3"]) == 0
    said = capsys.readouterr().err
    for stage, epochs in (("general ", 3), ("layers ", 3), ("", 2)):
        losses = [
            float(loss) for loss in re.findall(rf"^{stage}{{'epoch.*'loss': ([\d.]+)", said, re.M)
        ]
        assert len(losses) == epochs
        assert losses[-1] < losses[0]


def test_a_stage_that_was_done_is_not_done_again(corpus, tmp_path, monkeypatch):
    seen = []
    stage = tinybert._stage

    def once(name, *more):
        seen.append(name)
        if len(seen) == 2:
            raise KeyboardInterrupt
        stage(name, *more)

    monkeypatch.setattr(tinybert, "_stage", once)
    given = arguments(corpus, tmp_path / "out", "--encoder", f"{corpus}/encoder")
    with pytest.raises(KeyboardInterrupt):
        distill.main(given)
    kept = tmp_path / "out" / "_general.safetensors"
    weights = load_file(kept)
    monkeypatch.setattr(tinybert, "_stage", stage)
    monkeypatch.setattr(tinybert, "_encoder", None)  # asked for no more
    reached = []
    done = resume.Stage.done

    def looked(self, network):
        reached.append(self.name)
        done(self, network)

    monkeypatch.setattr(resume.Stage, "done", looked)
    with pytest.raises(RefusedError, match="--resume goes on with it"):
        distill.main(given)
    assert distill.main([*given, "--resume"]) == 0
    assert reached == ["layers"]
    assert len(weights) == len(load_file(tmp_path / "out" / "model.safetensors"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layers", "9"], "--layers: expected at most the teacher's 3, found 9"),
        (["--hidden_size", "99"], "--hidden_size: expected at most the teacher's 32, found 99"),
        (["--heads", "5"], "--heads: expected a divisor of --hidden_size 16, found 5"),
        (["--encoder", "{tmp}/other"], "--encoder .*: expected the teacher's vocabulary of"),
        (["--encoder", "{tmp}/none"], "--encoder .*none"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(corpus, tmp_path, options, message):
    checkpoint(tmp_path / "other", "Roberta")
    options = [option.format(tmp=tmp_path) for option in options]
    with pytest.raises(RefusedError, match=message):
        distill.main([*arguments(corpus, tmp_path / "out"), *options])


@pytest.mark.parametrize("option", ["--encoder", "--start"])
def test_an_encoder_is_for_students_that_look_into_one(corpus, tmp_path, option):
    given = arguments(corpus, tmp_path / "out", option, "a")
    given[given.index("tinybert")] = "static"
    with pytest.raises(RefusedError, match=f"{option}: expected --student tinybert, found static"):
        distill.main(given)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small encoder of four layers."""
    shape = {"num_hidden_layers": 4, "hidden_size": 16, "intermediate_size": 24}
    return tiny.transformer(tmp_path_factory.mktemp("small"), **shape)


def start_options(corpus, small, **more):
    given = {"layers": 2, "max_length": 32, "teacher": f"{corpus}/teacher", "start": str(small)}
    return DistillOptions(train="", output="", student="tinybert", **given | more)


def test_a_student_starts_from_evenly_spaced_layers_of_a_small_encoder(corpus, small):
    teacher = tiny.to_train(corpus / "teacher")
    student = tinybert.start(teacher, start_options(corpus, small), embeddings=None)
    theirs = AutoModel.from_pretrained(small)
    mine = student.network.base_model
    for own, of in (
        (mine.embeddings, theirs.embeddings),
        (mine.encoder.layer[0], theirs.encoder.layer[0]),
        (mine.encoder.layer[1], theirs.encoder.layer[3]),
    ):
        for name, weight in of.state_dict().items():
            torch.testing.assert_close(own.state_dict()[name], weight)
    assert student.labels == teacher.labels
    assert student.network.config.num_hidden_layers == 2


def test_embeddings_go_to_the_pieces_of_their_names():
    """A teacher with other ids, and other names for what stands for no text."""
    own, (theirs, _) = tiny.fast(tiny.tokenizer()), families.tokenizer("MPNet")
    weights = torch.arange(2.0 * len(own)).view(-1, 2)
    rows = pretrained_start.embeddings(weights, own, theirs, "small")
    ids, known = theirs.get_vocab(), own.get_vocab()
    pairs = [(piece, piece) for piece in tiny.WORDS]
    pairs += [("<s>", "[CLS]"), ("</s>", "[SEP]"), ("<pad>", "[PAD]"), ("<unk>", "[UNK]")]
    for piece, name in pairs:
        assert rows[ids[piece]].tolist() == weights[known[name]].tolist()
    assert rows[ids[","]].tolist() == weights.mean(dim=0).tolist()


def test_a_student_with_a_start_learns_and_answers(corpus, tmp_path):
    given = f"--student tinybert --teacher {corpus}/teacher --train {corpus}/train.parquet"
    start = f"--start {corpus}/encoder --layers 2"
    more = f"{start} --output {tmp_path}/out --held_out 20 --augmented 100"
    more += " --max_length 32 --layer_epochs 0"
    assert distill.main(f"{given} {more} --epochs 12 --learning_rate 3e-3".split()) == 0
    log = json.loads((tmp_path / "out" / "training.json").read_text())
    assert log["scores"]["agreement of both, held-out"] >= 0.9
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["num_hidden_layers"], config["hidden_size"]) == (2, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layers", "3"], "--layers: expected at most the 2 of --start"),
        (["--hidden_size", "16"], "--start: expected no --hidden_size beside it"),
        (["--max_length", "100"], "--max_length: expected at most the 64 tokens"),
        (["--start", "{tmp}/other"], "--start .*: expected a BERT, found MPNetModel"),
        (["--start", "{tmp}/words"], "expected nine tenths of the teacher's .* pieces"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(corpus, tmp_path, options, message):
    checkpoint(tmp_path / "other", "MPNet")
    checkpoint(tmp_path / "words", "Bert")
    small = tiny.transformer(tmp_path / "two", hidden_size=16)
    given = f"--student tinybert --teacher {corpus}/teacher --train {corpus}/train.parquet"
    more = f"--start {small} --output {tmp_path}/out --held_out 20 --layers 1"
    options = [option.format(tmp=tmp_path) for option in options]
    with pytest.raises(RefusedError, match=message):
        distill.main([*given.split(), *more.split(), *options])
