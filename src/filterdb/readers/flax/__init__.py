"""JAX: parameters that Flax serialised as MessagePack, and checkpoints of Orbax."""
