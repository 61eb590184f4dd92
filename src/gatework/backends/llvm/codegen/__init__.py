"""What writes LLVM IR: the code of programs and of the driver that runs lists of commands."""
