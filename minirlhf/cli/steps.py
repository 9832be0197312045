"""What the verbs of the three steps run: demo, pretrain, sft, rank, reward, ppo, evaluate."""

import json
from pathlib import Path

from minirlhf.checkpoint import load_model
from minirlhf.cli.arguments import at_least, changed
from minirlhf.cli.files import (
    check_answers,
    check_prompts,
    check_rankings,
    check_vocabulary,
    data_file,
    line_numbers,
    load_speaker,
    make_folder,
    prepare_out,
)
from minirlhf.data import (
    read_corpus,
    read_demonstrations,
    read_preferences,
    read_prompts,
    read_rankings,
    write_preferences,
)
from minirlhf.errors import InputError, at
from minirlhf.rufus.demo import DEMO_PPO, run_demo
from minirlhf.rufus.measure import evaluate_model, kl_to_reference, reward_accuracy
from minirlhf.rufus.pipeline import (
    PPO,
    PRETRAIN,
    REWARD,
    REWARD_MODEL,
    SFT,
    Run,
    Size,
    build_language_model,
    run_ppo,
    run_pretrain,
    run_rank,
    run_reward,
    run_sft,
    split_rankings,
    stage_rng,
)
from minirlhf.rufus.world import World


def run_demo_verb(args, progress):
    if args.out == Path("runs/demo-LANG-SEED"):
        args.out = Path(f"runs/demo-{Path(args.lang).stem}-{args.seed}")
    settings = changed(DEMO_PPO, args.set)
    prepare_out(args, "*")  # of any stage and round
    run_demo(args.lang, args.seed, args.out, progress, args.resume, ppo=settings)


def run_pretrain_verb(args, progress):
    corpus = args.corpus or data_file(args, "corpus.txt")
    at_least(args, 1, "n_layer", "n_head", "n_embd")
    if args.n_embd % args.n_head:
        raise InputError(f"--n-embd {args.n_embd}: not a multiple of --n-head {args.n_head}")
    read_corpus(corpus)  # before the folder is made: a wrong file leaves nothing behind
    size = Size(n_layer=args.n_layer, n_head=args.n_head, n_embd=args.n_embd)
    settings = changed(PRETRAIN, args.set)
    out = prepare_out(args, "pretrained")
    run = Run(out=out, seed=args.seed, progress=progress)
    model, history = run_pretrain(corpus, run, settings, size)
    entropy, last = model.extra["corpus_entropy"], history[-1]
    loss = last["loss"] if last["held_out_loss"] is None else last["held_out_loss"]
    print(f"loss {loss:.4f} nats per character "
          f"(unigram entropy {entropy['unigram']:.4f}, bigram entropy {entropy['bigram']:.4f})\n"
          f"wrote {out / 'pretrained.npz'}: {model.params.flat.size} parameters, "
          f"{model.config.vocab_size} ids")


def run_sft_verb(args, progress):
    at_least(args, 1, "count")
    model = load_speaker(args.model)
    path = args.demonstrations or data_file(args, "sft.jsonl")
    demonstrations = read_demonstrations(path)[: args.count]
    check_answers(model, [(prompt, [response]) for prompt, response in demonstrations], path)
    settings = changed(SFT, args.set)
    out = prepare_out(args, "sft")
    run = Run(out=out, seed=args.seed, progress=progress)
    model, history = run_sft(model, demonstrations, run, settings)
    figures = model.extra.get("corpus_entropy", {})
    of_corpus = "".join(f", {name} entropy {value:.4f}" for name, value in figures.items())
    print(f"loss on responses {history[0]['loss']:.4f} -> {history[-1]['loss']:.4f} nats per "
          f"character{of_corpus}\nwrote {out / 'sft.npz'}")


def run_rank_verb(args, progress):
    at_least(args, 1, "count", "held_out")
    at_least(args, 2, "k")
    world = World.load(args.lang)
    models = {}
    for path in args.model or [Path("runs/mine/pretrained.npz"), Path("runs/mine/sft.npz")]:
        name = str(path) if path.stem in models else path.stem
        models[name] = load_speaker(path)
        questions = world.questions()
        check_prompts(models[name], questions, [f"{path} with --lang {args.lang}"] * len(questions))
    make_folder(args.out)
    run = Run(out=args.out, seed=args.seed)
    rankings = run_rank(world, models, run, args.count, "train", args.k)
    held_out = run_rank(world, models, run, args.held_out, "held_out", args.k)
    (args.out / "rankings_1.jsonl").replace(args.out / "rankings.jsonl")
    write_preferences(args.out / "preferences.jsonl", rankings)
    print(f"{len(rankings)} rankings and {len(held_out)} held-out ones by simulated annotators")
    print(f"wrote {args.out / 'rankings.jsonl'}, preferences.jsonl, rankings_held_out.jsonl")


def run_reward_verb(args, progress):
    if args.preferences and args.rankings:
        raise InputError("give --preferences or --rankings, not both")
    if args.model and args.corpus:
        raise InputError("give --model or --corpus, not both")
    path = args.preferences or args.rankings or data_file(args, "rankings.jsonl")
    model = load_speaker(args.model) if args.model else None
    rankings, test = read_labels(args, path, model)
    settings = changed(REWARD, args.set)
    if args.corpus:
        read_corpus(args.corpus)  # before the folder is made: a wrong file leaves nothing behind
    out = prepare_out(args, "reward_model", *(["pretrained"] if args.corpus else []))
    if not args.test:
        print("no --test: a fifth of the prompts is held out")
    run = Run(out=out, seed=args.seed, progress=progress)
    if model is None:
        model = make_trunk(args, rankings + test, run)
    reward_model, history = run_reward(model, rankings, run, settings)
    accuracy = reward_accuracy(reward_model, test)["labels"]
    print(f"{len(rankings)} rankings, {len(history)} steps, loss {history[-1]['loss']:.4f}\n"
          f"held-out pair accuracy {accuracy:.4f} on {len(test)} rankings\n"
          f"wrote {out / 'reward_model.npz'}")


def read_labels(args, path, model):
    """The labels of `path`, and those to be judged on -> two lists of Ranking.

    model: that must be able to read them, or None.  Raises InputError.
    """
    read = read_preferences if args.preferences else read_rankings
    rankings = read(path)
    check_rankings(model, rankings, path)
    if args.test:
        test = read(args.test)
        check_rankings(model, test, args.test)
        return rankings, test
    with at(path):
        rankings, test = split_rankings(rankings, args.seed)
    check_rankings(None, rankings, f"{path}, the part to train on")
    check_rankings(None, test, f"{path}, the held-out fifth of the prompts")
    return rankings, test


def make_trunk(args, rankings, run):
    """No --model: a language model pretrained on --corpus, or a fresh one.  -> Model.

    rankings: whose characters and lengths it must know.
    """
    texts = [f"{ranking.prompt}\n{response}" for ranking in rankings
             for response in ranking.responses]
    if not args.corpus:
        return build_language_model(texts, Size(), stage_rng(run.seed, "pretrain"))
    pretrained = run.out / "pretrained.npz"
    if pretrained.exists() and (run.out / "reward_model.resume.npz").exists():  # half way
        return load_speaker(pretrained)
    model, _ = run_pretrain(args.corpus, run, PRETRAIN, more_texts=texts)
    return model


def run_ppo_verb(args, progress):
    model = load_speaker(args.model)
    reward_model = load_model(args.reward_model, REWARD_MODEL)
    check_vocabulary(args.reward_model, reward_model, args.model, model)
    if reward_model.config.block_size < model.config.block_size:
        raise InputError(f"{args.reward_model}: reads {reward_model.config.block_size} positions, "
                         f"{args.model} writes up to {model.config.block_size}")
    settings = changed(PPO, args.set)
    path, world = args.prompts, None
    if path:
        prompts = read_prompts(path)
        check_prompts(model, prompts, [f"{path}, line {n}" for n in line_numbers(path)])
    else:
        path, world = data_file(args, "prompts.jsonl"), World.load(args.lang)
        prompts = read_prompts(path, "train")
        check_prompts(model, prompts, [str(path)] * len(prompts))
    out = prepare_out(args, "ppo")
    run = Run(out=out, seed=args.seed, progress=progress)
    _, _, history = run_ppo(model, reward_model, prompts, run, settings, world)
    first, last = history[0], history[-1]
    print(f"score {first['score']:+.3f} -> {last['score']:+.3f}, exact KL {last['kl_exact']:.3f} "
          f"nats per response, clip fraction {last['clip_fraction']:.1%}\nwrote {out / 'ppo.npz'}")
    if world is not None:
        print(f"natural, by the gold judge: {first['natural']:.1%} -> {last['natural']:.1%}")


def run_evaluate_verb(args, progress):
    at_least(args, 1, "samples")
    model = load_speaker(args.model)
    world = World.load(args.lang)
    questions = world.questions()
    check_prompts(model, questions, [f"{args.model} with --lang {args.lang}"] * len(questions))
    reference = load_speaker(args.reference) if args.reference else None
    if reference is not None:
        check_vocabulary(args.reference, reference, args.model, model)
    figures = evaluate_model(model, world, args.samples, stage_rng(args.seed, "evaluate"))
    if reference is not None:
        rng = stage_rng(args.seed, "evaluate")
        figures["kl_exact"] = kl_to_reference(model, reference, world, args.samples, rng)
    if args.json:  # JSON has no NaN: the truthfulness of no natural answers is null
        print(json.dumps({k: None if v != v else v for k, v in figures.items()}))
        return
    for name, value in figures.items():
        print(f"{name:<22} {value:.4f}")
