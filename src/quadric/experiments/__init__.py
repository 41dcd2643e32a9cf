"""The published figures of bilinear autoencoders, one file each, remade on any language model.

``quadric experiment NAME`` runs one; ``quadric.experiments.registry`` lists them all.
"""
