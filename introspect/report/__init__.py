"""Words, numbers and pictures of any study."""
