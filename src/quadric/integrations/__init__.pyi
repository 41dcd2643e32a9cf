from .labeller import Labeller as Labeller
