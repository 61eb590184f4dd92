"""Networks as a WebAssembly module, with an ES module around it."""
