"""The search for keys: sample, cluster, try on networks held out, beside chance."""
