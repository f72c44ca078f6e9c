# Per-file flags of src/kernels/: each variant is built for its own instruction set, everything
# else for the ABI floor.
