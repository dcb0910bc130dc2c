"""Tests run with one thread each: small tensors gain nothing from more, and two runs side by side lose. Nor does a
property fail because the machine was busy: none has a deadline. Its examples share their fixtures."""

import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
settings.register_profile(
    "busy", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("busy")
