"""What may be wrong with an atlas: with records to be written, and with files that were read."""
