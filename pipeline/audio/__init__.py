"""Reading recordings: decoding, container checks, the decoder process."""
