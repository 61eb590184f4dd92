"""A network as an object file: machine code, its weights beside it, and the C header of both."""
