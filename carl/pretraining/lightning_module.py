"""Train an objective with Lightning: training step, optimiser, learning rate, teacher update."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Generator, Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from carl.errors import CarlError
from carl.learning_rate import warmup_cosine
from carl.model.carl import CARL
from carl.pretraining.carl_ssl import CARLSSL, momentum_at
from carl.pretraining.datasets import PretrainingBatch
from carl.pretraining.losses import INTLLoss
from carl.pretraining.mae import CARLMAE
from carl.pretraining.pretrain_config import (
    OptimiserConfig,
    PretrainConfig,
    current_setting_names,
)
from carl.pretraining.statistics import CARLStatistics
from carl.random_streams import Stream, torch_seed

_SETTINGS = "carl_pretraining"
"""Key of the settings in a checkpoint."""

Objective = CARLSSL | CARLMAE | CARLStatistics
T = TypeVar("T", bound=tuple[Tensor, ...])


class PretrainModule(LightningModule):
    """Objective and its optimisation.

    Masks are drawn for the batch of all processes together, and each process uses its part;
    predictions are gathered before the loss. The result therefore does not depend on the number of
    processes.
    """

    def __init__(self, objective: Objective, config: PretrainConfig) -> None:
        super().__init__()
        self.objective = objective
        self.config = config

    @property
    def network(self) -> CARL:
        """Network to save: student or teacher, as configured."""
        if isinstance(self.objective, CARLSSL) and self.config.export == "teacher":
            return self.objective.teacher
        return self.objective.student

    def training_step(self, batch: PretrainingBatch, batch_idx: int) -> Tensor:
        """Compute the loss of the batch of all processes together.

        Raises:
            CarlError: the loss is no longer finite.
        """
        seed = self.config.seed
        torch.manual_seed(torch_seed(seed, Stream.NETWORK, batch.position, self.global_rank))
        targets = () if batch.moments is None else (batch.moments, batch.truth)
        with _attention_backend(self.device):
            masks = self._draw_masks(batch)
            output = self.objective(batch.image, batch.wavelengths_um, masks, *targets)
        with torch.autocast(self.device.type, enabled=False):
            loss = self.objective.loss(gather(output))
        if not torch.isfinite(loss.total):
            raise CarlError(
                f"The loss is no longer finite at step {self.global_step} (set '{batch.name}'): "
                "lower optimiser.learning_rate, or set optimiser.clip_norm."
            )
        self.log_dict(loss_terms(loss), batch_size=len(batch.image))
        return loss.total

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build AdamW with the configured learning-rate schedule."""
        config = self.config.optimiser
        trained = [each for each in self.objective.parameters() if each.requires_grad]
        optimiser = AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
        schedule = learning_rate_schedule(config, self.config.steps)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": LambdaLR(optimiser, schedule), "interval": "step"},
        }

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Take an optimiser step and update the teacher."""
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
        """Clip the norm of the gradients, if configured."""
        if self.config.optimiser.clip_norm is not None:
            self.clip_gradients(optimizer, self.config.optimiser.clip_norm, "norm")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the settings of the run to a checkpoint."""
        checkpoint[_SETTINGS] = self.config.resume_settings()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that a checkpoint belongs to a run with the same settings.

        Raises:
            CarlError: a setting differs; the message names the key.
        """
        stored = current_setting_names(checkpoint.get(_SETTINGS, {}))
        for key, value in self.config.resume_settings().items():
            if stored.get(key) != value:
                raise CarlError(
                    f"The run was started with another '{key}' ({stored.get(key)}, now {value}): "
                    "resume it with the same, or start a new run."
                )

    def _draw_masks(self, batch: PretrainingBatch) -> Any:
        """Draw the masks of all processes, and return those of this process."""
        n_images = len(batch.image)
        all_images = batch.image[:1].expand(n_images * self.trainer.world_size, -1, -1, -1)
        generator = Generator().manual_seed(
            torch_seed(self.config.seed, Stream.MASKS, batch.position)
        )
        masks = self.objective.draw_masks(all_images, generator)
        start = n_images * self.global_rank
        return masks.select_images(slice(start, start + n_images))


def build_objective(student: CARL, config: PretrainConfig) -> Objective:
    """Build the objective of a run; the weights of predictors depend on the seed of the run.

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


def learning_rate_schedule(config: OptimiserConfig, n_steps: int) -> Callable[[int], float]:
    """Return the function from a step to its learning rate, as a fraction of the peak.

    The first step has the rate 1/(warmup_steps + 1), step `warmup_steps` the peak, and step
    `n_steps` the final rate.
    """
    warmup = (config.warmup_steps + 1) / (n_steps + 1)
    final = config.final_learning_rate / config.learning_rate

    def schedule(step: int) -> float:
        if step >= config.warmup_steps:
            held = step // config.hold_steps * config.hold_steps
            step = max(held, config.warmup_steps)
        return warmup_cosine((step + 1) / (n_steps + 1), warmup, final)

    return schedule


def loss_terms(loss: Any) -> dict[str, Tensor]:
    """Return the scalars of a loss by name, such as ``total`` and ``spatial/variance``."""
    terms = {}
    for name, value in loss._asdict().items():
        if isinstance(value, Tensor):
            terms[name] = value.detach()
        else:
            terms.update(
                {f"{name}/{inner}": term.detach() for inner, term in value._asdict().items()}
            )
    return terms


class _Gather(torch.autograd.Function):
    """Concatenate the tensors of all processes, which have equal shapes, along the first axis."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.n_own = len(x)
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Each process differentiates its own copy of the loss, so that the sum of the gradients is
        # too large by the number of processes. DDP averages gradients afterwards, which corrects
        # this.
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        start = dist.get_rank() * ctx.n_own
        return gradient[start : start + ctx.n_own]


def gather(tensors: T) -> T:
    """Concatenate each tensor of a named tuple over all processes, with gradients.

    A loss of the result is the same in every process, and the same as in a single process with the
    whole batch. In a single process, the tensors are returned unchanged.

    Args:
        tensors: (N, ...) tensors, N being the same in every process.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return tensors
    return type(tensors)(*(_Gather.apply(each) for each in tensors))


def _attention_backend(device: torch.device) -> AbstractContextManager[None]:
    """Select the attention kernel.

    Spectra are short sequences. For these, the fused kernel on a CPU in bf16 takes up to ten times
    as long as plain matrix products, forwards and backwards.
    """
    plain: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return plain if device.type == "cpu" else nullcontext()
