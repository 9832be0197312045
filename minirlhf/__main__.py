"""`python -m minirlhf VERB`: the command line, which lives in cli/."""

import sys

from minirlhf.cli.arguments import main

if __name__ == "__main__":
    sys.exit(main())
