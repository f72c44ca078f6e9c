# The shelf's calls as a command, for tests/e2e/test_shelf.py: it needs options that the command line
# of quern does not show (tries, cancelling after so many bytes).
add_executable(shelf_driver ${CMAKE_CURRENT_LIST_DIR}/shelf_driver.c)
target_link_libraries(shelf_driver PRIVATE quern_static)
