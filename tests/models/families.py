"""Tiny configurations of language models that differ where it matters: positions, windows, heads, biases, tying."""

_SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 1024}
_GROUPED = {**_SIZES, "num_key_value_heads": 2}

FAMILIES = {
    "llama": {"model_type": "llama", **_GROUPED, "tie_word_embeddings": True},
    "smollm": {"model_type": "llama", **_SIZES, "hidden_size": 36, "num_attention_heads": 9, "num_key_value_heads": 3,
               "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", **_GROUPED, "head_dim": 8, "tie_word_embeddings": True},
    "gpt2": {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024},  # learned positions
    "mistral": {"model_type": "mistral", **_GROUPED, "sliding_window": 24},
    "gemma3_text": {
        "model_type": "gemma3_text", **_GROUPED, "head_dim": 8, "sliding_window": 24,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "phi": {"model_type": "phi", **_SIZES},  # a bias in the head
}  # fmt: skip

SCALED = {
    "gemma2": {"model_type": "gemma2", **_GROUPED, "head_dim": 8, "final_logit_softcapping": 5.0, "sliding_window": 24},
    "granite": {"model_type": "granite", **_GROUPED, "logits_scaling": 4.0},
    "cohere": {"model_type": "cohere", **_GROUPED},
}
"""Their logits are not head(hidden)."""

HYBRID = {
    "lfm2": {"model_type": "lfm2", **_GROUPED, "layer_types": ["conv", "full_attention"], "conv_L_cache": 3},
    "qwen3_next": {
        "model_type": "qwen3_next", **_GROUPED, "head_dim": 8, "layer_types": ["linear_attention", "full_attention"],
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16,
        "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    },
}  # fmt: skip
"""Layers that keep a state beside those that keep keys and values."""
