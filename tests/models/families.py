"""Tiny checkpoints of every family: transformers' own classes, and tokenizers as they have them."""

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tests import tiny

CLASSIFIER = "ForSequenceClassification"
# Sizes go by many names; each configuration takes those that it knows.
WIDE, LAYERS, HEADS, INNER, POSITIONS = 32, 2, 4, 64, 640
NAMES = {
    **dict.fromkeys(("hidden_size", "d_model", "dim", "n_embd", "emb_dim", "embedding_size"), WIDE),
    **dict.fromkeys(("num_hidden_layers", "n_layers", "n_layer", "num_layers"), LAYERS),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_heads", "n_head", "num_heads"), HEADS),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), HEADS),
    **dict.fromkeys(("intermediate_size", "hidden_dim", "d_inner", "d_ff"), INNER),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "ffn_dim", "dff"), INNER),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), POSITIONS),
}
# By class, with what its configuration needs besides.
PACKED = {
    "Bert": {},
    "DistilBert": {},
    "Roberta": {},
    "Camembert": {},
    "XLMRoberta": {},
    "MPNet": {},
}
OTHERS = {
    "Electra": {},
    "Albert": {},
    "Deberta": {},
    "DebertaV2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "ModernBert": {"global_attn_every_n_layers": 2},
    "GPT2": {},
    "Qwen2": {"num_key_value_heads": 2},
    "Llama": {"num_key_value_heads": 2},
    "Mistral": {"num_key_value_heads": 2, "sliding_window": 32},
    "Gemma": {"num_key_value_heads": 2, "head_dim": 8},
    "RemBert": {"input_embedding_size": 16},
    "MobileBert": {"embedding_size": 16, "intra_bottleneck_size": 32},
    "Longformer": {"attention_window": [16, 16]},
    "Bart": {},
    "T5": {"d_kv": 8, "decoder_start_token_id": 0},
    "BigBird": {"block_size": 8, "num_random_blocks": 2},
    "Funnel": {"block_sizes": [1, 1], "d_head": 8},
    "XLNet": {},
    "SqueezeBert": {
        "q_groups": 1,
        "k_groups": 1,
        "v_groups": 1,
        "post_attention_groups": 1,
        "intermediate_groups": 1,
        "output_groups": 1,
    },
    "ConvBert": {},
    "FNet": {},
    "RoFormer": {},
    "XLM": {},
    "OPT": {"word_embed_proj_dim": WIDE},
}


def tokenizer(family, **changes):
    """A word-piece tokenizer with the special tokens and the template that a family knows."""
    roberta = family in ("Roberta", "Camembert", "XLMRoberta", "MPNet", "Longformer", "Bart")
    names = ("<pad>", "<unk>", "<s>", "</s>") if roberta else ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    pieces = [*names, *tiny.WORDS, *(chr(code) for code in range(98, 123)), ",", "["]
    backend = Tokenizer(models.WordPiece({p: n for n, p in enumerate(pieces)}, unk_token=names[1]))
    backend.add_special_tokens(list(names))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    _, _, cls, sep = names
    single, two = f"{cls} $A {sep}", f"{cls} $A {sep} $B:1 {sep}:1"
    if roberta:
        two = f"{cls} $A {sep} {sep} $B {sep}"
    elif family in ("GPT2", "Qwen2"):
        single, two = "$A", "$A $B"
    elif family in ("Llama", "Mistral", "Gemma", "OPT"):
        single, two = f"{cls} $A", f"{cls} $A {cls} $B"
    elif family == "T5":
        single, two = f"$A {sep}", f"$A {sep} $B {sep}"
    elif family == "XLNet":
        single, two = f"$A {sep} {cls}:2", f"$A {sep} $B:1 {sep}:1 {cls}:2"
    ids = [(name, backend.token_to_id(name)) for name in names[2:]]
    backend.post_processor = processors.TemplateProcessing(
        single=single, pair=two, special_tokens=ids
    )
    special = {"pad": names[0], "unk": names[1], "cls": cls, "sep": sep}
    inputs = ["input_ids", "attention_mask"]
    if not roberta and family not in (
        "DistilBert",
        "GPT2",
        "Qwen2",
        "Llama",
        "Mistral",
        "Gemma",
        "OPT",
        "T5",
        "XLM",
        "ModernBert",
    ):
        inputs.append("token_type_ids")
    given = {f"{name}_token": token for name, token in special.items()}
    fast = PreTrainedTokenizerFast(
        **{"tokenizer_object": backend, "model_max_length": 512, "model_input_names": inputs}
        | given
        | changes
    )
    return fast, tuple(special.items())


def checkpoint(
    folder, family, *, head=CLASSIFIER, stated=(), pad=0, positions=POSITIONS, **changes
):
    """A tiny network of a family, whose weights are large enough that everything matters.

    Args:
      head: how the name of transformers' class ends.
      stated: what its configuration says besides.
      changes: to the tokenizer.
    """
    fast, special = tokenizer(family, **changes)
    config_class = getattr(transformers, f"{family}Config")
    more = (PACKED | OTHERS).get(family, {})
    known = config_class().to_dict()
    sizes = {name: size for name, size in NAMES.items() if name in known}
    sizes |= {name: positions for name in sizes if "position" in name}
    config = config_class(
        **{
            **sizes,
            "vocab_size": len(fast) + 3,
            "num_labels": 3 if head == CLASSIFIER else 2,
            "pad_token_id": 0,
            **more,
            **dict(stated),
        }
        | {"bos_token_id": 2, "eos_token_id": 3, "dropout": 0.0}
    )
    config.pad_token_id = pad
    torch.manual_seed(0)
    network = getattr(transformers, family + head)(config)
    generator = torch.Generator().manual_seed(1)
    for name, weight in network.named_parameters():
        if weight.ndim > 1:
            noise = torch.randn(weight.shape, generator=generator)
            # Padding's own row as well: what looks at it must be seen to.
            weight.data = noise * (
                0.5 if "embed" in name or "wpe" in name else weight.shape[-1] ** -0.5
            )
    network.save_pretrained(folder)
    fast.save_pretrained(folder)
    return special
