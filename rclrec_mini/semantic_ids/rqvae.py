"""RQ-VAE: an autoencoder whose bottleneck is a residual quantiser (Lee et al., 2022; Rajput et al., 2023, TIGER).

    z = encoder(x),   r_0 = z,   c_l = argmin_v |r_l - e_l[v]|^2,   r_{l+1} = r_l - e_l[c_l],   z_hat = sum_l e_l[c_l]
    loss = |x - decoder(z_hat)|^2 + sum_l |sg(r_l) - e_l[c_l]|^2 + commitment * sum_l |r_l - sg(e_l[c_l])|^2
sg stops the gradient; the decoder's gradient passes the bottleneck straight through, as if z_hat were z. The codebooks
start at residual k-means of the latents, and codes that nobody chose for a while restart at residuals of the batch.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from rclrec_mini.checks import at_least, positive
from rclrec_mini.files import InputError
from rclrec_mini.semantic_ids.quantization import (
    Quantization,
    as_vectors,
    check_room,
    chunks,
    nearest,
    partial_sums,
    residual_codes,
    variance_left,
)
from rclrec_mini.semantic_ids.residual_kmeans import ResidualKMeansConfig, drawn, residual_kmeans


@dataclass(frozen=True)
class RQVAEConfig:
    latent: int = 32
    """Size of the vectors that are quantised."""
    hidden: int = 256
    """Size of the two hidden layers of the encoder and of the decoder."""
    steps: int = 2000
    """Optimiser steps."""
    batch_size: int = 1024
    """Items per step."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    commitment: float = 0.25
    """Weight of the loss that holds the encoder to the codes it chose."""
    reset_every: int = 100
    """Steps after which codes that no item chose since the last time restart; none do in the last quarter."""

    def __post_init__(self) -> None:
        at_least(self, 1, "latent", "hidden", "steps", "batch_size", "reset_every")
        at_least(self, 0, "commitment")
        positive(self, "learning_rate")


class RQVAE(nn.Module):
    """Encoder, L codebooks of V codes, decoder.

    Shapes: vectors (B, D), latents and quantised latents (B, d), codes (B, L), codebooks (L, V, d).
    """

    def __init__(self, *, dimensions: int, config: RQVAEConfig, codebooks: Tensor) -> None:
        super().__init__()
        self.config = config
        self.encoder = _mlp(dimensions, config.hidden, config.latent)
        self.decoder = _mlp(config.latent, config.hidden, dimensions)
        self.codebooks = nn.Parameter(codebooks)

    def quantize(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes, chosen vectors and residuals of each level: (B, d) -> (B, L), (L, B, d), (L, B, d)."""
        codes, chosen, residuals, residual = [], [], [], latent
        for codebook in self.codebooks:
            residuals.append(residual)
            codes.append(nearest(residual.detach(), codebook.detach())[0])
            chosen.append(codebook[codes[-1]])
            residual = residual - chosen[-1].detach()
        return torch.stack(codes, 1), torch.stack(chosen), torch.stack(residuals)

    def forward(self, vectors: Tensor) -> dict[str, Tensor]:
        """The loss and its three terms, each a mean over the batch; codes (B, L) and residuals (L, B, d)."""
        latent = self.encoder(vectors)
        codes, chosen, residuals = self.quantize(latent)
        straight_through = latent + (chosen.sum(0) - latent).detach()
        reconstruction = (vectors - self.decoder(straight_through)).square().sum(1).mean()
        codebook = (residuals.detach() - chosen).square().sum((0, 2)).mean()
        commitment = (residuals - chosen.detach()).square().sum((0, 2)).mean()
        return {
            "loss": reconstruction + codebook + self.config.commitment * commitment,
            "reconstruction": reconstruction,
            "codebook": codebook,
            "commitment": commitment,
            "codes": codes,
            "residuals": residuals.detach(),
        }


def rqvae(
    vectors: Tensor | np.ndarray, config: RQVAEConfig, codebooks: ResidualKMeansConfig, *, progress: bool = True
) -> Quantization:
    """Train an RQ-VAE on item vectors and code every item, (N, D) -> Quantization of the latents.

    Args:
        vectors: what to code.
        config: sizes and training.
        codebooks: levels, codes, seed and device, and how the codebooks are initialised.

    Raises:
        InputError: the vectors are not finite (N, D), there are more items than V^L tuples, or `balanced` is asked.
    """
    vectors = _standardised(as_vectors(vectors, codebooks.device))
    check_room(len(vectors), codebooks.levels, codebooks.codes)
    if codebooks.balanced:
        raise InputError("balanced: found true, expected false with method rqvae (only rkmeans can balance)")
    model = train_rqvae(vectors, config, codebooks, progress=progress).eval()
    with torch.no_grad():
        latents = torch.cat([model.encoder(vectors[rows]) for rows in chunks(len(vectors))])
        codes = residual_codes(latents, model.codebooks)
        sums = partial_sums(codes, model.codebooks)
        errors = torch.stack([variance_left(vectors, model.decoder(part)) for part in sums])
        return Quantization(latents, model.codebooks.detach(), codes, errors)


def train_rqvae(
    vectors: Tensor, config: RQVAEConfig, codebooks: ResidualKMeansConfig, *, progress: bool = True
) -> RQVAE:
    """Train on standardised vectors (N, D); the same seed gives the same model on the same machine."""
    generator = torch.Generator(codebooks.device).manual_seed(codebooks.seed)
    model = _initialised(vectors, config, codebooks)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    used = torch.zeros(model.codebooks.shape[:2], dtype=torch.bool, device=vectors.device)
    bar = tqdm(range(1, config.steps + 1), desc="RQ-VAE", disable=not progress)
    for step in bar:
        rows = torch.randint(len(vectors), (config.batch_size,), generator=generator, device=vectors.device)
        out = model(vectors[rows])
        optimizer.zero_grad()
        out["loss"].backward()
        optimizer.step()
        used.scatter_(1, out["codes"].T, True)
        if step % config.reset_every == 0:
            bar.set_postfix(error=f"{out['reconstruction'].item():.3f}", dead=int((~used).sum()))
            if step <= 0.75 * config.steps:
                restart_dead_codes(model, used, out["residuals"], generator)
            used.zero_()
    return model


@torch.no_grad()
def restart_dead_codes(model: RQVAE, used: Tensor, residuals: Tensor, generator: torch.Generator) -> None:
    """Put every unused code (used (L, V) is False) at a residual of its level drawn from residuals (L, B, d)."""
    for level, unused in enumerate(~used):
        codes = unused.nonzero()[:, 0]
        rows = torch.randint(residuals.shape[1], (len(codes),), generator=generator, device=codes.device)
        model.codebooks[level, codes] = residuals[level, rows]


def _initialised(vectors: Tensor, config: RQVAEConfig, codebooks: ResidualKMeansConfig) -> RQVAE:
    """Seeded weights, and codebooks at residual k-means of the untrained latents."""
    shape = (codebooks.levels, codebooks.codes, config.latent)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(codebooks.seed)
        model = RQVAE(dimensions=vectors.shape[1], config=config, codebooks=torch.zeros(shape)).to(vectors.device)
    generator = torch.Generator(vectors.device).manual_seed(codebooks.seed)
    sample = drawn(vectors, codebooks.codes * codebooks.sample_per_code, generator)
    with torch.no_grad():
        start = residual_kmeans(model.encoder(sample), replace(codebooks, iterations=10), progress=False)
        model.codebooks.copy_(start.codebooks)
    return model


def _standardised(vectors: Tensor) -> Tensor:
    """Centred, with a mean squared length of D, so that the terms of the loss weigh the same on any data."""
    vectors = vectors - vectors.mean(0)
    return vectors / vectors.square().mean().sqrt().clamp(min=torch.finfo(vectors.dtype).tiny)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, outputs)
    )
