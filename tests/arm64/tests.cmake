# What the preset `arm64` runs under qemu (label arm64): arithmetic on processors of three kinds. QEMU_CPU says which
# one qemu is, QUERN_TEST_LEVELS what must then be found, so that no kernel is left out unseen.
if(CMAKE_CROSSCOMPILING AND CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
  add_custom_target(arm64_tests)
  function(quern_arm64_test name cpu levels)
    set(test arm64.${name}.${cpu})
    add_test(NAME ${test} COMMAND ${name})
    set_tests_properties(${test} PROPERTIES LABELS arm64 TIMEOUT 600 SKIP_RETURN_CODE 77
      ENVIRONMENT "${QUERN_TEST_ENV};QEMU_CPU=${cpu};QUERN_TEST_LEVELS=${levels};QUERN_TEST_FEW=1")
    add_dependencies(arm64_tests ${name})
  endfunction()
  quern_arm64_test(test_kernels max "neon,dotprod,i8mm")
  quern_arm64_test(test_fp16 max "neon,dotprod,i8mm")
  quern_arm64_test(test_encoder_model max "neon,dotprod,i8mm")
  quern_arm64_test(test_encoder_families max "neon,dotprod,i8mm")
  foreach(name test_cpu test_int8)
    quern_arm64_test(${name} max "neon,dotprod,i8mm")
    quern_arm64_test(${name} cortex-a76 "neon,dotprod")
    quern_arm64_test(${name} cortex-a72 "neon")
  endforeach()
  # The command, beside the native one of the preset `dev`.
  string(REPLACE ";" " " emulator "${CMAKE_CROSSCOMPILING_EMULATOR}")
  add_test(NAME arm64.test_arm64 COMMAND ${QUERN_DEV_CACHE}/venv/bin/python ${CMAKE_CURRENT_LIST_DIR}/test_arm64.py)
  set_tests_properties(arm64.test_arm64 PROPERTIES LABELS arm64 TIMEOUT 600
    ENVIRONMENT "${QUERN_TEST_ENV};QUERN_EMULATOR=${emulator};QUERN_NATIVE=${PROJECT_SOURCE_DIR}/build/dev/quern")
  add_dependencies(arm64_tests quern)
endif()
