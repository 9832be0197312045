"""What the verbs of the three steps run: demo, pretrain, sft, rank, reward, ppo, evaluate."""

import json
from pathlib import Path

from minirlhf import data
from minirlhf.checkpoint import load_model
from minirlhf.cli import files
from minirlhf.cli.arguments import at_least, changed
from minirlhf.errors import InputError, at
from minirlhf.rufus import pipeline
from minirlhf.rufus.demo import DEMO_PPO, run_demo
from minirlhf.rufus.measure import evaluate_model, kl_to_reference, reward_accuracy
from minirlhf.rufus.world import World, data_folder


def run_demo_verb(args, progress):
    if args.out == Path("runs/demo-LANG-SEED"):
        args.out = Path(f"runs/demo-{Path(args.lang).stem}-{args.seed}")
    settings = changed(DEMO_PPO, args.set)
    files.prepare_out(args, "*")  # of any stage and round
    run_demo(args.lang, args.seed, args.out, progress, args.resume, ppo=settings)


def run_pretrain_verb(args, progress):
    corpus = args.corpus or data_folder(args.lang) / "corpus.txt"
    at_least(args, 1, "n_layer", "n_head", "n_embd")
    if args.n_embd % args.n_head:
        raise InputError(f"--n-embd {args.n_embd}: not a multiple of --n-head {args.n_head}")
    data.read_corpus(corpus)  # before the folder is made: a wrong file leaves nothing behind
    size = pipeline.Size(n_layer=args.n_layer, n_head=args.n_head, n_embd=args.n_embd)
    settings = changed(pipeline.PRETRAIN, args.set)
    run = pipeline.Run(out=files.prepare_out(args, "pretrained"), seed=args.seed, progress=progress)
    model, history = pipeline.run_pretrain(corpus, run, settings, size)
    entropy, last = model.extra["corpus_entropy"], history[-1]
    loss = last["loss"] if last["held_out_loss"] is None else last["held_out_loss"]
    print(f"loss {loss:.4f} nats per character "
          f"(unigram entropy {entropy['unigram']:.4f}, bigram entropy {entropy['bigram']:.4f})\n"
          f"wrote {run.out / 'pretrained.npz'}: {model.params.flat.size} parameters, "
          f"{model.config.vocab_size} ids")


def run_sft_verb(args, progress):
    at_least(args, 1, "count")
    model = files.load_speaker(args.model)
    path = args.demonstrations or data_folder(args.lang) / "sft.jsonl"
    demonstrations = data.read_demonstrations(path)[: args.count]
    files.check_answers(model, [(prompt, [response]) for prompt, response in demonstrations], path)
    settings = changed(pipeline.SFT, args.set)
    run = pipeline.Run(out=files.prepare_out(args, "sft"), seed=args.seed, progress=progress)
    model, history = pipeline.run_sft(model, demonstrations, run, settings)
    figures = model.extra.get("corpus_entropy", {})
    of_corpus = "".join(f", {name} entropy {value:.4f}" for name, value in figures.items())
    print(f"loss on responses {history[0]['loss']:.4f} -> {history[-1]['loss']:.4f} nats per "
          f"character{of_corpus}\nwrote {run.out / 'sft.npz'}")


def run_rank_verb(args, progress):
    at_least(args, 1, "count", "held_out")
    at_least(args, 2, "k")
    world = World.load(args.lang)
    models = {}
    for path in args.model or [Path("runs/mine/pretrained.npz"), Path("runs/mine/sft.npz")]:
        name = str(path) if path.stem in models else path.stem
        models[name] = files.load_speaker(path)
        files.check_prompts(models[name], world.questions(), f"{path} with --lang {args.lang}")
    files.make_folder(args.out)
    run = pipeline.Run(out=args.out, seed=args.seed)
    rankings = pipeline.run_rank(world, models, run, args.count, "train", args.k)
    held_out = pipeline.run_rank(world, models, run, args.held_out, "held_out", args.k)
    (args.out / "rankings_1.jsonl").replace(args.out / "rankings.jsonl")
    data.write_preferences(args.out / "preferences.jsonl", rankings)
    print(f"{len(rankings)} rankings and {len(held_out)} held-out ones by simulated annotators")
    print(f"wrote {args.out / 'rankings.jsonl'}, preferences.jsonl, rankings_held_out.jsonl")


def run_reward_verb(args, progress):
    if args.preferences and args.rankings:
        raise InputError("give --preferences or --rankings, not both")
    if args.model and args.corpus:
        raise InputError("give --model or --corpus, not both")
    path = args.preferences or args.rankings or data_folder(args.lang) / "rankings.jsonl"
    model = files.load_speaker(args.model) if args.model else None
    rankings, test = read_labels(args, path, model)
    settings = changed(pipeline.REWARD, args.set)
    if args.corpus:
        data.read_corpus(args.corpus)  # before the folder is made, as above
    out = files.prepare_out(args, "reward_model", *(["pretrained"] if args.corpus else []))
    if not args.test:
        print("no --test: a fifth of the prompts is held out")
    run = pipeline.Run(out=out, seed=args.seed, progress=progress)
    if model is None:
        model = make_trunk(args, rankings + test, run)
    reward_model, history = pipeline.run_reward(model, rankings, run, settings)
    accuracy = reward_accuracy(reward_model, test)["labels"]
    print(f"{len(rankings)} rankings, {len(history)} steps, loss {history[-1]['loss']:.4f}\n"
          f"held-out pair accuracy {accuracy:.4f} on {len(test)} rankings\n"
          f"wrote {out / 'reward_model.npz'}")


def read_labels(args, path, model):
    """The labels of `path`, and those to be judged on -> two lists of Ranking.

    model: that must be able to read them, or None.  Raises InputError.
    """
    read = data.read_preferences if args.preferences else data.read_rankings
    rankings = read(path)
    files.check_rankings(model, rankings, path)
    if args.test:
        test = read(args.test)
        files.check_rankings(model, test, args.test)
        return rankings, test
    with at(path):
        rankings, test = pipeline.split_rankings(rankings, args.seed)
    files.check_rankings(None, rankings, f"{path}, the part to train on")
    files.check_rankings(None, test, f"{path}, the held-out fifth of the prompts")
    return rankings, test


def make_trunk(args, rankings, run):
    """No --model: a language model pretrained on --corpus, or a fresh one.  -> Model.

    rankings: whose characters and lengths it must know.
    """
    texts = [f"{ranking.prompt}\n{response}" for ranking in rankings
             for response in ranking.responses]
    if not args.corpus:
        rng = pipeline.stage_rng(run.seed, "pretrain")
        return pipeline.build_language_model(texts, pipeline.Size(), rng)
    pretrained = run.out / "pretrained.npz"
    if pretrained.exists() and (run.out / "reward_model.resume.npz").exists():  # half way
        return files.load_speaker(pretrained)
    model, _ = pipeline.run_pretrain(args.corpus, run, pipeline.PRETRAIN, more_texts=texts)
    return model


def run_ppo_verb(args, progress):
    model = files.load_speaker(args.model)
    reward_model = load_model(args.reward_model, pipeline.REWARD_MODEL)
    files.check_vocabulary(args.reward_model, reward_model, args.model, model)
    if reward_model.config.block_size < model.config.block_size:
        raise InputError(f"{args.reward_model}: reads {reward_model.config.block_size} positions, "
                         f"{args.model} writes up to {model.config.block_size}")
    settings = changed(pipeline.PPO, args.set)
    path, world = args.prompts, None
    if path:
        prompts = data.read_prompts(path)
        files.check_prompts(model, prompts, path, files.line_numbers(path))
    else:
        path, world = data_folder(args.lang) / "prompts.jsonl", World.load(args.lang)
        prompts = data.read_prompts(path, "train")
        files.check_prompts(model, prompts, path)
    run = pipeline.Run(out=files.prepare_out(args, "ppo"), seed=args.seed, progress=progress)
    _, _, history = pipeline.run_ppo(model, reward_model, prompts, run, settings, world)
    first, last = history[0], history[-1]
    print(f"score {first['score']:+.3f} -> {last['score']:+.3f}, exact KL {last['kl_exact']:.3f} "
          f"nats per response, clip fraction {last['clip_fraction']:.1%}\n"
          f"wrote {run.out / 'ppo.npz'}")
    if world is not None:
        print(f"natural, by the gold judge: {first['natural']:.1%} -> {last['natural']:.1%}")


def run_evaluate_verb(args, progress):
    at_least(args, 1, "samples")
    model = files.load_speaker(args.model)
    world = World.load(args.lang)
    files.check_prompts(model, world.questions(), f"{args.model} with --lang {args.lang}")
    reference = files.load_speaker(args.reference) if args.reference else None
    if reference is not None:
        files.check_vocabulary(args.reference, reference, args.model, model)
    figures = evaluate_model(model, world, args.samples, pipeline.stage_rng(args.seed, "evaluate"))
    if reference is not None:
        rng = pipeline.stage_rng(args.seed, "evaluate")
        figures["kl_exact"] = kl_to_reference(model, reference, world, args.samples, rng)
    if args.json:  # JSON has no NaN: the truthfulness of no natural answers is null
        print(json.dumps({k: None if v != v else v for k, v in figures.items()}))
        return
    for name, value in figures.items():
        print(f"{name:<22} {value:.4f}")
