"""What the tasks of pairs of texts share: an encoder-decoder, its options, its training and its outputs."""
