"""The recommenders: the shared encoder-decoder, the curriculum, RCLRec."""
