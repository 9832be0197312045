# %% [markdown]
# # 05 The reward model
#
# Lesson 04 gave one free number to each answer that somebody had ranked. A reward model reads an
# answer and gives the number, also for answers that nobody has ranked.
#
# - Turn a language model into a reward model: one number at the last real token.
# - Train it on rankings by simulated annotators, and measure it on questions it has not seen.
# - Compute the best accuracy that is possible at all, because annotators contradict each other.
# - Ask whether its probabilities can be believed.
# - Find what it did not learn.

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two threads are slower for small matrices
try:
    import minirlhf
except ModuleNotFoundError:
    print("minirlhf is missing here. Run this in a cell of its own, then all cells again:\n"
          "%pip install matplotlib git+https://github.com/OWNER/minirlhf")

# %%
import numpy as np

from minirlhf import step2_reward_model as step2
from minirlhf.adam import adam_step, clip_gradient, init_adam, learning_rate
from minirlhf.course import check, hint, play, show, solution, where
from minirlhf.course.lesson05 import figures
from minirlhf.course.lesson05.exercises import spoil_x, spoil_y, win_probability
from minirlhf.course.notebook import answer, pretrained
from minirlhf.data import DATA, encode_example, pad_rows, read_rankings
from minirlhf.gpt import init_params, with_scalar_head
from minirlhf.rufus.answers import reference_rows
from minirlhf.rufus.people import make_annotators
from minirlhf.rufus.world import World
from minirlhf.tokenizer import BOS, EOS, PAD

# %% [markdown]
# **Terms**
#
# - **trunk** is the transformer without what stands on top of it: ids in, one vector per token out.
# - **scalar head** is what stands on top of the trunk in a reward model: it turns each vector into
#   one number.
# - **accuracy** is here the held-out pair accuracy: the share of pairs, from questions that
#   training never saw, in which the better answer has the higher score.
# - **Bayes ceiling** is the accuracy of somebody who knows how likely each answer is to win.
# - **calibration** is the agreement of stated probabilities with what happens. Who says 80 % should
#   be right in 80 % of such cases.
# - **reliability diagram** is the picture of calibration: stated against what happened.
# - **generalise** means: do well on what was not in the training data.
# - **counterfactual** is the same sentence with one thing changed, to see what that thing does.

# %%
def load(lang):
    """-> pretrained model, world, rankings of training and of held-out questions."""
    files = [DATA / lang / name for name in ("rankings.jsonl", "rankings_held_out.jsonl")]
    return (pretrained(lang), World.load(lang), *map(read_rankings, files))

model, world, train, held = load("en")
trunk, config = model.params, model.config
print(f"{len(train)} rankings for training, {len(held)} held out; all by simulated annotators")

# %%
params = with_scalar_head(trunk, config, np.random.default_rng(0))
print(f"language model {trunk.flat.size} numbers, with a scalar head {params.flat.size}")
ids = [encode_example(model.tokenizer, train[0].prompt, a, 50).ids for a in train[0].responses]
untrained = step2.score_rows(params, config, ids)
for rank, response, score in zip(train[0].ranks, train[0].responses, untrained):
    print(f"rank {rank}  score before training {score:6.2f}  {response}")
assert params.flat.size - trunk.flat.size == 33 and config.n_embd == 32
assert not {r.prompt for r in train} & {r.prompt for r in held}

# %% [markdown]
# **Before 1.** Simulated annotators rank with noise. A reward model is tested on their rankings of
# new questions. What accuracy can a perfect model reach?
#
# - A. 100 %, because it is perfect.
# - B. Less than 100 %: noise cannot be predicted.
# - C. 50 %, because noise is random.
#
# <details><summary>Answer</summary>
#
# **B.** Where two answers are nearly equal, the label is nearly a coin flip. C forgets that most
# pairs are not nearly equal.
#
# </details>

# %% [markdown]
# **Before 2.** In training, the better and the worse answer are swapped by mistake. What does the
# training loss do?
#
# - A. It falls, as always.
# - B. It rises.
# - C. It stays at $\ln 2$.
#
# <details><summary>Answer</summary>
#
# **A.** To the loss, the swapped labels are the truth. B treats the loss as if it knew what we
# meant.
#
# </details>

# %% [markdown]
# ## One number at the last real token
#
# The trunk gives a vector of 32 numbers for each token. The scalar head is 32 weights and a bias:
# 33 new parameters. We read its number at EOS, because attention looks only back: there alone the
# whole answer has been read.
#
# Rows of a batch have different lengths and are padded. So where is the last real token?
#
# **Exercise 05.1.** About 4 lines. The ids `PAD`, `BOS`, `EOS` are imported. Help: `hint("05.1")`.

# %%
def last_token_index(tokens):
    """tokens (B, T) ids -> (B,) place of each row's last token that is not PAD."""
    ### BEGIN SOLUTION
    real = tokens != PAD  # (B, T)
    if not real.any(axis=1).all():
        raise ValueError("a row has nothing but padding")
    return tokens.shape[1] - 1 - real[:, ::-1].argmax(axis=1)
    ### END SOLUTION

# %%
last_token_index = check(last_token_index)

# %%
print("padding   score at the last real token   at the last column")
spread = []
for extra in (0, 1, 5):
    tokens = pad_rows([ids[2], [PAD] * (len(ids[2]) + extra)])[:1]  # (1, T + extra)
    last = last_token_index(tokens)
    right, _ = step2.reward_model_forward(params, config, tokens, last)
    wrong, _ = step2.reward_model_forward(params, config, tokens, np.array([tokens.shape[1] - 1]))
    spread.append((right[0], wrong[0]))
    print(f"{extra:7}   {right[0]:28.4f}   {wrong[0]:18.4f}")
assert np.ptp(spread, axis=0)[0] < 1e-12 < 0.01 < np.ptp(spread, axis=0)[1]
where(step2.reward_model_forward)

# %% [markdown]
# At the last column, the score of a sentence depends on its neighbours in the batch. No error
# appears. That is why this index deserves an exercise.
#
# ## Pairs
#
# A ranking of K answers without ties holds $K(K-1)/2$ preference pairs. Ties hold none. Answers of
# different rankings must not be compared: rank 1 of a poor four may be worse than rank 3 of a good
# four.
#
# **Exercise 05.2.** List the pairs of a whole batch. About 2 lines.

# %%
def pairs_from_ranking(group, ranks):
    """group (n,) which ranking a row is from, ranks (n,) -> (P, 2) rows: better, worse."""
    ### BEGIN SOLUTION
    same = group[:, None] == group[None, :]  # (n, n)
    return np.argwhere(same & (ranks[:, None] < ranks[None, :]))
    ### END SOLUTION

# %%
pairs_from_ranking = check(pairs_from_ranking)

# %%
def as_pairs(rankings):
    """-> distinct (prompt, response), better (P,), worse (P,): indices into them."""
    rows = [(r.prompt, response) for r in rankings for response in r.responses]
    group = np.repeat(np.arange(len(rankings)), [len(r.ranks) for r in rankings])
    pairs = pairs_from_ranking(group, np.concatenate([r.ranks for r in rankings]))
    texts = sorted(set(rows))
    place = {text: i for i, text in enumerate(texts)}
    return texts, *np.array([place[row] for row in rows])[pairs].T

texts, better, worse = as_pairs(held)
print(f"{len(held)} held-out rankings: {len(better)} pairs of {len(texts)} different answers")

# %%
scores = np.array([0.5, -1.0, 2.0, 0.0])
pairs = pairs_from_ranking(np.zeros(4, int), np.array(train[0].ranks))
by_pairs, _, _ = step2.bradley_terry_loss(*scores[pairs.T])
assert np.isclose(by_pairs, step2.ranking_loss(scores[None], np.array([train[0].ranks]))[0])
where(step2.ranking_loss)

# %% [markdown]
# The package never splits a ranking: its K answers go through the trunk together, once each. Six
# separate pairs would need 12 passes instead of 4, and each answer would be learned three times.
#
# ## How good can it get?
#
# Let $p$ be the probability that the first answer of a pair wins. Who knows $p$ names the likelier
# winner.
#
# **Exercise 05.3.** How often is that right, on average over the pairs? 1 line.

# %%
def bayes_ceiling(p):
    """p (n,) probability that the first of each pair wins -> best possible accuracy, a float."""
    ### BEGIN SOLUTION
    return float(np.maximum(p, 1 - p).mean())
    ### END SOLUTION

# %%
bayes_ceiling = check(bayes_ceiling)

# %%
people = make_annotators(np.random.default_rng(0))  # the five simulated people of the data
pairs = [(texts[i][0], texts[i][1], texts[j][1]) for i, j in zip(better, worse)]
p = np.array([win_probability(world, people, *pair) for pair in pairs])  # (P,)
ceiling = bayes_ceiling(p)
right = ((p > 0.5) + (p == 0.5) / 2).mean()  # a coin is flipped where both are equal
error = np.sqrt((p * (1 - p)).mean() / len(p))
print(f"Bayes ceiling on the held-out pairs  {100 * ceiling:.1f} %")
print(f"who knows p, on these labels         {100 * right:.1f} %  (luck: +- {100 * error:.1f})")
print(f"pairs with p within 0.4 .. 0.6       {100 * (abs(p - 0.5) < 0.1).mean():.1f} %")
assert abs(right - ceiling) < 2 * error

# %% [markdown]
# With real people nobody knows $p$; here the people are simulated, so we do. It is averaged over
# the five of them, because the model is not told who will judge. The noise ceiling of
# lesson 04 was counted from repeated labels. This one is computed before any label is drawn. Luck
# moves the result on our 1376 labels by about a percentage point.
#
# **Predict before you run.** Three reward models see all 5588 training pairs, each once. What will
# their accuracy be?
#
# - A. Above the ceiling, because a transformer is stronger than a simulated annotator.
# - B. Some points below the ceiling.
# - C. Near 50 %, because each pair was seen only once.
#
# <details><summary>Answer, after you have run the next two cells</summary>
#
# **B.** The next picture shows how much is missing, and that it was still shrinking.
#
# </details>

# %%
def scores_of(params, model, texts):
    """-> scores (N,) of the N (prompt, response)."""
    size = model.config.block_size
    rows = [encode_example(model.tokenizer, *text, size).ids for text in texts]
    return step2.score_rows(params, model.config, rows)

# %%
def accuracy(scores, better, worse):
    return float((scores[better] > scores[worse]).mean())

LOOKS = (4, 12, 36, 72)  # steps at which the held-out pairs are tried

# %%
def learn(trunk, seed, encoded, looks=()):
    """One pass over the rankings -> params; pairs seen and held-out accuracy (M, 2)."""
    rng, seen, curve = np.random.default_rng(seed), 0, []
    params = with_scalar_head(trunk, config, rng)
    adam, batches = init_adam(params), step2.batches_of_rankings(encoded, 8, 1, rng)
    for step, members in enumerate(batches):
        if step in looks:
            curve.append((seen, accuracy(scores_of(params, model, texts), better, worse)))
        batch = [encoded[i] for i in members]
        _, grads, _, ranks = step2.reward_model_loss(params, config, batch, "k-wise")
        clip_gradient(grads, 1.0)
        adam_step(params, grads, adam, learning_rate(step, len(batches), 2e-3, 10, "linear"))
        seen += ranks.size * (ranks.shape[1] - 1) // 2
    curve.append((seen, accuracy(scores_of(params, model, texts), better, worse)))
    return params, np.array(curve)

# %%
encoded = step2.encode_rankings(model.tokenizer, train, config.block_size)
judges, curves = zip(*[learn(trunk, seed, encoded, LOOKS) for seed in (0, 1, 2)])
blank = init_params(config, np.random.default_rng(0), np.float64)  # never saw a text
_, from_scratch = learn(blank, 0, encoded, LOOKS)
print("pairs seen  accuracy, seeds 0 1 2     random trunk   (pairs of seed 0)")
for i in range(len(LOOKS) + 1):
    print(f"{curves[0][i, 0]:10.0f}  " + "  ".join(f"{100 * c[i, 1]:5.1f} %" for c in curves)
          + f"      {100 * from_scratch[i, 1]:5.1f} %")

# %%
mean = 100 * np.mean(curves, axis=0)[:, 1]  # (M,)
late, top = 100 * from_scratch[:, 1], 100 * ceiling  # (M,), a float
print(f"errors {100 - mean[-1]:.0f} %: noise {100 - top:.0f} %, our own {top - mean[-1]:.0f} %")
assert all(0.5 < c[0, 1] < c[-1, 1] < ceiling for c in curves) and late[1] < mean[1] - 5
show(figures.learning_curve(curves, [from_scratch], ceiling),
     f"Accuracy rises from {mean[0]:.0f} % to {mean[-1]:.0f} %, the mean of three seeds (thin). It "
     f"stays below the ceiling of {top:.0f} %. A trunk that never read a text learns later: "
     f"{late[1]:.0f} % against {mean[1]:.0f} % at the second mark.")

# %% [markdown]
# The test questions were never ranked, yet the model is right far more often than a coin: it
# generalises. The pretrained trunk already knew the language, so few comparisons go far. With all
# pairs the blank trunk comes close, on its one seed.
#
# ## Can its probabilities be believed?
#
# A margin $m$ promises that the favourite wins with probability $1/(1+e^{-m})$. We sort the
# held-out pairs by this promise and count: a reliability diagram. Then we do it again after the
# normalisation of lesson 04. It gives the scores of the pretrained model's answers mean 0 and
# standard deviation 1.

# %%
def promises(scores):
    """-> stated probability, share that happened, number of pairs: (5,) each, for 5 groups."""
    margin = scores[better] - scores[worse]  # (P,)
    said = 1 / (1 + np.exp(-np.abs(margin)))  # (P,) of the favourite, whoever that is
    group = np.minimum((10 * said).astype(int), 9) - 5  # (P,)  50-60 %, .., 90-100 %
    n = np.bincount(group, minlength=5)
    return [np.bincount(group, said, 5) / n, np.bincount(group, margin > 0, 5) / n, n]

raw = [scores_of(params, model, texts) for params in judges]
rows = reference_rows(model, sorted({r.prompt for r in train}), np.random.default_rng(0))
for params in judges:
    step2.normalise_scores(params, step2.score_rows(params, config, rows))
normal = [scores_of(params, model, texts) for params in judges]
assert [accuracy(s, better, worse) for s in raw] == [accuracy(s, better, worse) for s in normal]

# %%
both = []
for name, versions in (("as trained", raw), ("after normalisation", normal)):
    said, seen, n = np.array([promises(s) for s in versions]).swapaxes(0, 1)  # (3, 5) each
    both.append((name, said, seen, n))
    promised, kept = (said * n).sum() / n.sum(), (seen * n).sum() / n.sum()
    print(f"{name:20} promised {100 * promised:.1f} %   kept {100 * kept:.1f} %")
show(figures.reliability(both),
     "Left, the points lie near the dotted line: where the model says 75 %, the favourite wins "
     f"{100 * both[0][2][:, 2].mean():.0f} % of the time. Right, after normalisation, they lie "
     "above it: the model is right more often than it says. Bars: two standard errors.")

# %% [markdown]
# As trained, its calibration is good, with slightly too much confidence. Normalisation keeps every
# order and so the accuracy, but a unit of score is no longer a unit of utility. Nobody should read
# probabilities from normalised scores.
#
# ## Does it agree with the gold judge?
#
# The model never saw naturalness, only rankings. From here on its scores are normalised.

# %%
zh_model, zh_world, zh_train, zh_held = load("zh")
zh_texts, *zh_pairs = as_pairs(zh_held)
zh_params = with_scalar_head(zh_model.params, zh_model.config, np.random.default_rng(0))
zh_encoded = step2.encode_rankings(zh_model.tokenizer, zh_train, zh_model.config.block_size)

# %%
SETTINGS = step2.RewardModelSettings(batch_size=8, epochs=1, learning_rate=2e-3)
step2.train_reward_model(zh_params, zh_model.config, zh_encoded, SETTINGS, np.random.default_rng(0))
zh_rows = reference_rows(zh_model, sorted({r.prompt for r in zh_train}), np.random.default_rng(0))
step2.normalise_scores(zh_params, step2.score_rows(zh_params, zh_model.config, zh_rows))
zh_scores = scores_of(zh_params, zh_model, zh_texts)
print(f"Chinese: accuracy {100 * accuracy(zh_scores, *zh_pairs):.1f} %")

# %%
panels, r = [], []
for title, w, what, scores in (("English, held-out questions", world, texts, normal[0]),
                               ("Chinese, held-out questions", zh_world, zh_texts, zh_scores)):
    gold = np.array([w.naturalness(*text) for text in what])  # (N,)
    kinds = [w.question(prompt).relation for prompt, _ in what]
    r.append(np.corrcoef(gold, scores)[0, 1])
    panels.append((f"{title}: r = {r[-1]:.2f}", gold, scores, kinds))
assert min(r) > 0.6
show(figures.score_and_naturalness(panels),
     f"Scores rise with true naturalness in both languages: Pearson correlation {r[0]:.2f} in "
     f"English, {r[1]:.2f} in Chinese. Each point is one answer, each colour one kind of question. "
     "At one naturalness the scores still differ widely.")

# %% [markdown]
# ## Where does it decide?
#
# We cut a sentence after each character, add EOS, and ask for the score: what if it ended here?

# %%
QUESTION = "Who is Zoe?"
SPOKEN = ["Zoe is a cook.", "Zoe, a cook.", "a cook Zoe is."]
panels = []
for sentence in SPOKEN:
    parts = [(QUESTION, sentence[: end + 1]) for end in range(len(sentence))]
    panels.append((list(sentence), np.array([scores_of(j, model, parts) for j in judges])))

# %%
ends = [scores[:, -1].mean() for _, scores in panels]
stop = [scores[:, -1].mean() - scores[:, -2].mean() for _, scores in panels]
is_gap, comma_gap = panels[0][1][:, 6], panels[1][1][:, 4]  # (3,) after "Zoe is " and "Zoe, "
is_a, comma_a = panels[0][1][:, 7], panels[1][1][:, 5]  # (3,) after "Zoe is a" and "Zoe, a"
assert abs((is_gap - comma_gap).mean()) < 0.25 and (is_a > comma_a + 0.3).all() and min(stop) > 0.5
show(figures.along_the_sentence(panels),
     f"Three reward models (thin) and their mean, at the end {ends[0]:.2f}, {ends[1]:.2f} and "
     f"{ends[2]:.2f}. The full stop alone is worth {stop[0]:+.2f} in the first sentence.")

# %% [markdown]
# No single character decides. The verb does not count at once: after "Zoe is " and after "Zoe, "
# the scores are about equal. The gap opens at the *a* that follows. An unfinished sentence is worth
# little, and in all three the full stop adds more than half a unit. Reversed words never recover.
#
# In training the model read its number only after whole answers. Half sentences are new to it, so
# these curves show a habit, not a skill that anybody taught.
#
# ## What it did not learn
#
# Counterfactuals ask one thing at a time. We take the usual answer to each of the 12 held-out
# questions, change it in eight ways, and average the change of the score.

# %%
def changed(prompt):
    """-> dict: name of the change -> answer; "" is the usual answer, with the fact."""
    usual, false = world.references(prompt)[:2]
    words, first = usual[:-1].split(), usual.split()[0]
    return {"": usual, "another content: false": false, "greeting before it": "Hi! " + usual,
            "first word missing": " ".join(words[1:]) + ".",
            "comma for the verb": f"{first}, {' '.join(words[2:])}.",
            "last word twice": f"{usual[:-1]} {words[-1]}.",
            "words reversed": " ".join(words[::-1]) + ".",
            "full stop missing": usual[:-1], "full stop twice": usual + "."}

questions = world.questions("held_out")
versions = [(q, sentence) for q in questions for sentence in changed(q).values()]
names = list(changed(questions[0]))[1:]
assert not any(world.truthful(q, changed(q)[names[0]]) for q in questions)

# %%
def effects(values):
    """values (12 * 9,) of all versions -> mean change (8,) against the usual answers."""
    table = np.reshape(values, (len(questions), -1))  # (12, 9)
    return (table[:, 1:] - table[:, :1]).mean(axis=0)

# %%
by_score = np.array([effects(scores_of(j, model, versions)) for j in judges])  # (3, 8)
by_gold = effects([world.naturalness(*version) for version in versions])  # (8,)
mean = dict(zip(names, by_score.mean(axis=0)))
show(figures.counterfactual_bars(names, by_score, by_gold),
     f"Left the score (bar: mean, dots: three seeds), right the gold judge. A greeting costs "
     f"{-mean['greeting before it']:.2f}, though it is natural. A second full stop gains "
     f"{mean['full stop twice']:.2f}, though it is a fault. A false fact moves the score by "
     f"{abs(mean['another content: false']):.2f}.")

# %%
train_texts, won, lost = as_pairs(train)
greets = np.array([world.greets(response) for _, response in train_texts])  # (N,)
wins = greets[won][greets[won] != greets[lost]]  # pairs in which one of the two greets
said = [response for r in train for response in r.responses]
counts = [sum(map(world.greets, said)), sum(response.endswith("..") for response in said)]
print(f"training answers {len(said)}: with a greeting {counts[0]}, with two full stops {counts[1]}")
print(f"against an answer without, a greeting won {100 * wins.mean():.0f} % of {len(wins)} pairs")
assert wins.mean() > 0.5
assert by_score[:, -1].min() > 0 > by_gold[-1]  # full stop twice, on each seed
assert by_score[:, 1].max() < -0.3 and by_gold[1] == 0 and abs(by_score[:, 0]).max() < 0.2

# %% [markdown]
# Most faults cost what they should. Three results deserve a second look.
#
# - **Full stop twice.** All three models find it better than one. A likely reason: a missing stop
#   was punished often, and a second one occurs in 5 answers out of 4016. Nobody ranks what nobody
#   says.
# - **Greeting.** The labels do not say that greetings are bad: greeted answers won more often than
#   not. They are rare. Why the model marks them down, we do not know.
# - **False fact.** It costs nothing. The judges ranked naturalness, so truth never entered. A
#   reward model learns what was ranked, not what we wish.
#
# A policy that is trained to please this model can find the second full stop. Lesson 08 watches it.
#
# ## Try a sentence of your own
#
# Twenty answers to a held-out question, as the models of the data gave them. Choose a sentence, or
# type any: `place("Zoe Zoe Zoe.")`.

# %%
said = [response for r in held if r.prompt == QUESTION for response in r.responses]
TWENTY = sorted(dict.fromkeys(said), key=said.count, reverse=True)[:20]
twenty = scores_of(judges[0], model, [(QUESTION, sentence) for sentence in TWENTY])
natural = [world.naturalness(QUESTION, sentence) for sentence in TWENTY]

# %%
def place(sentence):
    score = scores_of(judges[0], model, [(QUESTION, sentence)])[0]
    rank = 1 + (twenty > score).sum()
    show(figures.ranking_of_twenty(TWENTY, twenty, natural, sentence, score),
         f"Answers to {QUESTION!r} by score, with their true naturalness. Yours, {sentence!r}, has "
         f"the score {score:.2f} and would be number {rank} among the 20.")

place("Zoe is a cook..")

# %%
CHOICES = ["Zoe is a cook..", "Zoe is a cook", "Hi! Zoe is a cook.", "Zoe is a robot.",
           "I am a robot.", "Zoe is a cook cook cook.", "cook.", "."]
play(place, sentence=CHOICES)

# %% [markdown]
# ## Two silent bugs
#
# The same training on 240 Chinese rankings, three seeds each. One version is healthy. In X and in Y
# one line is wrong. Nothing fails. "Own" is the share of training pairs in the right order, by the
# run's own labels.

# %%
def run(spoil, seed):
    """-> loss and own accuracy of the last 10 steps, held-out accuracy: (3,)."""
    rng = np.random.default_rng(seed)
    params = with_scalar_head(zh_model.params, zh_model.config, rng)
    data = zh_encoded[:240] if spoil is None else spoil(zh_encoded[:240], rng)
    log = step2.train_reward_model(params, zh_model.config, data, SETTINGS, rng)[-10:]
    held_out = accuracy(scores_of(params, zh_model, zh_texts), *zh_pairs)
    return [np.mean([row[key] for row in log]) for key in ("loss", "accuracy")] + [held_out]

# %%
print("version   loss at the end   own at the end   held-out accuracy, seeds 0 1 2")
for name, spoil in (("healthy", None), ("X", spoil_x), ("Y", spoil_y)):
    loss, own, held_out = np.array([run(spoil, seed) for seed in (0, 1, 2)]).T  # (3,) each
    seeds = "  ".join(f"{100 * share:.0f} %" for share in held_out)
    print(f"{name:9} {loss.mean():15.2f}   {100 * own.mean():12.0f} %   {seeds:>31}")

# %% [markdown]
# **Exercise 05.4.** What is wrong in X, and what in Y? Two letters, X first.
#
# - A. The answers of each ranking were shuffled, but not their ranks.
# - B. Chosen and rejected are swapped.
# - C. The score is read before the answer begins.
# - D. Some held-out questions are among the training questions.

# %%
### BEGIN SOLUTION
bugs = "BA"
### END SOLUTION

# %%
answer("05.4", bugs)

# %% [markdown]
# **After 1.** Held-out accuracy is 77 %, the Bayes ceiling 83 %. What do you report?
#
# - A. The model makes 23 % errors, so it is bad.
# - B. Noise alone costs 17 points; 6 are the model's own.
# - C. The ceiling must be wrong, since the model does not reach it.
#
# <details><summary>Answer</summary>
#
# **B.** A blames the model for coin flips. C takes an upper limit for a forecast.
#
# </details>

# %% [markdown]
# **After 2.** You divide all scores by 10. What changes?
#
# - A. The accuracy.
# - B. The rank among the 20 answers.
# - C. The calibration.
#
# <details><summary>Answer</summary>
#
# **C.** Orders stay, so A and B do not change. But all stated probabilities move towards 50 %.
#
# </details>

# %% [markdown]
# **After 3.** On every seed, held-out accuracy is far below 50 %. What do you look for first?
#
# - A. A swapped sign or a swapped pair.
# - B. More training data.
# - C. A larger trunk.
#
# <details><summary>Answer</summary>
#
# **A.** Guessing gives 50 %. Far below it, the model has learned well, in the wrong direction. B
# and C would make it worse.
#
# </details>

# %% [markdown]
# **At scale.** InstructGPT's reward model had 6 billion parameters. All pairs of one ranking stayed
# in one batch, because shuffled pairs overfitted
# ([Ouyang et al. 2022](https://arxiv.org/abs/2203.02155), section 3.5). Two of its labelers agreed
# in about 7 comparisons of 10 (section 3.4), so there, too, the ceiling was far below 100 %.
#
# Next, lesson 06: a policy learns from these scores, with PPO.
