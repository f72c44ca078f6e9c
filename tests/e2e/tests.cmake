# What the Python tests of this folder run beside the command.
add_executable(embed_folder ${CMAKE_CURRENT_LIST_DIR}/embed_folder.c)
target_link_libraries(embed_folder PRIVATE quern_static)
