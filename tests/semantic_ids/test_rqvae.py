from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from rclrec_mini.files import InputError
from rclrec_mini.semantic_ids.residual_kmeans import ResidualKMeansConfig
from rclrec_mini.semantic_ids.rqvae import RQVAE, RQVAEConfig, _initialised, restart_dead_codes, rqvae, train_rqvae

CODES = ResidualKMeansConfig(levels=3, codes=13, seed=1)
SHORT = RQVAEConfig(latent=7, hidden=31, steps=200, batch_size=127, reset_every=20)


def test_it_learns_and_does_not_collapse(clustered) -> None:
    vectors = clustered(503, 11, seed=0)
    short = rqvae(vectors, replace(SHORT, steps=20), CODES, progress=False)
    long = rqvae(vectors, SHORT, CODES, progress=False)
    assert long.vectors.shape == (503, 7) and long.codebooks.shape == (3, 13, 7) and long.codes.shape == (503, 3)
    assert long.errors[-1] < 0.6 * short.errors[-1]
    assert long.errors[-1] < long.errors[0] < 1
    assert all(len(torch.unique(level)) == 13 for level in long.codes.T)


def test_the_seed_decides(clustered) -> None:
    vectors, config = clustered(211, 5, seed=0), replace(SHORT, steps=15)
    first, again, other = (rqvae(vectors, config, replace(CODES, seed=seed), progress=False) for seed in (3, 3, 4))
    assert torch.equal(first.codes, again.codes) and torch.equal(first.codebooks, again.codebooks)
    assert not torch.equal(first.codes, other.codes)


def test_it_starts_from_items_drawn_at_random(clustered) -> None:
    """Not from the first of the catalogue, which may all be alike: here half of it is."""
    vectors = torch.cat([torch.zeros(200, 5), torch.from_numpy(clustered(200, 5, seed=0))])
    start = _initialised(vectors, SHORT, replace(CODES, sample_per_code=15)).codebooks[0]
    assert len(torch.unique(start, dim=0)) == 13


def test_commitment_holds_the_latents_to_their_codes(clustered) -> None:
    vectors = torch.from_numpy(clustered(503, 11, seed=0))
    gap = {}
    for weight in (0.0, 0.25, 4.0):
        model = train_rqvae(vectors, replace(SHORT, steps=100, commitment=weight), CODES, progress=False)
        with torch.no_grad():
            gap[weight] = float(model(vectors)["commitment"])
    assert gap[4.0] < 0.8 * gap[0.25] and gap[0.25] < 0.8 * gap[0.0]


def toy(commitment: float) -> RQVAE:
    torch.manual_seed(0)
    config = RQVAEConfig(latent=3, hidden=5, commitment=commitment)
    return RQVAE(dimensions=7, config=config, codebooks=torch.randn(2, 11, 3))


def test_the_loss_is_its_formula() -> None:
    model, vectors = toy(0.3), torch.randn(13, 7)
    out = model(vectors)
    latent = residual = model.encoder(vectors)
    quantized, gap = torch.zeros(13, 3), torch.zeros(())
    for level in range(2):
        code = ((residual[:, None] - model.codebooks[level]) ** 2).sum(2).argmin(1)
        assert torch.equal(code, out["codes"][:, level])
        chosen = model.codebooks[level, code]
        gap = gap + ((residual - chosen) ** 2).sum(1).mean()
        residual, quantized = residual - chosen, quantized + chosen
    reconstruction = ((vectors - model.decoder(quantized)) ** 2).sum(1).mean()
    assert_close(out["reconstruction"], reconstruction)
    assert_close(out["codebook"], gap)
    assert_close(out["commitment"], gap)
    assert_close(out["loss"], reconstruction + 1.3 * gap)
    assert latent.shape == (13, 3)


def test_where_each_gradient_goes() -> None:
    model, vectors = toy(0.3), torch.randn(13, 7)

    def reached(term: str) -> tuple[bool, bool, bool]:
        model.zero_grad(set_to_none=True)
        model(vectors)[term].backward()
        parts = (model.encoder, model.decoder)
        hit = [any(p.grad is not None and bool(p.grad.any()) for p in part.parameters()) for part in parts]
        return (*hit, model.codebooks.grad is not None and bool(model.codebooks.grad.any()))

    assert reached("reconstruction") == (True, True, False)  # straight through the bottleneck
    assert reached("codebook") == (False, False, True)
    assert reached("commitment") == (True, False, False)


def test_straight_through_gives_the_encoder_the_decoders_gradient() -> None:
    model, vectors = toy(0.0), torch.randn(13, 7)
    latent = model.encoder(vectors).detach()
    quantized = model.quantize(latent)[1].sum(0).detach().requires_grad_()
    (vectors - model.decoder(quantized)).square().sum(1).mean().backward()
    model.zero_grad(set_to_none=True)
    model.encoder(vectors).backward(quantized.grad)
    expected = model.encoder[0].weight.grad.clone()
    model.zero_grad(set_to_none=True)
    model(vectors)["reconstruction"].backward()
    assert_close(model.encoder[0].weight.grad, expected)


def test_dead_codes_restart_at_residuals() -> None:
    model = toy(0.3)
    before = model.codebooks.detach().clone()
    used = torch.ones(2, 11, dtype=torch.bool)
    used[1, 4] = False
    residuals = torch.randn(2, 17, 3)
    restart_dead_codes(model, used, residuals, torch.Generator().manual_seed(0))
    assert (model.codebooks[1, 4] == residuals[1]).all(1).any()
    before[1, 4] = model.codebooks[1, 4].detach()
    assert torch.equal(model.codebooks.detach(), before)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="only rkmeans can balance"):
        rqvae(torch.zeros(5, 3), SHORT, replace(CODES, balanced=True), progress=False)
    with pytest.raises(InputError, match="room for 8 items, found 9"):
        rqvae(torch.zeros(9, 3), SHORT, replace(CODES, codes=2), progress=False)
