import pytest
import torch
from torch import nn

from rclrec_mini.models.attention import Attention
from rclrec_mini.models.initialization import start_as_copier


def test_the_output_undoes_the_values_and_keys_equal_queries():
    query, key, value, out = torch.randn(4, 6, 6)
    start_as_copier(query, key, value, out, gain=1.5)
    torch.testing.assert_close(out @ value, torch.eye(6))
    torch.testing.assert_close(query @ query.T, 1.5**2 * torch.eye(6))
    assert torch.equal(key, query)


def test_without_an_output_values_are_the_inputs():
    query, key, value = torch.randn(3, 5, 5)
    start_as_copier(query, key, value)
    assert torch.equal(value, torch.eye(5))


def test_parts_of_a_parameter_are_changed_in_place():
    layer = nn.Linear(5, 15)
    start_as_copier(*layer.weight.chunk(3))
    query, key, value = layer.weight.detach().chunk(3)
    assert torch.equal(query, key) and torch.equal(value, torch.eye(5))
    assert layer.weight.requires_grad and layer.weight.is_leaf


@pytest.mark.parametrize("place", [0, 2, 4])
def test_attention_hands_on_the_vector_that_it_looks_for(place):
    torch.manual_seed(0)
    attention = Attention(d=32, heads=1, dropout=0.0)
    x = torch.randn(1, 5, 32)
    found = attention(8 * x[:, place : place + 1], attention.keys_values(x), torch.zeros(1, 5))
    torch.testing.assert_close(found[:, 0], x[:, place], atol=1e-3, rtol=0)
