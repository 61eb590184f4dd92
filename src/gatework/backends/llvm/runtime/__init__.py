"""What compiles and keeps machine code, shares work among threads, and keeps memory for results."""
