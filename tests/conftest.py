"""One thread, so that tests are fast beside each other and their numbers do not depend on cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402

torch.set_num_threads(1)
