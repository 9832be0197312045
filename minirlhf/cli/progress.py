"""Ctrl-C and the progress bar, between two steps of a training loop."""

import sys


class Interrupt:
    """Ctrl-C asks the running loop to stop between two steps, where its state is whole."""

    def __init__(self, can_wait):
        self.can_wait = can_wait  # False: the verb has no steps and keeps nothing
        self.asked = False

    def __call__(self, signum, frame):
        if self.asked or not self.can_wait:  # a second Ctrl-C does not wait
            raise KeyboardInterrupt
        self.asked = True
        print("\nstopping after this step ...", file=sys.stderr, flush=True)


class Progress:
    """progress(title) gives the wrapper that a training loop puts around its steps."""

    def __init__(self, interrupt, quiet=False, title=""):
        self.interrupt = interrupt
        self.quiet = quiet
        self.title = title

    def __call__(self, title):
        return Progress(self.interrupt, self.quiet, title).steps

    def steps(self, steps):
        """range of steps -> the same steps, with a bar, until Ctrl-C."""
        for step in self.with_bar(steps):
            if self.interrupt.asked:
                raise KeyboardInterrupt
            yield step

    def with_bar(self, steps):
        """The steps, with a progress bar if there is tqdm and nobody asked for quiet."""
        if self.quiet:
            return steps
        try:
            from tqdm import tqdm
        except ImportError:  # the package runs without it
            return steps
        return tqdm(steps, desc=self.title, leave=False, file=sys.stderr, mininterval=0.2)
