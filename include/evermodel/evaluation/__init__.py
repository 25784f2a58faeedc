"""May the challenger ship? Metrics, paired bootstrap, gates, decision."""
