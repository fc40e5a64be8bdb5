"""The analytic family of discrete scale space, and what it calls a key."""
