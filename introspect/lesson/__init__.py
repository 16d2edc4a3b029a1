"""Eight steps through the idea, each with a prediction, on models that train in seconds."""
