"""A small student that starts from a small pretrained BERT, on its teacher's vocabulary.

TinyBERT's general distillation (Jiao et al., 2020, section 3.2) needs the teacher's pretraining
corpus. Where that is not at hand, a small encoder that was pretrained on another one brings what
it read: its embeddings go to the teacher's pieces by what the pieces are called, its layers are
taken evenly spaced.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch
from transformers import AutoModel, BertForSequenceClassification, BertModel

from tango_beam.errors import RefusedError
from tango_beam.models.transformer import no_progress_bar, read_tokenizer
from tango_beam.training import inputs, layers
from tango_beam.training.distill_options import DistillOptions

logger = logging.getLogger(__name__)

# What tokenizers call the tokens that stand for no text.
_ROLES = ("cls_token", "sep_token", "pad_token", "unk_token", "mask_token")
_SHAPE = ("hidden_size", "feed_forward_size", "heads")
# So many of the teacher's pieces the encoder must know at least.
_KNOWN = 0.9


def student_of(options: DistillOptions, teacher: Any, tokenizer: Any) -> Any:
    """A BERT with the teacher's pieces and labels, and the layers of `--start`; its head is fresh.

    Args:
      options: start and layers.
      teacher: the configuration whose labels the student gets.
      tokenizer: the teacher's, a fast one of transformers.

    Returns:
      A network of transformers, in float32.

    Raises:
      RefusedError: another kind of encoder than BERT, another shape than asked for, too few layers
        or positions, or other pieces than the teacher's.
    """
    source = str(options.start)
    _refuse_shape(options)
    with inputs.naming("--start", source), no_progress_bar():
        small = AutoModel.from_pretrained(
            source, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
        )
        pieces = read_tokenizer(source)
    _refuse_encoder(small, options)
    layers.keep_layers(small, options.layers)
    config = copy.deepcopy(small.config)
    config.update(
        {
            "num_labels": teacher.num_labels,
            "id2label": teacher.id2label,
            "label2id": teacher.label2id,
            "problem_type": teacher.problem_type,
            "pad_token_id": tokenizer.pad_token_id,
            "vocab_size": len(tokenizer),
        }
    )
    rows = embeddings(small.get_input_embeddings().weight.detach(), pieces, tokenizer, source)
    torch.manual_seed(options.seed)
    network = BertForSequenceClassification(config)
    body = {name: weight for name, weight in small.state_dict().items() if "word_emb" not in name}
    network.base_model.load_state_dict(body, strict=False)
    with torch.no_grad():
        network.get_input_embeddings().weight.copy_(rows)
    return network


def _refuse_encoder(small: Any, options: DistillOptions) -> None:
    """Raises RefusedError for no BERT, or one of too few layers or positions."""
    source, known = options.start, small.config
    if not isinstance(small, BertModel):
        raise RefusedError(f"--start {source}: expected a BERT, found {type(small).__name__}")
    if options.layers > known.num_hidden_layers:
        raise RefusedError(
            f"--layers: expected at most the {known.num_hidden_layers} of --start {source}, found "
            f"{options.layers}"
        )
    if options.max_length > known.max_position_embeddings:
        raise RefusedError(
            f"--max_length: expected at most the {known.max_position_embeddings} tokens that "
            f"--start {source} reads, found {options.max_length}"
        )


def embeddings(weights: torch.Tensor, own: Any, tokenizer: Any, source: str) -> torch.Tensor:
    """The embedding of each of the teacher's pieces; the mean of all for a piece that is unknown.

    Args:
      weights: of the encoder's pieces, shape [its vocabulary, hidden size].
      own: the encoder's tokenizer.
      tokenizer: the teacher's.
      source: of the encoder, for a refusal.

    Returns:
      Shape [the teacher's vocabulary, hidden size].

    Raises:
      RefusedError: the encoder knows too few of the pieces.
    """
    known = own.get_vocab()
    names = {getattr(tokenizer, role): getattr(own, role) for role in _ROLES}
    rows = weights.mean(dim=0).repeat(len(tokenizer), 1)
    places = {
        index: known[names.get(piece, piece)]
        for piece, index in tokenizer.get_vocab().items()
        if names.get(piece, piece) in known
    }
    if len(places) < _KNOWN * len(tokenizer):
        raise RefusedError(
            f"--start {source}: expected nine tenths of the teacher's {len(tokenizer):,} pieces or "
            f"more in its vocabulary, found {len(places):,}"
        )
    logger.info("%s of %s pieces start from %s", f"{len(places):,}", f"{len(rows):,}", source)
    rows[[*places]] = weights[[*places.values()]]
    return rows


def _refuse_shape(options: DistillOptions) -> None:
    """Raises RefusedError for a shape of its own, where the student has that of its start."""
    stated = [f"--{name}" for name in _SHAPE if name in options.stated]
    if stated:
        raise RefusedError(
            f"--start: expected no {' and no '.join(stated)} beside it, since the student has the "
            "shape of the encoder that it starts from"
        )
