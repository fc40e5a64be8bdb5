"""Key sets: their files, and those that come with the package."""
