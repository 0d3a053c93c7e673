"""Networks of the NTIRE 2022 efficient super-resolution challenge whose attention uses statistics of the whole image."""
