"""Pure functions on tensors: magnitude and angular functions, and the convolutions made of them."""
