"""The same model and the same training in plain PyTorch (eager), as the yardstick for speed.

GPT-2's architecture: pre-LayerNorm, tanh GELU, fused qkv, learned positions, tied LM head.  Of
the attention and optimizer variants the fastest on one CPU thread is the default, so that NumPy
is compared with PyTorch at its best:

    python benchmarks/torch_reference.py              medians of the default variants
    python benchmarks/torch_reference.py --variants   all variants, taken in turns

Alignment as in minirlhf: `tokens (B, T+1)`, `inputs = tokens[:, :-1]`, `targets = tokens[:, 1:]`.
The arrays of a rollout are (B, R): column r is the r-th response token, chosen by the logits at
input position `prompt_length - 1 + r`.  Log-probabilities and KL are in nats.
"""

import argparse
import itertools
import time
from statistics import median
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """One pre-LayerNorm transformer layer, (B, T, C) -> (B, T, C)."""

    def __init__(self, n_embd, n_head, attention):
        super().__init__()
        self.n_head, self.attention = n_head, attention
        self.ln1 = nn.LayerNorm(n_embd)
        self.qkv = nn.Linear(n_embd, 3 * n_embd)
        self.proj = nn.Linear(n_embd, n_embd)
        self.ln2 = nn.LayerNorm(n_embd)
        self.fc = nn.Linear(n_embd, 4 * n_embd)
        self.out = nn.Linear(4 * n_embd, n_embd)

    def heads(self, x):
        """x (B, T, C) -> q, k, v, each (B, H, T, D)."""
        B, T, C = x.shape
        qkv = self.qkv(self.ln1(x)).view(B, T, 3, self.n_head, C // self.n_head)
        return qkv.permute(2, 0, 3, 1, 4).unbind(0)

    def attend(self, q, k, v, future):
        """q, k, v (B, H, T, D), future (T, T) True above the diagonal -> y (B, T, C)."""
        B, H, T, D = q.shape
        if self.attention == "sdpa":
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = (q @ k.mT * D**-0.5).masked_fill(future, -torch.inf)
            y = scores.softmax(-1) @ v
        return y.transpose(1, 2).reshape(B, T, H * D)

    def rest(self, x, y):
        """What follows attention: x, y (B, T, C) -> (B, T, C)."""
        x = x + self.proj(y)
        return x + self.out(F.gelu(self.fc(self.ln2(x)), approximate="tanh"))

    def forward(self, x, future):
        return self.rest(x, self.attend(*self.heads(x), future))


class LanguageModel(nn.Module):
    """GPT-2, tiny: inputs (B, T) -> logits (B, T, V)."""

    def __init__(self, vocab_size, block_size, n_layer, n_head, n_embd, attention="sdpa"):
        super().__init__()
        self.wte = nn.Embedding(vocab_size, n_embd)
        self.wpe = nn.Embedding(block_size, n_embd)
        self.blocks = nn.ModuleList(Block(n_embd, n_head, attention) for _ in range(n_layer))
        self.lnf = nn.LayerNorm(n_embd)
        future = torch.ones(block_size, block_size, dtype=torch.bool).triu(1)
        self.register_buffer("future", future, persistent=False)
        self.apply(self.initialise)

    @staticmethod
    def initialise(module):
        """GPT-2's standard deviation 0.02, biases 0."""
        if isinstance(module, nn.Embedding | nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    def hidden(self, inputs):
        """inputs (B, T) -> hidden (B, T, C)."""
        T = inputs.shape[1]
        x = self.wte(inputs) + self.wpe.weight[:T]
        for block in self.blocks:
            x = block(x, self.future[:T, :T])
        return self.lnf(x)

    def forward(self, inputs):
        return F.linear(self.hidden(inputs), self.wte.weight)


class ScalarModel(LanguageModel):
    """The same trunk with a scalar head, inputs (B, T) -> scores (B, T): reward or value model."""

    def __init__(self, *sizes, **options):
        super().__init__(*sizes, **options)
        self.head = nn.Linear(self.wte.weight.shape[1], 1)

    def forward(self, inputs):
        return self.head(self.hidden(inputs)).squeeze(-1)


@torch.no_grad()
def load_numpy_weights(model, arrays):
    """Copy minirlhf's weights: arrays maps wte, qkv_w (L, C, 3C), ... (and head_w) to arrays."""
    def copy(parameter, array):
        parameter.copy_(torch.as_tensor(array).reshape(parameter.shape))

    copy(model.wte.weight, arrays["wte"])
    copy(model.wpe.weight, arrays["wpe"])
    for layer, block in enumerate(model.blocks):
        for name in ("qkv", "proj", "fc", "out"):  # minirlhf stores (in, out), nn.Linear (out, in)
            copy(getattr(block, name).weight, arrays[f"{name}_w"][layer].T)
            copy(getattr(block, name).bias, arrays[f"{name}_b"][layer])
        for name in ("ln1", "ln2"):
            copy(getattr(block, name).weight, arrays[f"{name}_g"][layer])
            copy(getattr(block, name).bias, arrays[f"{name}_b"][layer])
    copy(model.lnf.weight, arrays["lnf_g"])
    copy(model.lnf.bias, arrays["lnf_b"])
    if isinstance(model, ScalarModel):
        copy(model.head.weight, arrays["head_w"].T)
        copy(model.head.bias, arrays["head_b"])


def make_optimizer(model, learning_rate=1e-3, weight_decay=0.0, kind="fused"):
    """AdamW over all weights; kind is "fused", "foreach" or "loop"."""
    options = {"fused": {"fused": True}, "foreach": {"foreach": True}, "loop": {"foreach": False}}
    return torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95),
                             weight_decay=weight_decay, **options[kind])


def update(model, optimizer, loss):
    """Backward pass, clipping of the gradient norm to 1, one step of AdamW."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def train_step(model, optimizer, inputs, targets, mask):
    """inputs, targets, mask (B, T) -> mean cross-entropy over the tokens where mask is 1."""
    logits = model(inputs)
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    loss = (losses * mask.flatten()).sum() / mask.sum()
    update(model, optimizer, loss)
    return loss.item()


class Samples(NamedTuple):
    tokens: torch.Tensor         # (B, P+R)  prompt, response, padding 0
    responses: torch.Tensor      # (B, R)
    logprobs: torch.Tensor       # (B, R)    under the distribution that was sampled from
    response_mask: torch.Tensor  # (B, R)    1 up to and including eos_id


@torch.inference_mode()
def sample(model, prompts_tokens, prompt_lengths, max_new_tokens, temperature=1.0, eos_id=None):
    """Sample with a KV cache.  prompts_tokens (B, P) padded on the right, prompt_lengths (B,).

    Row b's response follows its own prompt, at positions prompt_lengths[b], + 1, ...  In the
    cache all rows write response token r at column P + r, which makes the write a plain slice;
    the padding between a short prompt and column P is masked out.
    """
    B, P = prompts_tokens.shape
    R = max_new_tokens
    H = model.blocks[0].n_head
    C = model.wte.weight.shape[1]
    D = C // H
    wte, wpe = model.wte.weight, model.wpe.weight

    columns = torch.arange(P + R)
    padding = (columns >= prompt_lengths[:, None]) & (columns < P)          # (B, P+R)
    bias = torch.zeros(B, P + R).masked_fill_(padding, -torch.inf)
    bias = bias.repeat_interleave(H, 0)[:, None]                            # (B*H, 1, P+R)

    x = wte[prompts_tokens] + wpe[:P]                                       # (B, P, C)
    caches = torch.empty(len(model.blocks), 2, B, H, P + R, D)
    for block, cache in zip(model.blocks, caches, strict=True):
        q, k, v = block.heads(x)                                            # (B, H, P, D)
        cache[0, :, :, :P], cache[1, :, :, :P] = k, v
        x = block.rest(x, block.attend(q, k, v, model.future[:P, :P]))
    x = x[torch.arange(B), prompt_lengths - 1]                              # (B, C)
    k_caches, v_caches = caches.view(-1, 2, B * H, P + R, D).unbind(1)      # (L, B*H, P+R, D)

    uniform = torch.rand(R, B, 1)
    responses = torch.zeros(B, R, dtype=torch.long)
    logprobs = torch.zeros(B, R)
    ended = torch.zeros(B, dtype=torch.bool)
    for r in range(R):
        logits = F.linear(model.lnf(x), wte)                                # (B, V)
        if temperature != 1.0:
            logits = logits / temperature
        log_softmax = logits.log_softmax(-1)
        # The inverse of the cumulative distribution: torch.multinomial draws V numbers per row.
        below = log_softmax.exp().cumsum(-1)                                # (B, V)
        chosen = torch.searchsorted(below, uniform[r] * below[:, -1:], right=True)
        chosen.clamp_(max=len(wte) - 1)                                     # (B, 1)
        responses[:, r:r + 1] = chosen
        logprobs[:, r:r + 1] = log_softmax.gather(1, chosen)
        if eos_id is not None:
            ended |= chosen[:, 0] == eos_id
            if ended.all():
                break
        if r == R - 1:
            break

        x = wte[chosen[:, 0]] + wpe[prompt_lengths + r]                     # (B, C)
        seen = P + r + 1
        for block, k_cache, v_cache in zip(model.blocks, k_caches, v_caches, strict=True):
            q, k, v = (block.qkv(block.ln1(x)).view(B, 3, H, D).transpose(0, 1)
                       .reshape(3, B * H, 1, D))
            k_cache[:, P + r:seen], v_cache[:, P + r:seen] = k, v
            # With one query per row F.scaled_dot_product_attention is no faster than this.
            scores = torch.baddbmm(bias[..., :seen], q, k_cache[:, :seen].mT, alpha=D**-0.5)
            y = torch.bmm(scores.softmax(-1), v_cache[:, :seen])            # (B*H, 1, D)
            x = block.rest(x, y.view(B, C))

    response_mask = torch.ones(B, R)
    if eos_id is not None:
        is_eos = responses == eos_id
        response_mask = ((is_eos.cumsum(1) - is_eos.long()) == 0).float()
    tokens = torch.zeros(B, P + R, dtype=torch.long)
    tokens[:, :P] = prompts_tokens
    tokens.scatter_(1, prompt_lengths[:, None] + torch.arange(R), responses)
    return Samples(tokens, responses, logprobs, response_mask)


def kl_shaped_rewards(scores, logprobs, ref_logprobs, response_mask, kl_coef):
    """scores (B,), the rest (B, R) -> rewards (B, R): -kl_coef * kl, + score on the last token."""
    rewards = -kl_coef * (logprobs - ref_logprobs) * response_mask
    last = response_mask.long().sum(1, keepdim=True) - 1
    return rewards.scatter_add_(1, last, scores[:, None])


def gae(rewards, values, response_mask, gamma, gae_lambda):
    """All (B, R) -> advantages, returns (B, R), 0 after the end; no bootstrap at the end."""
    values = values * response_mask
    next_values = F.pad(values[:, 1:], (0, 1))
    errors = (rewards + gamma * next_values - values) * response_mask
    advantages = torch.empty_like(errors)
    running = torch.zeros_like(errors[:, 0])
    for t in reversed(range(errors.shape[1])):
        running = errors[:, t] + gamma * gae_lambda * running
        advantages[:, t] = running
    return advantages, advantages + values


def whiten(x, mask):
    """x, mask (B, R) -> mean 0, population variance 1 over the tokens where mask is 1."""
    mean = (x * mask).sum() / mask.sum()
    variance = ((x - mean).square() * mask).sum() / mask.sum()
    return (x - mean) * (variance + 1e-8).rsqrt() * mask


def ppo_policy_loss(logprobs, old_logprobs, advantages, response_mask, clip_range):
    """All (B, R) -> clipped surrogate, Schulman et al. 2017 eq. 7, negated."""
    ratio = (logprobs - old_logprobs).exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    objective = torch.minimum(ratio * advantages, clipped * advantages)
    return -(objective * response_mask).sum() / response_mask.sum()


def value_loss(values, old_values, returns, response_mask, value_clip_range):
    """All (B, R) -> half the clipped squared error."""
    clipped = old_values + (values - old_values).clamp(-value_clip_range, value_clip_range)
    error = torch.maximum((values - returns).square(), (clipped - returns).square())
    return 0.5 * (error * response_mask).sum() / response_mask.sum()


def response_logprobs(model, inputs, positions, responses, temperature):
    """inputs (B, T), positions and responses (B, R) -> log-probs of the response tokens (B, R).

    The LM head is applied to the response's positions only.
    """
    hidden = model.hidden(inputs)                                           # (B, T, C)
    picked = hidden[torch.arange(len(inputs))[:, None], positions]          # (B, R, C)
    logits = F.linear(picked, model.wte.weight)                             # (B, R, V)
    if temperature != 1.0:
        logits = logits / temperature
    B, R, V = logits.shape
    return -F.cross_entropy(logits.view(B * R, V), responses.flatten(),
                            reduction="none").view(B, R)


def ppo_iteration(policy, ref_policy, value_model, reward_model, policy_optimizer, value_optimizer,
                  prompts_tokens, prompt_lengths, max_new_tokens=24, temperature=1.0, eos_id=None,
                  kl_coef=0.05, gamma=1.0, gae_lambda=0.95, clip_range=0.2, value_clip_range=0.2,
                  ppo_epochs=2, minibatch_size=32):
    """One rollout of B responses and its updates; returns the mean score of the rollout.

    prompts_tokens (B, P) padded on the right, prompt_lengths (B,).  Values come from a network of
    their own.  Advantages are computed and whitened once per rollout.
    """
    with torch.inference_mode():
        tokens, responses, old_logprobs, mask = sample(
            policy, prompts_tokens, prompt_lengths, max_new_tokens, temperature, eos_id)
        positions = prompt_lengths[:, None] - 1 + torch.arange(max_new_tokens)  # (B, R)
        inputs = tokens[:, :-1]                                             # (B, T)
        ref_logprobs = response_logprobs(ref_policy, inputs, positions, responses, temperature)
        old_values = value_model(inputs).gather(1, positions)               # (B, R)
        last = prompt_lengths + mask.long().sum(1) - 1                      # (B,) last real token
        scores = reward_model(tokens).gather(1, last[:, None])[:, 0]        # (B,)
        rewards = kl_shaped_rewards(scores, old_logprobs, ref_logprobs, mask, kl_coef)
        advantages, returns = gae(rewards, old_values, mask, gamma, gae_lambda)
        advantages = whiten(advantages, mask)

    rollout = inputs, positions, responses, old_logprobs, old_values, advantages, returns, mask
    for _ in range(ppo_epochs):
        for rows in torch.randperm(len(tokens)).split(minibatch_size):
            x, at, chosen, old_lp, old_v, adv, ret, m = (array[rows] for array in rollout)
            logprobs = response_logprobs(policy, x, at, chosen, temperature)
            update(policy, policy_optimizer,
                   ppo_policy_loss(logprobs, old_lp, adv, m, clip_range))
            values = value_model(x).gather(1, at)
            update(value_model, value_optimizer,
                   value_loss(values, old_v, ret, m, value_clip_range))
    return scores.mean().item()


def make_prompts(vocab_size, batch_size=64, shortest=16, longest=24):
    """Random prompts of about 20 tokens: prompts_tokens (B, P) with padding 0, lengths (B,)."""
    lengths = torch.randint(shortest, longest + 1, (batch_size,))
    tokens = torch.randint(1, vocab_size, (batch_size, longest))
    return tokens * (torch.arange(longest) < lengths[:, None]), lengths


def make_tasks(sizes, attention, optimizer):
    """Three functions without arguments, by name, for one choice of variants."""
    vocab_size = sizes[0]
    model, policy, ref_policy = (LanguageModel(*sizes, attention=attention) for _ in range(3))
    value_model, reward_model = (ScalarModel(*sizes, attention=attention) for _ in range(2))
    adam, policy_adam, value_adam = (
        make_optimizer(m, 1e-4, kind=optimizer) for m in (model, policy, value_model))
    documents = torch.randint(0, vocab_size, (32, 41))
    mask = torch.ones(32, 40)
    prompts, lengths = make_prompts(vocab_size)

    def training_step():
        train_step(model, adam, documents[:, :-1], documents[:, 1:], mask)

    def sampling():
        sample(policy, prompts, lengths, 24, 1.0)

    def ppo():
        ppo_iteration(policy, ref_policy, value_model, reward_model, policy_adam, value_adam,
                      prompts, lengths)

    return {"train step, 32 x 40 tokens": training_step, "sampling, 64 x 24 tokens": sampling,
            "PPO iteration, 64 x 24 tokens": ppo}


def main():
    """Time the three tasks, variants in turns, and print medians in milliseconds."""
    parser = argparse.ArgumentParser(description="PyTorch's times for the benchmark's three tasks.")
    for name, default in (("vocab-size", 64), ("block-size", 64), ("n-layer", 2), ("n-head", 2),
                          ("n-embd", 64), ("repeats", 15), ("threads", 1), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--variants", action="store_true", help="every attention and optimizer")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    sizes = args.vocab_size, args.block_size, args.n_layer, args.n_head, args.n_embd

    variants = [("sdpa", "fused")]
    if args.variants:
        variants = list(itertools.product(("sdpa", "explicit"), ("fused", "foreach", "loop")))
    tasks = {variant: make_tasks(sizes, *variant) for variant in variants}
    print(f"torch {torch.__version__}, {args.threads} thread(s), sizes {sizes}, "
          f"median of {args.repeats}")
    for name in tasks[variants[0]]:
        times = {variant: [] for variant in variants}
        for _ in range(args.repeats + 2):  # the first two turns warm up
            for variant in variants:
                start = time.perf_counter()
                tasks[variant][name]()
                times[variant].append(1000 * (time.perf_counter() - start))
        for variant in variants:
            print(f"{name:30} {' + '.join(variant):18} {median(times[variant][2:]):8.1f} ms")


if __name__ == "__main__":
    main()
