"""Networks of the NTIRE 2022 efficient super-resolution challenge with transformer layers."""
