"""The image experiments of arXiv 2410.08417: what image classifiers compute, from their weights."""
