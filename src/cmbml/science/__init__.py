"""Arrays in, arrays out: what the sky, the instrument and their mathematics are."""
