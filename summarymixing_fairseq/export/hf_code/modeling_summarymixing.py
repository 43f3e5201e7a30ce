"""wav2vec 2.0 with SummaryMixing for transformers: waveforms in, hidden states or CTC scores out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput

from .configuration_summarymixing import SummaryMixingConfig
from .waveform_encoder import add_modules, encode


class SummaryMixingPreTrainedModel(PreTrainedModel):
    """What both models share."""

    config_class = SummaryMixingConfig
    base_model_prefix = "summarymixing"
    main_input_name = "input_values"

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As transformers', with the weights copied to memory of their own.

        In the file they may begin at any byte. A CPU's matrix products round differently there than in torch's memory.
        """
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for weight in (*model.parameters(), *model.buffers()):
            if weight.device.type == "cpu":
                weight.data = weight.data.clone()
        return loaded

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """An output that no file has weights for; all else starts as its modules say."""
        if isinstance(module, nn.Linear) and module is getattr(self, "lm_head", None):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)


class SummaryMixingModel(SummaryMixingPreTrainedModel):
    """The encoder."""

    def __init__(self, config: SummaryMixingConfig):
        super().__init__(config)
        add_modules(self, config)
        self.mask_emb = nn.Parameter(torch.empty(config.hidden_size).uniform_())  # of pre-training, for the way back
        self.post_init()

    def frames_of(self, num_samples: Tensor) -> Tensor:
        """(B,) samples -> (B,) frames."""
        return self.feature_extractor.output_lengths(num_samples)

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput | tuple[Any, ...]:
        """Encode a padded batch.

        Args:
            input_values: (B, num_samples) waveform at 16 kHz, full scale = 1; padding may hold anything.
            attention_mask: (B, num_samples), 1 = valid, 0 = padding, at the end of a clip; or None.

        Returns:
            ``last_hidden_state`` (B, T, D) after the last LayerNorm, T the frames of the longest clip; with
            ``output_hidden_states`` the encoder's input and each layer's output, before that LayerNorm.

        Raises:
            ValueError: if even the longest clip is too short for one frame.
        """
        source = input_values
        num_samples = torch.full(source.shape[:1], source.size(1), device=source.device)
        if attention_mask is not None:
            num_samples = attention_mask.sum(1).long()
            source = source[:, : int(num_samples.max())]
        keep = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        x, hidden_states = encode(self, source, num_samples, self.config.normalize, bool(keep))
        output = BaseModelOutput(last_hidden_state=x, hidden_states=tuple(hidden_states) if keep else None)
        return output.to_tuple() if return_dict is False else output


class SummaryMixingForCTC(SummaryMixingPreTrainedModel):
    """The encoder and a layer of scores."""

    def __init__(self, config: SummaryMixingConfig):
        super().__init__(config)
        self.summarymixing = SummaryMixingModel(config)
        self.dropout = nn.Dropout(config.final_dropout)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutput | tuple[Any, ...]:
        """Score the symbols of a padded batch.

        Args:
            input_values, attention_mask: see ``SummaryMixingModel``.
            labels: (B, longest) symbols, below 0 = padding: the CTC loss is computed.

        Returns:
            ``logits`` (B, T, symbols), the blank is ``pad_token_id``; ``loss`` with labels.
        """
        states = self.summarymixing(input_values, attention_mask, output_hidden_states)
        x = self.dropout(states.last_hidden_state)
        # (B, T, D) -> (T, B, D) -> (B, T, symbols): in the order of fairseq, which gives the same bits
        logits = self.lm_head(x.transpose(0, 1)).transpose(0, 1)
        loss = None
        if labels is not None:
            num_samples = torch.full(input_values.shape[:1], input_values.size(1), device=logits.device)
            if attention_mask is not None:
                num_samples = attention_mask.sum(1).long()
            loss = nn.functional.ctc_loss(
                logits.float().log_softmax(-1).transpose(0, 1),  # (T, B, symbols)
                labels[labels >= 0],
                self.summarymixing.frames_of(num_samples),
                (labels >= 0).sum(1),
                blank=self.config.pad_token_id,
                reduction=self.config.ctc_loss_reduction,
                zero_infinity=self.config.ctc_zero_infinity,
            )
        output = CausalLMOutput(loss=loss, logits=logits, hidden_states=states.hidden_states)
        return output.to_tuple() if return_dict is False else output
