"""Transfer: frozen filters between data sets, domains, depths and architectures."""
