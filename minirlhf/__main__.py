"""`python -m minirlhf VERB` and the installed command `minirlhf VERB`: the door to cli/."""

import os
import sys

# Matrices this small are fastest with one BLAS thread; two were 3-20x slower on a busy machine.
# It must be said before NumPy is imported.  A setting of your own wins.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from minirlhf.cli.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
