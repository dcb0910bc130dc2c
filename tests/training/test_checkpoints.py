import json

import pytest
import torch
from torch import nn

from rclrec_mini.files import InputError
from rclrec_mini.training.checkpoints import load_checkpoint, load_weights, provenance, save_checkpoint


class Tied(nn.Module):
    """Two names for one matrix, a buffer, and a frozen part."""

    def __init__(self, *, width: int = 3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, width)
        self.head = nn.Linear(width, 5)
        self.head.weight = self.embedding.weight
        self.frozen = nn.Linear(width, 2).requires_grad_(False)
        self.register_buffer("count", torch.tensor(7))


def trained(model: nn.Module) -> torch.optim.AdamW:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        model.head(model.embedding(torch.tensor([1, 4]))).square().sum().backward()
        optimizer.step()
    return optimizer


def test_round_trip_of_weights_moments_and_state(tmp_path):
    torch.manual_seed(0)
    model, twin = Tied(), Tied()
    optimizer = trained(model)
    other = torch.optim.AdamW([p for p in twin.parameters() if p.requires_grad], lr=0.1)
    save_checkpoint(tmp_path, model, optimizer, {"step": 3, "metrics": {"a": 0.1}})
    assert load_checkpoint(tmp_path, twin, other) == {"step": 3, "metrics": {"a": 0.1}}
    torch.testing.assert_close(twin.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert twin.head.weight is twin.embedding.weight
    assert len(optimizer.state) == 2  # the tied matrix once, the bias, nothing frozen
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert optimizer.state.get(mine, {}).keys() == other.state.get(theirs, {}).keys()
        for key, value in optimizer.state.get(mine, {}).items():
            assert torch.equal(value, other.state[theirs][key])


def test_a_new_checkpoint_takes_the_place_of_the_old(tmp_path):
    model = Tied()
    optimizer = trained(model)
    save_checkpoint(tmp_path, model, optimizer, {"step": 3})
    (tmp_path / ".model-4.safetensors.partial-99").write_bytes(b"cut short")
    save_checkpoint(tmp_path, model, None, {"step": 5})
    assert {p.name for p in tmp_path.iterdir()} == {"state.json", "model-5.safetensors"}
    with pytest.raises(InputError, match=r"files\.optimizer is missing"):
        load_checkpoint(tmp_path, model, optimizer)


def test_weights_come_from_a_run_a_checkpoint_or_a_file(tmp_path):
    best, last = Tied(), Tied()
    save_checkpoint(tmp_path / "last", last, None, {"step": 2, "metrics": {}, "best_step": 2})
    assert torch.equal(load_weights(tmp_path, Tied()).head.weight, last.head.weight)
    save_checkpoint(tmp_path / "best", best, None, {"step": 1})
    save_checkpoint(tmp_path / "last", last, None, {"step": 2, "metrics": {"a": 0.1}, "best_step": 1})
    for path in (tmp_path, tmp_path / "best", tmp_path / "best" / "model-1.safetensors"):
        assert torch.equal(load_weights(path, Tied()).head.weight, best.head.weight)


def test_bad_weights_are_named(tmp_path):
    with pytest.raises(InputError, match="found no weights"):
        load_weights(tmp_path / "nothing", Tied())
    save_checkpoint(tmp_path, Tied(), None, {"step": 1})
    file = tmp_path / "model-1.safetensors"
    with pytest.raises(InputError, match=r"tensor .* is float32\[5, 3\], expected float32\[5, 2\]"):
        load_weights(tmp_path, Tied(width=2))
    with pytest.raises(InputError, match="tensor weight is missing"):
        load_weights(tmp_path, nn.Linear(3, 5))
    smaller = Tied()
    del smaller.frozen
    with pytest.raises(InputError, match=r"found tensor frozen\.\w+, which the model does not have"):
        load_weights(tmp_path, smaller)
    content = file.read_bytes()
    file.write_bytes(content[:-5])
    with pytest.raises(InputError, match="expected a whole safetensors file") as error:
        load_weights(file, Tied())
    assert str(file) in str(error.value) and "\n" not in str(error.value)
    file.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    with pytest.raises(InputError, match=r"model-1\.safetensors: found other bytes than were saved"):
        load_weights(tmp_path, Tied())
    file.unlink()
    with pytest.raises(InputError, match="file not found"):
        load_weights(tmp_path, Tied())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "key step is missing"),
        ("[]", r"found \[\], expected an object"),
        ("null", "found null, expected an object"),
        ('{"step": 1}', "key files is missing"),
        ('{"step": 1, "files": {"model": 3}, "sha256": {}}', "key files is .*, expected an object"),
        ('{"step": 1, "files": {}, "sha256": {}}', r"key files\.model is missing"),
        ('{"step": 1, "files": {"model": "a"}, "sha256": {}}', r"key sha256\.model is missing"),
        ("{", "expected JSON"),
    ],
)
def test_a_state_of_another_shape_is_one_line(text, words, tmp_path):
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(InputError, match=rf"state\.json: {words}") as error:
        load_weights(tmp_path, Tied())
    assert "\n" not in str(error.value)


def test_best_weights_that_are_gone_are_an_error(tmp_path):
    save_checkpoint(tmp_path / "last", Tied(), None, {"step": 2, "metrics": {"a": 0.1}, "best_step": 1})
    with pytest.raises(InputError, match=r"best/state\.json: file not found"):
        load_weights(tmp_path, Tied())
    save_checkpoint(tmp_path / "best", Tied(), None, {"step": 2})
    with pytest.raises(InputError, match=r"best/state\.json: key step is 2, expected 1"):
        load_weights(tmp_path, Tied())


def test_weights_are_untouched_when_a_file_does_not_fit(tmp_path):
    model = Tied(width=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_checkpoint(tmp_path, Tied(), None, {"step": 1})
    with pytest.raises(InputError):
        load_weights(tmp_path, model)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_provenance_is_json():
    found = json.loads(json.dumps(provenance()))
    assert set(found) == {"commit", "versions", "platform", "processor", "threads"}
    assert torch.__version__.startswith(found["versions"]["torch"])  # which may go on with +cpu
