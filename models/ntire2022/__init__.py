"""The networks of the NTIRE 2022 efficient super-resolution challenge, and their shared blocks."""
