"""One run: made, kept, found again; many side by side. Below it stands the core only."""
