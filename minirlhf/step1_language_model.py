"""Step 1: a language model.  Pretraining on a corpus, then fine-tuning on demonstrations (SFT).

Both are the same training with the same loss, cross-entropy of the next token; they differ in what
counts.  Pretraining counts every character of every text.  Supervised fine-tuning (Ouyang et al.
2022, arXiv 2203.02155, section 3.5) counts the response and its EOS: the prompt is given, the
model need not learn to ask.  SFT is optional: PPO can start from the pretrained model.  A token is
a character or EOS, so nats per token are nats per character.

Where this departs from GPT-2 and InstructGPT:
1. Texts are single documents, padded and masked, not a packed stream of tokens.
2. No dropout: PPO must score with the very distribution it sampled from.
3. The loss is a mean over all counted tokens of the batch, so a long text weighs more.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minirlhf.adam import adam_step, clip_gradient, init_adam, learning_rate
from minirlhf.checkpoint import fingerprint, resumable
from minirlhf.data import Example, Texts, make_batch, shuffled_order
from minirlhf.gpt import (
    GPTConfig,
    Params,
    gpt_backward,
    gpt_forward,
    lm_head_backward,
    lm_head_forward,
    lm_head_weight,
)
from minirlhf.layers import token_logprobs_backward, token_logprobs_forward

KIND = "language model"  # what its files say they hold


@dataclass(frozen=True, kw_only=True)
class LanguageModelSettings:
    """How a language model is trained."""

    response_only: bool = False  # False: pretraining; True: SFT
    steps: int = 600  # optimiser steps
    batch_size: int = 32  # texts per step
    learning_rate: float = 3e-3  # peak
    warmup: int = 20  # steps of linear warm-up
    schedule: str = "cosine"  # cosine, linear or constant
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    save_every: int = 100  # steps between two resume files
    evaluate_every: int = 100  # steps between two looks at the held-out texts


# ---- loss -----------------------------------------------------------------------------------


def cross_entropy(
    logits: np.ndarray, targets: np.ndarray, mask: np.ndarray
) -> tuple[float, np.ndarray]:
    """Mean of -log pi(target) over the tokens where mask is 1, in nats.

    logits (B, T, V), targets (B, T) ids, mask (B, T) of 0/1 -> loss, dlogits (B, T, V).
    Raises ValueError if the mask is 0 everywhere.
    """
    n_tokens = float(mask.sum())
    if n_tokens == 0:
        raise ValueError(f"mask {mask.shape} is 0 everywhere: there is no token to learn from")
    mask = mask.astype(logits.dtype)  # a float64 mask would turn the gradient into float64
    logprobs, cache = token_logprobs_forward(logits, targets)  # (B, T)
    loss = -float((logprobs * mask).sum()) / n_tokens
    dlogits = token_logprobs_backward(-mask / n_tokens, cache)  # (B, T, V)
    return loss, dlogits


def language_model_loss(
    params: Params, config: GPTConfig, inputs: np.ndarray, targets: np.ndarray, mask: np.ndarray
) -> tuple[float, Params]:
    """inputs, targets, mask (B, T) -> loss in nats per token, grads (Params)."""
    hidden, cache = gpt_forward(params, config, inputs)  # (B, T, C)
    logits, head_cache = lm_head_forward(params, hidden)  # (B, T, V)
    loss, dlogits = cross_entropy(logits, targets, mask)
    dhidden, dw = lm_head_backward(params, dlogits, head_cache)
    grads = gpt_backward(params, config, dhidden, cache)
    lm_head_weight(grads)[...] += dw  # += : a tied wte is lookup and head at once
    return loss, grads


def evaluate_loss(
    params: Params, config: GPTConfig, examples: list[Example], response_only: bool, batch_size=256
) -> float:
    """Mean loss over all counted tokens of the examples, in nats per token.  No gradient."""
    total, n_tokens = 0.0, 0.0
    for start in range(0, len(examples), batch_size):
        inputs, targets, mask = make_batch(examples[start : start + batch_size], response_only)
        logits, _ = lm_head_forward(params, gpt_forward(params, config, inputs)[0])
        logprobs, _ = token_logprobs_forward(logits, targets)  # (B, T)
        total -= float((logprobs * mask).sum())
        n_tokens += float(mask.sum())
    return total / n_tokens


# ---- what the loss is worth -----------------------------------------------------------------


def unigram_entropy(examples: list[Example], vocab_size: int) -> float:
    """Loss of the best model that knows only how often each token occurs, in nats per token.

    Counted over the targets of pretraining: every character and the EOS of every text.
    """
    counts = np.zeros(vocab_size)  # (V,)
    for example in examples:
        np.add.at(counts, example.ids[1:], 1)
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def bigram_entropy(examples: list[Example], vocab_size: int) -> float:
    """Loss of the best model that sees one token back, in nats per token."""
    counts = np.zeros((vocab_size, vocab_size))  # (V, V)  row: previous token, column: target
    for example in examples:
        np.add.at(counts, (example.ids[:-1], example.ids[1:]), 1)
    p = counts / counts.sum()
    conditional = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    seen = counts > 0
    return float(-(p[seen] * np.log(conditional[seen])).sum())


# ---- training -------------------------------------------------------------------------------


def train_language_model(
    params: Params, config: GPTConfig, texts: Texts, settings: LanguageModelSettings,
    rng: np.random.Generator, resume_path: Path | None = None, progress=iter,
) -> list[dict]:
    """Train params in place -> history, list of {"step", "loss", "held_out_loss", ...}.

    Losses in nats per token (held_out_loss is None between two evaluations).  resume_path: where
    the run is kept every save_every steps and on Ctrl-C; if the file is there, the run goes on from
    it.  progress: wraps the range of steps (tqdm).
    """
    order = shuffled_order(len(texts.training), settings.batch_size, settings.steps, rng)
    adam = init_adam(params)
    data = fingerprint([texts.training, order.tolist()], params)
    with resumable(
        resume_path, KIND, settings, data, {"model": params}, {"model": adam}
    ) as run:
        for step in progress(run.steps(settings.steps)):
            started = time.perf_counter()
            batch = [texts.training[i] for i in order[step]]
            inputs, targets, mask = make_batch(batch, settings.response_only)  # each (B, T)
            loss, grads = language_model_loss(params, config, inputs, targets, mask)
            norm = clip_gradient(grads, settings.max_grad_norm)
            lr = learning_rate(
                step, settings.steps, settings.learning_rate, settings.warmup, settings.schedule
            )
            adam_step(params, grads, adam, lr, weight_decay=settings.weight_decay)
            row = {"step": step, "loss": loss, "held_out_loss": None, "grad_norm": norm, "lr": lr}
            last = step + 1 == settings.steps
            if texts.held_out and (last or step % settings.evaluate_every == 0):
                row["held_out_loss"] = evaluate_loss(
                    params, config, texts.held_out, settings.response_only
                )
            run.record(row | {"seconds": time.perf_counter() - started})
    return run.history
