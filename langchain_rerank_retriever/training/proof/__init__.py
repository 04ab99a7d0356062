"""What held-out queries prove: stage scores, fitted blends, the decision and its report."""
