import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    """Threads only cost time in a model this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
