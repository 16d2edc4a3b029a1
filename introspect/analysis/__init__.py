"""What else can be asked of a finished run, or of another's model."""
