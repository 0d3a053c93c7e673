"""Networks whose attention uses statistics of the whole image: some of the NTIRE 2022 challenge, and the original IMDN."""
