"""The whole story on the terminal: Rufus before, the three steps, Rufus after.

`python -m minirlhf demo` runs this.  The work is done in pipeline.py; here it is told, measured and
drawn.  Everything that is printed is measured in the run that prints it.
"""

import json
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from minirlhf import plots
from minirlhf.checkpoint import load_model
from minirlhf.data import (
    encode_example,
    read_demonstrations,
    read_jsonl,
    read_rankings,
    write_text,
)
from minirlhf.gpt import gpt_forward
from minirlhf.human import DATA, World
from minirlhf.pipeline import (
    ANSWERS,
    DEMONSTRATIONS,
    LANGUAGE_MODEL,
    PPO,
    PRETRAIN,
    REWARD,
    REWARD_MODEL,
    SFT,
    ask,
    evaluate_model,
    kl_to_reference,
    response_logprob,
    reward_accuracy,
    run_ppo,
    run_pretrain,
    run_rank,
    run_reward,
    run_sft,
    score_texts,
    stage_rng,
)
from minirlhf.step3_ppo import make_rollout, PPOModels

EVALUATION_SAMPLES = 1000  # per model and split
ASKED = 20  # times Rufus is asked who he is, before and after


class Teller:
    """Prints in the reader's language and counts the seconds of each stage."""

    def __init__(self, lang, out):
        self.lang = lang
        self.path = out / "seconds.json"
        self.seconds = {}
        if self.path.exists():
            self.seconds = json.loads(self.path.read_text(encoding="utf-8"))
        self.started = time.perf_counter()

    def say(self, english, chinese):
        print(chinese if self.lang == "zh" else english, flush=True)

    def lap(self, stage):
        """The time since the last lap belongs to `stage`; a resumed stage adds up."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.started
        self.started = now
        write_text(self.path, json.dumps(self.seconds))
