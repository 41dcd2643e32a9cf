"""The atlas: what an autoencoder learnt, as a folder of tables and a page that explores them."""
