"""FGNAS: the supernet with gates, the networks found by the search, and differentiable costs."""
