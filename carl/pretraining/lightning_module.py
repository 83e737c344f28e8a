"""A run of pre-training as Lightning wants it: one step, the optimiser, the teacher."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Generator, Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from carl.errors import CarlError
from carl.model.carl import CARL
from carl.pretraining.datasets import Batch
from carl.pretraining.ema import momentum_at
from carl.pretraining.gathering import gather
from carl.pretraining.intl import INTLLoss
from carl.pretraining.mae import CARLMAE
from carl.pretraining.module import CARLSSL
from carl.pretraining.pretrain_config import OptimiserConfig, PretrainConfig
from carl.pretraining.statistics import CARLStatistics
from carl.random_streams import Stream, torch_seed

_FACTS = "carl_pretraining"

Objective = CARLSSL | CARLMAE | CARLStatistics


class Masks(Protocol):
    """What an objective hides of a batch."""

    def of_images(self, images: slice) -> Masks:
        """The masks of some of the images."""

    def to(self, device: torch.device) -> Masks:
        """The same masks on another device."""


class PretrainModule(LightningModule):
    """An objective and its training.

    Masks are drawn for the batch of all processes together, and each takes its share; predictions
    are gathered before the loss. So what is learned does not depend on how many processes learn it.

    Args:
        objective: CARL-SSL, a masked autoencoder, or local spectral statistics.
        config: of the run.
    """

    def __init__(self, objective: Objective, config: PretrainConfig) -> None:
        super().__init__()
        self.objective = objective
        self.config = config

    @property
    def network(self) -> CARL:
        """The network to keep: the teacher where there is one and it is asked for."""
        if isinstance(self.objective, CARLSSL) and self.config.export == "teacher":
            return self.objective.teacher
        return self.objective.student

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch of all processes together.

        Raises:
            CarlError: the loss is not a number any more.
        """
        seed = self.config.seed
        torch.manual_seed(torch_seed(seed, Stream.NETWORK, batch.position, self.global_rank))
        told = () if batch.moments is None else (batch.moments, batch.truth)
        with _attention_on(self.device):
            output = self.objective(batch.image, batch.wavelengths_um, self._masks(batch), *told)
        with torch.autocast(self.device.type, enabled=False):
            loss = self.objective.loss(gather(output))
        if not torch.isfinite(loss.total):
            raise CarlError(
                f"The loss is not a number any more at step {self.global_step} (set "
                f"'{batch.name}'): lower optimiser.learning_rate, or set optimiser.clip_norm."
            )
        self.log_dict(terms_of(loss), batch_size=len(batch.image))
        return loss.total

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW under a learning rate that rises, if asked to, and then falls as half a cosine."""
        config = self.config.optimiser
        learned = [each for each in self.objective.parameters() if each.requires_grad]
        optimiser = AdamW(learned, lr=config.learning_rate, weight_decay=config.weight_decay)
        course = learning_rate_course(config, self.config.steps)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": LambdaLR(optimiser, course), "interval": "step"},
        }

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step, and let the teacher follow."""
        step = self.global_step
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if isinstance(self.objective, CARLSSL):
            self.objective.update_teacher(momentum_at(step, self.config.steps, *self.config.ema))

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Shorten gradients, if asked to."""
        if self.config.optimiser.clip_norm is not None:
            self.clip_gradients(optimizer, self.config.optimiser.clip_norm, "norm")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the run is, beside where it stands."""
        checkpoint[_FACTS] = self.config.facts()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See that it is this run that is resumed.

        Raises:
            CarlError: the configuration says otherwise now; the message names the key.
        """
        then = checkpoint.get(_FACTS, {})
        for key, value in self.config.facts().items():
            if then.get(key) != value:
                raise CarlError(
                    f"The run began with another '{key}' ({then.get(key)}, now {value}): resume it "
                    "with the same, or start another run."
                )

    def _masks(self, batch: Batch) -> Any:
        """This process's share of the masks."""
        own = len(batch.image)
        everyone = batch.image[:1].expand(own * self.trainer.world_size, -1, -1, -1)
        generator = Generator().manual_seed(
            torch_seed(self.config.seed, Stream.MASKS, batch.position)
        )
        masks: Masks = self.objective.draw_masks(everyone, generator)
        start = own * self.global_rank
        return masks.of_images(slice(start, start + own))


def _attention_on(device: torch.device) -> AbstractContextManager[None]:
    """Which way to attend.

    Spectra are short sequences. On a CPU the fused kernel takes up to ten times as long for them in
    bf16, forwards and backwards, as plain products of matrices.
    """
    plain: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return plain if device.type == "cpu" else nullcontext()


def build_objective(student: CARL, config: PretrainConfig) -> Objective:
    """The objective of a run around a network to train; weights of predictors come from the seed.

    Raises:
        ModelError: the network's configuration has no predictors.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(config.seed, Stream.WEIGHTS, 1))
        if config.objective == "mae":
            return CARLMAE(student, config.mae)
        if config.objective == "statistics":
            return CARLStatistics(student, config.statistics)
        intl = config.loss == "intl"
        return CARLSSL(
            student,
            spatial_masking=config.spatial_masking,
            spectral_masking=config.spectral_masking,
            spatial_loss=INTLLoss() if intl else config.spatial_loss,
            spectral_loss=INTLLoss() if intl else config.spectral_loss,
            spatial_weight=config.spatial_weight,
            spectral_weight=config.spectral_weight,
        )


def learning_rate_course(config: OptimiserConfig, steps: int) -> Callable[[int], float]:
    """The learning rate after a number of steps, relative to its highest."""
    lowest = config.final_learning_rate / config.learning_rate

    def course(step: int) -> float:
        if step < config.warmup_steps:
            return (step + 1) / (config.warmup_steps + 1)
        held = step // config.hold_steps * config.hold_steps
        share = max(held - config.warmup_steps, 0) / max(steps - config.warmup_steps, 1)
        return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))

    return course


def terms_of(loss: Any) -> dict[str, Tensor]:
    """The scalars of a loss by name, as ``total`` and ``spatial/variance``."""
    terms = {}
    for name, value in loss._asdict().items():
        if isinstance(value, Tensor):
            terms[name] = value.detach()
        else:
            terms.update(
                {f"{name}/{inner}": term.detach() for inner, term in value._asdict().items()}
            )
    return terms
