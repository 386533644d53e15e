"""Pairs of a question and a sentence, made of questions about paragraphs: QNLI's task.

    python -m benchmarks.question_pairs --squad DATA/squad/train_subset.parquet --output pairs.parquet

QNLI was made of SQuAD in this way (Wang et al., "GLUE", 2019, section 3.3), and its train split is
not at hand. Each question stands twice: with the sentence that its answer lies in (`entailment`),
and with one of the two other sentences of the paragraph that share most words with it
(`not_entailment`). Questions of one article have one title, to hold whole articles out by.

`--more` writes pairs without a label, for a teacher to label: each question with every sentence of
its paragraph, and with some of its article. They are of all articles: a student's scores on
articles that its training holds out are flattered by them, those on QNLI's dev rows are not.
"""

import argparse
import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])")
# Behind these no sentence ends, though it looks so.
_SHORT = re.compile(r"\b(?:[A-Z]|Mr|Mrs|Ms|Dr|St|vs|No|Jr|Sr|Prof|Gen|Col|Lt|ca|c|e\.g|i\.e)\.$")
_WORD = re.compile(r"\w+")
OTHERS = 2


def sentence_spans(paragraph: str) -> list[tuple[int, int]]:
    """Where each sentence of a paragraph begins and ends, in characters."""
    edges = [0]
    for found in _SENTENCE_END.finditer(paragraph):
        if not _SHORT.search(paragraph[edges[-1] : found.start()]):
            edges.append(found.end())
    return list(zip(edges, [*edges[1:], len(paragraph)], strict=True))


def pairs_of(row: dict, rng: np.random.Generator) -> Iterator[dict[str, str]]:
    """The two pairs of a question; none where its paragraph is one sentence."""
    paragraph, at = row["context"], row["answer_starts"][0]
    spans = sentence_spans(paragraph)
    if len(spans) < 2:
        return
    sentences = [paragraph[start:end].strip() for start, end in spans]
    own = next(number for number, (_, end) in enumerate(spans) if at < end)
    asked = {*_WORD.findall(row["question"].lower())}
    shared = [len(asked & {*_WORD.findall(sentence.lower())}) for sentence in sentences]
    others = sorted((n for n in range(len(spans)) if n != own), key=lambda n: -shared[n])[:OTHERS]
    other = others[int(rng.integers(len(others)))]
    for number, label in ((own, "entailment"), (other, "not_entailment")):
        yield {
            "text": row["question"],
            "text_pair": sentences[number],
            "label": label,
            "title": row["title"],
        }


def more_pairs(rows: list[dict], each: int, seed: int = 0) -> Iterator[dict[str, str]]:
    """Questions with each sentence of their paragraphs, and with some of their articles.

    Args:
      rows: questions about paragraphs.
      each: sentences of the article for a question, drawn at random.
      seed: of the draw.
    """
    rng, of_paragraph, of_article = np.random.default_rng(seed), {}, dict[str, list[str]]()
    for paragraph, title in {row["context"]: row["title"] for row in rows}.items():
        sentences = [paragraph[start:end].strip() for start, end in sentence_spans(paragraph)]
        of_paragraph[paragraph] = sentences
        of_article.setdefault(title, []).extend(sentences)
    for row in rows:
        others = of_article[row["title"]]
        drawn = rng.choice(len(others), min(each, len(others)), replace=False)
        for sentence in (*of_paragraph[row["context"]], *(others[number] for number in drawn)):
            yield {"text": row["question"], "text_pair": sentence}


def write_more(squad: str, output: str, each: int, seed: int = 0) -> int:
    """Writes pairs without a label; returns how many there are."""
    pairs = [*more_pairs(pq.read_table(squad).to_pylist(), each, seed)]
    pq.write_table(pa.Table.from_pylist(pairs), output, compression="zstd")
    return len(pairs)


def write(squad: str, output: str, seed: int = 0) -> tuple[int, int]:
    """Writes the pairs of a file of questions; returns how many of both there are."""
    rng = np.random.default_rng(seed)
    rows = pq.read_table(squad).to_pylist()
    pairs = [pair for row in rows for pair in pairs_of(row, rng)]
    pq.write_table(pa.Table.from_pylist(pairs), output, compression="zstd")
    return len(rows), len(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Pairs of question and sentence, as QNLI has them."
    )
    parser.add_argument("--squad", required=True, help="questions, contexts and answer_starts")
    parser.add_argument("--output", required=True, help="a Parquet file")
    parser.add_argument("--more", help="a Parquet file of pairs without a label")
    parser.add_argument(
        "--more_each", type=int, default=3, help="of the article, for each question"
    )
    parser.add_argument("--seed", type=int, default=0)
    ours = parser.parse_args()
    rows, pairs = write(ours.squad, ours.output, ours.seed)
    print(f"{rows:,} questions, {pairs:,} pairs")
    if ours.more:
        more = write_more(ours.squad, ours.more, ours.more_each, ours.seed)
        print(f"{more:,} pairs without a label")


if __name__ == "__main__":
    main()
