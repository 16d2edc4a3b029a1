"""One thread, so that tests are fast beside each other and their numbers do not depend on cores.

Property tests try the same examples in every run, and take the time they take.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

torch.set_num_threads(1)
settings.register_profile("introspect", derandomize=True, deadline=None)
settings.load_profile("introspect")
