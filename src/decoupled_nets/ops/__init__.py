"""Pure functions on tensors: one folder an operation, and what chooses the code it runs on."""
