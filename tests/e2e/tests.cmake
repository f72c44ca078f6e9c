# The long form runs ./quickstart --all: every package, about half an hour on two cores.
set_tests_properties(e2e.test_quickstart_parts PROPERTIES TIMEOUT 7200)
