from __future__ import annotations

import os

from hypothesis import settings

# Set before any test imports a library that would look for models or data on the network.
os.environ["HF_HUB_OFFLINE"] = "1"
# The models of the tests are so small that two threads spend their time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No deadline: how long an example takes on a shared machine says nothing about whether it is right.
settings.register_profile("tutelage", deadline=None, max_examples=50)
settings.load_profile("tutelage")
