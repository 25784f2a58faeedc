"""Is a window of the prediction log still like the reference? Statistics, verdict, report."""
