"""introspect: do a model's explanations follow what it was, or what it is?

Reading order: cotrain (a run), losses and counterfactual and metrics (what is claimed), model,
tasks/hint (the world), interview and packing (how a model is asked), labels and pretrain, stats.
"""

__version__ = "0.1.0"
