# The analysers take minutes: first, so that tests which wait for servers run beside them and not before them.
set_tests_properties(house.analyse PROPERTIES LABELS "house;analyse" COST 1000 TIMEOUT 1800)
