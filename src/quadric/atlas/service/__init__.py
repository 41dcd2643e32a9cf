"""The server: files, the live features, and who may ask for them."""
