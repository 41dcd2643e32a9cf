"""The pictures of the experiments on language models, each from measured data alone."""
