# The program that test_tokenizer_{parity,families}.py compare with the reference.
add_executable(tokenize_dump ${CMAKE_CURRENT_LIST_DIR}/tokenize_dump.c)
target_include_directories(tokenize_dump PRIVATE ${PROJECT_SOURCE_DIR}/src)
target_link_libraries(tokenize_dump PRIVATE quern_static)
# QUERN_LONG=1 takes five minutes of one core, more under a sanitizer or on a busy machine.
set_tests_properties(e2e.test_tokenizer_parity e2e.test_tokenizer_families PROPERTIES TIMEOUT 3600)
