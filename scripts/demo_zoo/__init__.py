"""The demo networks: procedural images, small networks, and their training (needs torch)."""
