"""Plain networks that others designed for phones: 3x3 convolutions, one activation and a pixel shuffle."""
