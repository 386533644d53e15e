"""Writes a tiny language model of random weights, for llama.cpp: `python tiny_gguf.py MODEL`.

Runs where the package gguf is, which is not among those that the tests install.
"""

import sys

import gguf
import numpy as np

WIDTH, LAYERS, HEADS, INNER, CONTEXT = 64, 2, 4, 128, 2048
WORDS = ["▁", '{"', "label", '":', '"}', "negative", "positive", "neutral", "▁film", "▁is", "▁good"]
TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"
)


def vocabulary(writer):
    """Pieces as SentencePiece has them: all bytes, and a few words."""
    normal, control, byte = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL, gguf.TokenType.BYTE
    special = [("<unk>", gguf.TokenType.UNKNOWN), ("<s>", control), ("</s>", control)]
    letters = [(chr(code), normal) for code in range(32, 127)]
    bytes_ = [(f"<0x{value:02X}>", byte) for value in range(256)]
    pieces = [*special, *bytes_, *((word, normal) for word in WORDS), *letters]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([piece for piece, _ in pieces])
    writer.add_token_scores([-float(place) for place in range(len(pieces))])
    writer.add_token_types([kind for _, kind in pieces])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_chat_template(TEMPLATE)
    return len(pieces)


def shapes(tokens):
    """Of all tensors, by name."""
    yield "token_embd.weight", (tokens, WIDTH)
    yield "output.weight", (tokens, WIDTH)
    yield "output_norm.weight", (WIDTH,)
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{layer}.{name}.weight", (WIDTH,)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"blk.{layer}.{name}.weight", (WIDTH, WIDTH)
        for name, shape in {
            "gate": (INNER, WIDTH),
            "up": (INNER, WIDTH),
            "down": (WIDTH, INNER),
        }.items():
            yield f"blk.{layer}.ffn_{name}.weight", shape


def main(path):
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    tokens = vocabulary(writer)
    writer.add_vocab_size(tokens)
    for name, shape in shapes(tokens):
        spread = 0.25 if len(shape) > 1 else 0.0
        values = rng.normal(0.0 if spread else 1.0, spread, shape)
        writer.add_tensor(name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1])
