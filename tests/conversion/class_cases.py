"""An input, and the operator that takes nothing apart."""

from __future__ import annotations

import torch

X = torch.randn(2, 4, 17, 20, generator=torch.Generator().manual_seed(3))

#: With this operator a decoupled layer computes what the plain one does.
NOTHING = {"operator": "linear-cos", "weighting": "linear", "eps": 1e-12}
