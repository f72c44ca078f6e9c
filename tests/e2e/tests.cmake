# The long form runs ./quickstart --all: every package, about half an hour on two cores.
set_tests_properties(e2e.test_quickstart_parts PROPERTIES TIMEOUT 7200)
# Its long form is 200 rounds of kills on each store.
set_tests_properties(e2e.test_faults PROPERTIES TIMEOUT 7200)
# What test_fidelity and test_hostile_models run: a model folder and texts to vectors, in every build.
add_executable(embed_folder ${CMAKE_CURRENT_LIST_DIR}/embed_folder.c)
target_link_libraries(embed_folder PRIVATE quern_static)

# What test_vision runs: assets to vectors through a hosted model, in every build.
add_executable(embed_assets ${CMAKE_CURRENT_LIST_DIR}/embed_assets.c)
target_link_libraries(embed_assets PRIVATE quern_static)

# What test_providers runs: a program that authorizes each call.
add_executable(embed_authorized ${CMAKE_CURRENT_LIST_DIR}/embed_authorized.c)
target_link_libraries(embed_authorized PRIVATE quern_static)

# What test_limits runs: calls within limits that several processes share, in windows of seconds.
add_executable(embed_limited ${CMAKE_CURRENT_LIST_DIR}/embed_limited.c)
target_link_libraries(embed_limited PRIVATE quern_static)
