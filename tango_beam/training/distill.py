"""Distils a second tier into a BiLSTM: squared error on the teacher's logits.

TangoBERT, section 4.2, after Tang et al. (2019). The student reads the teacher's own word pieces
(a text is then tokenized once for both tiers) or words of its own (the paper's student).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from tokenizers import Tokenizer
from torch.nn import functional

from tango_beam.models.bilstm import BiLSTM, BiLSTMNetwork
from tango_beam.models.bilstm_config import BiLSTMConfig
from tango_beam.models.tokens import Tokens
from tango_beam.models.transformer import Transformer
from tango_beam.training import schedule, vocabulary
from tango_beam.training.settings import DistillConfig

logger = logging.getLogger(__name__)

# Spread of a fresh embedding; vectors that start from elsewhere are brought to it.
EMBEDDING_SPREAD = 0.3


def pieces_student(teacher: Transformer, config: BiLSTMConfig, seed: int) -> BiLSTM:
    """An untrained student that reads the teacher's word pieces.

    Its embeddings start from the teacher's, projected on their first principal components.
    """
    torch.manual_seed(seed)
    vectors = teacher.network.get_input_embeddings().weight.detach().float()
    centred = vectors - vectors.mean(dim=0)
    _, _, directions = torch.pca_lowrank(centred, q=config.embedding_size, center=False)
    projected = centred @ directions
    config = replace(config, vocabulary_size=len(vectors), pad_id=teacher.tokenizer.pad_id)
    network = BiLSTMNetwork(config)
    with torch.no_grad():
        network.embedding.weight.copy_(projected * (EMBEDDING_SPREAD / projected.std()))
    return BiLSTM(config, network, teacher.tokenizer.plain())


def words_student(
    texts: list[str], config: BiLSTMConfig, seed: int, vectors: str | None = None
) -> BiLSTM:
    """An untrained student that reads words: the paper's, with GloVe where a file is given."""
    torch.manual_seed(seed)
    tokenizer: Tokenizer = vocabulary.word_tokenizer(texts, config.vocabulary_size)
    config = replace(config, vocabulary_size=tokenizer.get_vocab_size(), pad_id=0)
    network = BiLSTMNetwork(config)
    with torch.no_grad():
        torch.nn.init.normal_(network.embedding.weight, std=EMBEDDING_SPREAD)
        if vectors:
            ids, found = vocabulary.word_vectors(vectors, tokenizer, config.embedding_size)
            scaled = torch.from_numpy(found * (EMBEDDING_SPREAD / found.std()))
            network.embedding.weight[torch.from_numpy(ids)] = scaled
            logger.info("%d of %d words start from %s", len(ids), config.vocabulary_size, vectors)
    return BiLSTM(config, network, tokenizer)


def distill(
    student: BiLSTM,
    texts: list[str],
    teacher_logits: npt.NDArray[np.float32],
    config: DistillConfig,
    rank: Callable[[BiLSTM], dict[str, float]] | None = None,
) -> list[dict[str, float]]:
    """Trains a student in place on the teacher's logits.

    Args:
      student: from `pieces_student` or `words_student`.
      texts: labelled, unlabelled and augmented ones alike.
      teacher_logits: float32, shape [rows, labels].
      config: see `DistillConfig`.
      rank: called after every epoch; returns scores to log.

    Returns:
      One dict an epoch: its mean loss and what `rank` said.
    """
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    tokens = _tokenize(student, texts)
    goal = torch.from_numpy(teacher_logits)
    usable = np.flatnonzero(tokens.lengths > 0)
    lengths = tokens.lengths[usable]
    plans = [
        [
            usable[rows]
            for rows in schedule.epoch_batches(lengths, config.batch_size, rng, exact=True)
        ]
        for _ in range(config.epochs)
    ]
    steps, step = sum(map(len, plans)), 0
    optimizer = schedule.optimizer(student.network, config.learning_rate, config.weight_decay)
    history = []
    for epoch, plan in enumerate(plans, start=1):
        student.network.train()
        total = 0.0
        for rows in schedule.logged(plan, f"epoch {epoch} of {config.epochs}"):
            rate = config.learning_rate * schedule.linear_decay(step, steps, config.warm_up)
            for group in optimizer.param_groups:
                group["lr"] = rate
            ids = torch.from_numpy(tokens.padded(rows, student.config.pad_id))
            loss = functional.mse_loss(student.network(ids), goal[rows])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            total += float(loss.detach()) * len(rows)
            step += 1
        student.network.eval()
        scores = {"epoch": epoch, "loss": total / len(usable)}
        scores |= rank(student) if rank else {}
        logger.info("%s", {name: round(value, 4) for name, value in scores.items()})
        history.append(scores)
    return history


def _tokenize(student: BiLSTM, texts: list[str], window: int = 65_536) -> Tokens:
    """Tokens of many texts; windows keep the tokenizer's own objects few."""
    parts = [
        student.tokenize(pa.array(texts[at : at + window])) for at in range(0, len(texts), window)
    ]
    lengths = np.concatenate([part.lengths for part in parts])
    return Tokens(
        ids=np.concatenate([part.ids for part in parts]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        truncated=np.concatenate([part.truncated for part in parts]),
    )
