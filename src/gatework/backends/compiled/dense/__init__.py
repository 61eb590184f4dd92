"""Linear maps, and softmaxes over them: their loss, their likeliest units."""
