"""Tests run with one thread each: small tensors gain nothing from more, and two runs side by side lose."""

import torch

torch.set_num_threads(1)
