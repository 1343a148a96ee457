"""Drivers of the peers that the training benchmarks run beside groundup; each is run in a process of its own.

    python benchmarks/peers.py throughput '{"peer": "nanogpt", "path": "...", "compile": false, ...}'
    python benchmarks/peers.py nanochat '{"path": "...", "tokens": "train.npy", ...}'

prints one JSON object. nanoGPT and nanochat are given by the path of a clone; litgpt and transformers come from
`.venv-peers` (`make peers`), whose interpreter then runs this file: it imports nothing of groundup.
"""

from __future__ import annotations

import json
import math
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F


def throughput(settings: dict[str, Any]) -> dict[str, Any]:
    """Tokens a second of forward + backward + clipping + AdamW on random tokens: the median after two warm-up steps."""
    V, T, B, L, D, K = (settings[key] for key in ("vocabulary", "context", "batch", "layers", "width", "heads"))
    torch.manual_seed(0)
    if settings["peer"] == "nanogpt":
        sys.path.insert(0, settings["path"])
        from model import GPT, GPTConfig  # type: ignore[import-not-found]

        model = GPT(GPTConfig(block_size=T, vocab_size=V, n_layer=L, n_head=K, n_embd=D, dropout=0.0, bias=False))
        optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")
        loss_of = lambda f, x, y: f(x, y)[1]  # noqa: E731
    elif settings["peer"] == "litgpt":
        from litgpt import GPT, Config  # type: ignore[import-not-found]

        model = GPT(
            Config(
                block_size=T, vocab_size=V, padded_vocab_size=V, n_layer=L, n_head=K, n_embd=D, rotary_percentage=1.0, bias=False,
                norm_class_name="RMSNorm", mlp_class_name="GptNeoxMLP", intermediate_size=4 * D, parallel_residual=False,
            )
        )  # fmt: skip
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        loss_of = lambda f, x, y: F.cross_entropy(f(x).flatten(0, 1).float(), y.flatten())  # noqa: E731
    else:
        from transformers import GPT2Config, GPT2LMHeadModel  # type: ignore[import-not-found]

        config = GPT2Config(
            vocab_size=V, n_positions=T, n_layer=L, n_head=K, n_embd=D, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False
        )
        model = GPT2LMHeadModel(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        loss_of = lambda f, x, y: F.cross_entropy(f(x).logits.flatten(0, 1).float(), y.flatten())  # noqa: E731
    began = time.perf_counter()
    forward = torch.compile(model) if settings["compile"] else model
    stretch = torch.randint(V, (B, T + 1))
    x, y = stretch[:, :-1].contiguous(), stretch[:, 1:].contiguous()
    times: list[float] = []
    for step in range(settings["steps"] + 2):
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16) if settings["bf16"] else nullcontext():
            loss = loss_of(forward, x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        float(loss.detach())
        times.append(time.perf_counter() - start)
        if step == 0:
            first = time.perf_counter() - began
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"tokens_per_second": B * T / sorted(times[2:])[len(times[2:]) // 2], "first_step_seconds": first, "parameters": parameters}


def nanochat(settings: dict[str, Any]) -> dict[str, Any]:
    """nanochat's own model, optimizer and schedules (scripts/base_train.py at 92d63d4) on a stream of tokens for so many
    minutes; bits per byte over the held-out windows that `settings` names."""
    sys.path.insert(0, settings["path"])
    import numpy as np
    from nanochat.gpt import GPT, GPTConfig  # type: ignore[import-not-found]

    depth, width, T, batch = settings["depth"], settings["width"], settings["context"], settings["batch_tokens"]
    V = settings["vocabulary"]
    config = GPTConfig(
        sequence_len=T, vocab_size=V, n_layer=depth, n_head=width // 64, n_kv_head=width // 64, n_embd=width, window_pattern="L"
    )
    torch.manual_seed(settings["seed"])
    stream = torch.from_numpy(np.load(settings["tokens"]).astype(np.int64))
    began = time.perf_counter()
    with torch.device("meta"):
        model = GPT(config)
        reference = GPT(GPTConfig(sequence_len=T, vocab_size=V, n_layer=12, n_head=6, n_kv_head=6, n_embd=768))
    model.to_empty(device="cpu")
    model.init_weights()
    scaling = lambda m: m.num_scaling_params()["transformer_matrices"] + m.num_scaling_params()["lm_head"]  # noqa: E731
    b_ref, ratio = 2**19, 12
    scale = math.sqrt(batch / b_ref)
    decay = 0.28 * math.sqrt(batch / b_ref) * scaling(reference) * ratio / (scaling(model) * ratio)
    optimizer = model.setup_optimizer(
        unembedding_lr=0.008 * scale, embedding_lr=0.3 * scale, scalar_lr=0.5 * scale, matrix_lr=0.02 * scale, weight_decay=decay
    )
    forward = torch.compile(model, dynamic=False) if settings["compile"] else model
    rows = batch // T
    draw = np.random.default_rng(settings["seed"])
    starts = np.arange(0, len(stream) - T - 1, T)
    draw.shuffle(starts)

    def step(it: int, steps: int) -> None:
        place = torch.from_numpy(np.take(starts, np.arange(it * rows, (it + 1) * rows), mode="wrap"))
        stretch = stream[place[:, None] + torch.arange(T + 1)]
        forward(stretch[:, :-1].contiguous(), stretch[:, 1:].contiguous()).backward()
        down = round(0.65 * steps)
        rate = (it + 1) / 40 if it < 40 else 1.0 if it <= steps - down else (p := (steps - it) / down) + (1 - p) * 0.05
        if it >= steps - down:
            momentum = 0.97 - 0.07 * (it - steps + down) / down
        else:
            momentum = 0.85 + 0.12 * min(it, 400) / 400
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * rate
            if group["kind"] == "muon":
                group["momentum"] = momentum
                group["weight_decay"] = decay * 0.5 * (1 + math.cos(math.pi * it / steps))
        optimizer.step()
        model.zero_grad(set_to_none=True)

    # its steps are given beforehand: one to compile, two to warm up, five to learn the speed, then as many as fit
    step(0, 10_000)
    first = time.perf_counter() - began
    for it in range(1, 3):
        step(it, 10_000)
    timed = time.perf_counter()
    for it in range(3, 8):
        step(it, 10_000)
    each = (time.perf_counter() - timed) / 5
    left = 60 * settings["minutes"] - (time.perf_counter() - began)
    if left < each:
        raise SystemExit(f"nanochat: {settings['minutes']} minutes are over before the ninth step; give more --minutes")
    steps = 8 + int(left / each)
    for it in range(8, steps):
        step(it, steps)
    seconds = time.perf_counter() - began
    model.eval()
    windows = np.load(settings["windows"])  # (N, T + 2): tokens, then the number scored and the length
    nats = 0.0
    with torch.inference_mode():
        for row in windows:
            scored, length = int(row[-2]), int(row[-1])
            tokens = torch.from_numpy(row[: length + 1])[None]
            logits = model(tokens[:, :-1])[0, -scored:].float()
            nats += float(F.cross_entropy(logits, tokens[0, -scored:], reduction="sum"))
    return {
        "bits_per_byte": nats / math.log(2) / settings["bytes"], "seconds": seconds, "steps": steps, "tokens": steps * batch,
        "tokens_per_second": steps * batch / seconds, "compile_seconds": first,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }  # fmt: skip


if __name__ == "__main__":
    what, text = sys.argv[1:]
    arguments = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
    print(json.dumps({"throughput": throughput, "nanochat": nanochat}[what](arguments)))
