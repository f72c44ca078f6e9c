# quern_example(NAME [ARGS…]): builds NAME.c against the public headers alone and runs it with ARGS; when
# NAME.expected stands beside it, the output must equal it. QUERN_SKIP_MODEL_TESTS skips those with MODEL.
function(quern_example name)
  add_executable(example_${name} ${PROJECT_SOURCE_DIR}/examples/${name}.c)
  target_link_libraries(example_${name} PRIVATE quern_static)
  add_test(NAME examples.${name}
    COMMAND ${PROJECT_SOURCE_DIR}/examples/run-example $<TARGET_FILE:example_${name}>
      ${PROJECT_SOURCE_DIR}/examples/${name} ${ARGN})
  set_tests_properties(examples.${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300 LABELS examples
    ENVIRONMENT "${QUERN_TEST_ENV}")
endfunction()
set(QUERN_TEST_ENV "QUERN_TEST_MODEL=$ENV{HOME}/.cache/quern-dev/model")
if(DEFINED ENV{QUERN_DEV_CACHE})
  set(QUERN_TEST_ENV "QUERN_TEST_MODEL=$ENV{QUERN_DEV_CACHE}/model")
endif()
quern_example(basic_usage MODEL)
quern_example(batch_processing MODEL)
quern_example(model_comparison MODEL)
quern_example(worker_loop MODEL DATABASE)
quern_example(store_memory)
