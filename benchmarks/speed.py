"""How fast is minirlhf?  Three tasks, against PyTorch eager and against the bare matrix products.

    python benchmarks/speed.py                            a table
    python benchmarks/speed.py --out benchmarks/results.json

One thread each, in one process, in turns: NumPy, PyTorch, products, NumPy, ...; medians.  Both
sides have the same weights and the same prompts, and before anything is timed their logits and
values must agree to 1e-4.  PyTorch's side is torch_reference.py.  Without PyTorch the other two
columns are measured alone.

The products ("GEMM") are those of the forward and backward passes at their shapes, and nothing
else: no addition, no exp, no sampling, no optimiser.  No NumPy program with these shapes can be
faster.
"""
# ruff: noqa: E402  the number of threads has to be set before NumPy is imported

import os

for _library in ("OPENBLAS", "MKL", "OMP"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"

import argparse
import functools
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # runs without installing

from minirlhf.adam import adam_step, clip_gradient, init_adam
from minirlhf.gpt import (
    GPTConfig,
    gpt_forward,
    init_params,
    lm_head_forward,
    scalar_head_forward,
    with_scalar_head,
)
from minirlhf.sample import sample
from minirlhf.step1_language_model import language_model_loss
from minirlhf.step3_ppo import PPOModels, PPOSettings, train_ppo
from minirlhf.tokenizer import EOS

try:
    import torch
    import torch_reference
except ImportError:
    torch = None

PROMPTS, SHORTEST, LONGEST, RESPONSE = 64, 16, 24, 24  # prompts, their lengths, tokens to sample
DOCUMENTS, DOCUMENT = 32, 40  # a pretraining step
EPOCHS, MINIBATCH = 2, 32  # PPO
LEARNING_RATE = 1e-4
NO_EOS = -200.0  # logit of EOS; exp(-200) is exactly 0 in float32


# ---- the same weights and data for both sides -----------------------------------------------


def make_models(config, rng):
    """-> language model, reward model (Params).  Neither can say EOS.

    The work must not depend on when a text happens to end, so EOS must never be drawn.  Channel 0
    of the last LayerNorm is made the constant 1 (gain 0, bias 1), and of all rows of the tied head
    only that of EOS looks at it, with NO_EOS.  This costs no time and is the same for both sides.
    """
    language_model = init_params(config, rng)
    language_model.lnf_g[0], language_model.lnf_b[0] = 0, 1
    language_model.wte[:, 0] = 0
    language_model.wte[EOS, 0] = NO_EOS
    return language_model, with_scalar_head(language_model, config, rng)


def make_prompts(vocab_size, rng):
    """-> tokens (B, P) padded with 0 on the right, lengths (B,).  No special ids inside."""
    lengths = rng.integers(SHORTEST, LONGEST + 1, PROMPTS)
    lengths[0] = LONGEST
    tokens = rng.integers(EOS + 1, vocab_size, (PROMPTS, LONGEST))
    return tokens * (np.arange(LONGEST) < lengths[:, None]), lengths


# ---- NumPy ----------------------------------------------------------------------------------


def numpy_training_step(params, config, adam, documents):
    inputs, targets = documents[:, :-1], documents[:, 1:]  # (B, T)
    mask = np.ones(inputs.shape, np.float32)
    _, grads = language_model_loss(params, config, inputs, targets, mask)
    clip_gradient(grads, 1.0)
    adam_step(params, grads, adam, LEARNING_RATE)


def numpy_tasks(config, language_model, reward_model, prompts, lengths, documents, seed):
    """{task: function without arguments}."""
    rows = [row[:length].tolist() for row, length in zip(prompts, lengths, strict=True)]
    rng = np.random.default_rng(seed)
    model = language_model.copy()
    policy, value_model = language_model.copy(), reward_model.copy()
    models = PPOModels(policy, language_model, reward_model, value_model, config, config)
    settings = PPOSettings(
        iterations=1, rollout_size=PROMPTS, max_new_tokens=RESPONSE, ppo_epochs=EPOCHS,
        minibatch_size=MINIBATCH, learning_rate=LEARNING_RATE, value_learning_rate=LEARNING_RATE,
        schedule="constant", missing_eos_score=0.0, kl_coef=0.05,
    )
    step = functools.partial(numpy_training_step, model, config, init_adam(model), documents)
    draw = functools.partial(sample, language_model, config, rows, RESPONSE, rng)
    ppo = functools.partial(train_ppo, models, rows, settings, rng)  # one iteration
    assert (draw().response_mask.sum(axis=1) == RESPONSE).all(), "a response has ended early"
    return {"training step": step, "sampling": draw, "PPO iteration": ppo}


# ---- PyTorch --------------------------------------------------------------------------------


def torch_model(kind, config, params):
    sizes = config.vocab_size, config.block_size, config.n_layer, config.n_head, config.n_embd
    model = kind(*sizes)
    torch_reference.load_numpy_weights(model, {name: params[name] for name in params.shapes})
    return model


def torch_tasks(config, language_model, reward_model, prompts, lengths, documents, seed):
    """{task: function without arguments}, after a look whether both sides compute the same."""
    torch.manual_seed(seed)
    lm, scalar = torch_reference.LanguageModel, torch_reference.ScalarModel
    model, policy, ref_policy, speaker = (torch_model(lm, config, language_model) for _ in range(4))
    reward, value = (torch_model(scalar, config, reward_model) for _ in range(2))
    prompts, lengths = torch.from_numpy(prompts), torch.from_numpy(lengths)

    with torch.inference_mode():
        assert_equal(model(prompts), lm_head_forward, language_model, config, prompts.numpy())
        assert_equal(reward(prompts), scalar_head_forward, reward_model, config, prompts.numpy())
    samples = torch_reference.sample(speaker, prompts, lengths, RESPONSE)
    assert not (samples.responses == EOS).any(), "PyTorch's side has drawn EOS"

    adam, policy_adam, value_adam = (
        torch_reference.make_optimizer(m, LEARNING_RATE) for m in (model, policy, value)
    )
    documents = torch.from_numpy(documents)
    step = functools.partial(
        torch_reference.train_step, model, adam, documents[:, :-1], documents[:, 1:],
        torch.ones(DOCUMENTS, DOCUMENT),
    )
    draw = functools.partial(torch_reference.sample, speaker, prompts, lengths, RESPONSE)
    ppo = functools.partial(
        torch_reference.ppo_iteration, policy, ref_policy, value, reward, policy_adam, value_adam,
        prompts, lengths, RESPONSE, ppo_epochs=EPOCHS, minibatch_size=MINIBATCH,
    )
    return {"training step": step, "sampling": draw, "PPO iteration": ppo}


def assert_equal(theirs, head_forward, params, config, inputs):
    """PyTorch's logits or values against ours, to 1e-4."""
    ours, _ = head_forward(params, gpt_forward(params, config, inputs)[0])
    np.testing.assert_allclose(theirs.numpy(), ours, atol=1e-4)


# ---- the bare products ----------------------------------------------------------------------


def linear_shapes(config):
    """(inputs, outputs) of the four linear layers of a block."""
    C = config.n_embd
    return [(C, 3 * C), (C, C), (C, 4 * C), (4 * C, C)]


def forward_products(config, B, T):
    """Shapes (m, k, n), with stack axes in front, of the trunk's forward products."""
    H, D = config.n_head, config.n_embd // config.n_head
    block = [(B * T, i, o) for i, o in linear_shapes(config)]
    block += [(B, H, T, D, T), (B, H, T, T, D)]  # scores, and what is looked at
    return config.n_layer * block


def backward_products(config, B, T):
    """The same of the trunk's backward pass: two products for each one of the forward pass."""
    H, D = config.n_head, config.n_embd // config.n_head
    block = []
    for i, o in linear_shapes(config):
        block += [(B * T, o, i), (i, B * T, o)]  # dx, dw
    block += [(B, H, T, T, D), (B, H, T, D, T), (B, H, T, T, D), (B, H, T, T, D)]
    return config.n_layer * block


def training_products(config, B, T):
    C, V = config.n_embd, config.vocab_size
    head = [(B * T, C, V), (B * T, V, C), (V, B * T, C)]
    return forward_products(config, B, T) + head + backward_products(config, B, T)


def sampling_products(config):
    """The prompts in one pass, then one position at a time with a key-value cache."""
    B, C, V = PROMPTS, config.n_embd, config.vocab_size
    H, D = config.n_head, C // config.n_head
    products = forward_products(config, B, LONGEST) + [(B, C, V)]
    for seen in range(LONGEST + 1, LONGEST + RESPONSE):
        block = [(B, i, o) for i, o in linear_shapes(config)]
        block += [(B, H, 1, D, seen), (B, H, 1, seen, D)]
        products += config.n_layer * block + [(B, C, V)]
    return products


def ppo_products(config):
    """Sampling, three models that look at the rollout, and the updates of two networks."""
    T = LONGEST + RESPONSE - 1
    products = sampling_products(config) + 3 * forward_products(config, PROMPTS, T)
    products.append((PROMPTS * T, config.n_embd, config.vocab_size))  # the reference model's head
    b = MINIBATCH
    value_step = forward_products(config, b, T) + backward_products(config, b, T)
    return products + EPOCHS * (PROMPTS // b) * (training_products(config, b, T) + value_step)


def allocate(products, rng):
    """Shapes -> (a, b, out) of every product; equal shapes share their arrays."""
    arrays = {}
    for shape in set(products):
        *stack, m, k, n = shape
        a, b = (rng.normal(size=(*stack, *s)).astype(np.float32) for s in ((m, k), (k, n)))
        arrays[shape] = a, b, a @ b
    return [arrays[shape] for shape in products]


def multiply(operands):
    for a, b, out in operands:
        np.matmul(a, b, out=out)


def product_tasks(config, rng):
    tasks = {
        "training step": training_products(config, DOCUMENTS, DOCUMENT),
        "sampling": sampling_products(config),
        "PPO iteration": ppo_products(config),
    }
    return {
        name: functools.partial(multiply, allocate(shapes, rng)) for name, shapes in tasks.items()
    }


# ---- measuring ------------------------------------------------------------------------------


def measure(sides, task, repeats, clock):
    """{side: {task: function}} -> {side: median milliseconds}, the sides taking turns."""
    times = {side: [] for side in sides}
    for _ in range(repeats + 2):  # the first two turns warm up
        for side, tasks in sides.items():
            start = clock()
            tasks[task]()
            times[side].append(1000 * (clock() - start))
    return {side: median(times[side][2:]) for side in sides}


def start_up(statement, repeats=7):
    """Seconds from starting Python to the end of the statement, median."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        root = Path(__file__).resolve().parent.parent
        subprocess.run([sys.executable, "-c", statement], cwd=root, check=True)
        times.append(time.perf_counter() - start)
    return median(times)


HEADER = f"{'median ms':32} {'NumPy':>8} {'PyTorch':>8} {'GEMM':>8} {'/PyTorch':>9} {'/GEMM':>6}"


def table_row(row):
    pytorch, ratio = "-", "-"
    if row["pytorch_ms"] is not None:
        pytorch, ratio = f"{row['pytorch_ms']:.1f}", f"{row['numpy_ms'] / row['pytorch_ms']:.2f}"
    return (
        f"{row['what']:32} {row['numpy_ms']:8.1f} {pytorch:>8} {row['gemm_ms']:8.1f} "
        f"{ratio:>9} {row['numpy_ms'] / row['gemm_ms']:6.2f}"
    )


def main():
    parser = argparse.ArgumentParser(description="minirlhf, PyTorch eager and bare products.")
    parser.add_argument("--repeats", type=int, default=31, help="turns; the median counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall",
        help="cpu: only the time this thread was running, for a machine with other jobs",
    )
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    args = parser.parse_args()

    config = GPTConfig(vocab_size=64)
    rng = np.random.default_rng(args.seed)
    language_model, reward_model = make_models(config, rng)
    prompts, lengths = make_prompts(config.vocab_size, rng)
    documents = rng.integers(EOS + 1, config.vocab_size, (DOCUMENTS, DOCUMENT + 1))
    same = config, language_model, reward_model, prompts, lengths, documents, args.seed
    sides = {"numpy": numpy_tasks(*same), "gemm": product_tasks(config, rng)}
    if torch is None:
        print("PyTorch is not installed: only NumPy is measured.")
    else:
        torch.set_num_threads(1)
        sides["pytorch"] = torch_tasks(*same)

    versions = {"python": platform.python_version(), "numpy": np.__version__}
    versions["pytorch"] = torch.__version__ if torch else None
    results = {
        "versions": versions, "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(), "threads": 1, "repeats": args.repeats, "clock": args.clock,
        "parameters": language_model.flat.size, "tasks": {}, "start_up_s": {},
    }
    print(", ".join(f"{name} {version}" for name, version in versions.items() if version))
    print(
        f"1 thread, {config}\n{language_model.flat.size} parameters, "
        f"median of {args.repeats} turns, {args.clock} clock\n\n{HEADER}"
    )
    what = {
        "training step": f"training step, {DOCUMENTS} x {DOCUMENT} tokens",
        "sampling": f"sampling, {PROMPTS} x {RESPONSE} tokens",
        "PPO iteration": f"PPO iteration, {PROMPTS} x {RESPONSE} tokens",
    }
    clock = time.perf_counter if args.clock == "wall" else time.thread_time
    for task in what:
        row = measure(sides, task, args.repeats, clock)
        milliseconds = {f"{side}_ms": row.get(side) for side in ("numpy", "pytorch", "gemm")}
        results["tasks"][task] = {"what": what[task], **milliseconds}
        print(table_row(results["tasks"][task]), flush=True)

    print("\nseconds from starting Python to the end of the import, median")
    for module in ["numpy", "minirlhf.rufus.pipeline"] + (["torch"] if torch else []):
        results["start_up_s"][module] = start_up(f"import {module}")
        print(f"{module:32} {results['start_up_s'][module]:8.2f}")
    if args.out:
        args.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
