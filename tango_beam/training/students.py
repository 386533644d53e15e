"""Untrained students: what they read, and what their embeddings start from."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import torch
from tokenizers import Tokenizer

from tango_beam.errors import RefusedError
from tango_beam.models.bilstm import BiLSTM, BiLSTMNetwork
from tango_beam.models.bilstm_config import BiLSTMConfig
from tango_beam.models.static import StaticModel, StaticNetwork
from tango_beam.models.static_config import StaticConfig
from tango_beam.models.tokens import TextTokenizer
from tango_beam.models.transformer import Transformer
from tango_beam.training import texts, tinybert, vocabulary
from tango_beam.training.distill_options import DistillOptions

logger = logging.getLogger(__name__)

Student = BiLSTM | StaticModel | Transformer

# Spread of a fresh embedding; vectors that start from elsewhere are brought to it.
EMBEDDING_SPREAD = 0.3


# Of a static student, where an option was left as it is. A step takes as long as the optimizer over
# all embeddings, whatever the rows: so there are many rows in it.
_STATIC = {
    "embedding_size": StaticConfig.embedding_size,
    "feed_forward_size": StaticConfig.feed_forward_size,
    "batch_size": 1024,
    "learning_rate": 5e-3,
}
# TinyBERT4's shape.
_TINYBERT = {
    "layers": 4,
    "hidden_size": 312,
    "feed_forward_size": 1200,
    "epochs": 3,
    "batch_size": 32,
}
_EXITS = {"epochs": 3, "batch_size": 256, "learning_rate": 1e-3}
_USUAL: dict[str, dict[str, Any]] = {
    "static": _STATIC,
    "tinybert": _TINYBERT,
    "exits": _EXITS,
}


def settled(options: DistillOptions) -> DistillOptions:
    """The options with the kind of student's own values where one was left as it is."""
    return replace(options, **options.usual(**_USUAL.get(options.student, {})))


def make(
    options: DistillOptions, teacher: Transformer, problem_type: str, rows: list[texts.Row]
) -> Student:
    """The student that the options ask for.

    Args:
      options: see `DistillOptions`.
      teacher: gives labels, pieces and first embeddings.
      problem_type: what its outputs are, in transformers' words.
      rows: whose words a student of words reads.

    Raises:
      RefusedError: options that do not fit the teacher.
    """
    if options.student == "words":
        shape = options.shape(teacher.labels, problem_type)
        words = [text for row in rows for text in row]
        return words_student(words, shape, options.seed, options.vectors)
    small = options.student == "tinybert"
    option = "hidden_size" if small else "embedding_size"
    width = getattr(options, option)
    widest = min(teacher.network.get_input_embeddings().weight.shape)
    if width > widest and not options.start:
        raise RefusedError(f"--{option}: expected at most the teacher's {widest}, found {width}")
    if small:
        spread = tinybert.SPREAD / EMBEDDING_SPREAD
        return tinybert.start(
            teacher, options, lambda: _projected(teacher, width, options.seed) * spread
        )
    if options.student == "pieces":
        shape = options.shape(teacher.labels, problem_type)
        return pieces_student(teacher, shape, options.seed)
    separator = _separator(teacher.tokenizer) if options.text_pair_column else None
    static = options.static_shape(teacher.labels, problem_type, separator)
    return static_student(teacher, static, options.seed)


def pieces_student(teacher: Transformer, config: BiLSTMConfig, seed: int) -> BiLSTM:
    """A BiLSTM that reads the teacher's word pieces, and starts from its embeddings."""
    vectors = _projected(teacher, config.embedding_size, seed)
    config = replace(config, vocabulary_size=len(vectors), pad_id=teacher.tokenizer.pad_id)
    network = BiLSTMNetwork(config)
    network.embedding.weight.data.copy_(vectors)
    return BiLSTM(config, network, teacher.tokenizer.sided())


def static_student(teacher: Transformer, config: StaticConfig, seed: int) -> StaticModel:
    """A static model over the teacher's word pieces, which starts from its embeddings."""
    vectors = _projected(teacher, config.embedding_size, seed)
    config = replace(config, vocabulary_size=len(vectors), pad_id=teacher.tokenizer.pad_id)
    network = StaticNetwork(config)
    network.embedding.weight.data.copy_(vectors)
    return StaticModel(config, network, teacher.tokenizer.sided())


def _projected(teacher: Transformer, width: int, seed: int) -> torch.Tensor:
    """The teacher's embeddings, projected on their first principal components."""
    torch.manual_seed(seed)
    vectors = teacher.network.get_input_embeddings().weight.detach().float().cpu()
    centred = vectors - vectors.mean(dim=0)
    _, _, directions = torch.pca_lowrank(centred, q=width, center=False)
    projected = centred @ directions
    return projected * (EMBEDDING_SPREAD / projected.std())


def _separator(tokenizer: TextTokenizer) -> int:
    """Id of the token that stands behind the first text of a pair.

    Raises:
      RefusedError: the tokenizer puts none there.
    """
    encoding = tokenizer.plain().encode("a", "a")
    of_text = encoding.sequence_ids
    behind = len(of_text) - of_text[::-1].index(0)
    if of_text[behind] is not None:
        raise RefusedError(
            "--student static: expected a teacher whose tokenizer puts a token between the texts "
            "of a pair, found one that puts none; --student pieces needs none"
        )
    return int(encoding.ids[behind])


def words_student(
    texts: list[str], config: BiLSTMConfig, seed: int, vectors: str | None = None
) -> BiLSTM:
    """A BiLSTM that reads words: the paper's student, with GloVe where a file is given."""
    torch.manual_seed(seed)
    tokenizer: Tokenizer = vocabulary.word_tokenizer(texts, config.vocabulary_size)
    config = replace(config, vocabulary_size=tokenizer.get_vocab_size(), pad_id=0)
    network = BiLSTMNetwork(config)
    with torch.no_grad():
        torch.nn.init.normal_(network.embedding.weight, std=EMBEDDING_SPREAD)
        if vectors:
            ids, known = vocabulary.word_vectors(vectors, tokenizer, config.embedding_size)
            scaled = torch.from_numpy(known * (EMBEDDING_SPREAD / known.std()))
            network.embedding.weight[torch.from_numpy(ids)] = scaled
            logger.info("%d of %d words start from %s", len(ids), config.vocabulary_size, vectors)
    return BiLSTM(config, network, tokenizer)
