"""FGNAS: the supernet with its gates, the searched networks, and differentiable costs."""
