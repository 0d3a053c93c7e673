"""RFDN and the networks of the NTIRE 2022 efficient super-resolution challenge that descend from it."""
