"""Signal processing: the STFT and its inverse, window values, phase."""
