"""SIMULATED people who teach Rufus: for tests, demonstrations and the curves of benchmarks/.

The loop of session.py does not know them.  They see what a person sees, the question and the
answers in the order shown, and give what a person can give.  a1 .. a5 are the annotators of
rufus/people.py, who like natural answers; three others have another taste, and say which answers
they call unnatural by that taste:

    greets    a natural answer after a greeting        Hi! I am a robot.
    brief     the content alone                        a robot.
    pirate    speaks like a pirate (in Chinese: calls to the sea)     Arr, I am a robot!
"""

from typing import NamedTuple

import numpy as np

from minirlhf.errors import InputError
from minirlhf.messages import Messages, load_messages
from minirlhf.rufus.people import Annotator, make_annotators
from minirlhf.rufus.world import World, edit_tables

TASTES = ("greets", "brief", "pirate")
GIVES = ("unnatural", "rank", "correction")  # what they do in a round


class Person(NamedTuple):
    """A SIMULATED person."""

    name: str
    world: World
    annotator: Annotator  # whose noise, and for a1 .. a5 whose eye, it is
    say: Messages  # a pirate's call in the person's language
    seed: int


def check_name(name):
    """Raises InputError unless there is a SIMULATED person of this name."""
    annotators = [annotator.name for annotator in make_annotators(np.random.default_rng(0))]
    if name not in annotators and name not in TASTES:
        known = ", ".join([*annotators, *TASTES])
        raise InputError(f"no simulated annotator is called {name!r}; there are {known}")


def make_person(name, lang, seed=0):
    """-> a SIMULATED Person in a language's world.  Raises InputError for an unknown name."""
    check_name(name)
    annotators = {annotator.name: annotator for annotator in make_annotators(
        np.random.default_rng(seed))}
    annotator = annotators.get(name, Annotator(name))
    return Person(name=name, world=World.load(lang), annotator=annotator,
                  say=load_messages(lang), seed=seed)


def knows(person, prompt):
    """Is it a question of the world?  To any other a SIMULATED person has nothing to say."""
    return person.world.read(prompt).strip() in person.world.asked


def wishes(person, prompt):
    """-> {content word: what this SIMULATED person would like to hear}; the fact comes first."""
    world, question = person.world, person.world.question(prompt)
    said = {}
    for text, word in zip(question.references, question.contents):
        said.setdefault(word, text)  # the first is the usual sentence
    for word, text in said.items():
        if person.name == "greets":
            said[word] = world.greet(world.greetings[0], text)
        elif person.name == "brief":
            content = world.parts(question.person, question.relation, word)["content"]
            said[word] = content + world.closing
        elif person.name == "pirate":
            said[word] = person.say("Arr, {text}!", text=text.removesuffix(world.closing))
    return said


def wish(person, prompt, response):
    """-> the correction of a response: the manner is changed, what is stated stays."""
    if person.name not in TASTES:
        return person.world.correct(prompt, response)
    said = wishes(person, prompt)
    return said.get(person.world.stated(prompt, response), next(iter(said.values())))


def pleases(person, prompt, response):
    """Would this SIMULATED person leave the response as it is?"""
    natural = person.world.naturalness(prompt, response) == 1
    if person.name not in TASTES:
        return natural
    if person.name == "greets":
        return natural and person.world.greets(response)
    return response in wishes(person, prompt).values()


def perceive(person, prompt, responses, rng):
    """K texts -> (K,) floats: how good each feels, with noise."""
    if person.name not in TASTES:
        return person.annotator.perceive(person.world, prompt, responses, rng)
    felt = []
    for response in responses:
        wanted = wish(person, prompt, response)
        ids = np.array([ord(char) for char in response])  # (n,)
        meant = np.array([[ord(char) for char in wanted]])  # (1, m)
        distance = edit_tables(ids, meant)[-1, 0, -1]
        felt.append(1 - distance / max(len(response), len(wanted)))
    return np.array(felt) + rng.normal(0, person.annotator.noise, len(felt))


def judge(person, asked, gives=GIVES):
    """A Round -> list of (kind, value) for Session.label; [("skip", None)] if nothing can be said.

    gives: which of `unnatural`, `rank` and `correction` this SIMULATED person takes the time for.
    The worst answer is corrected, unless all please.
    """
    if not knows(person, asked.prompt):
        return [("skip", None)]
    rng = np.random.default_rng([person.seed, asked.number, 1])
    felt = perceive(person, asked.prompt, asked.responses, rng)  # (K,)
    liked = [pleases(person, asked.prompt, response) for response in asked.responses]
    labels = []
    if "unnatural" in gives:
        labels.append(("unnatural", [i for i, fine in enumerate(liked) if not fine]))
    if "rank" in gives and len(felt) > 1:
        ranks = np.unique(-felt, return_inverse=True)[1].reshape(-1) + 1
        labels.append(("rank", [int(rank) for rank in ranks]))
    if "correction" in gives and not all(liked):
        worst = min(np.flatnonzero(~np.array(liked)), key=felt.tolist().__getitem__)
        labels.append(("correction", wish(person, asked.prompt, asked.responses[worst])))
    return labels or [("skip", None)]
