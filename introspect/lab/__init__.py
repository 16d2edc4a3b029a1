"""The claims: what each one measures, and what the runs say of it."""
