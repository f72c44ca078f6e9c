# tests/fuzz/fuzz_NAME.c holds one LLVMFuzzerTestOneInput; its seeds are the files of
# tests/fuzz/corpus/NAME/. Preset fuzz builds it with libFuzzer and lets it search for some seconds
# (QUERN_LONG=1: ten minutes); every other preset links replay_main.c and replays the corpus.
file(GLOB fuzz_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/fuzz_*.c)
set(fuzz_dir ${CMAKE_CURRENT_LIST_DIR})
foreach(file ${fuzz_sources})
  get_filename_component(name ${file} NAME_WE)
  string(REGEX REPLACE "^fuzz_" "" subject ${name})
  add_executable(${name} ${file})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE quern_static)
  if(QUERN_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${name} PRIVATE ${fuzz_dir}/replay_main.c)
  endif()
  add_test(NAME fuzz.${subject} COMMAND ${fuzz_dir}/run_fuzz
    $<IF:$<BOOL:${QUERN_FUZZ}>,search,replay> $<TARGET_FILE:${name}> ${fuzz_dir}/corpus/${subject})
  set_tests_properties(fuzz.${subject} PROPERTIES ENVIRONMENT "${QUERN_TEST_ENV}"
    SKIP_RETURN_CODE 77 TIMEOUT 900 LABELS "fuzz")
endforeach()
