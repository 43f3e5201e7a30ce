"""Only for imports that are not moved yet: use ``torch.nn.Dropout``."""

from torch import nn


class Dropout(nn.Dropout):
    """``torch.nn.Dropout``; the second argument has no effect."""

    def __init__(self, p: float, fast: bool = True):
        super().__init__(p)
