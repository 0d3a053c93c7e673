"""AdaDSR's depth maps at run time: depth budgets, saved multiply-adds, depth maps as images."""
