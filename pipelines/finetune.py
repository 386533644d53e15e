"""Fine-tunes an encoder into a second tier: `python -m pipelines.finetune --encoder ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tango_beam import command_line, logs
from tango_beam.command_line import DONE, Parser
from tango_beam.training.finetune_options import FinetuneOptions

DESCRIPTION = """\
Fine-tunes a Hugging Face encoder on labelled texts into a second tier.

A row bears a label, several (a column of lists, or of texts that are JSON arrays), a score
(--task score), or answers that stand in its context (--task span). The checkpoint's config.json
says which, for transformers' pipelines too.

--held_out sets rows aside first; choose seed and epochs on those. Where rows are phrases of one
another, these are whole sentences, with every training row that lies inside one of them; see
--held_out_by. --dev is scored once, at the end, to report.

  python -m pipelines.finetune --encoder all-MiniLM-L6-v2 --train sst2/train.parquet \\
      --held_out 1500 --dev sst2/dev.parquet --output second_tier
  python -m pipelines.finetune --task span --encoder all-mpnet-base-v2 --train squad.parquet \\
      --text_column question --text_pair_column context --label_column answers \\
      --held_out 1000 --held_out_by title --max_length 384 --batch_size 16 --output reader
"""


def parser() -> Parser:
    """The command line."""
    return command_line.parser_of(FinetuneOptions, "pipelines.finetune", DESCRIPTION)


def main(arguments: Sequence[str]) -> int:
    """Trains, scores and saves; returns the exit code."""
    ours = parser().parse_args(arguments)
    options = command_line.options_of(FinetuneOptions, ours)
    command_line.quiet(ours.verbose)
    command_line.talk("tango_beam.training")
    # torch takes seconds to import; a misspelt option need not wait for it.
    from tango_beam.training.finetune import run

    scores = run(options, command_line.as_given("pipelines.finetune", arguments))
    for name, value in scores.items():
        print(f"{name}: {value:.4f}")
    print(f"saved: {options.output}")
    logs.say("saved", {"output": options.output, **scores}, only_json=True)
    return DONE


if __name__ == "__main__":
    command_line.run_main(lambda: main(sys.argv[1:]))
