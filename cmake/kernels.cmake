# Per-file flags of src/kernels/: each variant is built for its own instruction set, everything
# else for the ABI floor. -O3 for what the tiles unroll; no flag here may touch rounding or order
# (-ffp-contract=off comes from flags.cmake, and docs/bits.md says why).
# Under a sanitizer -O1 and nothing unrolled: at -O3 these files take minutes each to compile.
set(QUERN_KERNELS ${PROJECT_SOURCE_DIR}/src/kernels)
set(QUERN_KERNEL_O -O3)
if(QUERN_SANITIZE)
  set(QUERN_KERNEL_O -O1)
endif()
set_source_files_properties(${QUERN_KERNELS}/kernels_scalar.c ${QUERN_KERNELS}/int8_scalar.c
  ${QUERN_KERNELS}/int8_amx_plain.c
  ${QUERN_KERNELS}/bf16_scalar.c ${QUERN_KERNELS}/bf16_amx_plain.c
  PROPERTIES COMPILE_OPTIONS "${QUERN_KERNEL_O};-fno-math-errno")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set_source_files_properties(${QUERN_KERNELS}/x86/kernels_avx2.c ${QUERN_KERNELS}/x86/int8_avx2.c PROPERTIES
    COMPILE_OPTIONS "${QUERN_KERNEL_O};-fno-math-errno;-mavx2;-mfma;-mf16c")
  set(QUERN_AVX512 "${QUERN_KERNEL_O};-fno-math-errno;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx2;-mfma;-mf16c")
  set_source_files_properties(${QUERN_KERNELS}/x86/kernels_avx512.c PROPERTIES COMPILE_OPTIONS "${QUERN_AVX512}")
  set_source_files_properties(${QUERN_KERNELS}/x86/int8_avx512vnni.c PROPERTIES
    COMPILE_OPTIONS "${QUERN_AVX512};-mavx512vnni")
  set_source_files_properties(${QUERN_KERNELS}/x86/int8_amx.c PROPERTIES
    COMPILE_OPTIONS "${QUERN_AVX512};-mamx-tile;-mamx-int8")
  set_source_files_properties(${QUERN_KERNELS}/x86/bf16_avx512.c PROPERTIES
    COMPILE_OPTIONS "${QUERN_AVX512};-mavx512bf16")
  set_source_files_properties(${QUERN_KERNELS}/x86/bf16_amx.c PROPERTIES
    COMPILE_OPTIONS "${QUERN_AVX512};-mavx512bf16;-mamx-tile;-mamx-bf16")
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set_source_files_properties(${QUERN_KERNELS}/arm64/kernels_neon.c ${QUERN_KERNELS}/arm64/int8_neon.c PROPERTIES
    COMPILE_OPTIONS "${QUERN_KERNEL_O};-fno-math-errno")
  set_source_files_properties(${QUERN_KERNELS}/arm64/int8_dotprod.c PROPERTIES
    COMPILE_OPTIONS "${QUERN_KERNEL_O};-fno-math-errno;-march=armv8.2-a+dotprod")
  set_source_files_properties(${QUERN_KERNELS}/arm64/int8_i8mm.c PROPERTIES
    COMPILE_OPTIONS "${QUERN_KERNEL_O};-fno-math-errno;-march=armv8.2-a+i8mm")
endif()
# The quantiser's loops over weights: elementwise, so -O3 changes their speed and not their numbers.
set_source_files_properties(${PROJECT_SOURCE_DIR}/src/encoder/quantise.c PROPERTIES COMPILE_OPTIONS "${QUERN_KERNEL_O}")
