"""Tests run with one thread each: small tensors gain nothing from more, and two runs side by side lose. Nor does a
property fail because the machine was busy: none has a deadline."""

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
