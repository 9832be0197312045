# %% [markdown]
# # 02 Pretraining and SFT
#
# Step 1 of RLHF. First Rufus reads, then somebody shows him how to answer. Both are the same
# training with the same loss. Only what counts is different.
#
# - Know what the loss measures, and what a given number is worth.
# - Watch a model learn to speak, from random characters to sentences, in a run made here.
# - Write the loss that counts only what should count, and find a bug that raises no error.
# - Draw the next character yourself, boldly or carefully.
# - Find out by experiment why SFT is optional, and why people rank answers at all.

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two threads are slower for small matrices
try:
    import minirlhf
except ModuleNotFoundError:
    print("minirlhf is missing here. Run this in a cell of its own, then all cells again:\n"
          "%pip install matplotlib git+https://github.com/OWNER/minirlhf")

# %%
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from minirlhf import adam, data, gpt, sample, tokenizer
from minirlhf import step1_language_model as step1
from minirlhf.course import answer, check, play, pretrained, show, where
from minirlhf.course.lesson02 import figures
from minirlhf.course.notebook import hint, solution
from minirlhf.layers import log_softmax, token_logprobs_forward
from minirlhf.rufus import answers, pipeline
from minirlhf.rufus.measure import judge_model
from minirlhf.rufus.world import World

# %%
model, world, QUESTION = pretrained("en"), World.load("en"), "Who are you?"

def encode(prompt, response):
    return data.encode_example(model.tokenizer, prompt, response, model.config.block_size)

def surprise(model, tokens):
    """tokens (B, T+1) -> minus the log-probability of each target (B, T), in nats."""
    hidden, _ = gpt.gpt_forward(model.params, model.config, tokens[:, :-1])
    logits, _ = gpt.lm_head_forward(model.params, hidden)  # (B, T, V)
    return -token_logprobs_forward(logits, tokens[:, 1:])[0]

# %%
SAID, rows = ["I am a robot.", "I, a robot.", "I am a lamp."], []
for said in SAID:
    tokens = np.array([encode(QUESTION, said).ids])  # (1, T+1)
    rows.append((figures.characters(model.tokenizer, tokens[0, 1:]), surprise(model, tokens)[0]))
start = len(QUESTION) + 1  # where the answer begins
totals = [nats[start:].sum() for _, nats in rows]
lamp = rows[2][1][start + SAID[2].index("l")]
show(figures.surprise_strips(rows, totals),
     "The darker, the more surprising to the pretrained Rufus. The sums count the answer only: "
     f"{totals[0]:.1f} nats for 'I am a robot.', {totals[1]:.1f} for 'I, a robot.'. Nothing "
     f"prepares for the l of lamp: {lamp:.1f} nats.")

# %% [markdown]
# **Terms**
#
# - **log-probability** is the natural logarithm of a probability: 0 for what is sure, and below 0
#   for everything else.
# - **surprise** is minus the log-probability of what came. A sure thing has none.
# - **nat** is its unit. One nat of surprise means a probability of $1/e$, about 37 %.
# - **cross-entropy** is the mean surprise of a model about a text: the loss of this lesson.
# - **entropy** is the smallest mean surprise that is possible, for one who knows the probabilities.
# - **unigram** is one character taken alone, without those before it.
# - **bigram** is a character and the one before it.
# - **batch** is the handful of texts that one update looks at.
# - **padding** fills short texts of a batch up to the longest one, with a token called PAD.
# - **mask** is an array of 0 and 1 that says which tokens count.
# - **training step** is one update of the parameters, from one batch.
# - **epoch** is one pass over all examples.
# - **learning rate** says how far one update moves the parameters.
# - **Adam** is the usual update. It keeps running means of each parameter's gradient and of its
#   square. A step goes along the first, divided by the root of the second.
# - **inverse CDF** is a way to draw: add up the probabilities (the sums are the cumulative
#   distribution function) until the sum passes a random number.
# - **temperature** divides the logits before a draw: low is careful, high is bold.
# - **top-k** means that only the k most probable tokens may be drawn.
# - **overfitting** means that the loss falls on the examples shown and rises on others.

# %% [markdown]
# ↵ stands between question and answer, ■ is EOS. The model gives a probability to every next
# character, and to nothing else. The surprise of an answer is the sum over its characters.

# %% [markdown]
# **Before 1.** Rufus has read thousands of documents, and in most of them the answers hold faults.
# Now we show him 8 faultless answers. What will he say to questions that are not among these 8?
#
# - A. What he said before: 8 are nothing against thousands.
# - B. What he said before, except for those 8 questions.
# - C. Mostly natural sentences, to all questions.
#
# <details><summary>Answer</summary>
#
# **C.** He can speak naturally already, he only does not do it always. A few examples shift the
# whole manner. You will measure it below, also on held-out questions.
#
# </details>

# %% [markdown]
# **Before 2.** In SFT the mask is 0 on the prompt. What happens to the prompt?
#
# - A. It is read as before; nobody grades how well it is predicted.
# - B. The model does not see it and answers blindly.
# - C. It is removed, so that the batch gets shorter.
#
# <details><summary>Answer</summary>
#
# **A.** The mask enters the loss, not the model. B would be a mask inside attention.
#
# </details>

# %% [markdown]
# ## One loss, two masks
#
# With targets $y_t$ and a mask $m_t$ of 0 and 1, cross-entropy is
#
# $$L = -\frac{\sum_t m_t \ln p(y_t \mid y_1 \ldots y_{t-1})}{\sum_t m_t}$$
#
# Pretraining counts every character of a document, and EOS. SFT counts the answer, and EOS.

# %%
shown = [encode(QUESTION, SAID[0]), encode("How is Kim?", "Kim is sad."),
         encode("What does Mia have?", "Mia has a hat.")]
tokens = data.pad_rows([example.ids for example in shown])  # (B, T+1)
signs = [figures.characters(model.tokenizer, ids) for ids in tokens[:, 1:]]
masks = [data.make_batch(shown, response_only)[2] for response_only in (False, True)]
n = [int(mask.sum()) for mask in masks]
show(figures.mask_strips(signs, [("Pretraining", masks[0]), ("SFT", masks[1])]),
     f"Colour: the token counts. Hollow squares are padding, and never count. Of {masks[0].size} "
     f"places, pretraining counts {n[0]} and SFT {n[1]}; both count EOS, the black square.")
where(data.make_batch)

# %% [markdown]
# **Exercise 02.1.** Write the loss. `log_softmax(logits)` is at hand. About 3 lines. Help:
# `hint("02.1")`.

# %%
def masked_cross_entropy(logits, targets, mask):
    """logits (B, T, V), targets (B, T) ids, mask (B, T) of 0/1 -> mean surprise, a float."""
    ### BEGIN SOLUTION
    logprobs = log_softmax(logits)  # (B, T, V)
    said = np.take_along_axis(logprobs, targets[..., None], axis=-1)[..., 0]  # (B, T)
    return float(-(said * mask).sum() / mask.sum())
    ### END SOLUTION

# %%
masked_cross_entropy = check(masked_cross_entropy)

# %%
hidden, _ = gpt.gpt_forward(model.params, model.config, tokens[:, :-1])
logits, _ = gpt.lm_head_forward(model.params, hidden)  # (B, T, V)
for name, mask in zip(("pretraining", "SFT"), masks):
    yours = masked_cross_entropy(logits, tokens[:, 1:], mask)
    package = step1.cross_entropy(logits, tokens[:, 1:], mask)[0]
    print(f"{name:12} {yours:.4f} nats   package {package:.4f}")
    assert np.isclose(yours, package)
where(step1.cross_entropy)

# %% [markdown]
# ## A silent bug
#
# Below, the loss of two documents: each alone, then both in one batch. Nothing fails. The numbers
# are even pleasantly low. Yet one of the lines A to E is wrong.

# %%
def batch_loss(model, rows):
    """rows: lists of ids -> mean surprise in nats."""
    tokens = data.pad_rows(rows)  # A
    targets = tokens[:, 1:]  # B
    logprobs = -surprise(model, tokens)  # C
    counts = targets != tokenizer.PAD  # D
    return float(-(logprobs * counts).mean())  # E

two = [encode("How are you?", "I am sad.").ids,
       encode("What does Mia like?", "Mia like like snow.").ids]
losses = [batch_loss(model, rows) for rows in (two[:1], two[1:], two)]
print("short alone {:.3f}   long alone {:.3f}   both in one batch {:.3f}".format(*losses))
assert losses[2] < min(losses[:2])

# %% [markdown]
# **Exercise 02.2.** Which line must change? Write its letter.

# %%
### BEGIN SOLUTION
bug = "E"
### END SOLUTION

# %%
answer("02.2", bug)

# %% [markdown]
# <details><summary>Why it is silent</summary>
#
# A mean of two losses lies between them. The third number does not: PAD adds 0 to the sum but 1
# to the number of places. So the loss of a document depends on its neighbours, and a batch with
# one long text looks easy. Training still runs, and Adam hides a constant factor. But a batch
# with much padding now counts less than it should.
#
# </details>
#
# ## What is a good loss?
#
# Three levels help to read it. Guessing among all V tokens costs $\ln V$. The entropy of the
# unigrams is the least possible cost for a model that ignores what came before. That of the
# bigrams: for one that looks one character back.

# %%
texts = data.read_corpus(data.DATA / "en" / "corpus.txt")[:12_500]
documents = [encode("", text) for text in texts]
held_out, documents, V = documents[:50], documents[500:], model.config.vocab_size
levels = {"guessing": np.log(V), "unigram": step1.unigram_entropy(documents, V),
          "bigram": step1.bigram_entropy(documents, V)}
pairs = [tuple(t.split("\n")) for t in texts if t.split("\n")[0] in world.asked]
natural = np.mean([world.naturalness(*pair) == 1 for pair in pairs])
print(f"{len(documents)} documents; of the answers to questions, {natural:.0%} are natural")
print(", ".join(f"{name} {nats:.2f}" for name, nats in levels.items()), "nats per character")

# %% [markdown]
# One training step takes a batch, the loss, its gradient, and Adam moves the parameters. A small
# model with one layer, by hand:

# %%
config, rng = replace(model.config, n_layer=1), np.random.default_rng(0)
small = model._replace(config=config, params=gpt.init_params(config, rng, np.float64))
fresh, moments = small.params.copy(), adam.init_adam(small.params)
batch = data.make_batch(documents[:12], False)  # inputs, targets, mask, each (B, T)
for number in range(3):
    loss, grads = step1.language_model_loss(fresh, config, *batch)
    adam.adam_step(fresh, grads, moments, 0.01)  # learning rate 0.01
    print(f"before training step {number + 1}, on the same batch: {loss:.2f} nats")
where(step1.train_language_model)

# %% [markdown]
# The package does the same with a new batch each time. We keep copies of the parameters on the way.

# %%
WATCHED, copies = (0, 50, 200, 1000), {}

def keep_copies(steps):
    """Hands on the numbers of the training steps, and copies the parameters before some."""
    for step in steps:
        if step in WATCHED:
            copies[step] = small._replace(params=small.params.copy())
        yield step

# %%
SETTINGS = step1.LanguageModelSettings(
    steps=1000, batch_size=12, learning_rate=0.01, evaluate_every=20
)
reading = data.Texts(training=documents, held_out=held_out)
history = step1.train_language_model(
    small.params, config, reading, SETTINGS, rng, progress=keep_copies
)
copies[1000] = small

# %%
losses = np.array([row["loss"] for row in history])
points = [(row["step"] + 1, row["held_out_loss"]) for row in history if row["held_out_loss"]]
below = {name: int(np.argmax(losses < nats)) + 1 for name, nats in levels.items()}
assert below["guessing"] < below["unigram"] < below["bigram"] and points[-1][1] < 0.5
show(figures.pretraining_loss(losses, points, levels, WATCHED),
     f"The loss falls from {losses[0]:.2f} nats. It passes the unigram level at step "
     f"{below['unigram']} and the bigram level at step {below['bigram']}. It ends at "
     f"{points[-1][1]:.2f} on held-out texts: what lies below the lines was learned from longer "
     "context.")

# %%
def say(model, prompts, seed, temperature=1.0):
    """One answer for each prompt, with the surprise (at temperature 1) of every character."""
    ids, rng = answers.encode_prompts(model, prompts), np.random.default_rng(seed)
    said = sample.sample(
        model.params, model.config, ids, model.extra["max_new_tokens"], rng, temperature
    )
    nats = surprise(model, said.tokens)  # (B, T)
    return figures.responses(model.tokenizer, said.tokens, said.response_mask, nats)

panels = [(f"after {step} steps", say(copies[step], [QUESTION] * 4, 0)) for step in WATCHED]
means = [np.concatenate([nats for _, nats in rows]).mean() for _, rows in panels]
show(figures.sample_panels(panels),
     f"Four answers to {QUESTION!r} at each time, coloured by the surprise of the model that said "
     f"them. Noise costs {means[0]:.1f} nats a character, then {means[1]:.1f} and {means[2]:.1f}; "
     f"the sentences at the end {means[3]:.1f}. Hollow squares: PAD or BOS, said by mistake.")

# %% [markdown]
# First it learns which characters exist, then which follow each other, then words, then sentences.
# At the end, surprise sits at the places of choice: the first letter of a word. Inside a word
# nearly everything is known.
#
# ## Drawing the next character
#
# How does a distribution become a character? By inverse CDF: draw $u$ between 0 and 1, add up
# the probabilities, and take the first token at which the sum is larger than $u$. Temperature $T$
# replaces $p$ by $p^{1/T}$, made to sum to 1 again. Top-k first gives all but the k largest the
# probability 0.
#
# **Exercise 02.3.** Write it for one token. Keep exactly `top_k` tokens, also when logits are
# equal: then the smaller id stays. About 5 lines.

# %%
def sample_next(logits, temperature, top_k, u):
    """logits (V,), temperature > 0, top_k, u in [0, 1) -> the id that is drawn, an int."""
    ### BEGIN SOLUTION
    kept = np.argsort(-logits, kind="stable")[:top_k]  # (k,)
    scaled = np.full(len(logits), -np.inf)  # (V,)
    scaled[kept] = logits[kept] / temperature
    cdf = np.exp(scaled - scaled.max()).cumsum()  # (V,)
    return int(np.searchsorted(cdf, u * cdf[-1], side="right"))
    ### END SOLUTION

# %%
sample_next = check(sample_next)

# %%
u = np.random.default_rng(0).random(12)
place = start + len("I am a ")  # of the r of "I am a robot."
yours = [sample_next(logits[0, place], 2.0, V, x) for x in u]
package = sample.draw(np.tile(log_softmax(logits[0, place] / 2.0), (len(u), 1)), u)
print("yours   I am a ...", *figures.characters(model.tokenizer, yours))
print("package I am a ...", *figures.characters(model.tokenizer, package))
assert yours == package.tolist()
where(sample.draw)

# %% [markdown]
# The package has no top-k, on purpose. In lesson 06 the policy learns from its own samples. It
# needs the probability with which each was drawn, and a filter would change it unseen.

# %%
def redraw(temperature):
    rows = say(model, [QUESTION] * 5, 3, temperature)
    show(figures.surprise_strips(rows, [nats.sum() for _, nats in rows]),
         f"Five answers at temperature {temperature}, always from the same random numbers.")

panels = [(f"temperature {t}", say(model, [QUESTION] * 5, 3, t)) for t in (0.3, 0.7, 1.0, 2.0)]
mean = [np.mean([nats.sum() for _, nats in rows]) for _, rows in panels]
show(figures.sample_panels(panels),
     f"The same random numbers four times. An answer costs {mean[0]:.1f} nats on average at "
     f"temperature 0.3, {mean[2]:.1f} at 1 and {mean[3]:.1f} at 2, where words fall apart.")
assert mean[0] < mean[2] < mean[3]

# %%
play(redraw, temperature=[1.0, 0.2, 0.5, 0.8, 1.2, 1.5, 2.0])

# %% [markdown]
# ## Sum or mean?
#
# The loss is a mean over tokens. The log-probability of a whole answer is a sum, since
# probabilities multiply. Both are in use, and they are often mixed up.
#
# **Predict before you run.** Which answer has the higher *mean* log-probability: "I, robot." or
# the stutter "I am am a robot."? And which one does Rufus say more often?
#
# - A. Mean: the stutter. More often: "I, robot."
# - B. Both times "I, robot."
# - C. Both times the stutter.
#
# <details><summary>Answer, after you have run the next cell</summary>
#
# **A.** The stutter is unlikely once, at the second "am". Then many easy letters follow, and the
# mean forgives. So a mean favours length. It is no probability of anything: the last line shows
# that over a few answers $e^{mean}$ already adds up to more than 1.
#
# </details>

# %%
asked, table = [QUESTION] * 2000, {}
heard = [one.text for one in answers.ask(model, asked, np.random.default_rng(0))]
print("answer              sum    mean   probability   heard")
for text in ("I am a robot.", "I, a robot.", "I am an owl.", "I, robot.", "I am am a robot."):
    total = answers.response_logprob(model, QUESTION, text)  # EOS included
    table[text] = total, total / (len(text) + 1), np.exp(total), heard.count(text) / len(heard)
    print("{:17} {:6.2f}  {:6.3f}       {:7.2%}  {:6.2%}".format(text, *table[text]))
print(f"e^mean, summed over these five: {sum(np.exp(row[1]) for row in table.values()):.2f}")

# %%
sums, means, probabilities, shares = np.array(list(table.values())).T  # (5,) each
assert means[4] > means[3] and probabilities[3] > 5 * probabilities[4] and shares[3] > shares[4]
assert np.abs(probabilities - shares).max() < 0.03 and np.exp(means).sum() > 1
where(answers.response_logprob)

# %% [markdown]
# The sum is right: $e^{sum}$ is as large as the share that was heard. Use it when whole answers are
# compared, and the mean only to report a loss. Every later lesson needs the sum.
#
# ## SFT: show him how
#
# The file holds 96 demonstrations: faulty answers, corrected by simulated annotators. We fine-tune
# the bundled model on none, 8, 32 or all. It is always 48 training steps with 8 texts each, so
# few demonstrations come round more often. Five seeds choose the demonstrations and their order.

# %%
demonstrations = [encode(*d) for d in data.read_demonstrations(data.DATA / "en" / "sft.jsonl")]
SFT = replace(pipeline.SFT, steps=48, learning_rate=1e-3)  # batches of 8

def fine_tune(examples, seed):
    """-> a copy of the pretrained model, trained on the answers of the examples."""
    tuned = model._replace(params=model.params.copy())
    texts, rng = data.Texts(training=examples), np.random.default_rng(seed)
    step1.train_language_model(tuned.params, tuned.config, texts, SFT, rng)
    return tuned

# %%
def judge(model, seed, split="train"):
    """The gold judge on 5 answers to every question of a split."""
    count = 5 * len(world.questions(split))
    return judge_model(model, world, split, count, np.random.default_rng(seed))

# %%
COUNTS, natural, true = (0, 8, 32, 96), np.zeros((4, 5)), np.zeros((4, 5))
tuned, held = {}, []
for seed in range(5):
    order = np.random.default_rng(seed).permutation(len(demonstrations))
    for row, count in enumerate(COUNTS):
        examples = [demonstrations[i] for i in order[:count]]
        tuned[count, seed] = fine_tune(examples, seed) if count else model
        found = judge(tuned[count, seed], seed)
        natural[row, seed], true[row, seed] = found.natural, found.truthful
    held.append(judge(tuned[8, seed], seed, "held_out").natural)

# %%
middle, truth = np.median(natural, axis=1), np.median(true, axis=1)
print(f"8 demonstrations, held-out questions: {np.median(held):.0%} natural (median)")
assert natural[1].min() > natural[0].max() and np.median(held) > 0.6 and truth[1] < truth[0]
show(figures.sft_dose(COUNTS, [("natural answers", natural), ("of these, true", true)],
                      (middle[0], truth[0])),
     "Each point is one seed, the line their median. Left: 8 demonstrations lift the natural "
     f"share from {middle[0]:.0%} to {middle[1]:.0%}, 32 to {middle[2]:.0%}, 96 to "
     f"{middle[3]:.0%}. Right: of the natural answers {truth[0]:.0%} are true, with 8 "
     f"demonstrations {truth[1]:.0%}.")

# %% [markdown]
# So question 1 is answered: 8 demonstrations change the manner everywhere. More than 32 add
# little. The price of few is on the right: Rufus also copies *what* the 8 say. Now the loss:

# %%
order = np.random.default_rng(0).permutation(len(demonstrations))
print("            loss on those shown     on the others       natural answers")
for count, share in zip((8, 32), natural[1:, 0]):
    losses = []
    for part in (order[:count], order[count:]):
        for who in (model, tuned[count, 0]):
            examples = [demonstrations[i] for i in part]
            losses.append(step1.evaluate_loss(who.params, who.config, examples, True))
    print(f"{count:2} shown, {48 * 8 // count} epochs".ljust(21),
          "{:.3f} -> {:.3f}      {:.3f} -> {:.3f}".format(*losses),
          f"     {natural[0, 0]:.0%} -> {share:.0%}")
    assert losses[1] < losses[0] and (losses[3] > losses[2]) == (count == 8)

# %% [markdown]
# With 8 demonstrations this is overfitting: the loss on the others rises. Yet twice as many answers
# are natural. The loss counts every character, content included, and the judge asks for manner
# only. A loss is not the thing you want.
#
# ## Then why rank at all?
#
# 96 demonstrations do so much that SFT looks like the whole story. But they are faultless.
# So we put faulty answers from the corpus among them. Then we use no demonstration at all: only
# comparisons of the pretrained Rufus's own answers, by simulated annotators.

# %%
QUESTIONS, rng = world.questions("train"), np.random.default_rng(0)
faulty = [encode(*p) for p in pairs if p[0] in QUESTIONS and world.naturalness(*p) < 1]
faulty = [faulty[i] for i in rng.permutation(len(faulty))]
mixed = []
for good in (0, 24, 48, 72, 96):
    examples = demonstrations[:good] + faulty[: 96 - good]
    mixed.append((good / 96, judge(fine_tune(examples, 0), 0).natural))
    print(f"{mixed[-1][0]:4.0%} of the demonstrations natural -> {mixed[-1][1]:.0%} of the answers")
assert np.abs(np.diff(mixed, axis=1)).max() < 0.2 and np.all(np.diff(mixed, axis=0) > 0)

# %%
def own_answers(ranking):
    """Keeps what the pretrained model said, in the same order."""
    own = [(k, text) for k, text, name in zip(ranking.ranks, ranking.responses, ranking.models)
           if name == "pretrained"]
    places = sorted({k for k, _ in own})
    return ranking._replace(
        responses=[text for _, text in own], ranks=[places.index(k) + 1 for k, _ in own],
        models=["pretrained"] * len(own),
    )

# %%
rankings = [own_answers(r) for r in data.read_rankings(data.DATA / "en" / "rankings.jsonl")]
rankings = [r for r in rankings if len(set(r.ranks)) > 1]
every = [(r.prompt, text) for r in rankings for text in r.responses]
best = [(r.prompt, text) for r in rankings for k, text in zip(r.ranks, r.responses) if k == 1]
print(f"{len(rankings)} rankings of {len(every)} answers")

# %%
own = []
for name, kept in (("SFT on all of Rufus's answers", every), ("SFT on the preferred ones", best)):
    share = np.mean([world.naturalness(*pair) == 1 for pair in kept])
    own.append((share, judge(fine_tune([encode(*p) for p in kept], 0), 0).natural, name))

# %%
RANKED = replace(pipeline.REWARD, epochs=2)
PRACTICE = replace(pipeline.PPO, iterations=20, ppo_epochs=2, learning_rate=1e-3, clip_range=0.2)
with tempfile.TemporaryDirectory() as folder:
    run = pipeline.Run(out=Path(folder), seed=0)
    reward_model, _ = pipeline.run_reward(model, rankings, run, RANKED)
    policy, _, _ = pipeline.run_ppo(model, reward_model, QUESTIONS, run, PRACTICE)
after_ppo = judge(policy, 0)

# %%
ends = [own[0][0], after_ppo.natural, "reward model and PPO,\nfrom comparisons of the same answers"]
show(figures.shown_and_said(mixed, own, ends, middle[0]),
     "SFT stays near the diagonal: it becomes as good as what it was shown. Of Rufus's own "
     f"answers {own[0][0]:.0%} are natural; SFT on them gives {own[0][1]:.0%}, on the preferred "
     f"ones {own[1][1]:.0%}. Comparisons of them, with PPO, give {after_ppo.natural:.0%}.")
print(f"true among the natural answers: before {truth[0]:.0%}, after PPO {after_ppo.truthful:.0%}")
assert after_ppo.natural > own[1][1] + 0.15 and abs(own[0][0] - own[0][1]) < 0.1
assert after_ppo.truthful < truth[0]

# %% [markdown]
# This is why SFT is optional: the star never saw a demonstration. And it is why people rank.
# SFT imitates, so its teacher must be better than the pupil wants to be. A comparison needs no good
# answer. It says which of two is better, and the bad one teaches, too.
#
# It is one run with one seed. The price is work, and truth: nobody asked for that. Below, how long
# people would need. The seconds are assumed, not measured: change them.

# %%
SECONDS_TO_WRITE, SECONDS_TO_COMPARE = 20, 8  # assumed
print("what people do                     minutes   natural")
for what, count, seconds, share in (
    ("write 8 faultless answers", 8, SECONDS_TO_WRITE, middle[1]),
    ("write 96 faultless answers", 96, SECONDS_TO_WRITE, middle[3]),
    ("write 96, half with a fault", 96, SECONDS_TO_WRITE, mixed[2][1]),
    (f"compare {len(rankings)} times", len(rankings), SECONDS_TO_COMPARE, after_ppo.natural),
):
    print(f"{what:32}  {count * seconds / 60:7.0f}   {share:7.0%}")
assert middle[3] >= after_ppo.natural and middle[1] > (middle[0] + middle[3]) / 2
assert 96 * SECONDS_TO_WRITE < 0.5 * len(rankings) * SECONDS_TO_COMPARE

# %% [markdown]
# In Rufus's world the faultless writer wins: 96 faultless answers do no less than all the
# comparisons, in half of the time, and 8 go most of the way. Everybody can write the perfect answer
# to "Who are you?". Rank where writers make mistakes, or where it is easier to judge than to write.
# Most people can tell which of two poems is better.
#
# The package uses both: a little SFT first, then rankings. It stops SFT early on purpose, so that
# something is left for people to rank.

# %% [markdown]
# **After 1.** Answer X has 8 tokens with a mean log-probability of $-0.2$. Answer Y has 20 tokens
# with a mean of $-0.15$. Which one will be heard more often?
#
# - A. Y, because its mean is higher.
# - B. X, because its sum is higher.
# - C. Both equally often: the difference is only length.
#
# <details><summary>Answer</summary>
#
# **B.** The sums are $-1.6$ and $-3$, so X is about four times as probable. A is the mean that
# forgives; C forgets that every further token multiplies a probability below 1.
#
# </details>

# %% [markdown]
# **After 2.** At temperature 1, "a" is 3 times as probable as "b". And at temperature 0.5?
#
# - A. 9 times.
# - B. 1.5 times.
# - C. 6 times.
#
# <details><summary>Answer</summary>
#
# **A.** The logits differ by $\ln 3$. Divided by 0.5 that is $2 \ln 3 = \ln 9$. B divides the
# probabilities; C multiplies them by 2.
#
# </details>

# %% [markdown]
# **After 3.** Half of your demonstrations hold a fault. You get ten times as many of the same kind,
# and train longer. Then?
#
# - A. The faults cancel, and nearly all answers become natural.
# - B. Nothing can be said, it depends on the seed.
# - C. About half of the answers will still hold a fault.
#
# <details><summary>Answer</summary>
#
# **C.** The loss is smallest for the mixture that was shown. A mean cancels errors in a number,
# but here the mixture itself is what is learned.
#
# </details>

# %% [markdown]
# **At scale.** InstructGPT trained SFT for several epochs. Its loss on held-out demonstrations rose
# after the first, and people still liked later versions better
# ([Ouyang et al. 2022](https://arxiv.org/abs/2203.02155), section 3.5). LIMA fine-tuned on 1,000
# careful demonstrations ([Zhou et al. 2023](https://arxiv.org/abs/2305.11206)). DeepSeek-R1-Zero
# had no SFT at all, with rules in place of a reward model
# ([DeepSeek-AI 2025](https://arxiv.org/abs/2501.12948)).
#
# Next, lesson 03: people disagree. What should they be asked for, scores or rankings?
